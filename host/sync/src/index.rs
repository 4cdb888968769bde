//! Positions of units and resource mappings within a resync.

use std::fmt;

use berth_core::UnitId;

/// The position of a unit among those that a resync reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnitIndex(u32);

/// The position of a resource mapping in the app-config's `resources[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryIndex(usize);

impl UnitIndex {
    /// Stands for another writer than a unit of the resync.
    pub(crate) const SOMEBODY: Self = Self(u32::MAX);

    /// Returns the unit at a position.
    pub(crate) fn at(position: usize) -> Self {
        Self(u32::try_from(position).unwrap_or(u32::MAX))
    }

    /// Returns its position.
    pub(crate) fn position(self) -> usize {
        self.0 as usize
    }
}

impl EntryIndex {
    /// Returns the resource mapping at a position.
    #[cfg(test)]
    pub(crate) fn at(position: usize) -> Self {
        Self(position)
    }

    /// Returns the resource mapping that a unit belongs to.
    pub(crate) fn of(unit: &UnitId) -> Self {
        Self(unit.resource)
    }

    /// Returns its position.
    pub(crate) fn position(self) -> usize {
        self.0
    }
}

impl fmt::Display for EntryIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value for each unit of a resync.
#[derive(Debug, Clone, Default)]
pub(crate) struct PerUnit<T>(Vec<T>);

impl<T> PerUnit<T> {
    /// Creates a value for each of this many units.
    pub(crate) fn new(units: usize, value: impl FnMut() -> T) -> Self {
        Self(std::iter::repeat_with(value).take(units).collect())
    }

    pub(crate) fn get_mut(&mut self, unit: UnitIndex) -> Option<&mut T> {
        self.0.get_mut(unit.position())
    }

    /// Iterates in the order of the units.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Returns the values in the order of the units.
    pub(crate) fn into_vec(self) -> Vec<T> {
        self.0
    }
}
