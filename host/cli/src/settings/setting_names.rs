//! The names that settings have.

use std::collections::{BTreeMap, BTreeSet};

/// The names of settings.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The settings, by dotted path.
    pub(crate) settings: BTreeSet<String>,
    /// Variables that only Berth has, with the setting of each.
    pub(crate) variables: BTreeMap<String, String>,
}
