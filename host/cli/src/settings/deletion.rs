//! What a resync may delete and take over.

use berth_embed::{
    RemovalAfter, RemovalOptions,
    core::{Adoption, RemovedScope},
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    check::{Section, SettingsCheck},
    schema::Setting,
    values::{FromValue, ValueProblem},
};

/// The limits on a resync's changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeletionSettings {
    /// When to delete the entities of removed accounts and regions.
    pub(crate) removal: RemovalOptions,
    /// The most entities that one resync may delete; `None` for no such limit.
    pub(crate) max_deletions: Option<u64>,
    /// Which entities of other owners Berth may take over.
    pub(crate) adoption: Adoption,
}

#[derive(Debug, Deserialize)]
pub(super) struct DeletionTable {
    #[serde(alias = "BERTH_REMOVAL_AFTER")]
    removal_after: Setting<RemovalAfter>,
    #[serde(alias = "BERTH_CONFIRM_REMOVAL")]
    confirm_removal: Setting<Vec<String>>,
    #[serde(alias = "BERTH_MAX_DELETIONS")]
    max_deletions: Setting<Limit>,
    #[serde(alias = "BERTH_ADOPT_EXISTING_ENTITIES")]
    adopt_existing_entities: Setting<bool>,
}

impl FromValue for RemovalAfter {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let remedy = || {
            format!("use a number of complete resyncs, as in `{example}`, or `never`; `0` deletes at once")
        };
        String::from_value(value, example)?
            .parse()
            .map_err(|problem: String| ValueProblem::new(problem, remedy()))
    }
}

/// The most deletions.
struct Limit(u64);

impl FromValue for Limit {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let text = String::from_value(value, example)?;
        let limit = text.parse().ok().filter(|limit| *limit > 0).map(Self);
        limit.ok_or_else(|| {
            let remedy =
                format!("use a whole number above zero, as in `{example}`, or unset it for no limit");
            ValueProblem::new(format!("found `{text}`"), remedy)
        })
    }
}

impl Section for DeletionSettings {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let table: DeletionTable = check.table()?;
        let after = check.value(&table.removal_after);
        let max_deletions = check.value(&table.max_deletions).map(|Limit(limit)| limit);
        let adopts = check.value(&table.adopt_existing_entities);
        let confirmed = confirmed(check, &table.confirm_removal);
        Some(Self {
            removal: RemovalOptions { confirmed: confirmed.into_iter().collect(), after: after? },
            max_deletions,
            adoption: if adopts? { Adoption::Any } else { Adoption::Never },
        })
    }
}

/// An empty list confirms nothing, so it is valid.
fn confirmed(check: &mut SettingsCheck<'_>, setting: &Setting<Vec<String>>) -> Vec<RemovedScope> {
    let mut scopes = Vec::new();
    for text in check.value(setting).unwrap_or_default() {
        match text.parse() {
            Ok(scope) => scopes.push(scope),
            Err(problem) => {
                let remedy = format!(
                    "use `account=<id>`, `region=<region>` or `region=<account>/<region>`, several as `{}`",
                    setting.example()
                );
                check.issue(setting, problem, remedy);
            }
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Issue, Settings},
    };

    fn load(variables: &[(&str, &str)]) -> Result<DeletionSettings, Vec<Issue>> {
        let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
        let environment = Environment::of(&[&seed, variables].concat());
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        Settings::load(&args.global, &environment).map(|settings| settings.deletion)
    }

    #[test]
    fn nothing_is_confirmed_taken_over_or_capped_by_default() {
        let settings = load(&[]).unwrap();
        assert_eq!(settings, DeletionSettings::default());
        assert_eq!(settings.removal.after, RemovalAfter::Resyncs(2));
    }

    #[test]
    fn every_setting_has_two_variables() {
        for prefix in ["BERTH_", "OCEAN__"] {
            let name = |name: &str| format!("{prefix}{name}");
            let settings = load(&[
                (&name("REMOVAL_AFTER"), "never"),
                (&name("CONFIRM_REMOVAL"), "account=111111111111, region=222222222222/eu-west-1"),
                (&name("MAX_DELETIONS"), "500"),
                (&name("ADOPT_EXISTING_ENTITIES"), "true"),
            ])
            .unwrap();
            assert_eq!(settings.removal.after, RemovalAfter::Never);
            let confirmed: Vec<String> = settings.removal.confirmed.iter().map(ToString::to_string).collect();
            assert_eq!(confirmed, ["account=111111111111", "region=222222222222/eu-west-1"]);
            assert_eq!((settings.max_deletions, settings.adoption), (Some(500), Adoption::Any));
        }
        let zero = load(&[("BERTH_REMOVAL_AFTER", "0")]).unwrap();
        assert_eq!(zero.removal.after, RemovalAfter::Resyncs(0));
    }

    #[test]
    fn confirmed_removals_come_as_json_or_with_commas_and_an_empty_list_confirms_none() {
        let confirmed =
            |text: &str| load(&[("BERTH_CONFIRM_REMOVAL", text)]).unwrap().removal.confirmed.len();
        for text in
            [r#"["region=eu-west-1", "account=111111111111"]"#, "region=eu-west-1,account=111111111111"]
        {
            assert_eq!(confirmed(text), 2, "{text}");
        }
        for text in ["", " ", "[]", ","] {
            assert_eq!(confirmed(text), 0, "{text}");
        }
    }

    #[test]
    fn mistakes_are_all_named() {
        let issues = load(&[
            ("BERTH_REMOVAL_AFTER", "soon"),
            ("OCEAN__CONFIRM_REMOVAL", "account=1, 111111111111"),
            ("OCEAN__MAX_DELETIONS", "0"),
            ("OCEAN__ADOPT_EXISTING_ENTITIES", "perhaps"),
        ])
        .unwrap_err();
        let settings: Vec<&str> = issues.iter().map(|issue| issue.setting.as_str()).collect();
        let confirm = "OCEAN__CONFIRM_REMOVAL";
        assert_eq!(
            settings,
            [
                "BERTH_REMOVAL_AFTER",
                "OCEAN__MAX_DELETIONS",
                "OCEAN__ADOPT_EXISTING_ENTITIES",
                confirm,
                confirm
            ]
        );
    }
}
