//! A ledger during one resync.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use berth_core::{LedgerEntry, LedgerReader, LedgerSession, MissingScopes, Problem, Producer, Producers};
use redb::{ReadableTable, WriteTransaction};

use crate::{
    Result,
    identity::Held,
    producers::{Interner, NumberCache, SOMEBODY_ELSE, UNKNOWN},
    record::{
        CATALOG_KEY, ENTITIES, EntityRecord, META, MISSING, RUNS, SET_NUMBERS, SETS, UNIT_NUMBERS, UNITS,
    },
    runs,
    store::{Store, StoreError, Use, lock},
    tables::create_tables,
    view::View,
};

/// The recorded state at the time the ledger was opened.
pub(crate) struct LedgerSnapshot {
    store: Arc<Store>,
    /// The recorded entities; `None` if there were none.
    view: Option<View>,
    /// The scopes that were missing.
    missing: MissingScopes,
    /// Whether a failed look-up was logged: one warning is enough.
    warned: AtomicBool,
}

/// A ledger during one resync.
pub(crate) struct FileLedgerSession {
    reader: LedgerSnapshot,
    /// Identifies the resync that writes.
    writer: Writer,
    /// Numbers of producers that were needed so far.
    numbers: NumberCache,
    /// The sets that apply when the resync [ends](LedgerSession::end): until then, the file holds their
    /// union with the earlier producers.
    exact: Mutex<HashMap<u128, u32>>,
}

/// A resync that writes.
#[derive(Debug, Clone, Copy)]
struct Writer {
    /// Its number in the file.
    run: u32,
    /// Its turn in this process: numbers of the file may repeat after it was started over.
    turn: u32,
}

impl LedgerSnapshot {
    /// Reads the data of this catalog, at a time in seconds since 1970. Also returns which catalog the file
    /// belongs to.
    pub(crate) fn open(
        store: &Arc<Store>,
        catalog: &str,
        interval: Duration,
        now: u64,
    ) -> Result<(Self, Held), StoreError> {
        let Some(transaction) = store.read()? else { return Ok((Self::of(store, None)?, Held::Nothing)) };
        let (held, view) = View::for_catalog(&transaction, catalog, interval, now)?;
        Ok((Self::of(store, view)?, held))
    }

    fn of(store: &Arc<Store>, mut view: Option<View>) -> Result<Self> {
        let missing = view.as_mut().map(View::take_missing).unwrap_or_default();
        // While a view is open, the file grows with every write: the pages in the view are not reused. The
        // first resync writes most, and needs no view.
        let view = match view {
            Some(view) if view.is_empty()? => None,
            view => view,
        };
        Ok(Self { store: Arc::clone(store), view, missing, warned: AtomicBool::new(false) })
    }
}

impl FileLedgerSession {
    /// Begins a resync, at a time in seconds since 1970. Also returns which catalog the file belonged to.
    pub(crate) fn begin(
        store: &Arc<Store>,
        catalog: &str,
        interval: Duration,
        now: u64,
    ) -> Result<(Self, Held), StoreError> {
        let transaction = store.write()?;
        let held = claim(&transaction, catalog)?;
        // Records under an earlier identity may belong to another organization.
        let trust_nothing = held != Held::Same;
        let run = runs::begin(&transaction, trust_nothing, interval, now)?;
        // Before any other write, so that earlier sessions can no longer write.
        let turn = store.next_turn();
        transaction.commit()?;
        let view = match store.read()? {
            Some(transaction) => Some(View::of(&transaction, Some(run), interval, now)?),
            None => None,
        };
        let session = Self {
            reader: LedgerSnapshot::of(store, view)?,
            writer: Writer { run, turn },
            numbers: NumberCache::default(),
            exact: Mutex::default(),
        };
        Ok((session, held))
    }

    /// Begins a transaction of this resync, and returns the resync's number.
    fn transaction(&self) -> Result<(WriteTransaction, u32), StoreError> {
        let Writer { run, turn } = self.writer;
        Ok((self.reader.store.write_in_turn(turn)?, run))
    }

    fn write(&self, entries: &[(u128, Option<LedgerEntry>)]) -> Result<(), StoreError> {
        let (transaction, run) = self.transaction()?;
        let mut exact = HashMap::new();
        let numbers = {
            let mut entities = transaction.open_table(ENTITIES)?;
            let mut interner = Interner::open(&transaction, &self.numbers)?;
            for (key, entry) in entries {
                let Some(entry) = entry else {
                    entities.remove(key)?;
                    exact.insert(*key, None);
                    continue;
                };
                let former = entities.get(key)?.map(|record| EntityRecord::from_bytes(record.value()));
                let set = interner.number(&entry.producers)?;
                let stored = Stored::until_the_end(&mut interner, former, run, set)?;
                let content = entry.content.unwrap_or(0);
                let record = EntityRecord { content, set: stored.set, run, provisional: stored.provisional };
                entities.insert(key, record.to_bytes())?;
                exact.insert(*key, stored.exact);
            }
            interner.close()
        };
        transaction.commit()?;
        self.numbers.keep(numbers);
        let mut all = lock(&self.exact);
        for (key, set) in exact {
            match set {
                Some(set) => _ = all.insert(key, set),
                None => _ = all.remove(&key),
            }
        }
        Ok(())
    }

    /// Assigns numbers to these sets. The records get them when the resync ends.
    fn write_producers(&self, entries: &[(u128, Producers)]) -> Result<(), StoreError> {
        let (transaction, _) = self.transaction()?;
        let mut exact = Vec::with_capacity(entries.len());
        let numbers = {
            let mut interner = Interner::open(&transaction, &self.numbers)?;
            for (key, producers) in entries {
                exact.push((*key, interner.number(producers)?));
            }
            interner.close()
        };
        transaction.commit()?;
        self.numbers.keep(numbers);
        lock(&self.exact).extend(exact);
        Ok(())
    }

    fn finish(&self, missing: &MissingScopes) -> Result<(), StoreError> {
        let (transaction, run) = self.transaction()?;
        let mut exact = lock(&self.exact);
        {
            let mut entities = transaction.open_table(ENTITIES)?;
            for (key, set) in exact.iter() {
                let record = entities.get(key)?.map(|record| EntityRecord::from_bytes(record.value()));
                if let Some(record) = record {
                    entities.insert(key, EntityRecord { set: *set, ..record }.to_bytes())?;
                }
            }
            transaction.delete_table(MISSING)?;
            let mut scopes = transaction.open_table(MISSING)?;
            for (scope, count) in missing {
                scopes.insert(scope.to_string().as_str(), count)?;
            }
            let mut runs = transaction.open_table(RUNS)?;
            let started = runs.get(run)?.map(|row| row.value().0);
            if let Some(started) = started {
                runs.insert(run, (started, true))?;
            }
        }
        transaction.commit()?;
        exact.clear();
        Ok(())
    }
}

/// How the file stores the producers of an entity until the resync ends. If it never ends, the producers
/// are not fewer than before: units that had not been read yet may have produced the entity, too.
struct Stored {
    set: u32,
    /// Whether the set is unknown unless the resync ends.
    provisional: bool,
    /// The set that replaces this one when the resync ends.
    exact: Option<u32>,
}

impl Stored {
    fn until_the_end(
        interner: &mut Interner<'_>,
        former: Option<EntityRecord>,
        run: u32,
        set: u32,
    ) -> Result<Self> {
        let lasting = Self { set, provisional: false, exact: None };
        if set == UNKNOWN || set == SOMEBODY_ELSE {
            return Ok(lasting);
        }
        // A provisional record of this resync does not count as known either.
        let known = former.filter(|record| record.run != run || !record.provisional);
        let together = match known {
            Some(record) => interner.union(record.set, set)?,
            None => UNKNOWN,
        };
        Ok(match together {
            UNKNOWN => Self { provisional: true, ..lasting },
            _ if together == set => lasting,
            _ => Self { set: together, exact: Some(set), ..lasting },
        })
    }
}

impl fmt::Debug for FileLedgerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl fmt::Debug for LedgerSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl LedgerReader for LedgerSnapshot {
    fn look_up(&self, key: u128) -> Option<LedgerEntry> {
        self.view.as_ref()?.entry(key).unwrap_or_else(|error| {
            let problem = self.store.failed(Use::Reading, &error.into());
            if !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(%problem, "cannot read the ledger; comparing with the catalog instead");
            }
            None
        })
    }

    fn each_key(&self, visit: &mut dyn FnMut(u128)) -> Result<(), Problem> {
        let Some(view) = &self.view else { return Ok(()) };
        view.each_key(visit).map_err(|error| self.store.failed(Use::Reading, &error.into()))
    }

    fn missing_scopes(&self) -> Result<MissingScopes, Problem> {
        Ok(self.missing.clone())
    }
}

impl LedgerReader for FileLedgerSession {
    fn look_up(&self, key: u128) -> Option<LedgerEntry> {
        self.reader.look_up(key)
    }

    fn each_key(&self, visit: &mut dyn FnMut(u128)) -> Result<(), Problem> {
        self.reader.each_key(visit)
    }

    fn missing_scopes(&self) -> Result<MissingScopes, Problem> {
        self.reader.missing_scopes()
    }
}

impl LedgerSession for FileLedgerSession {
    fn record(&self, entries: &[(u128, Option<LedgerEntry>)]) -> Result<(), Problem> {
        self.write(entries).map_err(|error| self.reader.store.failed(Use::Writing, &error))
    }

    fn record_producers(&self, entries: &[(u128, Producers)]) -> Result<(), Problem> {
        self.write_producers(entries).map_err(|error| self.reader.store.failed(Use::Writing, &error))
    }

    fn end(self: Arc<Self>, missing: &MissingScopes) -> Result<(), Problem> {
        self.finish(missing).map_err(|error| self.reader.store.failed(Use::Writing, &error))
    }
}

/// Assigns the file to this catalog, and returns which catalog it belonged to. Drops the data of another
/// catalog.
fn claim(transaction: &WriteTransaction, catalog: &str) -> Result<Held> {
    let mut meta = transaction.open_table(META)?;
    let held = Held::of(meta.get(CATALOG_KEY)?.as_ref().map(redb::AccessGuard::value), catalog);
    if held != Held::Same {
        meta.insert(CATALOG_KEY, catalog)?;
    }
    if held != Held::Same {
        transaction.delete_table(MISSING)?;
    }
    if !held.is_usable() {
        transaction.delete_table(ENTITIES)?;
        transaction.delete_table(UNITS)?;
        transaction.delete_table(UNIT_NUMBERS)?;
        transaction.delete_table(SETS)?;
        transaction.delete_table(SET_NUMBERS)?;
    }
    create_tables(transaction)?;
    Ok(held)
}

/// Makes the contents of these entities uncertain and adds producers, if the file belongs to this catalog.
pub(crate) fn invalidate(
    store: &Store,
    catalog: &str,
    keys: &[(u128, Option<Producer>)],
) -> Result<(), StoreError> {
    let transaction = store.write()?;
    let held = {
        let meta = transaction.open_table(META)?;
        Held::of(meta.get(CATALOG_KEY)?.as_ref().map(redb::AccessGuard::value), catalog)
    };
    if held.is_usable() {
        let cache = NumberCache::default();
        let mut interner = Interner::open(&transaction, &cache)?;
        let mut entities = transaction.open_table(ENTITIES)?;
        for (key, producer) in keys {
            let record = entities.get(key)?.map(|record| EntityRecord::from_bytes(record.value()));
            let set = match producer {
                Some(producer) => Some(interner.number(&Producers::one(producer.clone()))?),
                None => None,
            };
            let record = match (record, set) {
                (None, None) => continue,
                (None, Some(set)) => EntityRecord { content: 0, set, run: 0, provisional: false },
                (Some(record), None) => EntityRecord { content: 0, ..record },
                (Some(record), Some(set)) => {
                    EntityRecord { content: 0, set: interner.union(record.set, set)?, ..record }
                }
            };
            entities.insert(key, record.to_bytes())?;
        }
    }
    transaction.commit()?;
    Ok(())
}
