//! Who maps, what happens to raw data, and how much of it is shown.

use std::collections::BTreeMap;

use berth_embed::{PortConfig, ProcessingMode, RawDataConfig};
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    check::SettingsCheck,
    schema::Setting,
    values::{Count, Fraction, OneOf, Words},
};

#[derive(Debug, Deserialize)]
pub(super) struct RawTable {
    processing_mode: Setting<OneOf<ProcessingMode>>,
    lakehouse_enabled: Setting<bool>,
    lakehouse_buffer_interval_seconds: Setting<Fraction>,
    lakehouse_buffer_max_count: Setting<Count>,
    send_raw_data_examples: Setting<bool>,
    allow_environment_variables_jq_access: Setting<bool>,
}

impl Words for ProcessingMode {
    const WORDS: &'static [(&'static str, Self)] = &[("dsp", Self::Dsp), ("ocean-core", Self::OceanCore)];
}

/// Parts of variable names that a mapping at Port never gets, even if it asks for them. They include Berth's
/// own settings and the AWS credentials.
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

/// The settings of this section.
pub(super) struct RawDataSettings {
    mode: ProcessingMode,
    data: RawDataConfig,
    examples: bool,
    exported: BTreeMap<String, SecretString>,
}

impl RawDataSettings {
    pub(super) fn apply(self, config: &mut PortConfig) {
        config.processing_mode = self.mode;
        config.raw_data = self.data;
        config.send_raw_data_examples = self.examples;
        config.exported_variables = self.exported;
    }
}

pub(super) fn read(check: &mut SettingsCheck<'_>) -> Option<RawDataSettings> {
    let table: RawTable = check.table()?;
    let mode = check.value(&table.processing_mode);
    let interval = check.value(&table.lakehouse_buffer_interval_seconds);
    let enabled = check.value(&table.lakehouse_enabled);
    let batches = check.value(&table.lakehouse_buffer_max_count);
    let examples = check.value(&table.send_raw_data_examples);
    let exported = if check.value(&table.allow_environment_variables_jq_access)? {
        let variables = check.environment().iter().filter(|(name, _)| may_be_exported(name));
        variables.map(|(name, value)| (name.to_owned(), SecretString::from(value))).collect()
    } else {
        BTreeMap::new()
    };
    let data = RawDataConfig {
        enabled: enabled?,
        flush_interval: interval?.0,
        flush_batches: batches?.0,
        ..RawDataConfig::default()
    };
    Some(RawDataSettings { mode: mode?.0, data, examples: examples?, exported })
}

/// People who edit mappings in Port need not know this process's secrets.
fn may_be_exported(name: &str) -> bool {
    let name = name.to_uppercase();
    !NEVER_EXPORTED.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
