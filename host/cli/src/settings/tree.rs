//! Settings as a tree, merged from their sources. Each value knows its source.
//!
//! The rules are those of the Ocean contract: variables begin with `OCEAN__`, `__` separates levels, and
//! names are case-insensitive. A value that is a JSON object is merged level by level, and a nested variable
//! wins over it. The environment wins over `.env`, which wins over the file.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Environment, Issue, found, setting_names::Names};

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// A variable of the environment.
    Variable(String),
    /// A variable of `.env`.
    Dotenv {
        /// The variable.
        name: String,
        /// The file.
        file: String,
    },
    /// The settings file.
    File {
        /// Its path.
        name: String,
        /// Whether the file was found in the working directory, not named explicitly.
        is_found: bool,
    },
}

impl Origin {
    /// Returns whether the value is from a file that nobody named.
    pub(crate) fn is_found(&self) -> bool {
        match self {
            Self::Variable(_) => false,
            Self::Dotenv { .. } => true,
            Self::File { is_found, .. } => *is_found,
        }
    }
}

/// A value and its source.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Leaves out the value, which may be a secret.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Given {
    /// Returns the value, if it is not empty.
    pub(crate) fn value(&self) -> Option<&Value> {
        match &self.value {
            Value::Null => None,
            Value::String(text) if text.trim().is_empty() => None,
            value => Some(value),
        }
    }
}

/// All settings, by dotted `snake_case` path.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    settings: BTreeMap<String, Given>,
    /// Variables that begin with `BERTH_` and are not settings.
    others: Vec<(String, Origin)>,
    /// The files that were read.
    files: Vec<PathBuf>,
}

/// The prefix of Ocean's variables.
pub(super) const OCEAN: &str = "OCEAN__";
/// The prefix of the variables that only Berth has.
pub(super) const BERTH: &str = "BERTH_";

/// Returns the settings file and `.env`. They need not exist.
pub(super) fn files(file: Option<&Path>, environment: &Environment) -> [PathBuf; 2] {
    let base = &environment.working_dir;
    [base.join(file.unwrap_or(Path::new("berth.toml"))), base.join(".env")]
}

impl Tree {
    /// Merges file, `.env` and environment.
    pub(crate) fn load(
        names: &Names,
        file: Option<&Path>,
        environment: &Environment,
        issues: &mut Vec<Issue>,
    ) -> Self {
        let mut tree = Self::default();
        let [settings, dotenv] = files(file, environment);
        if let Some(text) = read(&settings, file.is_some(), issues) {
            tree.add_file(names, &settings, file.is_none(), &text, issues);
        }
        if let Some(text) = read(&dotenv, false, issues) {
            let variables: Vec<_> = text.lines().filter_map(dotenv_line).collect();
            let file = dotenv.display().to_string();
            let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            tree.add_variables(names, variables, |name| Origin::Dotenv { name, file: file.clone() });
            tree.files.push(dotenv);
        }
        tree.add_variables(names, environment.iter(), Origin::Variable);
        tree
    }

    /// Returns the files that settings come from.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns the value at a path, if it is set and not empty.
    pub(crate) fn get(&self, path: &str) -> Option<&Value> {
        self.settings.get(path)?.value()
    }

    /// Returns the value at a path and its source, if it is set, even if it is empty.
    pub(crate) fn given(&self, path: &str) -> Option<&Given> {
        self.settings.get(path)
    }

    /// Returns everything that is set, by path.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.settings.iter().map(|(path, given)| (path.as_str(), given))
    }

    /// Returns the variables that begin with `BERTH_` and are not settings.
    pub(crate) fn other_variables(&self) -> &[(String, Origin)] {
        &self.others
    }

    fn add_file(&mut self, names: &Names, path: &Path, is_found: bool, text: &str, issues: &mut Vec<Issue>) {
        let name = path.display().to_string();
        self.files.push(path.to_owned());
        match toml::from_str::<Value>(text) {
            Ok(value) => self.add(names, String::new(), value, &Origin::File { name, is_found }),
            Err(error) => issues.push(Issue {
                setting: name,
                problem: format!("not valid TOML: {}", syntax_error(&error, text)),
                remedy: "correct the file; the README shows an example".into(),
            }),
        }
    }

    fn add_variables<'v>(
        &mut self,
        names: &Names,
        variables: impl Iterator<Item = (&'v str, &'v str)>,
        origin: impl Fn(String) -> Origin,
    ) {
        let mut own: Vec<(&str, &str, &str)> = Vec::new();
        let mut named: Vec<(Vec<String>, &str, &str)> = Vec::new();
        for (name, value) in variables {
            if let Some(path) = names.variables.get(name) {
                own.push((path, name, value));
            } else if name.starts_with(BERTH) {
                self.others.push((name.to_owned(), origin(name.to_owned())));
            } else if name.get(..OCEAN.len()).is_some_and(|head| head.eq_ignore_ascii_case(OCEAN)) {
                let path = name.get(OCEAN.len()..).unwrap_or_default();
                named.push((path.split("__").map(str::to_lowercase).collect(), name, value));
            }
        }
        // Outer levels first, so that a nested variable wins over the JSON around it.
        named.sort_by_key(|(path, name, _)| (path.len(), (*name).to_owned()));
        for (path, name, text) in named {
            let value = match serde_json::from_str::<Value>(text) {
                Ok(object @ Value::Object(_)) => object,
                _ => Value::String(text.to_owned()),
            };
            self.add(names, path.join("."), value, &origin(name.to_owned()));
        }
        // An empty one counts as not set.
        for (path, name, text) in own.into_iter().filter(|(_, _, text)| !text.trim().is_empty()) {
            self.add(names, path.to_owned(), Value::String(text.to_owned()), &origin(name.to_owned()));
        }
    }

    fn add(&mut self, names: &Names, path: String, value: Value, origin: &Origin) {
        match value {
            // There are no settings below a setting: the keys of a map are the operator's.
            Value::Object(members) if !names.settings.contains(&path) => {
                for (key, value) in members {
                    let key = snake_case(&key);
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    self.add(names, path, value, origin);
                }
            }
            value => _ = self.settings.insert(path, Given { value, origin: origin.clone() }),
        }
    }
}

/// Reads a file. A file that is named must exist, and may have any owner.
fn read(path: &Path, is_named: bool, issues: &mut Vec<Issue>) -> Option<String> {
    let outcome = if is_named {
        std::fs::read_to_string(path).map(Some).map_err(|error| {
            (format!("cannot read the file: {error}"), "check the path given with --config".to_owned())
        })
    } else {
        found::read(path)
    };
    outcome.unwrap_or_else(|(problem, remedy)| {
        issues.push(Issue { setting: path.display().to_string(), problem, remedy });
        None
    })
}

/// Describes a syntax error and its place. The original error shows the line, which may hold a secret.
fn syntax_error(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}: {}", error.message())
}

/// Converts `accountRoleArns` to `account_role_arns`; keeps `snake_case`.
fn snake_case(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for (index, c) in key.chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 && !out.ends_with('_') {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Parses `NAME=value`, with `export`, quotes and comments as in dotenv files.
fn dotenv_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    let value = value.trim();
    let value = [('"', '"'), ('\'', '\'')]
        .iter()
        .find_map(|(open, close)| value.strip_prefix(*open)?.strip_suffix(*close))
        .unwrap_or(value);
    Some((name.trim().to_owned(), value.to_owned()))
}

/// Returns the variable that sets a path.
pub(crate) fn variable(path: &str) -> String {
    format!("{OCEAN}{}", path.replace('.', "__").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(variables: &[(&str, &str)]) -> Tree {
        Tree::load(super::super::names(), None, &Environment::of(variables), &mut Vec::new())
    }

    fn text<'t>(tree: &'t Tree, path: &str) -> &'t str {
        tree.get(path).unwrap().as_str().unwrap()
    }

    #[test]
    fn variables_nest_merge_and_ignore_case() {
        let tree = tree(&[
            ("OCEAN__EVENT_LISTENER", r#"{"type": "POLLING", "interval": 7}"#),
            ("OCEAN__EVENT_LISTENER__TYPE", "ONCE"),
            ("ocean__integration__Identifier", "Mine"),
            ("OCEAN__INTEGRATION__CONFIG", r#"{"external_id": "x"}"#),
            ("OCEAN__INTEGRATION__CONFIG__EXTERNAL_IDS", r#"{"111111111111": "y"}"#),
            ("OCEAN__EMPTY", ""),
            ("UNRELATED", "y"),
        ]);
        assert_eq!(text(&tree, "event_listener.type"), "ONCE");
        assert_eq!(tree.get("event_listener.interval").unwrap(), 7);
        assert_eq!(text(&tree, "integration.identifier"), "Mine");
        assert_eq!(text(&tree, "integration.config.external_id"), "x");
        assert_eq!(tree.get("integration.config.external_ids").unwrap()["111111111111"], "y");
        assert!(tree.get("empty").is_none());
    }

    #[test]
    fn variables_of_our_own_win_over_the_contracts() {
        let ours = ("BERTH_REMOVAL_AFTER", "5");
        let tree = tree(&[
            ours,
            ("OCEAN__REMOVAL_AFTER", "7"),
            ("OCEAN__MAX_DELETIONS", "8"),
            ("BERTH_MAX_DELETIONS", " "),
        ]);
        assert_eq!((text(&tree, "removal_after"), text(&tree, "max_deletions")), ("5", "8"));
        assert_eq!(tree.given("removal_after").unwrap().origin, Origin::Variable(ours.0.into()));
    }

    #[test]
    fn the_environment_wins_over_dotenv_and_that_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("berth.toml"),
            "[port]\nclientId = 'file'\nbase_url = 'file'\nclient_secret = 'file'\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join(".env"),
            "# c\nexport OCEAN__PORT__BASE_URL=\"dotenv\"\nOCEAN__PORT__CLIENT_SECRET=dotenv\n",
        )
        .unwrap();
        let mut environment = Environment::of(&[("OCEAN__PORT__CLIENT_SECRET", "env")]);
        environment.working_dir = dir.path().to_owned();
        let tree = Tree::load(super::super::names(), None, &environment, &mut Vec::new());
        assert_eq!(text(&tree, "port.client_id"), "file");
        assert_eq!(text(&tree, "port.base_url"), "dotenv");
        assert_eq!(text(&tree, "port.client_secret"), "env");
        let of_file = tree.iter().filter(|(_, given)| matches!(given.origin, Origin::File { .. }));
        assert_eq!(of_file.map(|(path, _)| path).collect::<Vec<_>>(), ["port.client_id"]);
        assert_eq!(tree.files(), [dir.path().join("berth.toml"), dir.path().join(".env")]);
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("berth.toml"), "[port\n").unwrap();
        let mut environment = Environment::of(&[]);
        environment.working_dir = dir.path().to_owned();
        let mut issues = Vec::new();
        Tree::load(super::super::names(), None, &environment, &mut issues);
        assert!(
            issues[0].setting.ends_with("berth.toml") && issues[0].problem.contains("line 1"),
            "{issues:?}"
        );
        // The message leaves out the line, which may hold a secret.
        let cut = "[port]\nclient_id = 'id'\nclient_secret = \"hush\n";
        std::fs::write(dir.path().join("berth.toml"), cut).unwrap();
        Tree::load(super::super::names(), None, &environment, &mut issues);
        let problem = issues.pop().unwrap().problem;
        assert!(problem.contains("line 3, column ") && !problem.contains("hush"), "{problem}");
        Tree::load(super::super::names(), Some(Path::new("nope.toml")), &environment, &mut issues);
        assert!(issues[1].problem.contains("cannot read"), "{issues:?}");
    }
}
