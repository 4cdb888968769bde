//! The model-driven client: signs, sends, repeats and decodes the read operations of every
//! service.
//!
//! Only read operations exist in the models (`berth_aws_wire`), so that nothing here can write.

mod pace;
mod redirect;
mod repairs;
mod send;
mod shared;
mod sign;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use berth_aws_wire::{EndpointOptions, Operation, Page, PageCursor, Service};
use berth_core::{AccountId, KindManifest, Path, Region, Scope};
use futures::future::FutureExt;
use serde_json::Value;
use tokio::sync::Semaphore;

#[cfg(feature = "aws-sdk-ec2")]
pub(crate) use self::send::{Attempt, Request, Sender, Signed};
pub(crate) use self::shared::{Answer, Outcome};
use self::{pace::Pace, redirect::BucketRegions, shared::SharedReads};
use crate::{
    AwsConfig, Concurrency, EndpointOverrides, Retry,
    clock::Clock,
    errors::CallError,
    identity::Session,
    stats::{Counters, Tally},
};

/// Buckets that are kept without a look at which are still needed.
const LEAST_ROOM: usize = 1024;
/// What is kept of the answers of one unit.
const UNIT_READ_BYTES: usize = 1 << 20;
/// Whom to ask: an account's session, in a region.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) account: AccountId,
    pub(crate) region: Region,
    pub(crate) session: Arc<Session>,
    /// Where what it costs is written down; not for what is no kind's.
    pub(crate) tally: Option<Arc<Tally>>,
}

impl Target {
    fn waited(&self, service: &str, time: Duration) {
        if let Some(tally) = &self.tally {
            tally.waited(service, time);
        }
    }
}

/// The client. One per source, shared by all accounts.
pub(crate) struct Client {
    http: berth_http::Client,
    overrides: EndpointOverrides,
    options: EndpointOptions,
    retry: Retry,
    concurrency: Concurrency,
    in_flight: Semaphore,
    in_flight_per_service: Mutex<HashMap<String, Arc<Semaphore>>>,
    paces: Mutex<Paces>,
    buckets: BucketRegions,
    max_pages: u32,
    max_response_bytes: usize,
    reads: SharedReads,
    /// By service and operation.
    audiences: RwLock<HashMap<(String, String), Audience>>,
    clock: Clock,
    pub(crate) counters: Counters,
}

/// The pace of every bucket that is not as good as new.
#[derive(Default)]
struct Paces {
    buckets: HashMap<(AccountId, Region, Arc<str>), Arc<Pace>>,
    /// How many there may be before it is looked which are still needed.
    room: usize,
}

/// Who may ask for the same answer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Audience {
    /// Nobody: each call is made once.
    Nobody,
    /// The unit that asked for it.
    Unit,
    /// Other units, too.
    Resync,
}

/// The answers that one unit may ask for again.
#[derive(Debug)]
pub(crate) struct UnitReads(SharedReads);

impl Default for UnitReads {
    fn default() -> Self {
        Self(SharedReads::new(UNIT_READ_BYTES))
    }
}

/// What an answer says.
///
/// # Errors
/// [`CallError`] where it tells of one, or cannot be read.
pub(crate) fn decode(operation: &Operation, answer: &Answer) -> Result<Value, CallError> {
    decode_list(operation, answer, &[])
}

/// What an answer says, if what `items` leads to can be read.
///
/// # Errors
/// As those of [`decode`].
pub(crate) fn decode_list(
    operation: &Operation,
    answer: &Answer,
    items: &[&Path],
) -> Result<Value, CallError> {
    accept(operation, answer)?;
    let (value, repairs) = operation.decode_list(answer.status, &answer.headers, &answer.body, items)?;
    repairs::note(operation, repairs);
    Ok(value)
}

/// What an answer that lists says, with its items as text.
///
/// # Errors
/// As those of [`decode`].
pub(crate) fn decode_page(operation: &Operation, answer: &Answer, items: &Path) -> Result<Page, CallError> {
    accept(operation, answer)?;
    let page = operation.decode_page(answer.status, &answer.headers, &answer.body, items)?;
    repairs::note(operation, page.repairs);
    Ok(page)
}

/// Refuses an answer that tells of an error.
fn accept(operation: &Operation, answer: &Answer) -> Result<(), CallError> {
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    let error = operation.decode_error(answer.status, &answer.headers, &answer.body);
    let has_body = operation.model().method != http::Method::HEAD;
    Err(CallError::of_answer(answer.status, error, has_body))
}

impl Client {
    pub(crate) fn new(config: &AwsConfig, http: berth_http::Client, clock: Clock) -> Self {
        Self {
            http,
            overrides: config.endpoints.clone(),
            options: EndpointOptions { fips: config.fips, dual_stack: config.dual_stack },
            retry: config.retry,
            concurrency: config.concurrency,
            in_flight: Semaphore::new(config.concurrency.requests.get()),
            in_flight_per_service: Mutex::default(),
            paces: Mutex::default(),
            buckets: BucketRegions::default(),
            max_pages: config.max_pages_per_list,
            max_response_bytes: config.max_response_bytes,
            reads: SharedReads::new(config.shared_read_bytes.unwrap_or(64 << 20)),
            audiences: RwLock::default(),
            clock,
            counters: Counters::default(),
        }
    }

    /// Forgets all answers: a new resync reads anew.
    pub(crate) fn forget_reads(&self) {
        self.reads.clear();
        self.audiences.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.counters.forget_kinds();
    }

    /// Learns from the fetch plans of a resync which answers nobody else will ask for, so that they are
    /// not kept.
    pub(crate) fn expect(&self, reads: &[(Arc<KindManifest>, BTreeSet<String>)]) {
        let mut audiences: HashMap<(String, String), Audience> = HashMap::new();
        for (kind, options) in reads {
            let mut own: HashMap<(&str, &str), Audience> = HashMap::new();
            for step in kind.plan.steps.iter().filter(|step| step.is_on(options)) {
                // Units of an organization's kinds all ask the same; so do those of the regions of an
                // account, where a step has a region of its own.
                let audience = if kind.scope == Scope::Organization
                    || (kind.scope == Scope::Regional && step.region.is_some())
                {
                    Audience::Resync
                } else if step.parent().is_some() {
                    // What runs for each item may ask the same for two of them.
                    Audience::Unit
                } else {
                    Audience::Nobody
                };
                own.entry((&step.service, &step.operation))
                    .and_modify(|known| *known = audience.max(Audience::Unit).max(*known))
                    .or_insert(audience);
            }
            for ((service, operation), audience) in own {
                audiences
                    .entry((service.to_owned(), operation.to_owned()))
                    .and_modify(|known| *known = Audience::Resync)
                    .or_insert(audience);
            }
        }
        *self.audiences.write().unwrap_or_else(PoisonError::into_inner) = audiences;
    }

    /// Who may ask for the answers of an operation again. Of one that no plan told of, anyone.
    fn audience(&self, service: &str, operation: &str) -> Audience {
        let audiences = self.audiences.read().unwrap_or_else(PoisonError::into_inner);
        audiences.get(&(service.to_owned(), operation.to_owned())).copied().unwrap_or(Audience::Resync)
    }

    /// Calls an operation, or takes the answer of the same call made before in this resync.
    ///
    /// # Errors
    /// [`CallError`], once repeating is of no use.
    pub(crate) async fn call(
        self: &Arc<Self>,
        target: &Target,
        operation: &Operation,
        input: &Value,
    ) -> Result<Value, CallError> {
        decode(operation, &*self.answer(target, operation, input, None).await?)
    }

    /// The answer of [`call`](Self::call) as it came. What only the unit may ask for again is kept
    /// with `own`.
    ///
    /// # Errors
    /// [`CallError`], once repeating is of no use. An answer may tell of an error, too.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        target: &Target,
        operation: &Operation,
        input: &Value,
        own: Option<&UnitReads>,
    ) -> Outcome {
        let (service, name) = (operation.service().name(), operation.name());
        let key = shared::key(target.account.as_str(), target.region.as_str(), service, name, input);
        let ask = || {
            let (client, target) = (self.clone(), target.clone());
            let (operation, input) = (operation.clone(), input.clone());
            async move { client.ask(&target, &operation, &input).await.map(Arc::new) }.boxed()
        };
        let audience = self.audience(service, name);
        let reads = match (audience, own) {
            (Audience::Unit, Some(UnitReads(own))) => own,
            _ => &self.reads,
        };
        let (outcome, shared): (Outcome, bool) = reads.get(key, audience != Audience::Nobody, ask).await;
        if shared {
            self.count(operation, |calls| calls.shared += 1);
        }
        outcome
    }

    /// The answer to a call, whatever was asked before.
    ///
    /// # Errors
    /// As those of [`answer`](Self::answer).
    pub(crate) async fn answer_anew(&self, target: &Target, operation: &Operation, input: &Value) -> Outcome {
        self.ask(target, operation, input).await.map(Arc::new)
    }

    /// Follows the pages of one list.
    pub(crate) fn pages(&self) -> PageCursor {
        PageCursor::new(self.max_pages)
    }

    /// Calls an operation with all its pages and returns the list that `items` names.
    ///
    /// # Errors
    /// [`CallError`] of any page, and where an answer does not have the list.
    pub(crate) async fn all(
        self: &Arc<Self>,
        target: &Target,
        service: &str,
        operation: &str,
        mut input: Value,
        items: &str,
    ) -> Result<Vec<Value>, CallError> {
        let operation = Service::load(service)?.operation(operation)?;
        let items = Path::list_of(items);
        let mut all = Vec::new();
        let mut pages = self.pages();
        loop {
            let mut answer = self.call(target, &operation, &input).await?;
            operation.check_list(&answer, &items, None)?;
            let more = pages.advance(&operation, &answer, &mut input)?;
            all.extend(items.take_all(&mut answer));
            if !more {
                return Ok(all);
            }
        }
    }

    /// What the official SDK needs to send as this client does: connections, clock, time limit.
    #[cfg(feature = "aws-sdk-ec2")]
    pub(crate) fn sdk_parts(&self) -> (crate::transport::Transport, Clock, Duration) {
        let transport = crate::transport::Transport::new(self.http.clone());
        (transport, self.clock.clone(), self.retry.attempt_timeout)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client() -> Client {
        let provider = rustls::crypto::ring::default_provider();
        _ = provider.install_default();
        Client::new(&AwsConfig::default(), reqwest::Client::new().into(), Clock::default())
    }

    fn kind(name: &str, scope: &str, steps: &Value) -> (Arc<KindManifest>, BTreeSet<String>) {
        let kind = json!({"kind": name, "scope": scope, "plan": {"resources": "list", "steps": steps},
            "blueprints": []});
        (Arc::new(serde_json::from_value(kind).unwrap()), BTreeSet::from(["extra".to_owned()]))
    }

    fn list(service: &str, operation: &str) -> Value {
        json!({"id": "list", "service": service, "operation": operation, "items": "Items[]"})
    }

    #[test]
    fn answers_are_kept_for_whoever_may_ask_again() {
        let client = client();
        assert_eq!(client.audience("ec2", "DescribeInstances"), Audience::Resync, "nothing is known yet");
        let step = |id: &str, operation: &str, more: Value| {
            let mut step = json!({"id": id, "service": "ecs", "operation": operation, "each": "list"});
            step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            step
        };
        client.expect(&[
            kind("A::B::Instance", "regional", &json!([list("ec2", "DescribeInstances")])),
            kind(
                "A::B::Cluster",
                "regional",
                &json!([
                    list("ecs", "ListClusters"),
                    step("tags", "ListTagsForResource", json!({})),
                    step("fixed", "ListAttributes", json!({"region": "us-east-1"})),
                    step("extra", "ListTasks", json!({"option": "extra"})),
                    step("off", "ListServices", json!({"option": "another"})),
                ]),
            ),
            kind("A::B::Service", "regional", &json!([list("ecs", "ListClusters")])),
            kind("A::B::Account", "organization", &json!([list("organizations", "ListAccounts")])),
        ]);
        for (service, operation, audience) in [
            ("ec2", "DescribeInstances", Audience::Nobody),
            ("ecs", "ListTagsForResource", Audience::Unit),
            ("ecs", "ListTasks", Audience::Unit),
            ("ecs", "ListClusters", Audience::Resync),
            ("ecs", "ListAttributes", Audience::Resync),
            ("organizations", "ListAccounts", Audience::Resync),
            ("ecs", "ListServices", Audience::Resync),
        ] {
            assert_eq!(client.audience(service, operation), audience, "{service}:{operation}");
        }
    }

    #[test]
    fn buckets_that_are_as_good_as_new_are_forgotten() {
        let client = client();
        let region = Region::new("eu-west-1").unwrap();
        let account = |n: usize| AccountId::new(format!("{n:012}")).unwrap();
        let throttled = client.pace(&account(0), &region, "ec2");
        throttled.spend(5);
        drop(throttled);
        for n in 1..10 * LEAST_ROOM {
            client.pace(&account(n), &region, "ec2");
        }
        let paces = client.paces.lock().unwrap();
        assert!(paces.buckets.len() <= LEAST_ROOM, "{}", paces.buckets.len());
        assert!(paces.buckets.keys().any(|(kept, ..)| *kept == account(0)), "its budget is not full");
    }
}
