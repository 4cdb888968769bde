//! `cargo xtask demo`: the main job on stand-ins, from nothing to a filled catalog.

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
    suite, venv,
};

const ACCOUNTS: [&str; 3] = ["111111111111", "222222222222", "333333333333"];

/// Shows the main job; waits for Enter at the end unless `once` or nobody is there to press it.
pub(crate) fn run(repo: &Repo, once: bool) -> Result<()> {
    components::build(repo, false, false)?;
    let python = venv::ensure(repo)?;
    println!("demo: building berth and the Port stand-in");
    let [berth, stand_in] = suite::binaries(repo, ["berth", "port-stand-in"])?;

    let aws = start_aws(repo, &python)?;
    let port = start_port(repo, &stand_in)?;
    println!("demo: AWS (moto) at {}, Port (stand-in) at {}", aws.url(), port.url());
    println!("demo: three accounts × two regions get buckets, instances and clusters");
    repo::run(&mut seed(repo, &python, &aws, "seed"))?;

    let mut sync = sync(repo, &berth, &aws, &port);
    println!("\ndemo: this is what runs:\n{}", shown(&sync));
    repo::run(&mut sync)?;

    let entities = comparable(flat(&port.get("/_stand-in/entities")?));
    let expected: Vec<Value> =
        serde_json::from_str(&repo::output(&mut seed(repo, &python, &aws, "expected"))?)?;
    let expected = comparable(expected);
    println!("\ndemo: entities at Port\n{}", table(&entities));
    compare(&entities, &expected)?;
    println!("demo: all {} are what boto3 reads from the three accounts", entities.len());

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

fn start_aws(repo: &Repo, python: &Path) -> Result<StandIn> {
    let mut command = repo.command(python);
    command.arg("tests/e2e/serve_aws.py");
    let (process, line) = start(&mut command)?;
    Ok(StandIn { process, authority: format!("127.0.0.1:{}", line.trim()) })
}

fn start_port(repo: &Repo, binary: &Path) -> Result<StandIn> {
    let mut command = repo.command(binary);
    command.args(["--port", "0"]);
    let (process, line) = start(&mut command)?;
    let authority = line
        .split_once("http://")
        .and_then(|(_, rest)| rest.split(['/', ' ']).next())
        .with_context(|| format!("the Port stand-in tells no address: {line}"))?
        .to_owned();
    Ok(StandIn { process, authority })
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

fn seed(repo: &Repo, python: &Path, aws: &StandIn, task: &str) -> Command {
    let mut command = repo.command(python);
    command
        .arg("tests/e2e/seed.py")
        .args(["--endpoint", &aws.url(), "--accounts", &ACCOUNTS.join(","), task])
        .env("NO_PROXY", "127.0.0.1");
    command
}

/// The command that Port gives to people who install its AWS integration, with Berth's name.
fn sync(repo: &Repo, berth: &PathBuf, aws: &StandIn, port: &StandIn) -> Command {
    let roles = ACCOUNTS.map(|account| format!("arn:aws:iam::{account}:role/PortOceanReadRole"));
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
        .env("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID", "demo-external-id")
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

/// Entities by blueprint and identifier, with what the mapping sets; null and absent are the same.
fn comparable(entities: Vec<Value>) -> BTreeMap<(String, String), Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let set = |value: &Value| -> Map<String, Value> {
        let fields = value.as_object().cloned().unwrap_or_default();
        fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
    };
    entities
        .into_iter()
        .map(|entity| {
            let value = json!({"title": entity["title"], "properties": set(&entity["properties"]),
                               "relations": set(&entity["relations"])});
            ((text(&entity["blueprint"]), text(&entity["identifier"])), value)
        })
        .collect()
}

/// Entities per blueprint and account.
fn table(entities: &BTreeMap<(String, String), Value>) -> String {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for ((blueprint, identifier), entity) in entities {
        let account = entity["relations"]["account"].as_str().unwrap_or(identifier);
        *counts.entry((blueprint, account)).or_default() += 1;
    }
    let lines: Vec<String> = counts
        .into_iter()
        .map(|((blueprint, account), count)| format!("  {blueprint:<12} {account:<12} {count:>4}\n"))
        .collect();
    lines.concat()
}

fn compare(
    found: &BTreeMap<(String, String), Value>,
    expected: &BTreeMap<(String, String), Value>,
) -> Result<()> {
    let missing = expected.keys().filter(|key| !found.contains_key(*key));
    let surplus = found.keys().filter(|key| !expected.contains_key(*key));
    let different =
        expected.iter().filter(|(key, value)| found.get(*key).is_some_and(|found| found != *value));
    let lines: Vec<String> = missing
        .map(|(blueprint, identifier)| format!("missing: {blueprint} {identifier}"))
        .chain(surplus.map(|(blueprint, identifier)| format!("too many: {blueprint} {identifier}")))
        .chain(different.map(|((blueprint, identifier), value)| {
            let is = &found[&(blueprint.clone(), identifier.clone())];
            format!("different: {blueprint} {identifier}\n    is        {is}\n    should be {value}")
        }))
        .collect();
    ensure!(lines.is_empty(), "Port does not hold what AWS has:\n  {}", lines.join("\n  "));
    Ok(())
}

/// The calls that write entities: upserts and deletions.
fn writes(counts: &Value) -> Vec<String> {
    let reads = ["POST /v1/entities/search", "POST /v1/blueprints/entities/datasource-entities"];
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
            "DELETE /v1/blueprints/{blueprint}/entities/{entity}": 1,
        });
        assert_eq!(writes(&counts).len(), 2, "{:?}", writes(&counts));
    }

    #[test]
    fn what_differs_is_named() {
        let entity = |id: &str, state: &str| {
            json!({"blueprint": "b", "identifier": id, "title": id,
                   "properties": {"state": state, "ip": null}, "relations": {}})
        };
        let found = comparable(vec![entity("same", "on"), entity("changed", "off"), entity("extra", "on")]);
        let expected = comparable(vec![entity("same", "on"), entity("changed", "on"), entity("lost", "on")]);
        let told = compare(&found, &expected).unwrap_err().to_string();
        for line in ["missing: b lost", "too many: b extra", "different: b changed"] {
            assert!(told.contains(line), "{told}");
        }
        assert!(!told.contains("same"), "{told}");
    }
}
