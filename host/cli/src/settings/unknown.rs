//! Unknown settings: an error in a file, a warning for a variable, each with a suggestion.

use super::{
    check::SettingsCheck,
    names,
    similar::{is_of_ocean, near_setting, nearest},
    tree::{BERTH, Origin, variable},
};

/// Variables of Berth that are not settings, or that hold a list in another form than the setting.
const OTHER_VARIABLES: &[&str] = &[
    "BERTH_BUNDLED_PLUGINS",
    "BERTH_LOG_FORMAT",
    "BERTH_PLUGINS",
    "BERTH_PLUGIN_KEYS",
    "BERTH_REGISTRY_PASSWORD",
    "BERTH_REGISTRY_REALM",
];

/// The prefixes of the variables of the tests and of the benchmark, which developers of Berth may have set.
const OF_TESTS: &[&str] = &["BERTH_BENCH_", "BERTH_TEST_"];

/// Rejects unknown settings in files, and warns about unknown variables.
pub(super) fn check(check: &mut SettingsCheck<'_>) {
    let tree = check.tree();
    for (path, given) in tree.iter().filter(|(path, _)| !names().settings.contains(*path)) {
        match &given.origin {
            Origin::File { .. } => {
                let remedy = match near_setting(path) {
                    _ if is_of_ocean(path) => "remove it: Berth does not use this setting of Ocean".into(),
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        "remove it; the example file (examples/config/berth.toml) shows all settings".into()
                    }
                };
                check.issue_at(path, "unknown setting", remedy);
            }
            _ if is_of_ocean(path) || given.value().is_none() => {}
            Origin::Variable(name) => note(check, path, name, ""),
            Origin::Dotenv { name, file } => note(check, path, name, &format!(" in {file}")),
        }
    }
    for (name, origin) in tree.other_variables() {
        if OTHER_VARIABLES.contains(&name.as_str())
            || OF_TESTS.iter().any(|prefix| name.starts_with(prefix))
            || is_of_kubernetes(name, |name| check.environment().get(name).is_some())
        {
            continue;
        }
        let place = match origin {
            Origin::Dotenv { file, .. } => format!(" in {file}"),
            _ => String::new(),
        };
        let near = near_variable(name).map_or_else(String::new, |near| format!("; did you mean {near}?"));
        check.note(format!("{name}{place} is ignored: unknown setting{near}"));
    }
}

fn note(check: &mut SettingsCheck<'_>, path: &str, name: &str, place: &str) {
    let is_table = |path: &str| {
        let inside = format!("{path}.");
        names().settings.iter().any(|setting| setting.starts_with(&inside))
    };
    if path == "event_listener" {
        // The listener's section reports this error.
        return;
    }
    if is_table(path) {
        check.note(format!("{name}{place} is ignored: it is not a JSON object, and it is not a setting"));
        return;
    }
    // The text below a setting may be part of a secret.
    let outer = path.match_indices('.').map(|(dot, _)| &path[..dot]);
    let shown = outer.into_iter().find(|outer| names().settings.contains(*outer)).unwrap_or(path);
    let own = variable(path);
    let place =
        if own.eq_ignore_ascii_case(name) { place.to_owned() } else { format!(" (in {name}{place})") };
    let near = near_setting(path).filter(|_| shown == path).map(variable);
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    check.note(if shown == path {
        format!("{own}{place} is ignored: unknown setting{near}")
    } else {
        format!("the values below {} are ignored: it is a single setting", variable(shown))
    });
}

/// Returns whether Kubernetes has set a variable, as it does for each service of the namespace: a service
/// `berth` sets `BERTH_SERVICE_HOST`, `BERTH_PORT_8000_TCP` and others.
fn is_of_kubernetes(name: &str, is_set: impl Fn(&str) -> bool) -> bool {
    ["_SERVICE_", "_PORT"].iter().any(|part| {
        let mut services = name.match_indices(part).map(|(end, _)| &name[..end]);
        services.any(|service| is_set(&format!("{service}_SERVICE_HOST")))
    })
}

/// Returns the variable that is probably meant: that of a setting that has only the other form, or one that
/// differs by a few letters.
fn near_variable(unknown: &str) -> Option<String> {
    let path = unknown.strip_prefix(BERTH)?.to_lowercase();
    if let Some(setting) = names().settings.get(&path.replace("__", ".")) {
        return Some(variable(setting));
    }
    let own = names().variables.keys().map(String::as_str).chain(OTHER_VARIABLES.iter().copied());
    let near = nearest(unknown, own).map(ToOwned::to_owned);
    near.or_else(|| near_setting(&path).map(variable))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Settings},
    };

    /// Returns the warnings about variables.
    fn notes(variables: &[(&str, &str)]) -> Vec<String> {
        let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        let environment = Environment::of(&[&seed, variables].concat());
        Settings::load(&args.global, &environment).unwrap().notes
    }

    #[test]
    fn an_unknown_variable_is_named_with_the_nearest_known_one() {
        for (unknown, near) in [
            ("OCEAN__INTEGRATION__CONFIG__EXTERNALID", "OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID"),
            (
                "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLES_ARNS",
                "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
            ),
            ("OCEAN__ACCOUNT_ROLE_ARNS", "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS"),
            ("OCEAN__INITIALIZE_PORT_RESOURCE", "OCEAN__INITIALIZE_PORT_RESOURCES"),
            ("OCEAN__EVENT_LISTENER__INTERVALL", "OCEAN__EVENT_LISTENER__INTERVAL"),
            ("OCEAN__PORT__BASEURL", "OCEAN__PORT__BASE_URL"),
            ("BERTH_MAX_DELETION", "BERTH_MAX_DELETIONS"),
            ("BERTH_PLUGIN", "BERTH_PLUGINS"),
            ("BERTH_CONCURRENCY", "OCEAN__CONCURRENCY"),
            ("BERTH_STATUSPAGE", "OCEAN__STATUS_PAGE"),
        ] {
            let notes = notes(&[(unknown, "hush")]);
            assert_eq!(notes, [format!("{unknown} is ignored: unknown setting; did you mean {near}?")]);
        }
        for unknown in ["OCEAN__WHATEVER", "OCEAN__INTEGRATION__CONFIG__ORGANIZATION_ROLE", "BERTH_WHATEVER"]
        {
            assert_eq!(notes(&[(unknown, "hush")]), [format!("{unknown} is ignored: unknown setting")]);
        }
    }

    #[test]
    fn a_key_of_a_json_object_is_named_with_its_variable() {
        let notes = notes(&[
            ("OCEAN__INTEGRATION__CONFIG", r#"{"externalId": "x", "externalid": "hush"}"#),
            ("OCEAN__METRICS", "hush"),
            ("OCEAN__CLIENT_TIMEOUT__UNIT", "hush"),
        ]);
        assert_eq!(
            notes,
            [
                "the values below OCEAN__CLIENT_TIMEOUT are ignored: it is a single setting",
                "OCEAN__INTEGRATION__CONFIG__EXTERNALID (in OCEAN__INTEGRATION__CONFIG) is ignored: unknown \
                setting; did you mean OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID?",
                "OCEAN__METRICS is ignored: it is not a JSON object, and it is not a setting",
            ]
        );
    }

    #[test]
    fn what_ocean_kubernetes_and_the_tests_set_gives_no_warning() {
        let notes = notes(&[
            ("OCEAN__PROCESS_EXECUTION_MODE", "single_process"),
            ("OCEAN__STREAMING__ENABLED", "false"),
            ("OCEAN__ACTIONS_PROCESSOR__ENABLED", "false"),
            ("OCEAN__LIVE_EVENTS__TYPE", "REDIS"),
            ("OCEAN__INTEGRATION__CONFIG__REGION", "eu-west-1"),
            ("OCEAN__EMPTY", ""),
            ("BERTH_SERVICE_HOST", "10.0.0.1"),
            ("BERTH_SERVICE_PORT_HTTP", "8000"),
            ("BERTH_PORT", "tcp://10.0.0.1:8000"),
            ("BERTH_PORT_8000_TCP_ADDR", "10.0.0.1"),
            ("BERTH_AWS_SERVICE_HOST", "10.0.0.2"),
            ("BERTH_AWS_PORT_8000_TCP", "tcp://10.0.0.2:8000"),
            ("BERTH_TEST_PYTHON", "python"),
            ("BERTH_LOG_FORMAT", "json"),
            ("BERTH_REGISTRY_PASSWORD", "hush"),
            ("BERTH_STATE_DIR", "none"),
        ]);
        assert!(notes.is_empty(), "{notes:?}");
        // A port without a service is a mistake of the user.
        assert_eq!(self::notes(&[("BERTH_PORT", "8000")]).len(), 1);
    }

    #[test]
    fn a_file_with_a_setting_of_ocean_is_refused_without_a_wrong_suggestion() {
        let dir = tempfile::tempdir().unwrap();
        let file = "process_execution_mode = 'single_process'\nwhatever = 1\n[integration.config]\nexternalid = 'hush'\n";
        std::fs::write(dir.path().join("berth.toml"), file).unwrap();
        std::fs::write(dir.path().join(".env"), "OCEAN__PORT__CLIENTID=hush\nBERTH_MAX_DELETION=1\n")
            .unwrap();
        let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
        let load = |seed: &[(&str, &str)]| {
            let mut environment = Environment::of(seed);
            environment.working_dir = dir.path().to_owned();
            let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
            Settings::load(&args.global, &environment)
        };
        let issues = load(&seed).unwrap_err();
        let remedies: Vec<&str> = issues.iter().map(|issue| issue.remedy.as_str()).collect();
        assert_eq!(issues.len(), 3, "{issues:?}");
        assert!(remedies[0].contains("`integration.config.external_id`"), "{issues:?}");
        assert!(remedies[1].contains("of Ocean") && remedies[2].contains("examples/config"), "{issues:?}");
        // A missing setting is reported together with what was probably meant.
        let issues = load(&seed[1..]).unwrap_err();
        let missing = issues.iter().find(|issue| issue.setting == "OCEAN__PORT__CLIENT_ID").unwrap();
        assert!(missing.problem.contains("`OCEAN__PORT__CLIENTID` is set"), "{issues:?}");
        assert!(!format!("{issues:?}").contains("hush"), "{issues:?}");

        std::fs::remove_file(dir.path().join("berth.toml")).unwrap();
        let notes = load(&seed).unwrap().notes;
        assert!(notes[0].starts_with("OCEAN__PORT__CLIENTID in ") && notes[0].contains(".env"), "{notes:?}");
        assert!(notes[1].starts_with("BERTH_MAX_DELETION in "), "{notes:?}");
    }

    #[test]
    fn the_variables_of_options_are_known() {
        let mut command = Args::command();
        command.build();
        let variables: Vec<_> = command.get_arguments().filter_map(|option| option.get_env()).collect();
        assert!(!variables.is_empty());
        for variable in variables {
            assert!(OTHER_VARIABLES.contains(&variable.to_str().unwrap()), "{variable:?}");
        }
    }
}
