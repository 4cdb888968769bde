//! Keeps a resync and live events from undoing each other's writes.
//!
//! A resync writes what it read minutes ago; an event writes what it read a moment ago. Whichever
//! *read* later must have the last word, whichever writes later:
//!
//! - An event notes the entities that it is about to write or delete, with the time of its read. A
//!   resync then writes none of them from a unit that began to read before that, and deletes none.
//! - What a resync is writing at that moment, the event waits for; its own write comes after.
//! - What a resync learned of these entities it does not remember as certain: see
//!   [`touched`](Journal::touched).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

/// What events did while resyncs run. One per process, shared by its resyncs and its events.
#[derive(Debug, Default)]
pub struct Journal {
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Resyncs under way.
    resyncs: usize,
    /// Resyncs that have ended.
    ended: u64,
    /// Entities that events are writing or deleting, or did since a resync runs, by digest.
    touched: HashMap<u128, Touched>,
    /// Entities in requests of resyncs that are not answered yet.
    writing: HashMap<u128, usize>,
}

/// What events did to an entity.
#[derive(Debug)]
struct Touched {
    /// When the last of them read it.
    read: Instant,
    /// Events that are writing it.
    writing: usize,
}

/// Entities that an event is writing.
#[derive(Debug)]
pub(crate) struct Touch<'j> {
    journal: &'j Journal,
    keys: Vec<u128>,
}

/// A resync that runs.
#[derive(Debug)]
pub(crate) struct Running<'j>(&'j Journal);

/// Entities that a resync is writing.
#[derive(Debug)]
pub(crate) struct Claim<'j> {
    journal: &'j Journal,
    keys: Vec<u128>,
}

impl Journal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A resync begins, and runs until the value is dropped.
    pub(crate) fn begin(&self) -> Running<'_> {
        self.state().resyncs += 1;
        Running(self)
    }

    /// How many resyncs have ended.
    pub(crate) fn resyncs_ended(&self) -> u64 {
        self.state().ended
    }

    /// Takes what a resync may write of these entities: not those that an event is writing, nor those
    /// that one read after `since`, the time from which on the resync read them. Says of each whether
    /// it is among them.
    pub(crate) fn claim(&self, keys: impl IntoIterator<Item = (u128, Instant)>) -> (Vec<bool>, Claim<'_>) {
        let mut state = self.state();
        let mut claim = Claim { journal: self, keys: Vec::new() };
        let granted = keys
            .into_iter()
            .map(|(key, since)| {
                let granted =
                    state.touched.get(&key).is_none_or(|event| event.writing == 0 && event.read < since);
                if granted {
                    *state.writing.entry(key).or_default() += 1;
                    claim.keys.push(key);
                }
                granted
            })
            .collect();
        (granted, claim)
    }

    /// Notes that an event is about to write or delete these entities, as it read them at `read`,
    /// and waits for what a resync is writing of them. The event writes until the value is dropped.
    pub(crate) async fn touch(&self, keys: Vec<u128>, read: Instant) -> Touch<'_> {
        {
            let mut state = self.state();
            for key in &keys {
                let touched = state.touched.entry(*key).or_insert(Touched { read, writing: 0 });
                touched.read = read.max(touched.read);
                touched.writing += 1;
            }
        }
        let touch = Touch { journal: self, keys };
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            // From here on no word is missed.
            settled.as_mut().enable();
            if !touch.keys.iter().any(|key| self.state().writing.contains_key(key)) {
                return touch;
            }
            settled.await;
        }
    }

    /// The entities that events wrote or deleted since the resync began, or are writing: what the
    /// resync saw of them in the catalog may not be what it holds in the end.
    pub(crate) fn touched(&self) -> Vec<u128> {
        self.state().touched.keys().copied().collect()
    }
}

impl Drop for Touch<'_> {
    fn drop(&mut self) {
        let mut state = self.journal.state();
        let resyncs = state.resyncs;
        for key in &self.keys {
            if let Some(touched) = state.touched.get_mut(key) {
                touched.writing -= 1;
                // Only a resync has to know of it any longer.
                if touched.writing == 0 && resyncs == 0 {
                    state.touched.remove(key);
                }
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.resyncs -= 1;
        state.ended += 1;
        if state.resyncs == 0 {
            state.touched.retain(|_, touched| touched.writing > 0);
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.journal.state();
        for key in &self.keys {
            if let Some(count) = state.writing.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    state.writing.remove(key);
                }
            }
        }
        drop(state);
        self.journal.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_read_later_has_the_last_word() {
        let journal = Journal::default();
        let early = Instant::now();
        let late = early + Duration::from_secs(1);
        let resync = journal.begin();
        drop(journal.touch(vec![1], early + Duration::from_millis(500)).await);
        let granted = |key, since| journal.claim([(key, since)]).0[0];
        assert!(!granted(1, early), "the event read later");
        assert!(granted(1, late), "the unit began to read after the event");
        assert!(granted(2, early), "another entity");
        // An older read takes nothing back.
        drop(journal.touch(vec![1], early).await);
        assert!(!granted(1, early));
        assert_eq!(journal.touched(), [1]);
        drop(resync);
        let _next = journal.begin();
        assert!(granted(1, early), "the next resync reads anew");
        assert!(journal.touched().is_empty());
    }

    #[tokio::test]
    async fn what_an_event_is_writing_is_noted_whenever_the_resync_began() {
        let journal = Journal::default();
        let read = Instant::now();
        let touch = journal.touch(vec![1], read).await;
        let resync = journal.begin();
        let since = Instant::now() + Duration::from_secs(1);
        assert!(!journal.claim([(1, since)]).0[0], "two requests would race");
        drop(touch);
        assert!(journal.claim([(1, since)]).0[0]);
        assert_eq!(journal.touched(), [1], "the resync may have seen what was there before");
        drop(resync);
        drop(journal.touch(vec![2], read).await);
        assert!(journal.touched().is_empty(), "without a resync nothing is kept");
    }

    #[tokio::test]
    async fn an_event_waits_for_what_is_being_written() {
        let journal = Journal::default();
        let _resync = journal.begin();
        let now = Instant::now();
        let (_, first) = journal.claim([(1, now), (2, now)]);
        let (_, second) = journal.claim([(1, now)]);
        let mut touch = Box::pin(journal.touch(vec![1], now));
        assert!(touch.as_mut().now_or_never().is_none());
        drop(first);
        assert!(touch.as_mut().now_or_never().is_none(), "another request holds it");
        assert!(!journal.claim([(1, now)]).0[0], "nothing new is begun meanwhile");
        drop(second);
        touch.await;
    }
}
