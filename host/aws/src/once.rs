//! Warnings that are written once.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// The warnings so far. The same one comes back with every unit and every resync: more than one line each would
/// hide others.
static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Returns whether the process warns of this for the first time.
pub(crate) fn is_first(what: String) -> bool {
    WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(what)
}
