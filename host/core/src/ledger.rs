//! The fourth seam, an optional one: what is remembered of a catalog from one resync to the next.

use std::{fmt::Debug, sync::Arc};

use crate::{AccountId, Intent, Kind, Place, Problem, UnitId};

/// Which unit produced an entity, in names that last from one resync to the next (the position of
/// an entry of `resources[]` does not).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The account that was read.
    pub account: AccountId,
    /// Where it was read.
    pub place: Place,
    /// The kind that was read.
    pub kind: Kind,
}

impl Origin {
    /// The origin of what a unit produces; `None` when it is not known where it reads.
    pub fn of(unit: &UnitId) -> Option<Self> {
        let place = unit.place.clone()?;
        Some(Self { account: unit.account.clone(), place, kind: unit.kind.clone() })
    }
}

/// What is known of one entity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// A digest of what the catalog has confirmed that it holds. `None`: that is not certain (any
    /// more), so it has to be looked at.
    pub content: Option<u128>,
    /// The unit that produced it. `None`: more than one did.
    pub origin: Option<Arc<Origin>>,
}

/// What is remembered of a catalog from one resync to the next: on disk, in a database, in a test.
///
/// It is a memory and never the truth: without it everything is looked up in the catalog. All that
/// it says was confirmed by the catalog before it was recorded.
pub trait Ledger: Send + Sync + Debug {
    /// Begins a resync of the catalog with this [identity](crate::Catalog::identity). What is known
    /// of any other is not used. With [`Intent::ReadOnly`] nothing is changed. May block.
    ///
    /// # Errors
    /// A [`Problem`] when it cannot be used; the resync then does without.
    fn begin(&self, catalog: &str, intent: Intent) -> Result<Opened, Problem>;

    /// Makes everything doubtful that is recorded about what the catalog with this identity holds of
    /// these entities, because something else than a resync is about to write them. That they were
    /// held, and who produced them, stays known. Lasting when this returns. May block.
    ///
    /// # Errors
    /// A [`Problem`] when it could not be recorded; nothing may then be written beside a resync.
    fn doubt(&self, catalog: &str, keys: &[u128]) -> Result<(), Problem>;
}

/// A ledger that is ready for a resync.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The resync's own view of it.
    pub session: Arc<dyn LedgerSession>,
    /// Remarks for the operator.
    pub notes: Vec<String>,
}

/// A ledger during one resync. Keys are digests of entity keys.
///
/// What [`look_up`](Self::look_up) and [`each_key`](Self::each_key) tell is what was known at the
/// beginning. All methods may block for as long as a local disk takes.
pub trait LedgerSession: Send + Sync + Debug {
    /// What is known of an entity; `None` when nothing is. Called once for each mapped entity, from
    /// where nothing may block for long.
    fn look_up(&self, key: u128) -> Option<Known>;

    /// Tells the key of every entity that something is known of.
    ///
    /// # Errors
    /// A [`Problem`] when they cannot be read; then nothing that is known may be relied on.
    fn each_key(&self, tell: &mut dyn FnMut(u128)) -> Result<(), Problem>;

    /// Records what the catalog confirmed; `None` forgets an entity. All or nothing, and lasting
    /// when this returns. Never called in a session that only reads.
    ///
    /// # Errors
    /// A [`Problem`] when it could not be recorded; the session must then not [end](Self::end).
    fn record(&self, entries: &[(u128, Option<Known>)]) -> Result<(), Problem>;

    /// Says that everything that was sent to the catalog is recorded. A session that never ends, as
    /// when the process is killed, may have sent what it did not record: sessions to come then rely
    /// only on what was recorded since it began.
    ///
    /// # Errors
    /// A [`Problem`], for the log; the session then counts as not ended.
    fn end(&self) -> Result<(), Problem>;
}
