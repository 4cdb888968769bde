//! Numbers sets of units, so that a record stores the producers of an entity in four bytes.
//!
//! | number | producers |
//! | --- | --- |
//! | 0 | unknown |
//! | 1 to 2³¹ − 1 | only the unit with this number |
//! | 2³¹ | somebody else |
//! | from 2³¹ + 1 | the set of several units with this number |
//!
//! A number keeps its meaning as long as the file belongs to the same catalog.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use berth_core::{Producer, Producers};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, WriteTransaction};

use crate::{
    Result,
    record::{SET_NUMBERS, SETS, UNIT_NUMBERS, UNITS, parse_set, parse_unit, set_bytes, unit_line},
    tables,
};

/// The number of unknown producers.
pub(crate) const UNKNOWN: u32 = 0;
/// The number of [`Producers::SomebodyElse`]; units have lower numbers, sets higher ones.
pub(crate) const SOMEBODY_ELSE: u32 = 1 << 31;

/// Producers by number, in a view of the file.
pub(crate) struct ProducerReader {
    units: ReadOnlyTable<u32, &'static str>,
    /// Missing in a file of format 1.
    sets: Option<ReadOnlyTable<u32, &'static [u8]>>,
    /// Producers that were read, so that entities share them.
    cache: RwLock<HashMap<u32, Producers>>,
}

impl ProducerReader {
    pub(crate) fn of(transaction: &ReadTransaction) -> Result<Self> {
        Ok(Self {
            units: transaction.open_table(UNITS)?,
            sets: tables::optional(transaction.open_table(SETS))?,
            cache: RwLock::default(),
        })
    }

    /// Returns the producers with this number. If one of them is not in the file, all are unknown: the
    /// others alone would be too few.
    pub(crate) fn get(&self, number: u32) -> Result<Producers> {
        match number {
            UNKNOWN => return Ok(Producers::Unknown),
            SOMEBODY_ELSE => return Ok(Producers::SomebodyElse),
            _ => {}
        }
        if let Some(cached) = self.cache.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(cached.clone());
        }
        let found = self.read(number)?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have read it in the meantime: all share the first value.
        Ok(cache.entry(number).or_insert(found).clone())
    }

    fn read(&self, number: u32) -> Result<Producers> {
        if number < SOMEBODY_ELSE {
            return Ok(self.unit(number)?.map_or(Producers::Unknown, Producers::one));
        }
        let Some(sets) = &self.sets else { return Ok(Producers::Unknown) };
        let units = sets.get(number)?.and_then(|bytes| parse_set(bytes.value()));
        let mut producers = Vec::new();
        for unit in units.into_iter().flatten() {
            match self.unit(unit)? {
                Some(producer) => producers.push(producer),
                None => return Ok(Producers::Unknown),
            }
        }
        Ok(Producers::these(producers))
    }

    fn unit(&self, number: u32) -> Result<Option<Producer>> {
        Ok(self.units.get(number)?.and_then(|line| parse_unit(line.value())))
    }
}

/// The numbers that a session knows, kept between its transactions.
#[derive(Default)]
pub(crate) struct NumberCache(Mutex<Numbers>);

#[derive(Default)]
struct Numbers {
    of_producers: HashMap<Arc<[Producer]>, u32>,
    units_of: HashMap<u32, Arc<[u32]>>,
}

impl NumberCache {
    fn swap(&self, numbers: Numbers) -> Numbers {
        mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), numbers)
    }

    /// Keeps the numbers of a committed transaction.
    pub(crate) fn keep(&self, committed: Committed) {
        self.swap(committed.0);
    }
}

/// The numbers to [keep](NumberCache::keep) once the transaction is committed.
pub(crate) struct Committed(Numbers);

/// Assigns numbers to producers, within a transaction.
pub(crate) struct Interner<'t> {
    unit_lines: Table<'t, u32, &'static str>,
    unit_numbers: Table<'t, &'static str, u32>,
    sets: Table<'t, u32, &'static [u8]>,
    set_numbers: Table<'t, &'static [u8], u32>,
    numbers: Numbers,
}

impl<'t> Interner<'t> {
    /// Takes the numbers from the cache. The cache stays empty unless the transaction is committed, so that
    /// it never contains a number that the file does not.
    pub(crate) fn open(transaction: &'t WriteTransaction, cache: &NumberCache) -> Result<Self> {
        Ok(Self {
            unit_lines: transaction.open_table(UNITS)?,
            unit_numbers: transaction.open_table(UNIT_NUMBERS)?,
            sets: transaction.open_table(SETS)?,
            set_numbers: transaction.open_table(SET_NUMBERS)?,
            numbers: cache.swap(Numbers::default()),
        })
    }

    pub(crate) fn close(self) -> Committed {
        Committed(self.numbers)
    }

    /// Returns the number of these producers, or assigns the next free one.
    pub(crate) fn number(&mut self, producers: &Producers) -> Result<u32> {
        let known = match producers {
            Producers::Unknown => return Ok(UNKNOWN),
            Producers::SomebodyElse => return Ok(SOMEBODY_ELSE),
            Producers::Known(known) => known,
        };
        if let Some(number) = self.numbers.of_producers.get(known) {
            return Ok(*number);
        }
        let units = known.iter().map(|unit| self.unit_number(unit)).collect::<Result<Vec<u32>>>()?;
        let number = self.set_number(units)?;
        self.numbers.of_producers.insert(Arc::clone(known), number);
        Ok(number)
    }

    /// Returns the number of the union of two sets.
    pub(crate) fn union(&mut self, one: u32, other: u32) -> Result<u32> {
        if one == other {
            return Ok(one);
        }
        match (self.units_of(one)?, self.units_of(other)?) {
            (Some(one), Some(other)) => self.set_number(one.iter().chain(&*other).copied().collect()),
            _ if one == SOMEBODY_ELSE || other == SOMEBODY_ELSE => Ok(SOMEBODY_ELSE),
            _ => Ok(UNKNOWN),
        }
    }

    fn unit_number(&mut self, unit: &Producer) -> Result<u32> {
        let line = unit_line(unit);
        if let Some(number) = self.unit_numbers.get(line.as_str())?.map(|number| number.value()) {
            return Ok(number);
        }
        let number = self.unit_lines.last()?.map_or(0, |(last, _)| last.value()) + 1;
        if number >= SOMEBODY_ELSE {
            return Ok(UNKNOWN);
        }
        self.unit_lines.insert(number, line.as_str())?;
        self.unit_numbers.insert(line.as_str(), number)?;
        Ok(number)
    }

    /// Returns the number of the set of these units; a unit without a number makes it unknown.
    fn set_number(&mut self, mut units: Vec<u32>) -> Result<u32> {
        units.sort_unstable();
        units.dedup();
        match *units {
            [] | [UNKNOWN, ..] => return Ok(UNKNOWN),
            [unit] => return Ok(unit),
            _ => {}
        }
        let bytes = set_bytes(&units);
        if let Some(number) = self.set_numbers.get(bytes.as_slice())?.map(|number| number.value()) {
            return Ok(number);
        }
        let last = self.sets.last()?.map_or(SOMEBODY_ELSE, |(last, _)| last.value());
        let Some(number) = last.checked_add(1) else { return Ok(UNKNOWN) };
        self.sets.insert(number, bytes.as_slice())?;
        self.set_numbers.insert(bytes.as_slice(), number)?;
        self.numbers.units_of.insert(number, units.into());
        Ok(number)
    }

    /// Returns the units of a set; `None` if they are unknown, or if the number is not that of a set of
    /// units.
    fn units_of(&mut self, number: u32) -> Result<Option<Arc<[u32]>>> {
        if number == UNKNOWN || number == SOMEBODY_ELSE {
            return Ok(None);
        }
        if let Some(units) = self.numbers.units_of.get(&number) {
            return Ok(Some(Arc::clone(units)));
        }
        let units: Arc<[u32]> = if number < SOMEBODY_ELSE {
            Arc::new([number])
        } else {
            match self.sets.get(number)?.and_then(|bytes| parse_set(bytes.value())) {
                Some(units) => units.into(),
                None => return Ok(None),
            }
        };
        self.numbers.units_of.insert(number, Arc::clone(&units));
        Ok(Some(units))
    }
}
