//! A fake ledger.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use berth_core::{
    AccountId, Kind, Ledger, LedgerEntry, LedgerReader, LedgerSession, MissingScopes, OpenedLedger, Problem,
    ProblemCode, Producer, Producers,
};

/// A ledger in memory, by the rules of the trait.
#[derive(Debug, Default, Clone)]
pub struct FakeLedger(Arc<Mutex<State>>);

/// What it remembers, and how it behaves.
#[derive(Debug, Default)]
pub struct State {
    /// The catalog that it is about.
    pub catalog: String,
    /// What is known, and the run that recorded it.
    pub entries: BTreeMap<u128, (LedgerEntry, usize)>,
    missing: MissingScopes,
    /// Whether each run has ended.
    pub runs: Vec<bool>,
    /// Whether nothing is certain any more, as after the interval of verification.
    pub expired: bool,
    /// Whether it cannot be opened.
    pub unreadable: bool,
    /// Whether nothing can be recorded.
    pub unwritable: bool,
}

impl FakeLedger {
    /// What it remembers.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Changes it.
    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
    }

    /// Entities of which something is known.
    pub fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entities of which it is known what the catalog holds.
    pub fn certain(&self) -> usize {
        self.state().entries.values().filter(|(known, _)| known.content.is_some()).count()
    }

    fn known(&self, catalog: &str) -> Result<Known, Problem> {
        let state = self.state();
        if state.unreadable {
            return Err(Problem::new(ProblemCode::Other, "bad sector"));
        }
        assert_eq!(state.catalog, catalog);
        let since = state.runs.iter().rposition(|ended| !ended).unwrap_or(0);
        let certain = |run: usize| run >= since && !state.expired;
        let entries = state.entries.iter().map(|(key, (known, run))| {
            let content = known.content.filter(|_| certain(*run));
            (*key, LedgerEntry { content, producers: known.producers.clone() })
        });
        Ok(Known { entries: entries.collect(), missing: state.missing.clone() })
    }
}

fn opened<S: ?Sized>(session: Arc<S>) -> OpenedLedger<Arc<S>> {
    OpenedLedger { session, notes: vec!["a note of the ledger".into()] }
}

impl Ledger for FakeLedger {
    fn read(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerReader>>, Problem> {
        Ok(opened(Arc::new(self.known(catalog)?)))
    }

    fn begin(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerSession>>, Problem> {
        let known = self.known(catalog)?;
        let run = {
            let mut state = self.state();
            state.runs.push(false);
            state.runs.len() - 1
        };
        Ok(opened(Arc::new(Session { known, ledger: self.clone(), run })))
    }

    fn invalidate(&self, _: &str, keys: &[(u128, Option<Producer>)]) -> Result<(), Problem> {
        let mut state = self.state();
        for (key, producer) in keys {
            match (state.entries.get_mut(key), producer) {
                (None, None) => {}
                (None, Some(producer)) => {
                    let producers = Producers::one(producer.clone());
                    state.entries.insert(*key, (LedgerEntry { content: None, producers }, 0));
                }
                (Some((entry, _)), producer) => {
                    entry.content = None;
                    if let Some(producer) = producer {
                        entry.producers = entry.producers.and(producer);
                    }
                }
            }
        }
        Ok(())
    }

    fn entries(&self, _: &str, keys: &[u128]) -> Result<Vec<Option<LedgerEntry>>, Problem> {
        let state = self.state();
        Ok(keys.iter().map(|key| Some(state.entries.get(key)?.0.clone())).collect())
    }

    fn totals(&self, _: &str) -> Result<BTreeMap<(AccountId, Kind), u64>, Problem> {
        let mut totals = BTreeMap::new();
        for (entry, _) in self.state().entries.values() {
            for producer in entry.producers.known().unwrap_or_default() {
                *totals.entry((producer.account.clone(), producer.kind.clone())).or_default() += 1;
            }
        }
        Ok(totals)
    }
}

/// What was known when it was opened.
#[derive(Debug)]
struct Known {
    entries: BTreeMap<u128, LedgerEntry>,
    missing: MissingScopes,
}

#[derive(Debug)]
struct Session {
    known: Known,
    ledger: FakeLedger,
    run: usize,
}

impl LedgerReader for Known {
    fn look_up(&self, key: u128) -> Option<LedgerEntry> {
        self.entries.get(&key).cloned()
    }

    fn each_key(&self, visit: &mut dyn FnMut(u128)) -> Result<(), Problem> {
        self.entries.keys().for_each(|key| visit(*key));
        Ok(())
    }

    fn missing_scopes(&self) -> Result<MissingScopes, Problem> {
        Ok(self.missing.clone())
    }
}

impl LedgerReader for Session {
    fn look_up(&self, key: u128) -> Option<LedgerEntry> {
        self.known.look_up(key)
    }

    fn each_key(&self, visit: &mut dyn FnMut(u128)) -> Result<(), Problem> {
        self.known.each_key(visit)
    }

    fn missing_scopes(&self) -> Result<MissingScopes, Problem> {
        self.known.missing_scopes()
    }
}

impl LedgerSession for Session {
    fn record(&self, entries: &[(u128, Option<LedgerEntry>)]) -> Result<(), Problem> {
        let mut state = self.ledger.state();
        if state.unwritable {
            return Err(Problem::new(ProblemCode::Other, "disk full"));
        }
        for (key, known) in entries {
            match known {
                Some(known) => _ = state.entries.insert(*key, (known.clone(), self.run)),
                None => _ = state.entries.remove(key),
            }
        }
        Ok(())
    }

    fn record_producers(&self, entries: &[(u128, Producers)]) -> Result<(), Problem> {
        let mut state = self.ledger.state();
        for (key, producers) in entries {
            if let Some((entry, _)) = state.entries.get_mut(key) {
                entry.producers = producers.clone();
            }
        }
        Ok(())
    }

    fn end(self: Arc<Self>, missing: &MissingScopes) -> Result<(), Problem> {
        let mut state = self.ledger.state();
        state.runs[self.run] = true;
        state.missing = missing.clone();
        Ok(())
    }
}
