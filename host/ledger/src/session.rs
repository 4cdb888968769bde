//! A ledger during one resync.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use berth_core::{Intent, Known, LedgerSession, Origin, Problem};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, WriteTransaction};

use crate::{
    file::Store,
    record::{CATALOG, ENTITIES, META, RUNS, Record, UNIT_NUMBERS, UNITS, line, origin},
};

/// Any failure of the file.
type Result<T, E = redb::Error> = std::result::Result<T, E>;

/// A ledger during one resync.
pub(crate) struct Session {
    store: Arc<Store>,
    /// What was known at the beginning; `None` when nothing was.
    known: Option<View>,
    /// Resyncs whose records may be relied on.
    trusted: HashSet<u32>,
    /// The number of this resync, when it writes.
    run: Option<u32>,
    /// Numbers of units, as far as they were needed.
    numbers: Mutex<HashMap<Arc<Origin>, u32>>,
    /// Whether a failing look-up was told: one is enough.
    told: AtomicBool,
}

/// The file as it was at the beginning.
struct View {
    entities: ReadOnlyTable<u128, [u8; Record::LEN]>,
    units: ReadOnlyTable<u32, &'static str>,
    /// Units as far as they were looked up.
    origins: Mutex<HashMap<u32, Option<Arc<Origin>>>>,
}

impl View {
    fn of(transaction: &ReadTransaction) -> Result<Self> {
        Ok(Self {
            entities: transaction.open_table(ENTITIES)?,
            units: transaction.open_table(UNITS)?,
            origins: Mutex::default(),
        })
    }

    fn origin(&self, number: u32) -> Result<Option<Arc<Origin>>> {
        let mut origins = lock(&self.origins);
        if let Some(known) = origins.get(&number) {
            return Ok(known.clone());
        }
        let found = self.units.get(number)?.and_then(|line| origin(line.value())).map(Arc::new);
        origins.insert(number, found.clone());
        Ok(found)
    }
}

impl Session {
    /// Begins a resync. The second value is the catalog that the file was about, if it was another.
    pub(crate) fn begin(
        store: &Arc<Store>,
        catalog: &str,
        intent: Intent,
        interval: Duration,
        now: SystemTime,
    ) -> Result<(Self, Option<String>)> {
        let mut session = Self {
            store: Arc::clone(store),
            known: None,
            trusted: HashSet::new(),
            run: None,
            numbers: Mutex::default(),
            told: AtomicBool::new(false),
        };
        let mut other = None;
        if intent == Intent::Write {
            let transaction = write(store)?;
            other = claim(&transaction, catalog)?;
            session.run = Some(begin_run(&transaction, interval, seconds(now))?);
            transaction.commit()?;
        }
        let Some(transaction) = store.read()? else { return Ok((session, None)) };
        if intent == Intent::ReadOnly {
            let meta = transaction.open_table(META)?;
            let held = meta.get(CATALOG)?.map(|held| held.value().to_owned());
            if held.as_deref() != Some(catalog) {
                return Ok((session, held));
            }
        }
        session.trusted = trusted(&transaction, session.run, interval, seconds(now))?;
        session.known = Some(View::of(&transaction)?);
        Ok((session, other))
    }

    fn find(&self, key: u128) -> Result<Option<Known>> {
        let Some(view) = &self.known else { return Ok(None) };
        let Some(record) = view.entities.get(key)? else { return Ok(None) };
        let record = Record::from_bytes(record.value());
        let certain = record.content != 0 && self.trusted.contains(&record.run);
        Ok(Some(Known { content: certain.then_some(record.content), origin: view.origin(record.unit)? }))
    }

    fn write(&self, run: u32, entries: &[(u128, Option<Known>)]) -> Result<()> {
        let transaction = write(&self.store)?;
        let mut fresh: HashMap<Arc<Origin>, u32> = HashMap::new();
        {
            let mut entities = transaction.open_table(ENTITIES)?;
            let mut units = Units::open(&transaction)?;
            for (key, known) in entries {
                let Some(known) = known else {
                    entities.remove(key)?;
                    continue;
                };
                let unit = match &known.origin {
                    None => 0,
                    Some(origin) => {
                        let number = fresh.get(origin).or(lock(&self.numbers).get(origin)).copied();
                        match number {
                            Some(number) => number,
                            None => *fresh.entry(Arc::clone(origin)).or_insert(units.number(origin)?),
                        }
                    }
                };
                let record = Record { content: known.content.unwrap_or(0), unit, run };
                entities.insert(key, record.to_bytes())?;
            }
        }
        transaction.commit()?;
        lock(&self.numbers).extend(fresh);
        Ok(())
    }
}

/// Makes doubtful what is recorded of these entities, if the file is about this catalog.
pub(crate) fn doubt(store: &Store, catalog: &str, keys: &[u128]) -> Result<()> {
    let transaction = write(store)?;
    let held = transaction.open_table(META)?.get(CATALOG)?.map(|held| held.value().to_owned());
    if held.as_deref() == Some(catalog) {
        let mut entities = transaction.open_table(ENTITIES)?;
        for key in keys {
            let known = entities.get(key)?.map(|record| Record::from_bytes(record.value()));
            if let Some(known) = known {
                entities.insert(key, Record { content: 0, ..known }.to_bytes())?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("run", &self.run).finish_non_exhaustive()
    }
}

impl LedgerSession for Session {
    fn look_up(&self, key: u128) -> Option<Known> {
        self.find(key).unwrap_or_else(|error| {
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(%error, "the ledger cannot be read; what it says is looked up in the catalog");
            }
            None
        })
    }

    fn each_key(&self, tell: &mut dyn FnMut(u128)) -> Result<(), Problem> {
        let Some(view) = &self.known else { return Ok(()) };
        let mut all = || {
            for entry in view.entities.iter()? {
                tell(entry?.0.value());
            }
            Ok(())
        };
        all().map_err(|error: redb::Error| Problem::new(format!("the ledger cannot be read: {error}")))
    }

    fn record(&self, entries: &[(u128, Option<Known>)]) -> Result<(), Problem> {
        let Some(run) = self.run else { return Err(read_only()) };
        self.write(run, entries).map_err(|error| unwritten(&error))
    }

    fn end(&self) -> Result<(), Problem> {
        let Some(run) = self.run else { return Err(read_only()) };
        let end = || {
            let transaction = write(&self.store)?;
            {
                let mut runs = transaction.open_table(RUNS)?;
                let started = runs.get(run)?.map(|row| row.value().0);
                // Another catalog may have taken the file meanwhile.
                if let Some(started) = started {
                    runs.insert(run, (started, true))?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        end().map_err(|error: redb::Error| unwritten(&error))
    }
}

/// Numbers of units in the file.
struct Units<'t> {
    lines: Table<'t, u32, &'static str>,
    numbers: Table<'t, &'static str, u32>,
}

impl<'t> Units<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self> {
        Ok(Self { lines: transaction.open_table(UNITS)?, numbers: transaction.open_table(UNIT_NUMBERS)? })
    }

    /// The number of a unit; the next free one when it has none.
    fn number(&mut self, origin: &Origin) -> Result<u32> {
        let line = line(origin);
        if let Some(number) = self.numbers.get(line.as_str())?.map(|number| number.value()) {
            return Ok(number);
        }
        let number = self.lines.last()?.map_or(0, |(last, _)| last.value()) + 1;
        self.lines.insert(number, line.as_str())?;
        self.numbers.insert(line.as_str(), number)?;
        Ok(number)
    }
}

/// Makes the file one about this catalog; what it held of another is dropped, and that one named.
fn claim(transaction: &WriteTransaction, catalog: &str) -> Result<Option<String>> {
    let held = {
        let meta = transaction.open_table(META)?;
        meta.get(CATALOG)?.map(|held| held.value().to_owned())
    };
    if held.as_deref() == Some(catalog) {
        return Ok(None);
    }
    transaction.delete_table(ENTITIES)?;
    transaction.delete_table(UNITS)?;
    transaction.delete_table(UNIT_NUMBERS)?;
    transaction.open_table(ENTITIES)?;
    transaction.open_table(UNITS)?;
    transaction.open_table(UNIT_NUMBERS)?;
    transaction.open_table(META)?.insert(CATALOG, catalog)?;
    Ok(held)
}

/// Numbers a new resync, and forgets those that nothing may rely on any more.
fn begin_run(transaction: &WriteTransaction, interval: Duration, now: u64) -> Result<u32> {
    let mut runs = transaction.open_table(RUNS)?;
    let (mut unended, mut last) = (0, 0);
    for row in runs.iter()? {
        let (number, row) = row?;
        last = number.value();
        if !row.value().1 {
            unended = last;
        }
    }
    runs.retain(|number, (started, _)| number >= unended && is_recent(started, interval, now))?;
    runs.insert(last + 1, (now, false))?;
    Ok(last + 1)
}

/// The resyncs whose records may be relied on: not before the last that did not end (other than
/// the one that just begins), and within the interval.
fn trusted(
    transaction: &ReadTransaction,
    own: Option<u32>,
    interval: Duration,
    now: u64,
) -> Result<HashSet<u32>> {
    let mut trusted = HashSet::new();
    for row in transaction.open_table(RUNS)?.iter()? {
        let (number, row) = row?;
        let (started, ended) = row.value();
        let number = number.value();
        if Some(number) == own {
            continue;
        }
        if !ended {
            trusted.clear();
        }
        if is_recent(started, interval, now) {
            trusted.insert(number);
        }
    }
    Ok(trusted)
}

/// A time to come tells of a clock that was set back: the age is not known.
fn is_recent(started: u64, interval: Duration, now: u64) -> bool {
    now.checked_sub(started).is_some_and(|age| age < interval.as_secs())
}

fn write(store: &Store) -> Result<WriteTransaction> {
    match store {
        Store::Writable(database) => Ok(database.begin_write()?),
        Store::Readable(_) | Store::Absent => {
            Err(redb::Error::Io(std::io::Error::other("the ledger was opened for reading")))
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_only() -> Problem {
    Problem::new("the ledger was opened for reading")
}

pub(crate) fn unwritten(error: &redb::Error) -> Problem {
    Problem::new(format!("the ledger cannot be written: {error}"))
        .remedy("check that the disk of the state directory has room")
}
