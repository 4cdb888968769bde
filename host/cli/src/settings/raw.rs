//! Who maps, what becomes of raw data, and what is shown of it.

use std::{collections::BTreeMap, time::Duration};

use berth_embed::{PortConfig, ProcessingMode, RawDataConfig};
use secrecy::SecretString;

use super::Reader;

/// Parts of the names of variables that no mapping at Port is told, whatever it asks for. Those of
/// Berth's own settings and of the AWS credentials are among them.
const NEVER_EXPORTED: [&str; 11] = [
    "OCEAN__",
    "AWS_",
    "SECRET",
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "CREDENTIAL",
    "PRIVATE",
    "KEY",
    "AUTH",
    "PROXY",
];

/// The settings of this page.
pub(super) struct Raw {
    mode: ProcessingMode,
    data: RawDataConfig,
    examples: bool,
    exported: BTreeMap<String, SecretString>,
}

impl Raw {
    pub(super) fn apply(self, config: &mut PortConfig) {
        config.processing_mode = self.mode;
        config.raw_data = self.data;
        config.send_raw_data_examples = self.examples;
        config.exported_variables = self.exported;
    }
}

impl Reader<'_> {
    pub(super) fn raw(&mut self) -> Raw {
        const INTERVAL: &str = "lakehouse_buffer_interval_seconds";
        let mode = self.text("processing_mode").map(|text| text.parse());
        let mode = match mode {
            None => ProcessingMode::Dsp,
            Some(Ok(mode)) => mode,
            Some(Err(problem)) => {
                self.issue("processing_mode", problem, "use `dsp` or `ocean-core`");
                ProcessingMode::Dsp
            }
        };
        let default = RawDataConfig::default();
        let interval = self.text(INTERVAL).map(|text| {
            let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            (text, seconds)
        });
        let flush_interval = match interval {
            None => default.flush_interval,
            Some((_, Some(interval))) => interval,
            Some((text, None)) => {
                self.issue(INTERVAL, format!("found `{text}`"), "use a number of seconds, as in `10`");
                default.flush_interval
            }
        };
        let data = RawDataConfig {
            enabled: self.flag("lakehouse_enabled", default.enabled),
            flush_interval,
            flush_batches: self.number("lakehouse_buffer_max_count", default.flush_batches),
            ..default
        };
        let examples = self.flag("send_raw_data_examples", true);
        let exported = if self.flag("allow_environment_variables_jq_access", true) {
            let variables = self.environment.iter().filter(|(name, _)| may_be_exported(name));
            variables.map(|(name, value)| (name.to_owned(), SecretString::from(value))).collect()
        } else {
            BTreeMap::new()
        };
        Raw { mode, data, examples, exported }
    }
}

/// A mapping is written in Port, by people who need not know this process's secrets.
fn may_be_exported(name: &str) -> bool {
    let name = name.to_uppercase();
    !NEVER_EXPORTED.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Issue, Settings},
    };

    fn load(variables: &[(&str, &str)]) -> Result<PortConfig, Vec<Issue>> {
        let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
        let environment = Environment::of(&[&seed, variables].concat());
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        Settings::load(&args.global, &environment).map(|settings| settings.port)
    }

    #[test]
    fn the_contracts_settings_are_understood() {
        let port = load(&[]).unwrap();
        assert_eq!((port.processing_mode, port.raw_data), (ProcessingMode::Dsp, RawDataConfig::default()));
        assert!(port.send_raw_data_examples);
        let port = load(&[
            ("OCEAN__PROCESSING_MODE", "ocean-core"),
            ("OCEAN__LAKEHOUSE_ENABLED", "false"),
            ("OCEAN__LAKEHOUSE_BUFFER_INTERVAL_SECONDS", "2.5"),
            ("OCEAN__LAKEHOUSE_BUFFER_MAX_COUNT", "7"),
            ("OCEAN__SEND_RAW_DATA_EXAMPLES", "no"),
        ])
        .unwrap();
        assert_eq!(port.processing_mode, ProcessingMode::OceanCore);
        let raw = port.raw_data;
        assert_eq!(
            (raw.enabled, raw.flush_interval, raw.flush_batches),
            (false, Duration::from_millis(2500), 7)
        );
        assert!(!port.send_raw_data_examples);
    }

    #[test]
    fn nonsense_is_named_with_its_variable() {
        let issues = load(&[
            ("OCEAN__PROCESSING_MODE", "both"),
            ("OCEAN__LAKEHOUSE_ENABLED", "perhaps"),
            ("OCEAN__LAKEHOUSE_BUFFER_INTERVAL_SECONDS", "-1"),
            ("OCEAN__LAKEHOUSE_BUFFER_MAX_COUNT", "0"),
        ])
        .unwrap_err();
        let settings: Vec<&str> = issues.iter().map(|issue| issue.setting.as_str()).collect();
        assert_eq!(
            settings,
            [
                "OCEAN__PROCESSING_MODE",
                "OCEAN__LAKEHOUSE_BUFFER_INTERVAL_SECONDS",
                "OCEAN__LAKEHOUSE_ENABLED",
                "OCEAN__LAKEHOUSE_BUFFER_MAX_COUNT",
            ]
        );
        assert!(issues[0].problem.contains("`both`") && issues[0].remedy.contains("ocean-core"));
    }

    #[test]
    fn variables_with_secrets_are_never_exported() {
        let variables = [
            ("STAGE", "prod"),
            ("AWS_SESSION_TOKEN", "hush"),
            ("db_password", "hush"),
            ("GITHUB_TOKEN", "hush"),
            ("HTTPS_PROXY", "http://me:hush@proxy"),
        ];
        let port = load(&variables).unwrap();
        assert_eq!(port.exported_variables.keys().collect::<Vec<_>>(), ["STAGE"]);
        assert!(!format!("{port:?}").contains("prod"), "a value is not shown either");
        let none = [&variables[..], &[("OCEAN__ALLOW_ENVIRONMENT_VARIABLES_JQ_ACCESS", "false")]].concat();
        assert!(load(&none).unwrap().exported_variables.is_empty());
    }
}
