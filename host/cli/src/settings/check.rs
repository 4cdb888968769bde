//! Reads the settings' sections and collects all problems.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Environment, Issue,
    schema::{self, Setting},
    similar,
    tree::{Given, Origin, Tree, variable},
    values::{FromValue, ValueProblem, is_empty},
};
use crate::args::Global;

/// The sources of the settings: files, which are read once, the environment and the command line.
#[derive(Debug)]
pub(crate) struct SettingsInputs<'s> {
    args: &'s Global,
    environment: &'s Environment,
    tree: Tree,
    /// The problems of the files themselves.
    issues: Vec<Issue>,
}

/// A part of the settings that a command needs. Other parts are not validated.
pub(crate) trait Section: Sized {
    /// Reads the section. Each problem becomes an issue; then there may be no section.
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self>;
}

impl<A: Section, B: Section> Section for (A, B) {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let (a, b) = (A::read(check), B::read(check));
        Some((a?, b?))
    }
}

impl<'s> SettingsInputs<'s> {
    /// Reads the files.
    pub(crate) fn read(args: &'s Global, environment: &'s Environment) -> Self {
        let mut issues = Vec::new();
        let tree = Tree::load(super::names(), args.config.as_deref(), environment, &mut issues);
        Self { args, environment, tree, issues }
    }

    /// Returns a section, or two as a pair.
    ///
    /// # Errors
    /// All issues at once.
    pub(crate) fn section<S: Section>(&self) -> Result<S, Vec<Issue>> {
        self.section_with_notes().map(|(section, _)| section)
    }

    /// Does the same, and returns the warnings for the operator.
    ///
    /// # Errors
    /// All issues at once.
    pub(super) fn section_with_notes<S: Section>(&self) -> Result<(S, Vec<String>), Vec<Issue>> {
        let mut check = SettingsCheck { source: self, issues: self.issues.clone(), notes: Vec::new() };
        match S::read(&mut check) {
            Some(section) if check.issues.is_empty() => Ok((section, check.notes)),
            _ if check.issues.is_empty() => Err(vec![Issue {
                setting: "the settings".into(),
                problem: "Berth cannot read them, and does not say why".into(),
                remedy: "report this bug in Berth".into(),
            }]),
            _ => Err(check.issues),
        }
    }
}

/// The state of reading and validating settings.
#[derive(Debug)]
pub(crate) struct SettingsCheck<'s> {
    source: &'s SettingsInputs<'s>,
    issues: Vec<Issue>,
    notes: Vec<String>,
}

impl<'s> SettingsCheck<'s> {
    pub(super) fn args(&self) -> &'s Global {
        self.source.args
    }

    pub(super) fn environment(&self) -> &'s Environment {
        self.source.environment
    }

    pub(super) fn tree(&self) -> &'s Tree {
        &self.source.tree
    }

    /// Resolves a path against the working directory.
    pub(super) fn path(&self, path: impl Into<PathBuf>) -> PathBuf {
        self.source.environment.working_dir.join(path.into())
    }

    /// Returns the settings of a section's struct.
    pub(super) fn table<T: for<'de> Deserialize<'de>>(&mut self) -> Option<T> {
        schema::read(self.tree())
            .map_err(|error| {
                self.push(Issue {
                    setting: "the settings".into(),
                    problem: format!("Berth cannot read them: {error}"),
                    remedy: "report this bug in Berth".into(),
                });
            })
            .ok()
    }

    /// Returns the value of a setting, or its default. Returns `None` if there is none, and if the value is
    /// wrong, which becomes an issue.
    pub(super) fn value<T: FromValue>(&mut self, setting: &Setting<T>) -> Option<T> {
        match T::from_value(setting.value()?, &setting.example()) {
            Ok(value) => Some(value),
            Err(ValueProblem { problem, remedy }) => {
                self.issue(setting, problem, remedy);
                None
            }
        }
    }

    /// Returns the value of a required setting.
    pub(super) fn required<T: FromValue>(&mut self, setting: &Setting<T>, remedy: &str) -> Option<T> {
        if setting.value().is_none() {
            let misspelt = similar::meant(self.tree(), setting.path());
            let problem = misspelt.map_or_else(
                || "not set".to_owned(),
                |name| format!("not set; `{name}` is set, but it is not a setting"),
            );
            self.issue(setting, problem, remedy);
        }
        self.value(setting)
    }

    /// Rejects a setting that is set to nothing, if that would silently differ from not setting it. Returns
    /// whether it does.
    pub(super) fn refuse_empty<T>(&mut self, setting: &Setting<T>, without: &str) -> bool {
        let empty = setting.given().is_some_and(|given| is_empty(&given.value));
        if empty {
            self.issue(setting, "set, but empty", format!("give it a value, or unset it {without}"));
        }
        empty
    }

    /// Adds an issue with a setting, named by the place that sets it.
    pub(super) fn issue<T>(
        &mut self,
        setting: &Setting<T>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.issue_at(setting.path(), problem, remedy);
    }

    /// Does the same for a path.
    pub(super) fn issue_at(&mut self, path: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        let setting = place(path, self.tree().given(path));
        self.push(Issue { setting, problem: problem.into(), remedy: remedy.into() });
    }

    /// Adds an issue with anything else.
    pub(super) fn push(&mut self, issue: Issue) {
        // Two sections may read the same setting.
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    /// Returns whether there is no issue so far.
    pub(super) fn is_fine(&self) -> bool {
        self.issues.is_empty()
    }

    /// Warns the operator.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Returns the text at the path of a table, which should be one.
    pub(super) fn text_at_table(&self, path: &str) -> Option<String> {
        match self.tree().get(path)? {
            Value::String(text) => Some(text.clone()),
            _ => None,
        }
    }
}

/// Returns the place that sets a setting, or would.
fn place(path: &str, given: Option<&Given>) -> String {
    match given.map(|given| &given.origin) {
        Some(Origin::Variable(name)) => name.clone(),
        Some(Origin::Dotenv { name, file }) => format!("{name} in {file}"),
        Some(Origin::File { name: file, .. }) => format!("{path} in {file} (or {})", variable(path)),
        None => variable(path),
    }
}
