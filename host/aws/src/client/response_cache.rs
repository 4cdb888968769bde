//! The response cache: one request for kinds that make the same call.
//!
//! Responses are cached as received, so that their size is known exactly and the first caller owns the
//! decoded form.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::{BoxFuture, FutureExt, Shared};
use serde_json::Value;

use super::answer::SharedAnswer;

/// The responses of one resync, or of one unit.
#[derive(Debug)]
pub(super) struct ResponseCache {
    limit: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<Arc<str>, Shared<BoxFuture<'static, SharedAnswer>>>,
    /// Finished calls with their weight, oldest first.
    kept: VecDeque<(Arc<str>, usize)>,
    bytes: usize,
}

/// The weight of an entry in addition to its body: its key and its headers.
const OVERHEAD: usize = 512;

impl ResponseCache {
    /// Creates a cache of up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Returns the response to a call, and whether it came from an earlier call. A response that is not
    /// cached is shared only with calls made while it is in flight.
    pub(super) async fn get(
        &self,
        key: String,
        keep: bool,
        ask: impl FnOnce() -> BoxFuture<'static, SharedAnswer>,
    ) -> (SharedAnswer, bool) {
        let key: Arc<str> = key.into();
        let (call, shared) = {
            let mut state = self.lock();
            if let Some(call) = state.calls.get(&key) {
                (call.clone(), true)
            } else {
                let (call, limit) = (ask(), if keep { self.limit } else { 0 });
                let (finished, held) = (key.clone(), self.state.clone());
                // The call itself finishes this, because the first caller may be gone by then.
                let call = async move {
                    let answer = call.await;
                    lock(&held).finish(finished, &answer, limit);
                    answer
                };
                let call = call.boxed().shared();
                state.calls.insert(key, call.clone());
                (call, false)
            }
        };
        (call.await, shared)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn finish(&mut self, key: Arc<str>, answer: &SharedAnswer, limit: usize) {
        match answer {
            // All waiting callers have got the error; the next call may succeed.
            Err(_) => _ = self.calls.remove(&key),
            Ok(_) if limit == 0 => _ = self.calls.remove(&key),
            Ok(answer) => {
                let weight = OVERHEAD + key.len() * 2 + answer.body.len();
                self.bytes += weight;
                self.kept.push_back((key, weight));
                while self.bytes > limit
                    && let Some((oldest, weight)) = self.kept.pop_front()
                {
                    self.calls.remove(&oldest);
                    self.bytes -= weight;
                }
            }
        }
    }
}

/// Returns the key of a call. The order of members does not matter.
pub(super) fn key(account: &str, region: &str, service: &str, operation: &str, input: &Value) -> String {
    let mut key = format!("{account} {region} {service} {operation} ");
    write_canonical(input, &mut key);
    key
}

fn write_canonical(value: &Value, to: &mut String) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            to.push('{');
            for name in names {
                to.push_str(&Value::from(name.as_str()).to_string());
                to.push(':');
                write_canonical(&members[name], to);
                to.push(',');
            }
            to.push('}');
        }
        Value::Array(values) => {
            to.push('[');
            for value in values {
                write_canonical(value, to);
                to.push(',');
            }
            to.push(']');
        }
        scalar => to.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::HeaderMap;
    use serde_json::json;

    use super::{super::answer::AwsResponse, *};
    use crate::errors::CallError;

    fn answer(size: usize) -> Arc<AwsResponse> {
        Arc::new(AwsResponse { status: 200, headers: HeaderMap::new(), body: vec![0; size].into() })
    }

    async fn ask(
        reads: &ResponseCache,
        key: &str,
        asked: &Arc<AtomicUsize>,
        answer: SharedAnswer,
    ) -> (SharedAnswer, bool) {
        let asked = asked.clone();
        reads
            .get(key.to_owned(), true, move || {
                async move {
                    asked.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    answer
                }
                .boxed()
            })
            .await
    }

    #[tokio::test]
    async fn equal_calls_share_a_request_and_memory_is_bounded() {
        let reads = ResponseCache::new(10_000);
        let asked = Arc::new(AtomicUsize::new(0));
        let both = futures::join!(
            ask(&reads, "a", &asked, Ok(answer(1000))),
            ask(&reads, "a", &asked, Ok(answer(1000)))
        );
        assert_eq!((both.0.1, both.1.1, asked.load(Ordering::SeqCst)), (false, true, 1));
        for n in 0..50 {
            let _ = ask(&reads, &n.to_string(), &asked, Ok(answer(1000))).await;
            let state = reads.lock();
            assert!(state.bytes <= 10_000 && state.calls.len() == state.kept.len(), "{}", state.bytes);
        }
        // The first entry was evicted to make room, the last one is still cached.
        assert!(!ask(&reads, "a", &asked, Ok(answer(1))).await.1);
        assert!(ask(&reads, "49", &asked, Ok(answer(1))).await.1);
    }

    #[tokio::test]
    async fn responses_without_another_reader_are_not_cached() {
        let reads = ResponseCache::new(10_000);
        let ask = || {
            async {
                tokio::task::yield_now().await;
                Ok(answer(1000))
            }
            .boxed()
        };
        let both = futures::join!(reads.get("a".into(), false, ask), reads.get("a".into(), false, ask));
        assert_eq!((both.0.1, both.1.1), (false, true), "two at once share it");
        let state = reads.lock();
        assert_eq!((state.bytes, state.calls.len()), (0, 0));
    }

    #[tokio::test]
    async fn failures_are_not_cached() {
        let reads = ResponseCache::new(10_000);
        let asked = Arc::new(AtomicUsize::new(0));
        let failed = || Err(CallError::Signing("no".into()));
        assert!(ask(&reads, "a", &asked, failed()).await.0.is_err());
        assert!(ask(&reads, "a", &asked, Ok(answer(1))).await.0.is_ok());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let key = |input| key("a", "r", "s", "o", &input);
        assert_eq!(
            key(json!({"a": 1, "b": {"c": [1, 2], "d": "x"}})),
            key(json!({"b": {"d": "x", "c": [1, 2]}, "a": 1}))
        );
        assert_ne!(key(json!({"a": [1, 2]})), key(json!({"a": [2, 1]})));
        assert_ne!(key(json!({"a": "1"})), key(json!({"a": 1})));
    }
}
