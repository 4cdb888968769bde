//! Policies that decide which components are used. All components must implement the contract in any case.

use std::{fmt, path::Path, sync::Arc};

use berth_core::{Ask, Manifest, Problem};

/// Decides which components are used.
pub trait PluginPolicy: Send + Sync {
    /// Decides about a component before it is used. If its manifest is unknown until the component runs
    /// ([`Asks::Unread`]), it is also called before any of its code runs. Called again at each reload.
    ///
    /// # Errors
    /// A [`Problem`] whose message continues after "it" ("is not approved"), with the remedy.
    fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Problem>;
}

/// A component to be used.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its file. The file may have changed already: `bytes` is what is compiled.
    pub file: &'a Path,
    /// The bytes that are compiled. `None` for a component that was admitted before and would stay in use
    /// although its file cannot be used any more.
    pub bytes: Option<&'a [u8]>,
    /// SHA-256 of the bytes, in lower-case hexadecimal.
    pub sha256: &'a str,
    /// What it requests.
    pub asks: Asks<'a>,
}

/// What a component requests.
#[derive(Debug, Clone, Copy)]
pub enum Asks<'a> {
    /// Unknown until it runs.
    Unread,
    /// Evaluating users' own mappings.
    Evaluation,
    /// Mapping the kinds of its manifest, and the reads of their plans.
    Kinds(&'a Manifest),
}

impl Candidate<'_> {
    /// Returns what it requests; `None` if that is unknown.
    pub fn ask(&self) -> Option<Ask> {
        match self.asks {
            Asks::Unread => None,
            Asks::Evaluation => Some(Ask::of_evaluator(self.sha256)),
            Asks::Kinds(manifest) => Some(Ask::of(manifest, self.sha256)),
        }
    }
}

/// A [`PluginPolicy`], or none: every component that implements the contract is used.
#[derive(Clone, Default)]
pub struct Trust(Option<Arc<dyn PluginPolicy>>);

impl Trust {
    /// Uses only what a policy admits.
    pub fn by(policy: Arc<dyn PluginPolicy>) -> Self {
        Self(Some(policy))
    }

    /// Asks the policy.
    ///
    /// # Errors
    /// The same as [`PluginPolicy::admit`].
    pub fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Problem> {
        self.0.as_ref().map_or(Ok(()), |policy| policy.admit(candidate))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "by a policy" } else { "any" })
    }
}

impl PartialEq for Trust {
    /// Equal if both have the same policy, or both have none.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other)),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}
