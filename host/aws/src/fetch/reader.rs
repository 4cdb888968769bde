//! The reader of a unit in one region, and its requests.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use berth_core::{AccountId, One, Problem, ProblemCode, Region, Scope, TemplateScope};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::{
    Fetch,
    budget::UnitBudget,
    item::Item,
    plan::{Plan, ReadyStep},
    problem,
    progress::Progress,
    resource::Resource,
};
use crate::{
    Concurrency,
    client::{AwsClient, RegionalSession, SharedAnswer, UnitCache},
    credentials::AccountSession,
    errors::{CallError, PLAN_AT_FAULT},
};

/// Reads one unit in one region.
pub(super) struct UnitReader {
    pub(super) client: Arc<AwsClient>,
    pub(super) target: RegionalSession,
    pub(super) plan: Arc<Plan>,
    pub(super) scope: Scope,
    account: Value,
    region: Value,
    partition: Value,
    kind: Value,
    /// The single resource to read; `None` for all of them.
    one: Option<One>,
    /// Whether no cached response may be used.
    fresh: bool,
    pub(super) concurrency: Concurrency,
    pub(super) budget: Arc<UnitBudget>,
    cache: Arc<UnitCache>,
    /// Bounds the enriching requests in flight.
    pub(super) enriching: Semaphore,
    /// The steps with a batch in which every item was rejected.
    pub(super) refused_batches: Mutex<HashSet<String>>,
    pub(super) progress: Progress,
}

/// The values of the placeholders in a step's input.
pub(super) struct Bindings<'a> {
    pub(super) reader: &'a UnitReader,
    pub(super) item: Option<&'a Item>,
    pub(super) items: Option<&'a Value>,
    pub(super) parents: Option<&'a Value>,
    pub(super) steps: Option<&'a Value>,
}

impl TemplateScope for Bindings<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "item" => self.item.map(Item::value),
            "items" => self.items,
            "parents" => self.parents,
            "steps" => self.steps,
            "account" => Some(&self.reader.account),
            "region" => Some(&self.reader.region),
            "partition" => Some(&self.reader.partition),
            "kind" => Some(&self.reader.kind),
            "resource" => self.reader.one.as_ref().map(|one| &one.resource),
            "event" => self.reader.one.as_ref().map(|one| &*one.event),
            _ => None,
        }
    }
}

impl UnitReader {
    pub(super) fn new(
        fetch: &Fetch,
        through: &(AccountId, Arc<AccountSession>),
        region: Region,
        plan: Arc<Plan>,
    ) -> Self {
        let account = &fetch.request.account;
        let (reading, session) = through.clone();
        Self {
            client: fetch.client.clone(),
            plan,
            scope: fetch.request.kind.scope,
            account: Value::from(account.id.as_str()),
            region: Value::from(region.as_str()),
            partition: Value::from(account.partition.as_str()),
            kind: Value::from(fetch.request.kind.kind.as_str()),
            one: fetch.request.one.clone(),
            // A resource that an event names may have changed since an earlier response.
            fresh: fetch.request.fresh || fetch.request.one.is_some(),
            target: RegionalSession {
                account: reading,
                region,
                session,
                metrics: Some(fetch.client.counters.kind(&fetch.request.kind.kind)),
            },
            concurrency: fetch.concurrency,
            budget: fetch.budget.clone(),
            cache: Arc::default(),
            enriching: Semaphore::new(fetch.concurrency.enrichments.get()),
            refused_batches: Mutex::default(),
            progress: Progress::default(),
        }
    }

    /// Returns the response to a call. It may come from the cache, unless the request wants fresh
    /// responses.
    pub(super) async fn answer(
        &self,
        target: &RegionalSession,
        ready: &ReadyStep,
        input: &Value,
    ) -> SharedAnswer {
        if self.fresh {
            return self.client.fresh_answer(target, &ready.operation, input).await;
        }
        self.client.answer(target, &ready.operation, input, Some(&self.cache)).await
    }

    pub(super) fn bindings_of<'a>(&'a self, item: Option<&'a Resource>) -> Bindings<'a> {
        Bindings {
            reader: self,
            item: item.map(|resource| &resource.item),
            items: None,
            parents: item.map(|resource| &*resource.parents),
            steps: item.map(|resource| &resource.steps),
        }
    }

    /// Returns the target and the input of a step's request for an item.
    pub(super) fn request(
        &self,
        ready: &ReadyStep,
        item: Option<&Resource>,
    ) -> Result<(RegionalSession, Value), Problem> {
        let bindings = self.bindings_of(item);
        Ok((self.target_of(ready, &bindings)?, render(ready, &bindings)))
    }

    pub(super) fn target_of(
        &self,
        ready: &ReadyStep,
        bindings: &Bindings<'_>,
    ) -> Result<RegionalSession, Problem> {
        let region = match ready.region.as_ref().and_then(|region| region.render(bindings)) {
            Some(Value::String(text)) if !text.is_empty() => Region::new(&text).map_err(|error| {
                Problem::new(ProblemCode::PluginPlan, format!("step `{}`, `region`: {error}", ready.step.id))
                    .remedy(PLAN_AT_FAULT)
            })?,
            _ => return Ok(self.target.clone()),
        };
        Ok(RegionalSession { region, ..self.target.clone() })
    }

    /// Returns the problem of a failed call of a step, with its remedy.
    pub(super) fn problem(&self, ready: &ReadyStep, region: &Region, error: &CallError) -> Problem {
        problem::of_call(&self.target.account, ready, region, error)
    }
}

pub(super) fn render(ready: &ReadyStep, bindings: &Bindings<'_>) -> Value {
    ready.step.input.template().render(bindings).unwrap_or_else(|| Value::Object(Map::new()))
}
