//! Keeps a resync and live events from overwriting each other's newer writes.
//!
//! A resync writes what it read minutes ago; an event writes what it read a moment ago. The later *read* must
//! win, no matter which is written later:
//!
//! - An event records the entities that it is about to write or delete, with the time of its read. A resync
//!   then writes none of them from a unit whose read started before that, and deletes none.
//! - An event waits for what a resync is writing at that moment; its own write comes after.
//! - A resync does not record as certain what it learned of these entities: see
//!   [`touched`](WriteArbiter::touched).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

/// What events wrote while resyncs run. One per process, shared by its resyncs and its events.
#[derive(Debug, Default)]
pub struct WriteArbiter {
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Running resyncs.
    resyncs: usize,
    /// Resyncs that have ended.
    ended: u64,
    /// Entities that events are writing or deleting, or wrote while a resync runs, by digest.
    touched: HashMap<u128, Touched>,
    /// Entities in unanswered requests of resyncs.
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
pub(crate) struct WriteLock<'j> {
    write_arbiter: &'j WriteArbiter,
    keys: Vec<u128>,
}

/// A running resync.
#[derive(Debug)]
pub(crate) struct RunningResync<'j>(&'j WriteArbiter);

/// Entities that a resync is writing.
#[derive(Debug)]
pub(crate) struct WriteLease<'j> {
    write_arbiter: &'j WriteArbiter,
    keys: Vec<u128>,
}

impl WriteArbiter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a resync runs, until the value is dropped.
    pub(crate) fn begin(&self) -> RunningResync<'_> {
        self.state().resyncs += 1;
        RunningResync(self)
    }

    /// Returns how many resyncs have ended.
    pub(crate) fn resyncs_ended(&self) -> u64 {
        self.state().ended
    }

    /// Claims those of these entities that a resync may write: not those that an event is writing, nor those
    /// that an event read after `since`, the time when the resync started to read them. Returns for each
    /// whether it is claimed.
    pub(crate) fn lease(
        &self,
        keys: impl IntoIterator<Item = (u128, Instant)>,
    ) -> (Vec<bool>, WriteLease<'_>) {
        let mut state = self.state();
        let mut lease = WriteLease { write_arbiter: self, keys: Vec::new() };
        let granted = keys
            .into_iter()
            .map(|(key, since)| {
                let granted =
                    state.touched.get(&key).is_none_or(|event| event.writing == 0 && event.read < since);
                if granted {
                    *state.writing.entry(key).or_default() += 1;
                    lease.keys.push(key);
                }
                granted
            })
            .collect();
        (granted, lease)
    }

    /// Records that an event is about to write or delete these entities, as it read them at `read`, and waits
    /// for a resync that is writing them. The event writes until the value is dropped.
    pub(crate) async fn lock(&self, keys: Vec<u128>, read: Instant) -> WriteLock<'_> {
        {
            let mut state = self.state();
            for key in &keys {
                let touched = state.touched.entry(*key).or_insert(Touched { read, writing: 0 });
                touched.read = read.max(touched.read);
                touched.writing += 1;
            }
        }
        let lock = WriteLock { write_arbiter: self, keys };
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            // From here on no notification is missed.
            settled.as_mut().enable();
            if !lock.keys.iter().any(|key| self.state().writing.contains_key(key)) {
                return lock;
            }
            settled.await;
        }
    }

    /// Returns the entities that events wrote or deleted since the resync started, or are writing: the
    /// resync's view of them may be outdated.
    pub(crate) fn touched(&self) -> Vec<u128> {
        self.state().touched.keys().copied().collect()
    }
}

impl Drop for WriteLock<'_> {
    fn drop(&mut self) {
        let mut state = self.write_arbiter.state();
        let resyncs = state.resyncs;
        for key in &self.keys {
            if let Some(touched) = state.touched.get_mut(key) {
                touched.writing -= 1;
                // Only a running resync needs this record.
                if touched.writing == 0 && resyncs == 0 {
                    state.touched.remove(key);
                }
            }
        }
    }
}

impl Drop for RunningResync<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.resyncs -= 1;
        state.ended += 1;
        if state.resyncs == 0 {
            state.touched.retain(|_, touched| touched.writing > 0);
        }
    }
}

impl Drop for WriteLease<'_> {
    fn drop(&mut self) {
        let mut state = self.write_arbiter.state();
        for key in &self.keys {
            if let Some(count) = state.writing.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    state.writing.remove(key);
                }
            }
        }
        drop(state);
        self.write_arbiter.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_read_later_has_the_last_word() {
        let write_arbiter = WriteArbiter::default();
        let early = Instant::now();
        let late = early + Duration::from_secs(1);
        let resync = write_arbiter.begin();
        drop(write_arbiter.lock(vec![1], early + Duration::from_millis(500)).await);
        let granted = |key, since| write_arbiter.lease([(key, since)]).0[0];
        assert!(!granted(1, early), "the event read later");
        assert!(granted(1, late), "the unit's read started after the event");
        assert!(granted(2, early), "another entity");
        // An older read changes nothing.
        drop(write_arbiter.lock(vec![1], early).await);
        assert!(!granted(1, early));
        assert_eq!(write_arbiter.touched(), [1]);
        drop(resync);
        let _next = write_arbiter.begin();
        assert!(granted(1, early), "the next resync reads again");
        assert!(write_arbiter.touched().is_empty());
    }

    #[tokio::test]
    async fn what_an_event_is_writing_is_noted_whenever_the_resync_began() {
        let write_arbiter = WriteArbiter::default();
        let read = Instant::now();
        let lock = write_arbiter.lock(vec![1], read).await;
        let resync = write_arbiter.begin();
        let since = Instant::now() + Duration::from_secs(1);
        assert!(!write_arbiter.lease([(1, since)]).0[0], "two requests would race");
        drop(lock);
        assert!(write_arbiter.lease([(1, since)]).0[0]);
        assert_eq!(write_arbiter.touched(), [1], "the resync may have seen the former state");
        drop(resync);
        drop(write_arbiter.lock(vec![2], read).await);
        assert!(write_arbiter.touched().is_empty(), "without a resync nothing is kept");
    }

    #[tokio::test]
    async fn an_event_waits_for_what_is_being_written() {
        let write_arbiter = WriteArbiter::default();
        let _resync = write_arbiter.begin();
        let now = Instant::now();
        let (_, first) = write_arbiter.lease([(1, now), (2, now)]);
        let (_, second) = write_arbiter.lease([(1, now)]);
        let mut lock = Box::pin(write_arbiter.lock(vec![1], now));
        assert!(lock.as_mut().now_or_never().is_none());
        drop(first);
        assert!(lock.as_mut().now_or_never().is_none(), "another request holds it");
        assert!(!write_arbiter.lease([(1, now)]).0[0], "no new claim meanwhile");
        drop(second);
        lock.await;
    }
}
