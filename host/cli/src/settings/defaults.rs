//! The documented settings file: every setting, with its default or an example. Defaults are defined only
//! there.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value;

/// The file, which is compiled into the program.
pub(super) const FILE: &str = include_str!("../../../../examples/config/berth.toml");

struct Values {
    defaults: Tables,
    examples: Tables,
}

type Tables = BTreeMap<String, Value>;

static VALUES: LazyLock<Values> = LazyLock::new(|| Values {
    // The file is compiled into the program, and the tests parse it.
    defaults: toml::from_str(FILE).unwrap_or_default(),
    examples: toml::from_str(&switched_on()).unwrap_or_default(),
});

/// Returns the default of a setting.
pub(super) fn default(path: &str) -> Option<&'static Value> {
    at(&VALUES.defaults, path)
}

/// Returns a valid value, as in the file.
pub(super) fn example(path: &str) -> Option<&'static Value> {
    at(&VALUES.examples, path)
}

fn at<'v>(tables: &'v Tables, path: &str) -> Option<&'v Value> {
    let mut names = path.split('.');
    let first = tables.get(names.next()?)?;
    names.try_fold(first, |table, name| table.get(name))
}

/// Returns the file with every commented setting enabled.
pub(super) fn switched_on() -> String {
    let on = |line: &'static str| match line.strip_prefix("# ") {
        Some(setting) if is_setting(setting) => setting,
        _ => line,
    };
    FILE.lines().map(on).collect::<Vec<_>>().join("\n")
}

fn is_setting(line: &str) -> bool {
    let is_name =
        |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c));
    line.split_once(" = ").is_some_and(|(name, _)| is_name(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::settings::names;

    /// Collects the paths of everything that is not a table. The keys of a setting belong to the setting.
    fn paths(prefix: &str, tables: &Value, found: &mut BTreeSet<String>) {
        for (name, value) in tables.as_object().unwrap() {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            if value.is_object() && !names().settings.contains(&path) {
                paths(&path, value, found);
            } else {
                found.insert(path);
            }
        }
    }

    #[test]
    fn the_file_has_every_setting_and_no_other() {
        let mut documented = BTreeSet::new();
        paths("", &toml::from_str(&switched_on()).unwrap(), &mut documented);
        assert_eq!(documented, names().settings);
        assert!(toml::from_str::<Value>(FILE).is_ok());
        for variable in names().variables.keys() {
            assert!(FILE.contains(&format!("Also `{variable}`")), "{variable}");
        }
    }
}
