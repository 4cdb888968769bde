//! The optional trait that remembers the state of a catalog between resyncs.

use std::{collections::BTreeMap, fmt, fmt::Debug, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{AccountId, Kind, Place, Problem, Region};

/// A unit that produced an entity, in names that are stable across resyncs. The position of an entry of
/// `resources[]` is not stable, so all entries of a kind count as one producer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Producer {
    /// The account that was read.
    pub account: AccountId,
    /// The place that was read.
    pub place: Place,
    /// The kind that was read.
    pub kind: Kind,
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.account, self.place, self.kind)
    }
}

/// The units that produced an entity when Berth last saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Producers {
    /// The producers are unknown: any unit may be one.
    #[default]
    Unknown,
    /// These producers, sorted, without duplicates, at least one.
    Known(Arc<[Producer]>),
    /// The catalog found the entity by a search query: someone else created it, so Berth never deletes it.
    SomebodyElse,
}

impl Producers {
    /// Returns exactly these producers; [`Unknown`](Self::Unknown) if there are none.
    pub fn these(producers: impl IntoIterator<Item = Producer>) -> Self {
        let mut producers: Vec<Producer> = producers.into_iter().collect();
        producers.sort_unstable();
        producers.dedup();
        if producers.is_empty() { Self::Unknown } else { Self::Known(producers.into()) }
    }

    /// Returns exactly this producer.
    pub fn one(producer: Producer) -> Self {
        Self::Known(Arc::new([producer]))
    }

    /// Returns the producers, if they are known.
    pub fn known(&self) -> Option<&[Producer]> {
        match self {
            Self::Known(producers) => Some(producers),
            Self::Unknown | Self::SomebodyElse => None,
        }
    }

    /// Adds a producer. Unknown producers stay unknown.
    #[must_use]
    pub fn and(&self, producer: &Producer) -> Self {
        match self {
            Self::Known(known) if !known.contains(producer) => {
                Self::these(known.iter().cloned().chain([producer.clone()]))
            }
            other => other.clone(),
        }
    }
}

/// The recorded state of one entity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerEntry {
    /// A digest of the content that the catalog confirmed. `None` if the content is uncertain: Berth then
    /// queries the catalog.
    pub content: Option<u128>,
    /// The units that produced it.
    pub producers: Producers,
}

/// A scope that was read before and is not read any more: an account that left the list, or a region that
/// was opted out or excluded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum RemovedScope {
    /// An account.
    Account(AccountId),
    /// A region of an account, or of any account.
    Region(Option<AccountId>, Region),
    /// A region of an account for one kind, which the mapping's `regionPolicy` excludes.
    KindRegion(AccountId, Region, Kind),
}

impl RemovedScope {
    /// Returns whether the removal of this scope includes the removal of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        let (account, region) = match other {
            Self::Account(account) => (Some(account), None),
            Self::Region(account, region) => (account.as_ref(), Some(region)),
            Self::KindRegion(account, region, _) => (Some(account), Some(region)),
        };
        match self {
            Self::Account(own) => account == Some(own),
            Self::Region(None, own) => region == Some(own),
            Self::Region(Some(of), own) => account == Some(of) && region == Some(own),
            Self::KindRegion(..) => self == other,
        }
    }
}

impl fmt::Display for RemovedScope {
    /// Formats the scope as `--confirm-removal` accepts it: `account=111111111111`, `region=eu-west-1`,
    /// `region=111111111111/eu-west-1`, `region=111111111111/eu-west-1/AWS::EC2::Volume`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "account={account}"),
            Self::Region(None, region) => write!(f, "region={region}"),
            Self::Region(Some(account), region) => write!(f, "region={account}/{region}"),
            Self::KindRegion(account, region, kind) => write!(f, "region={account}/{region}/{kind}"),
        }
    }
}

impl From<RemovedScope> for String {
    fn from(scope: RemovedScope) -> Self {
        scope.to_string()
    }
}

impl TryFrom<String> for RemovedScope {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for RemovedScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let account = |text: &str| AccountId::new(text).map_err(|error| error.to_string());
        let region = |text: &str| Region::new(text).map_err(|error| error.to_string());
        match text.split_once('=') {
            Some(("account", id)) => Ok(Self::Account(account(id)?)),
            Some(("region", place)) => match *place.splitn(3, '/').collect::<Vec<_>>() {
                [name] => Ok(Self::Region(None, region(name)?)),
                [id, name] => Ok(Self::Region(Some(account(id)?), region(name)?)),
                [id, name, kind] => {
                    let kind = Kind::new(kind).map_err(|error| error.to_string())?;
                    Ok(Self::KindRegion(account(id)?, region(name)?, kind))
                }
                _ => Err(format!("`{text}` has too many parts")),
            },
            _ => Err(format!(
                "`{text}` is not `account=<id>`, `region=<region>` or `region=<account>/<region>`"
            )),
        }
    }
}

/// The number of consecutive complete resyncs in which each scope was missing.
pub type MissingScopes = BTreeMap<RemovedScope, u32>;

/// Remembers the state of a catalog between resyncs: on disk, in a database, or in memory for a test.
///
/// A ledger is a cache, never the source of truth: without it, Berth queries the catalog. Everything in it
/// was confirmed by the catalog before it was recorded.
pub trait Ledger: Send + Sync + Debug {
    /// Reads the recorded state of the catalog with this [identity](crate::CatalogInfo::identity), and of
    /// no other. May block.
    ///
    /// # Errors
    /// A [`Problem`] if the ledger cannot be used; the caller then works without it.
    fn read(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerReader>>, Problem>;

    /// Begins a resync of the catalog with this identity. May block.
    ///
    /// # Errors
    /// The same as [`read`](Self::read).
    fn begin(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerSession>>, Problem>;

    /// Marks the recorded content of these entities of the catalog with this identity as uncertain, because
    /// something other than a resync is about to write them. The recorded producers are kept. A producer
    /// that is passed in is added, also for an entity that is not recorded yet. The change is durable when
    /// this returns. May block.
    ///
    /// # Errors
    /// A [`Problem`] if the change could not be recorded; the caller must then not write anything outside a
    /// resync.
    fn invalidate(&self, catalog: &str, keys: &[(u128, Option<Producer>)]) -> Result<(), Problem>;

    /// Returns the records of these entities of the catalog with this identity, in the order of the keys.
    /// May block.
    ///
    /// # Errors
    /// A [`Problem`] if the records cannot be read; the caller must then not delete anything based on them.
    fn entries(&self, catalog: &str, keys: &[u128]) -> Result<Vec<Option<LedgerEntry>>, Problem>;

    /// Counts the recorded entities per account and kind of the catalog with this identity. An entity with
    /// several producers counts for each. May block.
    ///
    /// # Errors
    /// A [`Problem`] if the records cannot be read.
    fn totals(&self, catalog: &str) -> Result<BTreeMap<(AccountId, Kind), u64>, Problem>;

    /// Returns whether calls to the ledger and its sessions may block. If not, the caller calls them
    /// directly, without a blocking thread.
    fn may_block(&self) -> bool {
        true
    }
}

/// An open ledger, with its session.
#[derive(Debug, Clone)]
pub struct OpenedLedger<S> {
    /// The session or reader.
    pub session: S,
    /// Warnings for the operator.
    pub notes: Vec<String>,
}

/// The recorded state at the time the ledger was opened. Keys are digests of entity keys. All methods may
/// block for as long as a local disk takes.
pub trait LedgerReader: Send + Sync + Debug {
    /// Returns the record of an entity, or `None` if there is none. Called once per mapped entity, from a
    /// context that must not block for long.
    fn look_up(&self, key: u128) -> Option<LedgerEntry>;

    /// Calls `visit` with the key of every recorded entity.
    ///
    /// # Errors
    /// A [`Problem`] if the records cannot be read; the caller must then rely on none of them.
    fn each_key(&self, visit: &mut dyn FnMut(u128)) -> Result<(), Problem>;

    /// Returns the number of consecutive complete resyncs in which each scope was missing.
    ///
    /// # Errors
    /// A [`Problem`] if the counts cannot be read; the caller then treats every scope as missing for the
    /// first time.
    fn missing_scopes(&self) -> Result<MissingScopes, Problem>;
}

/// A ledger during one resync. All methods may block for as long as a local disk takes.
pub trait LedgerSession: LedgerReader {
    /// Records what the catalog confirmed; `None` removes an entity. Atomic, and durable when this returns.
    ///
    /// # Errors
    /// A [`Problem`] if the change could not be recorded; the session must then not [end](Self::end).
    fn record(&self, entries: &[(u128, Option<LedgerEntry>)]) -> Result<(), Problem>;

    /// Replaces the producers of recorded entities, including those recorded in this session. The recorded
    /// contents are kept.
    ///
    /// # Errors
    /// A [`Problem`] if the change could not be recorded; the session must then not [end](Self::end).
    fn record_producers(&self, entries: &[(u128, Producers)]) -> Result<(), Problem>;

    /// Ends the session: everything that was sent to the catalog is recorded, and `missing` are the scopes
    /// that are missing now. All other missing scopes are forgotten. A session that never ends, for example
    /// because the process was killed, may have sent entities that it did not record. Later sessions then
    /// rely only on records made since that session began.
    ///
    /// # Errors
    /// A [`Problem`], for the log; the session then counts as not ended.
    fn end(self: Arc<Self>, missing: &MissingScopes) -> Result<(), Problem>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_scopes_survive_a_round_trip() {
        for text in [
            "account=111111111111",
            "region=eu-west-1",
            "region=111111111111/eu-west-1",
            "region=111111111111/eu-west-1/AWS::EC2::Volume",
        ] {
            assert_eq!(text.parse::<RemovedScope>().unwrap().to_string(), text);
        }
        for text in ["", "account", "account=1", "region=mars", "region=111111111111/mars", "kind=x"] {
            assert!(text.parse::<RemovedScope>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_removal_covers_the_scopes_within_it() {
        let scope = |text: &str| text.parse::<RemovedScope>().unwrap();
        let kind = scope("region=111111111111/eu-west-1/AWS::EC2::Volume");
        for (whole, part, covered) in [
            ("account=111111111111", "region=111111111111/eu-west-1", true),
            ("account=222222222222", "region=111111111111/eu-west-1", false),
            ("account=111111111111", "region=eu-west-1", false),
            ("region=eu-west-1", "region=111111111111/eu-west-1", true),
            ("region=111111111111/eu-west-1", "region=eu-west-1", false),
            ("region=eu-west-1", "account=111111111111", false),
        ] {
            assert_eq!(scope(whole).covers(&scope(part)), covered, "{whole} {part}");
        }
        for whole in ["account=111111111111", "region=eu-west-1", "region=111111111111/eu-west-1"] {
            assert!(scope(whole).covers(&kind), "{whole}");
            assert!(!kind.covers(&scope(whole)), "{whole}");
        }
    }
}
