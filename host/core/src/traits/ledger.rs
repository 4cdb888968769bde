//! The optional trait by which a catalog is remembered from one resync to the next.

use std::{collections::BTreeMap, fmt, fmt::Debug, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{AccountId, Kind, Place, Problem, Region};

/// A unit that produced an entity, in names that last from one resync to the next (the position of
/// an entry of `resources[]` does not, so all entries of a kind count as one producer).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Producer {
    /// The account that was read.
    pub account: AccountId,
    /// Where it was read.
    pub place: Place,
    /// The kind that was read.
    pub kind: Kind,
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.account, self.place, self.kind)
    }
}

/// The units that produced an entity when it was last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Producers {
    /// Nobody knows: any unit may be one.
    #[default]
    Unknown,
    /// These, sorted, each once, at least one.
    Known(Arc<[Producer]>),
    /// The catalog found the entity by a search query: somebody else made it, so it is never deleted.
    SomebodyElse,
}

impl Producers {
    /// Exactly these; [`Unknown`](Self::Unknown) when there are none.
    pub fn these(producers: impl IntoIterator<Item = Producer>) -> Self {
        let mut producers: Vec<Producer> = producers.into_iter().collect();
        producers.sort_unstable();
        producers.dedup();
        if producers.is_empty() { Self::Unknown } else { Self::Known(producers.into()) }
    }

    /// Exactly this one.
    pub fn one(producer: Producer) -> Self {
        Self::Known(Arc::new([producer]))
    }

    /// The producers, as far as they are known.
    pub fn known(&self) -> Option<&[Producer]> {
        match self {
            Self::Known(producers) => Some(producers),
            Self::Unknown | Self::SomebodyElse => None,
        }
    }

    /// These and one more. What nobody knows stays unknown.
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

/// What is known of one entity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerEntry {
    /// A digest of what the catalog has confirmed that it holds. `None`: that is not certain (any
    /// more), so it has to be looked at.
    pub content: Option<u128>,
    /// The units that produced it.
    pub producers: Producers,
}

/// A scope that is not read any more, although it was: an account that left the list, or a region that
/// was opted out or excluded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum RemovedScope {
    /// An account.
    Account(AccountId),
    /// A region of an account, or of any account.
    Region(Option<AccountId>, Region),
    /// A region of an account for one kind: the mapping's `regionPolicy` leaves it out.
    KindRegion(AccountId, Region, Kind),
}

impl RemovedScope {
    /// Whether a removal of this scope is also one of `other`.
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
    /// As `--confirm-removal` takes it: `account=111111111111`, `region=eu-west-1`,
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
                _ => Err(format!("`{text}` names too much")),
            },
            _ => Err(format!(
                "`{text}` is none of `account=<id>`, `region=<region>` and `region=<account>/<region>`"
            )),
        }
    }
}

/// In how many complete resyncs in a row each scope was missing.
pub type MissingScopes = BTreeMap<RemovedScope, u32>;

/// What is remembered of a catalog from one resync to the next: on disk, in a database, in a test.
///
/// It is a memory and never the truth: without it everything is looked up in the catalog. All that
/// it says was confirmed by the catalog before it was recorded.
pub trait Ledger: Send + Sync + Debug {
    /// What is known of the catalog with this [identity](crate::CatalogInfo::identity), and of no other. May
    /// block.
    ///
    /// # Errors
    /// A [`Problem`] when it cannot be used; the work then does without.
    fn read(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerReader>>, Problem>;

    /// Begins a resync of the catalog with this identity. May block.
    ///
    /// # Errors
    /// As those of [`read`](Self::read).
    fn begin(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerSession>>, Problem>;

    /// Makes uncertain what is recorded about what the catalog with this identity holds of these
    /// entities, because something else than a resync is about to write them. Who produced them stays
    /// known; a producer that is given is added, also to an entity that is not recorded yet. Lasting
    /// when this returns. May block.
    ///
    /// # Errors
    /// A [`Problem`] when it could not be recorded; nothing may then be written beside a resync.
    fn invalidate(&self, catalog: &str, keys: &[(u128, Option<Producer>)]) -> Result<(), Problem>;

    /// What is recorded of these entities of the catalog with this identity, in their order. May block.
    ///
    /// # Errors
    /// A [`Problem`] when it cannot be read; then nothing may be deleted by it.
    fn entries(&self, catalog: &str, keys: &[u128]) -> Result<Vec<Option<LedgerEntry>>, Problem>;

    /// How many entities are recorded for each account and kind of the catalog with this identity; one
    /// with several producers counts for each. May block.
    ///
    /// # Errors
    /// A [`Problem`] when it cannot be read.
    fn totals(&self, catalog: &str) -> Result<BTreeMap<(AccountId, Kind), u64>, Problem>;

    /// Whether its calls, and those of its sessions, may block. If not, they are made where they are needed,
    /// without a thread of their own.
    fn may_block(&self) -> bool {
        true
    }
}

/// A ledger that is open, and what can be done with it.
#[derive(Debug, Clone)]
pub struct OpenedLedger<S> {
    /// What can be done.
    pub session: S,
    /// Remarks for the operator.
    pub notes: Vec<String>,
}

/// What was known when a ledger was opened. Keys are digests of entity keys. All methods may block for as
/// long as a local disk takes.
pub trait LedgerReader: Send + Sync + Debug {
    /// What is known of an entity; `None` when nothing is. Called once for each mapped entity, from
    /// where nothing may block for long.
    fn look_up(&self, key: u128) -> Option<LedgerEntry>;

    /// Calls `visit` with the key of every entity that something is known of.
    ///
    /// # Errors
    /// A [`Problem`] when they cannot be read; then nothing that is known may be relied on.
    fn each_key(&self, visit: &mut dyn FnMut(u128)) -> Result<(), Problem>;

    /// In how many complete resyncs in a row scopes were missing.
    ///
    /// # Errors
    /// A [`Problem`] when they cannot be read; then no scope counts as missing before.
    fn missing_scopes(&self) -> Result<MissingScopes, Problem>;
}

/// A ledger during one resync. All methods may block for as long as a local disk takes.
pub trait LedgerSession: LedgerReader {
    /// Records what the catalog confirmed; `None` forgets an entity. All or nothing, and lasting
    /// when this returns.
    ///
    /// # Errors
    /// A [`Problem`] when it could not be recorded; the session must then not [end](Self::end).
    fn record(&self, entries: &[(u128, Option<LedgerEntry>)]) -> Result<(), Problem>;

    /// Replaces the producers of entities that are recorded, this session's records included; what is
    /// known of their contents stays.
    ///
    /// # Errors
    /// A [`Problem`] when it could not be recorded; the session must then not [end](Self::end).
    fn record_producers(&self, entries: &[(u128, Producers)]) -> Result<(), Problem>;

    /// Says that everything that was sent to the catalog is recorded, and which scopes are missing now;
    /// all others are forgotten. A session that never ends, as when the process is killed, may have
    /// sent what it did not record: sessions to come then rely only on what was recorded since it began.
    ///
    /// # Errors
    /// A [`Problem`], for the log; the session then counts as not ended.
    fn end(self: Arc<Self>, missing: &MissingScopes) -> Result<(), Problem>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_they_are_written() {
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
    fn a_removal_covers_what_is_within() {
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
