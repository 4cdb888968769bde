//! What may be deleted, and what may be taken over.

use berth_embed::{
    RemovalAfter, RemovalOptions,
    core::{Adoption, RemovedScope},
};

use super::Reader;

/// What bounds the changes of a resync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeletionSettings {
    /// When the entities of removed accounts and regions are deleted.
    pub(crate) removal: RemovalOptions,
    /// The largest number of entities that one resync may delete; `None`: no such limit.
    pub(crate) max_deletions: Option<u64>,
    /// Which entities of others may be taken over.
    pub(crate) adoption: Adoption,
}

impl Reader<'_> {
    pub(super) fn deletion(&mut self) -> DeletionSettings {
        const AFTER: &str = "removal_after";
        const MAXIMUM: &str = "max_deletions";
        let after = self.text(AFTER).map_or_else(RemovalAfter::default, |text| {
            text.parse().unwrap_or_else(|problem: String| {
                let remedy = "use a number of complete resyncs, as in `2`, or `never`; `0` deletes at once";
                self.issue(AFTER, problem, remedy);
                RemovalAfter::default()
            })
        });
        let max_deletions = self.text(MAXIMUM).and_then(|text| match text.parse::<u64>() {
            Ok(maximum) if maximum > 0 => Some(maximum),
            _ => {
                let remedy = "use a whole number above zero, as in `500`, or unset it for no such limit";
                self.issue(MAXIMUM, format!("found `{text}`"), remedy);
                None
            }
        });
        let adopts = self.flag("adopt_existing_entities", false);
        DeletionSettings {
            removal: RemovalOptions { confirmed: self.confirmed().into_iter().collect(), after },
            max_deletions,
            adoption: if adopts { Adoption::Any } else { Adoption::Never },
        }
    }

    /// An empty list confirms nothing, so it is no mistake.
    fn confirmed(&mut self) -> Vec<RemovedScope> {
        const PATH: &str = "confirm_removal";
        let remedy = "use `account=<id>`, `region=<region>` or `region=<account>/<region>`, several as \
                      `[\"account=111111111111\", \"region=eu-west-1\"]`";
        let Some(texts) = self.texts(PATH) else {
            self.issue(PATH, "not a list of texts", remedy);
            return Vec::new();
        };
        let mut scopes = Vec::new();
        for text in texts {
            match text.parse() {
                Ok(scope) => scopes.push(scope),
                Err(problem) => self.issue(PATH, problem, remedy),
            }
        }
        scopes
    }
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
