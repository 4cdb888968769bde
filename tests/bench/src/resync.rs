//! Whole resyncs between the simulator of AWS and the stand-in for Port.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::{
    process::{self, StandIn, Used},
    report::{Row, Table, Target},
};

/// The kinds of a fresh installation.
const DEFAULT_KINDS: [&str; 3] = ["AWS::S3::Bucket", "AWS::EC2::Instance", "AWS::ECS::Cluster"];

/// How large an AWS organization is, and how slow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    accounts: u32,
    regions: u32,
    /// Resources of each default kind in each account and region.
    resources: u32,
    /// Milliseconds that each answer of AWS takes.
    latency: u32,
}

/// Three accounts, as in the study of the integration that Berth replaces.
pub(crate) const S: Profile = Profile { name: "S", accounts: 3, regions: 2, resources: 3, latency: 0 };
/// About 13,000 entities.
pub(crate) const M: Profile = Profile { name: "M", accounts: 10, regions: 4, resources: 125, latency: 0 };
/// As large as M, with accounts that are mostly wait.
pub(crate) const SLOW: Profile =
    Profile { name: "slow", accounts: 10, regions: 4, resources: 5, latency: 50 };

/// The programs and directories that a resync needs.
pub(crate) struct Programs {
    pub(crate) berth: PathBuf,
    pub(crate) simulator: PathBuf,
    pub(crate) port: PathBuf,
    pub(crate) components: PathBuf,
}

/// One resync, as it was seen from outside.
#[derive(Debug, Clone)]
pub(crate) struct Resync {
    pub(crate) used: Used,
    pub(crate) first_entity: Option<Duration>,
    pub(crate) aws: Value,
    pub(crate) port: Map<String, Value>,
    pub(crate) entities: usize,
}

impl Resync {
    /// Requests to AWS.
    pub(crate) fn aws_requests(&self) -> u64 {
        self.aws["requests"].as_u64().unwrap_or_default()
    }

    pub(crate) fn port_requests(&self) -> u64 {
        self.port.values().filter_map(Value::as_u64).sum()
    }

    /// Requests that write entities.
    pub(crate) fn upserts(&self) -> u64 {
        let writes = |call: &str| {
            (call.starts_with("POST")
                || call.starts_with("PUT")
                || call.starts_with("PATCH")
                || call.starts_with("DELETE"))
                && call.contains("/entities")
                && !call.contains("search")
                && !call.contains("datasource-entities")
        };
        self.port.iter().filter(|(call, _)| writes(call)).filter_map(|(_, count)| count.as_u64()).sum()
    }
}

/// Runs a profile three times: into an empty catalog with plugins that must be compiled, again when
/// nothing has changed, and into another empty catalog with compiled plugins.
pub(crate) fn run(programs: &Programs, profile: Profile) -> Result<[Resync; 3]> {
    let state = tempfile::tempdir()?;
    let mut simulator = Command::new(&programs.simulator);
    simulator
        .args(["--plugins".into(), crate::natives::folder().into_os_string()])
        .args(["--accounts", &profile.accounts.to_string(), "--regions", &profile.regions.to_string()])
        .args(["--resources", "0", "--latency", &format!("constant:{}ms", profile.latency)]);
    for kind in DEFAULT_KINDS {
        simulator.args(["--kind", &format!("{kind}={}", profile.resources)]);
    }
    let aws = StandIn::start(&mut simulator)?;
    let empty = || StandIn::start(Command::new(&programs.port).args(["--port", "0"]));
    let resync = |port: &StandIn, state: &Path| -> Result<Resync> {
        aws.request("POST", "/_simulator/reset")?;
        port.request("DELETE", "/_stand-in/requests")?;
        let mut first_entity = None;
        let used = process::run(&mut berth(programs, profile, &aws, port, state), |elapsed| {
            let counts = port.get("/_stand-in/counts").unwrap_or_default();
            let written = counts
                .as_object()
                .is_some_and(|counts| counts.keys().any(|call| call.contains("entities/bulk")));
            if written {
                first_entity = Some(elapsed);
            }
            written
        })?;
        let entities = port.get("/_stand-in/entities")?;
        Ok(Resync {
            used,
            first_entity,
            aws: aws.get("/_simulator/stats")?,
            port: port.get("/_stand-in/counts")?.as_object().cloned().context("no counts")?,
            entities: entities
                .as_object()
                .into_iter()
                .flat_map(Map::values)
                .filter_map(Value::as_object)
                .map(Map::len)
                .sum(),
        })
    };
    let port = empty()?;
    let (first, again) = (resync(&port, state.path())?, resync(&port, state.path())?);
    // Only the compiled plugins are left of what was remembered.
    fs::remove_dir_all(state.path().join("state"))?;
    Ok([first, again, resync(&empty()?, state.path())?])
}

fn berth(programs: &Programs, profile: Profile, aws: &StandIn, port: &StandIn, state: &Path) -> Command {
    let roles: Vec<String> = (0..u64::from(profile.accounts))
        .map(|account| format!("arn:aws:iam::{}:role/PortOceanReadRole", 100_000_000_001 + account))
        .collect();
    let mut command = Command::new(&programs.berth);
    command.env_clear();
    command
        .args(["sync", "--plugins"])
        .arg(&programs.components)
        .current_dir(state)
        .env("BERTH_CACHE_DIR", state.join("cache"))
        .env("BERTH_STATE_DIR", state.join("state"))
        .env("OCEAN__PORT__CLIENT_ID", "stand-in-client")
        .env("OCEAN__PORT__CLIENT_SECRET", "stand-in-secret")
        .env("OCEAN__PORT__BASE_URL", port.url())
        .env("OCEAN__INITIALIZE_PORT_RESOURCES", "true")
        .env("OCEAN__INTEGRATION__IDENTIFIER", "aws")
        .env("OCEAN__EVENT_LISTENER", r#"{"type":"ONCE"}"#)
        .env("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfi")
        .env("OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS", json!(roles).to_string())
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("BERTH_LOG_FORMAT", "json")
        .env("NO_PROXY", "127.0.0.1")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// What the resyncs of a profile cost.
pub(crate) fn table(profile: Profile, [cold, again, first]: &[Resync; 3]) -> Table {
    let mut table = Table::new(
        format!(
            "Profile {}: {} accounts × {} regions, {} entities, AWS answers after {} ms",
            profile.name, profile.accounts, profile.regions, first.entities, profile.latency
        ),
        &["", "compiling plugins", "compiled plugins", "nothing changed", "ratio of the last two"],
    );
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let ratio = |of: fn(&Resync) -> u64| of(again) as f64 / (of(first) as f64).max(1.0);
    let mut counted = |name: &str, of: fn(&Resync) -> u64, target: Option<Target>| {
        let cells = vec![
            name.to_owned(),
            of(cold).to_string(),
            of(first).to_string(),
            of(again).to_string(),
            format!("{:.2}", ratio(of)),
        ];
        table.row(Row { cells, target });
    };
    counted("requests to AWS", Resync::aws_requests, None);
    counted("requests to Port", Resync::port_requests, None);
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let upserts = Target::at_most(
        format!("{}: writes to Port when nothing changed", profile.name),
        0.0,
        again.upserts() as f64,
    );
    counted("of these, writes", Resync::upserts, Some(upserts));
    counted("peak memory, KiB", |resync| resync.used.resident_bytes >> 10, None);
    counted("CPU, ms", |resync| u64::try_from(resync.used.cpu.as_millis()).unwrap_or(u64::MAX), None);
    counted("wall, ms", |resync| u64::try_from(resync.used.wall.as_millis()).unwrap_or(u64::MAX), None);
    counted(
        "first entity at Port, ms",
        |resync| resync.first_entity.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        None,
    );
    table
}
