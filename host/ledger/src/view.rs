//! A view of the file at one moment.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use berth_core::{AccountId, Kind, LedgerEntry, MissingScopes};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};

use crate::{
    Result,
    identity::Held,
    producers::ProducerReader,
    record::{CATALOG_KEY, ENTITIES, EntityRecord, META, MISSING},
    runs::Runs,
    tables,
};

/// A view of the file at one moment.
pub(crate) struct View {
    entities: ReadOnlyTable<u128, [u8; EntityRecord::LEN]>,
    producers: ProducerReader,
    /// The number of consecutive complete resyncs in which scopes were missing.
    missing: MissingScopes,
    runs: Runs,
}

impl View {
    /// Returns a view of the current file, for the resync with the number `own`, if there is one.
    pub(crate) fn of(
        transaction: &ReadTransaction,
        own: Option<u32>,
        interval: Duration,
        now: u64,
    ) -> Result<Self> {
        Ok(Self {
            entities: transaction.open_table(ENTITIES)?,
            producers: ProducerReader::of(transaction)?,
            missing: missing_scopes(transaction)?,
            runs: Runs::read(transaction, own, interval, now)?,
        })
    }

    /// Returns the data about this catalog outside a resync that writes, and which catalog the file belongs
    /// to.
    pub(crate) fn for_catalog(
        transaction: &ReadTransaction,
        catalog: &str,
        interval: Duration,
        now: u64,
    ) -> Result<(Held, Option<Self>)> {
        let Some(meta) = tables::optional(transaction.open_table(META))? else {
            return Ok((Held::Nothing, None));
        };
        let held = Held::of(meta.get(CATALOG_KEY)?.as_ref().map(redb::AccessGuard::value), catalog);
        if !held.is_usable() {
            return Ok((held, None));
        }
        let mut view = Self::of(transaction, None, interval, now)?;
        if held == Held::WithoutOrganization {
            view.runs.trust_nothing();
            view.missing.clear();
        }
        Ok((held, Some(view)))
    }

    /// Returns the record of an entity.
    pub(crate) fn entry(&self, key: u128) -> Result<Option<LedgerEntry>> {
        let Some(record) = self.entities.get(key)? else { return Ok(None) };
        let record = EntityRecord::from_bytes(record.value());
        let producers = self.producers.get(self.runs.set(record))?;
        Ok(Some(LedgerEntry { content: self.runs.content(record), producers }))
    }

    /// Visits the key of every entity.
    pub(crate) fn each_key(&self, visit: &mut dyn FnMut(u128)) -> Result<()> {
        for entity in self.entities.iter()? {
            visit(entity?.0.value());
        }
        Ok(())
    }

    /// Takes the missing scopes.
    pub(crate) fn take_missing(&mut self) -> MissingScopes {
        std::mem::take(&mut self.missing)
    }

    /// Returns whether there is no record of any entity.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        Ok(self.entities.is_empty()?)
    }

    /// Counts the entities of each account and kind of their producers.
    pub(crate) fn totals(&self) -> Result<BTreeMap<(AccountId, Kind), u64>> {
        let mut by_set: HashMap<u32, u64> = HashMap::new();
        for entity in self.entities.iter()? {
            let record = EntityRecord::from_bytes(entity?.1.value());
            *by_set.entry(self.runs.set(record)).or_default() += 1;
        }
        let mut totals = BTreeMap::new();
        for (set, count) in by_set {
            let producers = self.producers.get(set)?;
            let units = producers.known().unwrap_or_default().iter();
            let parts: BTreeSet<_> = units.map(|unit| (unit.account.clone(), unit.kind.clone())).collect();
            for part in parts {
                *totals.entry(part).or_default() += count;
            }
        }
        Ok(totals)
    }
}

fn missing_scopes(transaction: &ReadTransaction) -> Result<MissingScopes> {
    let mut scopes = MissingScopes::new();
    // A file of format 1 does not have it.
    let Some(missing) = tables::optional(transaction.open_table(MISSING))? else { return Ok(scopes) };
    for row in missing.iter()? {
        let (text, count) = row?;
        match text.value().parse() {
            Ok(scope) => _ = scopes.insert(scope, count.value()),
            // The count starts again, so the scope's entities are kept for longer.
            Err(error) => tracing::warn!(error, "cannot read a scope in the ledger"),
        }
    }
    Ok(scopes)
}
