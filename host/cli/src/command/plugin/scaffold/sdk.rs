//! The plugin SDK for Rust, embedded so that this binary and cargo are enough to write a plugin.

/// Returns its files: path and text.
pub(super) fn files() -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> =
        SOURCES.iter().map(|(name, text)| (format!("sdk/src/{name}"), (*text).to_owned())).collect();
    files.push(("sdk/wit/plugin.wit".into(), WIT.into()));
    files.push(("sdk/README.md".into(), README.into()));
    files.push(("sdk/Cargo.toml".into(), CARGO.replace("{{version}}", env!("CARGO_PKG_VERSION"))));
    files
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../../../plugins/sdk/src/", $name)))),*]
    };
}

const SOURCES: &[(&str, &str)] = sources![
    "aws.rs",
    "batch.rs",
    "document.rs",
    "entity.rs",
    "json.rs",
    "lib.rs",
    "log.rs",
    "read.rs",
    "resource.rs",
    "scan.rs",
    "testing.rs",
    "time.rs",
];

pub(super) const WIT: &str = include_str!("../../../../../../wit/plugin.wit");
const README: &str = include_str!("../../../../../../plugins/sdk/README.md");

/// The copy's manifest: in this repository, the SDK takes its versions from the workspace.
const CARGO: &str = r#"[package]
name = "berth-plugin"
version = "{{version}}"
edition = "2024"
license = "Apache-2.0"
publish = false
description = "What a Berth mapping plugin is written with"

[features]
# The native test bench, for dev-dependencies only.
testing = ["serde_json/preserve_order"]

[dependencies]
serde = { version = "1", features = ["derive"] }
serde_json = { version = "1", features = ["raw_value"] }
wit-bindgen = { version = "0.63", default-features = false, features = ["macros", "realloc"] }
"#;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    #[test]
    fn the_copy_is_whole_and_asks_for_what_the_original_does() {
        let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/sdk");
        let there: BTreeSet<String> = fs::read_dir(format!("{sdk}/src"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let copied: BTreeSet<String> = SOURCES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(there, copied);

        let toml = |text: &str| -> toml::Table { text.parse().unwrap() };
        let workspace = toml(&fs::read_to_string(format!("{sdk}/../Cargo.toml")).unwrap());
        let (ours, copy) = (toml(&fs::read_to_string(format!("{sdk}/Cargo.toml")).unwrap()), toml(CARGO));
        assert_eq!(ours["features"], copy["features"]);
        let names = |table: &toml::Table| table.keys().cloned().collect::<Vec<_>>();
        let dependencies = copy["dependencies"].as_table().unwrap();
        assert_eq!(names(ours["dependencies"].as_table().unwrap()), names(dependencies));
        for (name, dependency) in dependencies {
            assert_eq!(workspace["workspace"]["dependencies"][name], *dependency, "{name}");
        }
    }
}
