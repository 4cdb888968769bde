//! What waits when a process ends, for the next process.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    LiveEvents,
    matching::{RefreshTarget, ReportedState, TargetKey, text_length},
};

/// Resources that events named and that were not read again yet. Another process may store and read it: an
/// event only says which resource to read, so processing it late or twice does no harm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Backlog {
    resources: Vec<BacklogEntry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct BacklogEntry {
    #[serde(flatten)]
    key: TargetKey,
    reported: ReportedState,
    /// The event's `detail`.
    event: Arc<Value>,
}

impl Backlog {
    /// Returns whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Returns how many resources wait.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Adds the resources of another backlog.
    pub fn append(&mut self, mut other: Self) {
        self.resources.append(&mut other.resources);
    }

    /// Takes the waiting resources out of the queue, to keep them.
    pub fn take(live: &LiveEvents) -> Self {
        Self::of(live.queue().clear())
    }

    /// Puts back what was kept; what finds no room is left to the next resync. Returns how many resources
    /// wait for it now.
    pub fn restore(self, live: &LiveEvents) -> usize {
        let targets = self.into_targets();
        let count = targets.len();
        let mut queue = live.queue();
        let restored = targets.into_iter().filter(|target| queue.restore(target.clone(), Instant::now()));
        let restored = restored.count();
        drop(queue);
        if restored < count {
            tracing::warn!(
                "no room for {} resources of live events; the next resync reads them",
                count - restored
            );
        }
        live.wake.notify_one();
        restored
    }

    pub(super) fn of(targets: Vec<RefreshTarget>) -> Self {
        let waiting = |RefreshTarget { key, reported, event, .. }| BacklogEntry { key, reported, event };
        Self { resources: targets.into_iter().map(waiting).collect() }
    }

    pub(super) fn into_targets(self) -> Vec<RefreshTarget> {
        let target = |BacklogEntry { key, reported, event }| {
            let bytes = text_length(&event);
            RefreshTarget { key, reported, event, bytes }
        };
        self.resources.into_iter().map(target).collect()
    }
}
