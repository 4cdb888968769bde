//! Reads the process's environment. No other module does.

use std::{collections::BTreeMap, path::PathBuf};

use etcetera::BaseStrategy;

/// The environment as the program sees it; a plain value, so that tests can create their own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
    pub(crate) working_dir: PathBuf,
    pub(crate) executable: Option<PathBuf>,
    /// The user's directories for caches and for state: `~/.cache` and `~/.local/state` (XDG), or the
    /// counterparts on Windows. `None` without a home directory.
    pub(crate) cache_home: Option<PathBuf>,
    pub(crate) state_home: Option<PathBuf>,
}

impl Environment {
    /// Returns the environment of this process. Leaves out variables that are not UTF-8.
    pub(crate) fn of_process() -> Self {
        let user = etcetera::choose_base_strategy().ok();
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            working_dir: std::env::current_dir().unwrap_or_default(),
            executable: std::env::current_exe().ok(),
            cache_home: user.as_ref().map(BaseStrategy::cache_dir),
            state_home: user.map(|user| user.state_dir().unwrap_or_else(|| user.data_dir())),
        }
    }

    /// Returns an environment with only these variables.
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Self::default()
        }
    }

    /// Returns a variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns all variables, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
