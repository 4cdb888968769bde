//! Published versions of the plugin contract must not change.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// The files of the plugin contract that are frozen when a version is published.
const CONTRACT: [&str; 2] = ["plugin.wit", "manifest.schema.json"];

/// Where the contract in `wit/` is not what was published under its version: what plugins were built
/// against must stay what it was.
pub(super) fn contracts(root: &Path) -> Result<Vec<String>> {
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()));
    let mut offences = Vec::new();
    let wit = read(&root.join("wit/plugin.wit"))?;
    let current = contract_version(&wit).context("wit/plugin.wit names no version")?;
    let folder = format!("tests/guests/contract-{current}");
    if root.join(&folder).is_dir() {
        for file in CONTRACT {
            if read(&root.join("wit").join(file))? != read(&root.join(&folder).join("wit").join(file))? {
                offences.push(format!(
                    "wit/{file} is not the one in {folder}/wit: what was published as {current} does not \
                     change; give wit/ a new version with a folder of its own (wit/README.md, \"Publishing a \
                     version\"), or, before {current} is final, change both"
                ));
            }
        }
    } else {
        offences.push(format!(
            "wit/plugin.wit is version {current}, which has no plugin that is kept as a test: add {folder} \
             (wit/README.md, \"Publishing a version\")"
        ));
    }
    for entry in fs::read_dir(root.join("tests/guests")).context("could not list the guests")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(version) = name.strip_prefix("contract-") else { continue };
        let wit = format!("tests/guests/{name}/wit/plugin.wit");
        if contract_version(&read(&root.join(&wit))?) != Some(version) {
            offences.push(format!("{wit} is not version {version}"));
        }
    }
    Ok(offences)
}

/// The version in `package berth:plugin@<version>;`.
fn contract_version(wit: &str) -> Option<&str> {
    wit.lines().find_map(|line| line.trim().strip_prefix("package berth:plugin@")?.strip_suffix(';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_contract_does_not_change() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let publish = |folder: &str, wit: &str| {
            write(&format!("{folder}/plugin.wit"), wit);
            write(&format!("{folder}/manifest.schema.json"), "{}");
        };
        let one = "/// Words.\npackage berth:plugin@1.0.0;\n";
        publish("wit", one);
        publish("tests/guests/contract-1.0.0/wit", one);
        assert_eq!(contracts(root.path()).unwrap(), Vec::<String>::new());

        write("wit/manifest.schema.json", "{ }");
        let said = contracts(root.path()).unwrap();
        assert!(
            said.len() == 1 && said[0].starts_with("wit/manifest.schema.json is not the one in"),
            "{said:?}"
        );

        // A new version without a plugin of its own.
        publish("wit", "package berth:plugin@1.1.0;");
        let said = contracts(root.path()).unwrap();
        assert!(said.len() == 1 && said[0].contains("add tests/guests/contract-1.1.0"), "{said:?}");

        // The new one beside the old one, which is changed by mistake.
        publish("tests/guests/contract-1.1.0/wit", "package berth:plugin@1.1.0;");
        publish("tests/guests/contract-1.0.0/wit", "package berth:plugin@1.1.0;");
        let said = contracts(root.path()).unwrap();
        assert_eq!(said, ["tests/guests/contract-1.0.0/wit/plugin.wit is not version 1.0.0"]);
    }
}
