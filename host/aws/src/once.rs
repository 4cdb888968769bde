//! Warnings that are written once.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// What was warned of. The same comes back with every unit and every resync: more than one line each would
/// hide others.
static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Whether this is the first time that the process warns of this.
pub(crate) fn is_first(what: String) -> bool {
    WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(what)
}
