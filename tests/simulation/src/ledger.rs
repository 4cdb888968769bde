//! The real ledger, called directly, on a disk that may be full.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use berth_core::{
    AccountId, Kind, Ledger, LedgerEntry, LedgerReader, LedgerSession, MissingScopes, OpenedLedger, Problem,
    ProblemCode, Producer, Producers,
};
use berth_ledger::FileLedger;

use crate::sim::Net;

/// The ledger of a process.
#[derive(Debug)]
pub struct SimulatedLedger {
    /// The real one.
    pub file: FileLedger,
    /// Where its faults come from.
    pub net: Net,
}

/// A reader, or a session.
#[derive(Debug)]
struct SimulatedReader<S: ?Sized> {
    session: Arc<S>,
    net: Net,
}

/// Makes a call, unless the host is killed before it is done.
fn call<T>(net: &Net, writes: bool, call: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    let killed = || Problem::new(ProblemCode::Other, "the host is killed");
    if !net.call_begins() {
        return Err(killed());
    }
    let number = {
        let mut state = net.state.lock().unwrap_or_else(PoisonError::into_inner);
        if writes && state.disk_fault() {
            return Err(Problem::new(ProblemCode::Other, "no space left on device").remedy("free some space"));
        }
        state.calls
    };
    let outcome = call();
    if net.call_ends(number) { outcome } else { Err(killed()) }
}

impl Ledger for SimulatedLedger {
    fn read(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerReader>>, Problem> {
        let opened = call(&self.net, true, || self.file.read(catalog))?;
        let reader = SimulatedReader { session: opened.session, net: self.net.clone() };
        Ok(OpenedLedger { session: Arc::new(reader), notes: opened.notes })
    }

    fn begin(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerSession>>, Problem> {
        let opened = call(&self.net, true, || self.file.begin(catalog))?;
        let session = SimulatedReader { session: opened.session, net: self.net.clone() };
        Ok(OpenedLedger { session: Arc::new(session), notes: opened.notes })
    }

    fn invalidate(&self, catalog: &str, keys: &[(u128, Option<Producer>)]) -> Result<(), Problem> {
        call(&self.net, true, || self.file.invalidate(catalog, keys))
    }

    fn entries(&self, catalog: &str, keys: &[u128]) -> Result<Vec<Option<LedgerEntry>>, Problem> {
        call(&self.net, false, || self.file.entries(catalog, keys))
    }

    fn totals(&self, catalog: &str) -> Result<BTreeMap<(AccountId, Kind), u64>, Problem> {
        call(&self.net, false, || self.file.totals(catalog))
    }

    fn may_block(&self) -> bool {
        false
    }
}

impl<S: LedgerReader + ?Sized> LedgerReader for SimulatedReader<S> {
    fn look_up(&self, key: u128) -> Option<LedgerEntry> {
        self.session.look_up(key)
    }

    fn each_key(&self, visit: &mut dyn FnMut(u128)) -> Result<(), Problem> {
        call(&self.net, false, || self.session.each_key(visit))
    }

    fn missing_scopes(&self) -> Result<MissingScopes, Problem> {
        self.session.missing_scopes()
    }
}

impl LedgerSession for SimulatedReader<dyn LedgerSession> {
    fn record(&self, entries: &[(u128, Option<LedgerEntry>)]) -> Result<(), Problem> {
        call(&self.net, true, || self.session.record(entries))?;
        let mut state = self.net.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, entry) in entries {
            if entry.is_some() {
                state.recorded.insert(*key);
            } else {
                state.recorded.remove(key);
            }
        }
        Ok(())
    }

    fn record_producers(&self, entries: &[(u128, Producers)]) -> Result<(), Problem> {
        call(&self.net, true, || self.session.record_producers(entries))
    }

    fn end(self: Arc<Self>, missing: &MissingScopes) -> Result<(), Problem> {
        call(&self.net, true, || Arc::clone(&self.session).end(missing))
    }
}
