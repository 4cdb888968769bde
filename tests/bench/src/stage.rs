//! The environment of a resync: the AWS simulator, fake Port servers, and directories.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

use crate::{
    catalog, natives,
    process::{self, StandIn, Used},
    profile::{DEFAULT_KINDS, Kinds, Profile},
};

/// The integration's identifier.
pub(crate) const INTEGRATION: &str = "aws";
/// What the stand-in for Port takes.
pub(crate) const CLIENT: (&str, &str) = ("stand-in-client", "stand-in-secret");
/// The base identity, which the simulator takes for that of the first account.
pub(crate) const KEY: (&str, &str) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfi");

/// The programs and directories that a resync needs.
pub(crate) struct Programs {
    pub(crate) berth: PathBuf,
    pub(crate) simulator: PathBuf,
    pub(crate) port: PathBuf,
    pub(crate) components: PathBuf,
    /// This program, which is the native baseline as well.
    pub(crate) bench: PathBuf,
    /// Where compiled plugins are kept from one run to the next.
    pub(crate) cache: PathBuf,
    /// Whether the stand-in for Port enforces Port's rate limits.
    pub(crate) port_limits: bool,
}

impl Programs {
    /// Forgets plugins that were compiled.
    pub(crate) fn forget_compiled(&self) -> Result<()> {
        if self.cache.exists() { Ok(fs::remove_dir_all(&self.cache)?) } else { Ok(()) }
    }

    /// Compiles the plugins of a profile by a very small resync.
    pub(crate) fn compile(&self, profile: Profile) -> Result<()> {
        let small = Profile { accounts: 1, regions: 1, resources: 1, empty: 0.0, latency: 0, ..profile };
        let stage = Stage::start(self, small)?;
        let place = stage.place()?;
        stage.run(stage.berth(&place), &place, |_, _| ()).map(drop)
    }
}

/// AWS, and how to get Ports and runs.
pub(crate) struct Stage<'p> {
    programs: &'p Programs,
    profile: Profile,
    pub(crate) aws: StandIn,
    /// With a directory for each run.
    directory: tempfile::TempDir,
}

/// Where one run writes: a Port of its own and, beside it, what Berth remembers.
pub(crate) struct Place {
    pub(crate) port: StandIn,
    state: PathBuf,
}

impl Place {
    const LOG: &str = "log";

    /// Where a run's log goes.
    pub(crate) fn log(&self) -> Result<File> {
        Ok(File::create(self.state.join(Self::LOG))?)
    }

    /// The directory that a run starts in.
    pub(crate) fn directory(&self) -> &Path {
        &self.state
    }

    /// The state directory of runs.
    pub(crate) fn remembered(&self) -> PathBuf {
        self.state.join("state")
    }

    /// Takes away what Berth remembers: the next run knows only what the catalog holds.
    pub(crate) fn forget(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.remembered())?)
    }

    /// The end of the log, for a run that failed.
    pub(crate) fn complaint(&self) -> String {
        const LINES: usize = 20;
        let log = fs::read_to_string(self.state.join(Self::LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("a resync failed, whose log ends with:\n{end}\n")
    }
}

/// A resync as it was seen from outside.
#[derive(Debug, Clone)]
pub(crate) struct Resync {
    pub(crate) used: Used,
    /// What the simulator of AWS and the stand-in for Port used meanwhile.
    pub(crate) stand_ins: [Duration; 2],
    pub(crate) first_entity: Option<Duration>,
    /// By `<service>:<Operation>`.
    pub(crate) aws: BTreeMap<String, u64>,
    /// By method and route.
    pub(crate) port: BTreeMap<String, u64>,
    /// By blueprint, the number of entities and a digest of what they say.
    pub(crate) entities: Map<String, Value>,
    /// How it got on with Port's rate limits, where they are enforced.
    pub(crate) limits: Option<Limits>,
}

/// How a resync got on with Port's rate limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Requests that were answered with 429.
    pub(crate) refused: u64,
    /// The time that its requests take at least.
    pub(crate) least: Duration,
}

impl<'p> Stage<'p> {
    pub(crate) fn start(programs: &'p Programs, profile: Profile) -> Result<Self> {
        let mut simulator = Command::new(&programs.simulator);
        simulator
            .args(["--plugins".into(), natives::folder().into_os_string()])
            .args(["--accounts", &profile.accounts.to_string(), "--regions", &profile.regions.to_string()])
            .args(["--latency", &format!("constant:{}ms", profile.latency)])
            .args(["--empty-share", &profile.empty.to_string()]);
        match profile.kinds {
            Kinds::All => {
                simulator.args(["--resources", &profile.resources.to_string()]);
            }
            Kinds::Default => {
                simulator.args(["--resources", "0"]);
                for kind in DEFAULT_KINDS {
                    simulator.args(["--kind", &format!("{kind}={}", profile.resources)]);
                }
            }
        }
        let directory = tempfile::tempdir()?;
        Ok(Self { programs, profile, aws: StandIn::start(&mut simulator)?, directory })
    }

    /// An empty catalog and an empty state directory.
    pub(crate) fn place(&self) -> Result<Place> {
        let mut command = Command::new(&self.programs.port);
        command.args(["--port", "0", "--forget-upserts"]);
        if self.programs.port_limits {
            command.arg("--rate-limits");
        }
        let port = StandIn::start(&mut command)?;
        if self.profile.kinds == Kinds::All {
            catalog::install(&port, INTEGRATION, &natives::folder())?;
        }
        let state = tempfile::Builder::new().prefix("run-").tempdir_in(&self.directory)?.keep();
        // Ten thousand roles are more than a variable may hold.
        let roles = serde_json::to_string(&self.profile.roles())?;
        fs::write(state.join("berth.toml"), format!("[integration.config]\naccount_role_arns = {roles}\n"))?;
        Ok(Place { port, state })
    }

    /// `berth sync` with the settings of a container.
    pub(crate) fn berth(&self, place: &Place) -> Command {
        let mut command = self.command("sync", place, &self.programs.components);
        command.env("OCEAN__EVENT_LISTENER", r#"{"type":"ONCE"}"#);
        command
    }

    /// `berth run` with the same settings, which looks every second whether Port wants a resync.
    pub(crate) fn service(&self, place: &Place, plugins: &Path) -> Command {
        let mut command = self.command("run", place, plugins);
        command.env("OCEAN__EVENT_LISTENER", r#"{"type":"POLLING","interval":1}"#);
        // Asked for, and never by the clock.
        command.env("OCEAN__SCHEDULED_RESYNC_INTERVAL", "10000").stdin(Stdio::null());
        command
    }

    fn command(&self, name: &str, place: &Place, plugins: &Path) -> Command {
        let mut command = Command::new(&self.programs.berth);
        command.env_clear();
        command
            .args([name, "--plugins"])
            .arg(plugins)
            .current_dir(&place.state)
            .env("BERTH_CACHE_DIR", &self.programs.cache)
            .env("BERTH_STATE_DIR", place.remembered())
            .env("OCEAN__PORT__CLIENT_ID", CLIENT.0)
            .env("OCEAN__PORT__CLIENT_SECRET", CLIENT.1)
            .env("OCEAN__PORT__BASE_URL", place.port.url())
            .env("OCEAN__INITIALIZE_PORT_RESOURCES", "true")
            .env("OCEAN__INTEGRATION__IDENTIFIER", INTEGRATION)
            .env("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID", KEY.0)
            .env("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY", KEY.1)
            .env("AWS_ENDPOINT_URL", self.aws.url())
            .env("BERTH_LOG_FORMAT", "json")
            // The binary may be anywhere, and the plugins are not beside it then.
            .env("BERTH_PLUGIN_TRUST", "any")
            .env("NO_PROXY", "127.0.0.1")
            .stdout(Stdio::null());
        command
    }

    /// The native baseline: the same without a sandbox.
    pub(crate) fn native(&self, place: &Place, allocator: &str) -> Command {
        let mut command = Command::new(&self.programs.bench);
        command.env_clear();
        command
            .args(["native-sync", "--aws", &self.aws.url(), "--port", &place.port.url(), "--accounts"])
            .arg(self.profile.accounts.to_string())
            .arg("--state")
            .arg(place.state.join("state"))
            .env("BERTH_BENCH_ALLOCATOR", allocator)
            .stdout(Stdio::null());
        command
    }

    /// Runs a resync to its end. `progress` is told every ten seconds how many requests AWS got.
    pub(crate) fn run(
        &self,
        mut command: Command,
        place: &Place,
        progress: impl Fn(Duration, u64),
    ) -> Result<Resync> {
        self.aws.request("POST", "/_simulator/reset")?;
        command.stderr(place.log()?);
        place.port.request("DELETE", "/_stand-in/requests")?;
        let stand_ins = || anyhow::Ok([self.aws.cpu()?, place.port.cpu()?]);
        let before = stand_ins()?;
        let mut first_entity = None;
        let used = process::run(&mut command, |elapsed| {
            if first_entity.is_none() && is_written(&counts(&place.port).unwrap_or_default()) {
                first_entity = Some(elapsed);
            } else if first_entity.is_some() {
                progress(elapsed, total(&self.asked().unwrap_or_default()));
            }
            // Asking often enough to see the first entity must not go on for minutes.
            let seldom = first_entity.is_some() || elapsed > Duration::from_secs(5);
            Some(if seldom { Duration::from_secs(10) } else { Duration::from_millis(5) })
        })
        .with_context(|| place.complaint())?;
        let after = stand_ins()?;
        let entities: Value = place.port.get("/_stand-in/digests")?;
        Ok(Resync {
            used,
            stand_ins: [0, 1].map(|index| after[index].saturating_sub(before[index])),
            first_entity,
            aws: self.asked()?,
            port: counts(&place.port)?,
            entities: entities.as_object().cloned().context("no digests")?,
            limits: if self.programs.port_limits { Some(limits(&place.port)?) } else { None },
        })
    }

    /// Requests to AWS so far, by operation.
    pub(crate) fn asked(&self) -> Result<BTreeMap<String, u64>> {
        Ok(serde_json::from_value(self.aws.get("/_simulator/stats")?["by_operation"].take())?)
    }
}

fn counts(port: &StandIn) -> Result<BTreeMap<String, u64>> {
    Ok(serde_json::from_value(port.get("/_stand-in/counts")?)?)
}

fn limits(port: &StandIn) -> Result<Limits> {
    let limits = port.get("/_stand-in/limits")?;
    Ok(Limits {
        refused: limits["refused"].as_u64().context("no number of refused requests")?,
        least: Duration::from_secs_f64(limits["leastSeconds"].as_f64().context("no least time")?.max(0.0)),
    })
}

fn is_written(counts: &BTreeMap<String, u64>) -> bool {
    counts.keys().any(|call| call.contains("entities/bulk"))
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

/// Whether a call writes entities.
fn is_write(call: &str) -> bool {
    ["POST", "PUT", "PATCH", "DELETE"].iter().any(|method| call.starts_with(method))
        && call.contains("/entities")
        && !call.contains("search")
        && !call.contains("datasource-entities")
}

impl Resync {
    pub(crate) fn aws_requests(&self) -> u64 {
        total(&self.aws)
    }

    pub(crate) fn port_requests(&self) -> u64 {
        total(&self.port)
    }

    /// Requests that write entities.
    pub(crate) fn writes(&self) -> u64 {
        self.port.iter().filter(|(call, _)| is_write(call)).map(|(_, count)| count).sum()
    }

    /// Entities in the catalog.
    pub(crate) fn entities(&self) -> u64 {
        self.entities.values().filter_map(|blueprint| blueprint["count"].as_u64()).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "a count")]
    pub(crate) fn entities_per_second(&self) -> f64 {
        self.entities() as f64 / self.used.cpu.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_distinguished_from_questions_about_entities() {
        assert!(is_write("POST /v1/blueprints/{blueprint}/entities/bulk"));
        assert!(is_write("DELETE /v1/blueprints/{blueprint}/bulk/entities"));
        assert!(!is_write("POST /v1/entities/search"));
        assert!(!is_write("POST /v1/blueprints/{blueprint}/entities/search"));
        assert!(!is_write("POST /v1/blueprints/entities/datasource-entities"));
        assert!(!is_write("GET /v1/blueprints/{blueprint}/entities"));
        assert!(!is_write("POST /v1/auth/access_token"));
    }
}
