//! `cargo xtask defects`: checks that the simulation finds defects. Each seeded defect removes one protection from
//! a copy of the tree. `tests/simulation/defects.toml` lists them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::repo::{self, Repo, run};

const LIST: &str = "tests/simulation/defects.toml";
const COPY: &str = "target/defects";
/// The variable with the names of the active defects.
const SWITCH: &str = "BERTH_DEFECT";
/// In a replacement: the condition that the defect is active.
const PLACEHOLDER: &str = "DEFECT";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    defect: Vec<Defect>,
}

/// A protection, and the code without it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Defect {
    name: String,
    /// What the host does wrong.
    means: String,
    file: String,
    find: String,
    replace: String,
    /// A second protection that would hide this defect, and is removed with it.
    #[serde(default)]
    needs: Vec<String>,
}

impl Defect {
    /// The text of its file with the defect.
    fn applied(&self, text: &str) -> Result<String> {
        let found = text.matches(&self.find).count();
        ensure!(found == 1, "{LIST}: `{}`: `find` is {found} times in {}, not once", self.name, self.file);
        ensure!(
            self.replace.contains(PLACEHOLDER),
            "{LIST}: `{}`: `replace` has no {PLACEHOLDER}",
            self.name
        );
        let on = format!(
            "std::env::var(\"{SWITCH}\").is_ok_and(|on| on.split(',').any(|on| on == \"{}\"))",
            self.name
        );
        Ok(text.replacen(&self.find, &self.replace.replace(PLACEHOLDER, &on), 1))
    }
}

/// Which defects to seed, and how many scenarios to run with each.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seed only these defects (default: all)
    names: Vec<String>,
    /// How many scenarios to run with each defect
    #[arg(long, default_value_t = 2_000)]
    scenarios: u32,
}

fn read(root: &Path) -> Result<Vec<Defect>> {
    let text = fs::read_to_string(root.join(LIST)).with_context(|| format!("could not read {LIST}"))?;
    let list: List = toml::from_str(&text).with_context(|| LIST.to_owned())?;
    let names: BTreeSet<&str> = list.defect.iter().map(|defect| defect.name.as_str()).collect();
    ensure!(names.len() == list.defect.len(), "{LIST}: a name is given twice");
    for defect in &list.defect {
        if let Some(unknown) = defect.needs.iter().find(|name| !names.contains(name.as_str())) {
            bail!("{LIST}: `{}` needs `{unknown}`, which is not there", defect.name);
        }
    }
    Ok(list.defect)
}

/// The violations of the list, which must fit the current code.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut offences = Vec::new();
    for defect in read(root)? {
        let text = fs::read_to_string(root.join(&defect.file)).unwrap_or_default();
        offences.extend(defect.applied(&text).err().map(|error| format!("{error:#}")));
    }
    Ok(offences)
}

/// Runs the simulation with each defect, and fails if it does not find one of them.
pub(crate) fn run_each(repo: &Repo, options: &Options) -> Result<()> {
    let all = read(&repo.path(""))?;
    if let Some(unknown) = options.names.iter().find(|name| all.iter().all(|defect| defect.name != **name)) {
        bail!("there is no defect `{unknown}` in {LIST}");
    }
    let copy = repo.path(COPY);
    let mut files = repo.command("git");
    files.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let files = repo::output(&mut files)?;
    for file in files.lines().filter(|file| repo.path(file).is_file()) {
        let bytes = fs::read(repo.path(file)).with_context(|| format!("could not read {file}"))?;
        let mut of_file = all.iter().filter(|defect| defect.file == file).peekable();
        if of_file.peek().is_none() {
            repo::write_if_changed(&copy.join(file), &bytes)?;
            continue;
        }
        let text = String::from_utf8(bytes).with_context(|| file.to_owned())?;
        let text = of_file.try_fold(text, |text, defect| defect.applied(&text))?;
        repo::write_if_changed(&copy.join(file), text.as_bytes())?;
    }
    let simulation = || {
        let mut cargo = repo.cargo();
        // In a separate target directory: cargo would mistake its crates for those of the tree.
        cargo.current_dir(&copy).env("CARGO_TARGET_DIR", copy.join("target"));
        cargo.args(["test", "--quiet", "--locked", "--package=berth-simulation", "--test=simulation"]);
        cargo
    };
    run(simulation().arg("--no-run"))?;
    let fails = |on: &[&str], first: bool| -> Result<BTreeMap<u64, String>> {
        let mut cargo = simulation();
        cargo.env(SWITCH, on.join(",")).env("BERTH_SIMULATION_SHRINK", "0");
        cargo.env("BERTH_SIMULATION_CASES", options.scenarios.to_string());
        if first {
            cargo.env("BERTH_SIMULATION_FIRST", "1");
        }
        let output = cargo.output().context("could not start `cargo`")?;
        Ok(failures(&String::from_utf8_lossy(&output.stdout)))
    };
    let (mut found, mut hidden) = (0, Vec::new());
    for defect in all.iter().filter(|defect| options.names.is_empty() || options.names.contains(&defect.name))
    {
        let needs: Vec<&str> = defect.needs.iter().map(String::as_str).collect();
        let on = [&[defect.name.as_str()], &needs[..]].concat();
        let mut failures = fails(&on, needs.is_empty())?;
        if !needs.is_empty() {
            // A seed that fails without the defect proves nothing.
            let without = fails(&needs, false)?;
            failures.retain(|seed, _| !without.contains_key(seed));
        }
        match failures.first_key_value() {
            Some((seed, violation)) => {
                println!("{:>16}: seed {seed}: {violation}", defect.name);
                found += 1;
            }
            None => hidden.push(format!("{}: {}", defect.name, defect.means)),
        }
    }
    println!("defects: {found} found, {} not", hidden.len());
    ensure!(hidden.is_empty(), "the simulation does not find:\n{}", hidden.join("\n"));
    Ok(())
}

/// The failed seeds and their reasons, from the output of the simulation.
fn failures(printed: &str) -> BTreeMap<u64, String> {
    let failure = |line: &str| {
        let (seed, violation) = line.strip_prefix("seed ")?.split_once(": ")?;
        Some((seed.parse().ok()?, violation.to_owned()))
    };
    printed.lines().filter_map(failure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_replaces_what_stands_once() {
        let defect = Defect {
            name: "open".into(),
            means: "the door is open".into(),
            file: "door.rs".into(),
            find: "if locked {".into(),
            replace: "if locked && !DEFECT {".into(),
            needs: Vec::new(),
        };
        let applied = defect.applied("if locked { stay() }").unwrap();
        assert!(applied.starts_with("if locked && !std::env::var(\"BERTH_DEFECT\")"), "{applied}");
        assert!(applied.ends_with("on == \"open\")) { stay() }"), "{applied}");
        for text in ["", "if locked { if locked {"] {
            assert!(defect.applied(text).is_err(), "{text}");
        }
    }
    #[test]
    fn failures_are_read_by_seed() {
        let printed =
            "600 cases from seed 1 in 70 s\n      3  deletions\nseed 7: it is gone: a\nseed x: no\n";
        assert_eq!(failures(printed), BTreeMap::from([(7, "it is gone: a".to_owned())]));
    }
}
