//! Who decides which components are used, beside the contract, which all must fulfil.

use std::{fmt, path::Path, sync::Arc};

use berth_core::{Ask, Manifest, Problem};

/// Decides which components are used.
pub trait Policy: Send + Sync {
    /// Asked before a component is used; before any code of it is run, too, where its manifest cannot
    /// be told without ([`Asks::Unread`]). Asked again at each reload.
    ///
    /// # Errors
    /// A [`Problem`] whose message goes on after "it" ("is not approved"), with the remedy.
    fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Problem>;
}

/// A component that asks to be used.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its file. What is there now may be something else already: `bytes` are what is compiled.
    pub file: &'a Path,
    /// The very bytes that are compiled. `None` for a component that was admitted before and would
    /// stay in use although its file is of no use any more.
    pub bytes: Option<&'a [u8]>,
    /// SHA-256 of the bytes, in lower-case hexadecimal.
    pub sha256: &'a str,
    /// What it asks for.
    pub asks: Asks<'a>,
}

/// What a component asks for.
#[derive(Debug, Clone, Copy)]
pub enum Asks<'a> {
    /// That is not known before it is run.
    Unread,
    /// To evaluate mappings of users' own.
    Evaluation,
    /// To map the kinds of its manifest, and to have their plans read.
    Kinds(&'a Manifest),
}

impl Candidate<'_> {
    /// What it asks for; `None` as long as that is not known.
    pub fn ask(&self) -> Option<Ask> {
        match self.asks {
            Asks::Unread => None,
            Asks::Evaluation => Some(Ask::of_evaluator(self.sha256)),
            Asks::Kinds(manifest) => Some(Ask::of(manifest, self.sha256)),
        }
    }
}

/// A [`Policy`], or none: every component is used that fulfils the contract.
#[derive(Clone, Default)]
pub struct Trust(Option<Arc<dyn Policy>>);

impl Trust {
    /// Uses what a policy admits.
    pub fn by(policy: Arc<dyn Policy>) -> Self {
        Self(Some(policy))
    }

    /// Asks the policy.
    ///
    /// # Errors
    /// As [`Policy::admit`].
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
    /// The same policy, or both none.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other)),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}
