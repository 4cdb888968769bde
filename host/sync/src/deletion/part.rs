//! The parts of a catalog that have limits of their own.

use berth_core::{AccountId, BlueprintId, Kind};
use serde::Serialize;

/// A part of the catalog that limits apply to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Part {
    /// The kind, if known.
    pub kind: Option<Kind>,
    /// The account, if known.
    pub account: Option<AccountId>,
    /// The blueprint, if the kind is unknown.
    pub blueprint: Option<BlueprintId>,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.kind, &self.blueprint) {
            (Some(kind), _) => write!(f, "{kind}")?,
            (None, Some(blueprint)) => write!(f, "blueprint {blueprint}")?,
            (None, None) => f.write_str("all kinds")?,
        }
        match &self.account {
            Some(account) => write!(f, " of account {account}"),
            None => Ok(()),
        }
    }
}
