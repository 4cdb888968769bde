//! Resyncs by number: which of them count, and how records of those that did not end are handled.

use std::{collections::HashSet, time::Duration};

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::{
    Result,
    producers::UNKNOWN,
    record::{ENTITIES, EntityRecord, RUNS},
};

/// The resyncs that a session relies on.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// Resyncs whose contents count.
    trusted: HashSet<u32>,
    /// Resyncs that have not ended.
    unended: HashSet<u32>,
}

impl Runs {
    /// Reads the resyncs. Contents count if they are not older than the last resync that did not end (other
    /// than `own`, which just begins), and if their resync began within the interval.
    pub(crate) fn read(
        transaction: &ReadTransaction,
        own: Option<u32>,
        interval: Duration,
        now: u64,
    ) -> Result<Self> {
        let mut runs = Self::default();
        for row in transaction.open_table(RUNS)?.iter()? {
            let (number, row) = row?;
            let (started, ended) = row.value();
            let number = number.value();
            if Some(number) == own {
                continue;
            }
            if !ended {
                runs.trusted.clear();
                runs.unended.insert(number);
            }
            if is_recent(started, interval, now) {
                runs.trusted.insert(number);
            }
        }
        Ok(runs)
    }

    /// Makes all contents uncertain.
    pub(crate) fn trust_nothing(&mut self) {
        self.trusted.clear();
    }

    /// Returns the content of a record, if it is certain.
    pub(crate) fn content(&self, record: EntityRecord) -> Option<u128> {
        (record.content != 0 && self.trusted.contains(&record.run)).then_some(record.content)
    }

    /// Returns the number of a record's producers.
    pub(crate) fn set(&self, record: EntityRecord) -> u32 {
        if record.provisional && self.unended.contains(&record.run) { UNKNOWN } else { record.set }
    }
}

/// Numbers a new resync, and removes those that no record needs; all of them if `trust_nothing`.
pub(crate) fn begin(
    transaction: &WriteTransaction,
    trust_nothing: bool,
    interval: Duration,
    now: u64,
) -> Result<u32> {
    let mut runs = transaction.open_table(RUNS)?;
    let (mut unended, mut last) = (HashSet::new(), 0);
    for row in runs.iter()? {
        let (number, row) = row?;
        last = number.value();
        if !row.value().1 {
            unended.insert(last);
        }
    }
    settle(transaction, &unended)?;
    let from = unended.into_iter().max().unwrap_or(0);
    runs.retain(|number, (started, _)| {
        !trust_nothing && number >= from && is_recent(started, interval, now)
    })?;
    runs.insert(last + 1, (now, false))?;
    Ok(last + 1)
}

/// Makes provisional records of resyncs that did not end permanently unknown: once the resyncs are removed,
/// the records would count as exact.
fn settle(transaction: &WriteTransaction, unended: &HashSet<u32>) -> Result<()> {
    if unended.is_empty() {
        return Ok(());
    }
    let mut entities = transaction.open_table(ENTITIES)?;
    let mut provisional = Vec::new();
    for entity in entities.iter()? {
        let (key, record) = entity?;
        let record = EntityRecord::from_bytes(record.value());
        if record.provisional && unended.contains(&record.run) {
            provisional.push((key.value(), record));
        }
    }
    for (key, record) in provisional {
        entities.insert(key, EntityRecord { set: UNKNOWN, provisional: false, ..record }.to_bytes())?;
    }
    Ok(())
}

/// A start in the future means that the clock was set back: the age is unknown.
fn is_recent(started: u64, interval: Duration, now: u64) -> bool {
    now.checked_sub(started).is_some_and(|age| age < interval.as_secs())
}
