//! Warnings that are logged once.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// The warnings so far. Each would come back with every unit and every resync, and so many lines would hide
/// others.
static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Returns whether the process warns about this for the first time.
pub(crate) fn is_first(what: String) -> bool {
    WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(what)
}
