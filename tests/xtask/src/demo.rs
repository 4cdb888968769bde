//! `cargo xtask demo`: a sync on the test servers, from nothing to a filled catalog.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::{
    components,
    repo::{self, Repo},
    suite,
};

const ACCOUNTS: [&str; 3] = ["111111111111", "111111111112", "111111111113"];
const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
const ROLE: &str = "PortOceanReadRole";
const EXTERNAL_ID: &str = "demo-external-id";
/// What an account has in each region, or (buckets) in all.
const RESOURCES: [(&str, usize); 3] =
    [("AWS::S3::Bucket", 4), ("AWS::EC2::Instance", 3), ("AWS::ECS::Cluster", 2)];

/// Shows the main job; waits for Enter at the end unless `once` or nobody is there to press it.
pub(crate) fn run(repo: &Repo, once: bool) -> Result<()> {
    components::build(repo, false, false)?;
    println!("demo: building berth and the stand-ins of AWS and Port");
    let [berth, simulator, stand_in] = suite::binaries(repo, ["berth", "aws-simulator", "port-stand-in"])?;

    let aws = start_aws(repo, &simulator)?;
    let port = start_port(repo, &stand_in)?;
    println!("demo: AWS (simulator) at {}, Port (stand-in) at {}", aws.url(), port.url());
    println!("demo: three accounts × two regions have buckets, instances and clusters");

    let mut sync = sync(repo, &berth, &aws, &port);
    println!("\ndemo: this is what runs:\n{}", shown(&sync));
    repo::run(&mut sync)?;

    let entities = flat(&port.get("/_stand-in/entities")?);
    let found = counts(&entities);
    println!("\ndemo: entities at Port\n{}", table(&found));
    ensure!(found == expected(), "Port does not hold what AWS has:\n{}", table(&expected()));
    println!("demo: all {} are there", entities.len());

    println!("\ndemo: the same sync again");
    port.request("DELETE", "/_stand-in/requests")?;
    repo::run(&mut sync)?;
    let counts = port.get("/_stand-in/counts")?;
    let writes = writes(&counts);
    ensure!(writes.is_empty(), "the second run wrote to Port: {writes:?}");
    println!("\ndemo: zero upserts and zero deletes");

    if !once && std::io::stdin().is_terminal() {
        println!("\ndemo: look at the entities at {} (AWS is at {})", port.url(), aws.url());
        print!("demo: press Enter to stop ");
        std::io::stdout().flush()?;
        std::io::stdin().lock().read_line(&mut String::new())?;
    }
    Ok(())
}

/// A stand-in that runs as long as this value lives.
struct StandIn {
    process: Child,
    authority: String,
}

impl StandIn {
    fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    fn get(&self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.request("GET", path)?).with_context(|| format!("{path} gives no JSON"))
    }

    /// One request to a local server that closes the connection at the end.
    fn request(&self, method: &str, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.authority)
            .with_context(|| format!("could not reach {}", self.authority))?;
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.authority)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        ensure!(head.contains(" 200 "), "{method} {path}: {head}");
        Ok(body.to_owned())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // It may have ended with the same Ctrl-C.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn start_aws(repo: &Repo, binary: &Path) -> Result<StandIn> {
    let mut command = repo.command(binary);
    command.args(["--first-account", ACCOUNTS[0], "--accounts", &ACCOUNTS.len().to_string()]);
    command.args(["--regions", &REGIONS.join(","), "--role-name", ROLE, "--external-id", EXTERNAL_ID]);
    for (kind, count) in RESOURCES {
        command.args(["--kind", &format!("{kind}={count}")]);
    }
    let (process, line) = start(&mut command)?;
    Ok(StandIn { process, authority: authority(&line)? })
}

fn start_port(repo: &Repo, binary: &Path) -> Result<StandIn> {
    let mut command = repo.command(binary);
    command.args(["--port", "0"]);
    let (process, line) = start(&mut command)?;
    Ok(StandIn { process, authority: authority(&line)? })
}

/// Host and port of the address in the line that a stand-in prints.
fn authority(line: &str) -> Result<String> {
    let address = line.split_once("http://").and_then(|(_, rest)| rest.split(['/', ' ', '\n']).next());
    address.map(ToOwned::to_owned).with_context(|| format!("a stand-in tells no address: {line}"))
}

/// Starts a stand-in and reads its first line, which it prints when it is ready.
fn start(command: &mut Command) -> Result<(Child, String)> {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {}", command.get_program().display()))?;
    let mut line = String::new();
    if let Some(output) = process.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if line.is_empty() {
        bail!("{} ended before it was ready", command.get_program().display());
    }
    Ok((process, line))
}

/// The command that Port gives to people who install its AWS integration, with Berth's name.
fn sync(repo: &Repo, berth: &PathBuf, aws: &StandIn, port: &StandIn) -> Command {
    let roles = ACCOUNTS.map(|account| format!("arn:aws:iam::{account}:role/{ROLE}"));
    let mut command = repo.command(berth);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["OCEAN__", "AWS_", "BERTH_"].iter().any(|ours| text.starts_with(ours)) {
            command.env_remove(name);
        }
    }
    command
        .arg("sync")
        .env("OCEAN__PORT__CLIENT_ID", "stand-in-client")
        .env("OCEAN__PORT__CLIENT_SECRET", "stand-in-secret")
        .env("OCEAN__PORT__BASE_URL", port.url())
        .env("OCEAN__INITIALIZE_PORT_RESOURCES", "true")
        .env("OCEAN__INTEGRATION__IDENTIFIER", "aws")
        .env("OCEAN__EVENT_LISTENER", r#"{"type":"ONCE"}"#)
        .env("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfi")
        .env("OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS", json!(roles).to_string())
        .env("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID", EXTERNAL_ID)
        // Another Port each time: a ledger would only be left behind.
        .env("BERTH_STATE_DIR", "none")
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("NO_PROXY", "127.0.0.1");
    command
}

/// A command as one types it. The secrets in it are those of the stand-ins.
fn shown(command: &Command) -> String {
    let mut lines: Vec<String> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_string_lossy(), value?.to_string_lossy())))
        .map(|(name, value)| format!("  {name}='{value}' \\"))
        .collect();
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    lines.push(format!("  berth {}", arguments.join(" ")));
    lines.join("\n")
}

/// The stand-in's dump (by blueprint, then by identifier) as a list.
fn flat(dump: &Value) -> Vec<Value> {
    let blueprints = dump.as_object().into_iter().flat_map(Map::values);
    blueprints.filter_map(Value::as_object).flat_map(Map::values).cloned().collect()
}

/// Entities by blueprint and account.
type Counts = BTreeMap<(String, String), usize>;

fn counts(entities: &[Value]) -> Counts {
    let mut counts = Counts::new();
    for entity in entities {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let account = entity["relations"]["account"].as_str().map(ToOwned::to_owned);
        let account = account.unwrap_or_else(|| text(&entity["identifier"]));
        *counts.entry((text(&entity["blueprint"]), account)).or_default() += 1;
    }
    counts
}

/// What the default mapping makes of what the simulator has.
fn expected() -> Counts {
    let [(_, buckets), (_, instances), (_, clusters)] = RESOURCES;
    let of_account = [
        ("awsAccount", 1),
        ("s3Bucket", buckets),
        ("ec2Instance", instances * REGIONS.len()),
        ("ecsCluster", clusters * REGIONS.len()),
    ];
    ACCOUNTS
        .iter()
        .flat_map(|account| {
            of_account.map(|(blueprint, count)| ((blueprint.to_owned(), (*account).to_owned()), count))
        })
        .collect()
}

fn table(counts: &Counts) -> String {
    let lines: Vec<String> = counts
        .iter()
        .map(|((blueprint, account), count)| format!("  {blueprint:<12} {account:<12} {count:>4}\n"))
        .collect();
    lines.concat()
}

/// The calls that write entities: upserts and deletions.
fn writes(counts: &Value) -> Vec<String> {
    let reads = [
        "POST /v1/entities/search",
        "POST /v1/blueprints/{blueprint}/entities/search",
        "POST /v1/blueprints/entities/datasource-entities",
    ];
    let counts = counts.as_object().cloned().unwrap_or_default();
    counts
        .iter()
        .filter(|(call, _)| call.contains("entities") && !call.starts_with("GET "))
        .filter(|(call, _)| !reads.contains(&call.as_str()))
        .map(|(call, count)| format!("{count} × {call}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upserts_and_deletions_are_writes_and_searches_are_not() {
        let counts = json!({
            "GET /v1/blueprints": 1, "POST /v1/entities/search": 2, "POST /v1/auth/access_token": 1,
            "POST /v1/blueprints/{blueprint}/entities/bulk": 3,
            "POST /v1/blueprints/{blueprint}/entities/search": 1,
            "DELETE /v1/blueprints/{blueprint}/entities/{entity}": 1,
        });
        assert_eq!(writes(&counts).len(), 2, "{:?}", writes(&counts));
    }

    #[test]
    fn entities_are_counted_by_blueprint_and_account() {
        let entities = [
            json!({"blueprint": "awsAccount", "identifier": "1", "relations": {}}),
            json!({"blueprint": "b", "identifier": "x", "relations": {"account": "1"}}),
            json!({"blueprint": "b", "identifier": "y", "relations": {"account": "1"}}),
        ];
        let count = |blueprint: &str, count: usize| ((blueprint.to_owned(), "1".to_owned()), count);
        assert_eq!(counts(&entities), Counts::from([count("awsAccount", 1), count("b", 2)]));
    }

    #[test]
    fn the_address_is_found_in_both_lines() {
        assert_eq!(authority("listening on http://127.0.0.1:8080\n").unwrap(), "127.0.0.1:8080");
        assert_eq!(authority("port-stand-in ready at http://[::1]:1/ (client id c)\n").unwrap(), "[::1]:1");
        assert!(authority("").is_err());
    }
}
