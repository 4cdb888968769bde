//! Where Berth keeps its ledger: what Port holds, and which unit produced it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use berth_embed::{Access, LedgerConfig, PortConfig};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    check::SettingsCheck,
    schema::Setting,
    values::{FromValue, ValueProblem},
};

/// The value that turns the ledger off.
const OFF: &str = "none";

/// The state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StateDir {
    /// The integration's own directory below the user's state directory; `None` without a home directory. A
    /// run that cannot use it continues without a ledger.
    Default(Option<PathBuf>),
    /// A directory that the operator names. A run that cannot use it does not start.
    Given(PathBuf),
    /// No ledger.
    Off,
}

impl StateDir {
    /// Returns its path, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Given(dir) | Self::Default(Some(dir)) => Some(dir),
            Self::Default(None) | Self::Off => None,
        }
    }
}

/// What Berth keeps between runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateSettings {
    pub(crate) dir: StateDir,
    /// How long until the next full verification.
    pub(crate) verify_interval: Duration,
    /// What a directory of the command line is relative to.
    working_dir: PathBuf,
}

impl StateSettings {
    /// Returns the directory for a command with this directory, or none.
    pub(crate) fn dir(&self, given: Option<&Path>) -> StateDir {
        given.map_or_else(|| self.dir.clone(), |dir| given_dir(&self.working_dir, dir))
    }

    /// Returns the ledger in a directory.
    pub(crate) fn ledger(&self, dir: PathBuf, access: Access) -> LedgerConfig {
        LedgerConfig { access, verify_interval: self.verify_interval, ..LedgerConfig::new(dir) }
    }
}

fn given_dir(working_dir: &Path, dir: &Path) -> StateDir {
    if dir == Path::new(OFF) { StateDir::Off } else { StateDir::Given(working_dir.join(dir)) }
}

/// Returns a name for the directory of an integration that no other integration has: readable, with a digest
/// of everything that identifies the integration.
fn directory_of(port: &PortConfig) -> String {
    let parts = [&port.integration_type, &port.integration_identifier, port.base_url.as_str()];
    // The parts cannot contain the separator.
    let digest = Sha256::digest(parts.join("\n"));
    let readable = format!("{}-{}", port.integration_type, port.integration_identifier);
    let readable: String = readable
        .chars()
        .take(60)
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let mut name = readable + "-";
    for byte in digest.iter().take(6) {
        // Writing to a String cannot fail.
        _ = write!(name, "{byte:02x}");
    }
    name
}

#[derive(Debug, Deserialize)]
pub(super) struct StateTable {
    #[serde(alias = "BERTH_STATE_DIR")]
    state_dir: Setting<PathBuf>,
    state_verify_interval_hours: Setting<Hours>,
}

/// Whole hours, zero or more.
struct Hours(Duration);

impl FromValue for Hours {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let text = String::from_value(value, example)?;
        let seconds = text.parse().ok().and_then(|hours: u32| u64::from(hours).checked_mul(3600));
        seconds.map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(|| {
            let remedy =
                format!("use a whole number of hours, as in `{example}`; `0` verifies in every resync");
            ValueProblem::new(format!("found `{text}`"), remedy)
        })
    }
}

/// Reads where the ledger is. The default depends on the integration's identity at Port.
pub(super) fn read(check: &mut SettingsCheck<'_>, port: Option<&PortConfig>) -> Option<StateSettings> {
    let table: StateTable = check.table()?;
    let working_dir = check.environment().working_dir.clone();
    let dir = check.value(&table.state_dir).map_or_else(
        || {
            let home = check.environment().state_home.as_ref().zip(port);
            StateDir::Default(home.map(|(home, port)| home.join("berth").join(directory_of(port))))
        },
        |dir| given_dir(&working_dir, &dir),
    );
    let Hours(verify_interval) = check.value(&table.state_verify_interval_hours)?;
    Some(StateSettings { dir, verify_interval, working_dir })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Issue, Settings},
    };

    fn load(variables: &[(&str, &str)], home: Option<&str>) -> Result<StateSettings, Vec<Issue>> {
        let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
        let mut environment = Environment::of(&[&seed, variables].concat());
        environment.working_dir = "/cwd".into();
        environment.state_home = home.map(PathBuf::from);
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        Settings::load(&args.global, &environment).map(|settings| settings.state)
    }

    fn default_dir(variables: &[(&str, &str)]) -> String {
        match load(variables, Some("/users/me/.local/state")).unwrap().dir {
            StateDir::Default(Some(dir)) => dir.to_str().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_integration_has_its_own_directory() {
        let identifier = |name: &str| default_dir(&[("OCEAN__INTEGRATION__IDENTIFIER", name)]);
        let plain = identifier("Team/Sec");
        assert!(plain.starts_with("/users/me/.local/state/berth/aws-v3-team-sec-"), "{plain}");
        assert_eq!(plain, identifier("Team/Sec"));
        let long = "x".repeat(400);
        let other = default_dir(&[
            ("OCEAN__INTEGRATION__IDENTIFIER", "Team/Sec"),
            ("OCEAN__PORT__BASE_URL", "https://api.us.getport.io"),
        ]);
        let typed = default_dir(&[
            ("OCEAN__INTEGRATION__IDENTIFIER", "Team/Sec"),
            ("OCEAN__INTEGRATION__TYPE", "aws"),
        ]);
        let mut all =
            vec![plain, other, typed, identifier("team-sec"), identifier("../.."), identifier(&long)];
        for dir in &all {
            let name = dir.strip_prefix("/users/me/.local/state/berth/").unwrap();
            assert!(name.len() < 80 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn a_directory_may_be_named_in_three_places() {
        let settings = [("OCEAN__STATE_DIR", "/ocean"), ("BERTH_STATE_DIR", "/berth")];
        let dir = |variables: &[(&str, &str)], given: Option<&str>| {
            load(variables, Some("/home")).unwrap().dir(given.map(Path::new))
        };
        assert_eq!(dir(&settings[..1], None), StateDir::Given("/ocean".into()));
        assert_eq!(dir(&settings, None), StateDir::Given("/berth".into()));
        assert_eq!(dir(&settings, Some("/given")), StateDir::Given("/given".into()));
        assert_eq!(dir(&settings, Some("given")), StateDir::Given("/cwd/given".into()));
    }

    #[test]
    fn it_can_be_switched_off_everywhere() {
        let off = |variables: &[(&str, &str)], given: Option<&str>| {
            load(variables, Some("/home")).unwrap().dir(given.map(Path::new)) == StateDir::Off
        };
        assert!(off(&[("OCEAN__STATE_DIR", "none")], None));
        assert!(off(&[("BERTH_STATE_DIR", "none"), ("OCEAN__STATE_DIR", "/ocean")], None));
        assert!(off(&[("BERTH_STATE_DIR", "/berth")], Some("none")));
        assert!(!off(&[("BERTH_STATE_DIR", "none")], Some("./none")), "a directory with that name");
        assert!(!off(&[("BERTH_STATE_DIR", "")], None), "an empty value counts as not set");
    }

    #[test]
    fn without_a_home_there_is_no_default() {
        assert_eq!(load(&[], None).unwrap().dir, StateDir::Default(None));
    }

    #[test]
    fn it_is_verified_as_often_as_is_said() {
        assert_eq!(load(&[], None).unwrap().verify_interval, berth_ledger::VERIFY_INTERVAL);
        let hours = |hours| load(&[("OCEAN__STATE_VERIFY_INTERVAL_HOURS", hours)], None);
        assert_eq!(hours("0").unwrap().verify_interval, Duration::ZERO);
        assert_eq!(hours("48").unwrap().verify_interval, Duration::from_hours(48));
        assert_eq!(hours("soon").unwrap_err()[0].setting, "OCEAN__STATE_VERIFY_INTERVAL_HOURS");
    }
}
