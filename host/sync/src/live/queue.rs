//! Resources that wait to be read again: bounded, each at most once, in the order in which they were first
//! named. Pure: callers pass the time.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::time::Instant;

use super::matching::{RefreshTarget, TargetKey};

/// A resource that waits.
#[derive(Debug, Clone)]
pub(super) struct RefreshJob {
    pub(super) target: RefreshTarget,
    /// The number of tries.
    pub(super) tries: u32,
    /// The earliest time to read it.
    due: Instant,
}

/// The queue.
#[derive(Debug)]
pub(super) struct EventQueue {
    capacity: usize,
    /// The most bytes of waiting events.
    capacity_bytes: usize,
    bytes: usize,
    /// Whether it accepts no more events.
    closed: bool,
    order: VecDeque<TargetKey>,
    waiting: HashMap<TargetKey, RefreshJob>,
    /// Resources being read. Another event for one of these waits until it ends.
    running: HashSet<TargetKey>,
}

/// Why an event is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueError {
    /// The queue is full.
    Full,
    /// The queue is closed.
    Closed,
}

impl EventQueue {
    pub(super) fn new(capacity: usize, capacity_bytes: usize) -> Self {
        Self {
            capacity,
            capacity_bytes,
            bytes: 0,
            closed: false,
            order: VecDeque::new(),
            waiting: HashMap::new(),
            running: HashSet::new(),
        }
    }

    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Accepts no more events from now on.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Adds the targets of an event, all or none. A resource that is already waiting keeps its place: it will
    /// be read after this event happened.
    pub(super) fn push(&mut self, targets: Vec<RefreshTarget>, now: Instant) -> Result<(), QueueError> {
        if self.closed {
            return Err(QueueError::Closed);
        }
        let new = targets.iter().filter(|target| !self.waiting.contains_key(&target.key)).count();
        let bytes: usize = targets.iter().map(|target| target.bytes).sum();
        if self.waiting.len() + new > self.capacity || self.bytes + bytes > self.capacity_bytes {
            return Err(QueueError::Full);
        }
        for target in targets {
            self.insert(RefreshJob { target, tries: 0, due: now });
        }
        Ok(())
    }

    /// Restores a resource, unless a newer event for it waits, which is equivalent. Returns whether there is
    /// room.
    pub(super) fn restore(&mut self, target: RefreshTarget, now: Instant) -> bool {
        if self.waiting.contains_key(&target.key) {
            return true;
        }
        let room = self.waiting.len() < self.capacity && self.bytes + target.bytes <= self.capacity_bytes;
        if room {
            self.insert(RefreshJob { target, tries: 0, due: now });
        }
        room
    }

    /// Puts an unfinished resource back in the first place.
    pub(super) fn put_back(&mut self, job: RefreshJob) {
        let key = job.target.key.clone();
        self.running.remove(&key);
        if !self.waiting.contains_key(&key) {
            self.bytes += job.target.bytes;
            self.order.push_front(key.clone());
            self.waiting.insert(key, job);
        }
    }

    /// Takes all that wait, in their order.
    pub(super) fn clear(&mut self) -> Vec<RefreshTarget> {
        self.bytes = 0;
        let mut waiting = std::mem::take(&mut self.waiting);
        let order = std::mem::take(&mut self.order);
        order.into_iter().filter_map(|key| Some(waiting.remove(&key)?.target)).collect()
    }

    fn insert(&mut self, job: RefreshJob) {
        let key = job.target.key.clone();
        self.bytes += job.target.bytes;
        match self.waiting.insert(key.clone(), job) {
            Some(older) => self.bytes -= older.target.bytes,
            None => self.order.push_back(key),
        }
    }

    /// Takes the first one that is due and whose resource is not being read.
    pub(super) fn take(&mut self, now: Instant) -> Option<RefreshJob> {
        let ready = |key: &TargetKey| {
            !self.running.contains(key) && self.waiting.get(key).is_some_and(|job| job.due <= now)
        };
        let at = self.order.iter().position(ready)?;
        let key = self.order.remove(at)?;
        let job = self.waiting.remove(&key)?;
        self.bytes -= job.target.bytes;
        self.running.insert(key);
        Some(job)
    }

    /// Returns when the next one becomes due that [`take`](Self::take) does not return yet, if it only waits
    /// for time.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let idle = self.waiting.iter().filter(|(key, _)| !self.running.contains(*key));
        idle.map(|(_, job)| job.due).min()
    }

    /// Records that a resource was read.
    pub(super) fn done(&mut self, key: &TargetKey) {
        self.running.remove(key);
    }

    /// Queues a retry after a failed try, unless a newer event for the resource waits, which is equivalent.
    pub(super) fn again(&mut self, job: RefreshJob, due: Instant) {
        let key = job.target.key.clone();
        self.running.remove(&key);
        if !self.waiting.contains_key(&key) {
            self.insert(RefreshJob { tries: job.tries + 1, due, ..job });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{
        super::matching::{ReportedState, tests::target},
        *,
    };

    fn names(queue: &mut EventQueue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.take(now)).map(|job| job.target.key.resource).collect()
    }

    #[test]
    fn a_resource_waits_once_and_keeps_its_place() {
        let now = Instant::now();
        let mut queue = EventQueue::new(2, 1000);
        queue.push(vec![target("a", false)], now).unwrap();
        queue.push(vec![target("b", false)], now).unwrap();
        queue.push(vec![target("a", true)], now).unwrap();
        assert_eq!(queue.push(vec![target("c", false)], now), Err(QueueError::Full));
        assert_eq!(queue.len(), 2);
        let first = queue.take(now).unwrap();
        assert_eq!(
            (first.target.key.resource.as_str(), first.target.reported),
            ("a", ReportedState::Gone),
            "the newer event counts"
        );
        // All or none: there is room for one.
        assert_eq!(queue.push(vec![target("c", false), target("d", false)], now), Err(QueueError::Full));
        assert_eq!(names(&mut queue, now), ["b"]);
    }

    #[test]
    fn a_resource_is_not_read_twice_at_once() {
        let now = Instant::now();
        let mut queue = EventQueue::new(9, 1000);
        queue.push(vec![target("a", false)], now).unwrap();
        let job = queue.take(now).unwrap();
        queue.push(vec![target("a", true), target("b", false)], now).unwrap();
        assert_eq!(names(&mut queue, now), ["b"]);
        assert_eq!(queue.next_due(), None, "only the end of the running one helps");
        queue.done(&job.target.key);
        assert_eq!(queue.take(now).unwrap().target.reported, ReportedState::Gone);
    }

    #[test]
    fn what_is_tried_again_waits_for_its_time_and_for_nothing_newer() {
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        let mut queue = EventQueue::new(1, 1000);
        queue.push(vec![target("a", false)], now).unwrap();
        let job = queue.take(now).unwrap();
        queue.again(job, later);
        assert_eq!((queue.take(now).map(|job| job.tries), queue.next_due()), (None, Some(later)));
        let job = queue.take(later).unwrap();
        assert_eq!(job.tries, 1);
        queue.push(vec![target("a", true)], later).unwrap();
        queue.again(job, later + Duration::from_secs(8));
        let newer = queue.take(later).unwrap();
        assert_eq!((newer.tries, newer.target.reported), (0, ReportedState::Gone));
    }

    proptest! {
        /// In any order of steps: never too many, never one twice at once, and the last event of each
        /// resource is processed in the end.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0_u8..4, 0_u8..5, any::<bool>()), 0..60)) {
            let now = Instant::now();
            let mut queue = EventQueue::new(3, 1000);
            let mut running: Vec<RefreshJob> = Vec::new();
            let mut last: HashMap<String, bool> = HashMap::new();
            let mut served: HashMap<String, bool> = HashMap::new();
            for (what, name, gone) in steps {
                match what {
                    0 | 1 => {
                        let name = name.to_string();
                        if queue.push(vec![target(&name, gone)], now).is_ok() {
                            last.insert(name, gone);
                        }
                    }
                    2 => if let Some(job) = queue.take(now) {
                        prop_assert!(!running.iter().any(|other| other.target.key == job.target.key));
                        running.push(job);
                    }
                    _ => if !running.is_empty() {
                        let job = running.remove(usize::from(name) % running.len());
                        if gone {
                            queue.again(job, now);
                        } else {
                            queue.done(&job.target.key);
                            served.insert(job.target.key.resource.clone(), job.target.reported == ReportedState::Gone);
                        }
                    }
                }
                prop_assert!(queue.len() <= 3 + running.len() + 5);
            }
            loop {
                for job in running.drain(..) {
                    queue.done(&job.target.key);
                    served.insert(job.target.key.resource.clone(), job.target.reported == ReportedState::Gone);
                }
                match queue.take(now) {
                    Some(job) => running.push(job),
                    None => break,
                }
            }
            prop_assert_eq!(served, last);
        }
    }
}
