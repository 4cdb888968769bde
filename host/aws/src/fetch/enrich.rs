//! Enriching a batch: one call per item, or one for many.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, MutexGuard, PoisonError},
};

use berth_core::{
    BatchFailures, ErrorClass, FetchError, ItemFailure, Problem, Region, Unmatched, UnreadStep,
};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde_json::Value;

use super::{
    Bindings, Chunk, Reader, Resource, Stop,
    item::Item,
    plan::{List, Ready, Ruling, is_refusal},
    render,
};
use crate::{
    client::{Target, decode_list},
    errors::CallError,
};

/// What becomes of a resource about which a batch says nothing certain.
const ASKED_AGAIN: &str = "its entity stays as it is; the next resync asks again";

/// What became of an item in a step.
#[derive(Clone)]
enum Outcome {
    Result(Value),
    /// There is no result.
    Absent,
    /// The result is not known; the plan may name a value to map with.
    Unread(Arc<UnreadStep>, Option<Value>),
    /// No resource (any more).
    Drop,
    Fail(Problem),
    /// As [`Fail`](Self::Fail), since reading it is not allowed.
    Refused(Problem),
}

/// What a call answered, with all its pages.
#[derive(Default)]
struct Whole {
    /// The list of the step's `items`, or the first page's answer with the lists of the others appended.
    answer: Value,
    /// What a batch reports as failed.
    failures: Vec<Value>,
}

/// A request to be made, for the items at these positions.
struct Job<'a> {
    ready: &'a Ready,
    positions: Vec<usize>,
}

impl Reader {
    /// Runs the enrichments of a list's items, stage by stage.
    pub(super) async fn enrich(&self, list: &List, mut chunk: Chunk) -> Result<Chunk, Stop> {
        for stage in &list.stages {
            let resources = &chunk.resources;
            // Boxed, since the compiler cannot tell that a closure's future outlives its borrow.
            let calls: Vec<BoxFuture<'_, _>> = stage
                .iter()
                .flat_map(|ready| self.jobs(ready, resources))
                .map(|job| self.work(job, resources).boxed())
                .collect();
            let outcomes: Vec<(&Ready, Vec<(usize, Outcome)>)> = stream::iter(calls)
                .buffer_unordered(self.concurrency.enrichments.get())
                .try_collect()
                .await?;
            chunk = self.apply(chunk, outcomes);
        }
        Ok(chunk)
    }

    async fn work<'a>(
        &self,
        job: Job<'a>,
        resources: &[Resource],
    ) -> Result<(&'a Ready, Vec<(usize, Outcome)>), Stop> {
        let outcomes = match job.ready.step.batch {
            Some(_) => self.batch(job.ready, job.positions, resources).await?,
            None => self.each(job.ready, job.positions, resources).await?,
        };
        Ok((job.ready, outcomes))
    }

    /// The requests of a step: one per item, or one per batch of items that share what the request
    /// is made of.
    fn jobs<'a>(&self, ready: &'a Ready, resources: &[Resource]) -> Vec<Job<'a>> {
        let Some(batch) = &ready.step.batch else {
            return (0..resources.len()).map(|at| Job { ready, positions: vec![at] }).collect();
        };
        let size = usize::try_from(batch.size).unwrap_or(usize::MAX).max(1);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut known: HashMap<(Option<*const Value>, Option<String>), usize> = HashMap::new();
        for (at, resource) in resources.iter().enumerate() {
            let parents = ready.uses_parents.then_some(Arc::as_ptr(&resource.parents));
            let region = ready.region.as_ref().map(|region| {
                region.render(&self.bindings(resource)).map_or_else(String::new, |region| region.to_string())
            });
            let group = *known.entry((parents, region)).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[group].push(at);
        }
        groups
            .iter()
            .flat_map(|group| group.chunks(size))
            .map(|positions| Job { ready, positions: positions.to_vec() })
            .collect()
    }

    fn bindings<'a>(&'a self, resource: &'a Resource) -> Bindings<'a> {
        self.bindings_of(Some(resource))
    }

    async fn each(
        &self,
        ready: &Ready,
        positions: Vec<usize>,
        resources: &[Resource],
    ) -> Result<Vec<(usize, Outcome)>, Stop> {
        let mut outcomes = Vec::with_capacity(positions.len());
        for at in positions {
            let outcome = match self.request(ready, Some(&resources[at])) {
                Err(problem) => Outcome::Fail(problem),
                Ok((target, input)) => match self.whole(ready, &target, input).await {
                    Ok(whole) => kept(ready, whole.answer),
                    Err(error) => self.ruled(ready, &target.region, &error)?,
                },
            };
            outcomes.push((at, outcome));
        }
        Ok(outcomes)
    }

    /// What an error means to each item that the call was about.
    fn ruled(&self, ready: &Ready, region: &Region, error: &CallError) -> Result<Outcome, Stop> {
        Ok(match ready.ruling(error) {
            Ruling::Absent => Outcome::Absent,
            Ruling::Drop => Outcome::Drop,
            Ruling::Use(answer) => kept(ready, listed(ready, answer)),
            Ruling::Unread(answer) => {
                let unread = self.unread(ready, region, error);
                match answer.map(|answer| kept(ready, listed(ready, answer))) {
                    Some(Outcome::Result(value)) => Outcome::Unread(unread, Some(value)),
                    _ => Outcome::Unread(unread, None),
                }
            }
            Ruling::Fail if is_refusal(error) => Outcome::Refused(self.problem(ready, region, error)),
            Ruling::Fail => Outcome::Fail(self.problem(ready, region, error)),
            Ruling::SkipUnit => return Err(FetchError::Skipped(self.problem(ready, region, error)).into()),
        })
    }

    fn unread(&self, ready: &Ready, region: &Region, error: &CallError) -> Arc<UnreadStep> {
        Arc::new(UnreadStep {
            step: ready.step.id.clone(),
            call: format!("{}:{}", ready.step.service, ready.step.operation),
            denied: if is_refusal(error) { crate::policy::actions(&ready.step) } else { Vec::new() },
            problem: self.problem(ready, region, error),
        })
    }

    /// The answer to a call with all its pages.
    async fn whole(&self, ready: &Ready, target: &Target, mut input: Value) -> Result<Whole, CallError> {
        let mut whole: Option<Whole> = None;
        let mut pages = self.client.pages();
        loop {
            let mut answer = {
                // Never closed.
                let _seat = self.enriching.acquire().await;
                // A result whose key cannot be read would look as if it were not there.
                let key = ready.step.matching.as_ref().map(|matching| &matching.result);
                let needed: Vec<_> = ready.step.items.iter().chain(key).collect();
                decode_list(&ready.operation, &*self.answer(target, ready, &input).await?, &needed)?
            };
            if let Some(items) = &ready.step.items {
                ready.operation.check_list(&answer, items, ready.step.empty.as_ref())?;
            }
            // What is no list may well have a member of that name.
            let is_list = ready.step.items.is_some() || ready.operation.pagination().is_some();
            let more = is_list && pages.advance(&ready.operation, &answer, &mut input)?;
            let failures = ready.failures().map_or_else(Vec::new, |paths| paths.items.take_all(&mut answer));
            if let Some(items) = &ready.step.items {
                answer = Value::Array(items.take_all(&mut answer));
            }
            match &mut whole {
                None => whole = Some(Whole { answer, failures }),
                Some(whole) => {
                    append(ready, &mut whole.answer, answer);
                    whole.failures.extend(failures);
                }
            }
            if !more {
                return Ok(whole.unwrap_or_default());
            }
        }
    }

    /// Asks for many items at once. Where that is refused, one item may be the cause: they are asked for
    /// in halves, until it is alone. Once a whole batch turned out to be refused item by item, the next
    /// ones are not taken apart.
    async fn batch(
        &self,
        ready: &Ready,
        positions: Vec<usize>,
        resources: &[Resource],
    ) -> Result<Vec<(usize, Outcome)>, Stop> {
        let is_many = positions.len() > 1;
        let outcomes = self.part(ready, positions, resources).await?;
        let is_refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_) | Outcome::Unread(..));
        if is_many && outcomes.iter().all(|(_, outcome)| is_refused(outcome)) {
            self.refused_batches().insert(ready.step.id.clone());
        }
        Ok(outcomes)
    }

    fn refused_batches(&self) -> MutexGuard<'_, HashSet<String>> {
        self.refused_batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_halve(&self, ready: &Ready, error: &CallError) -> bool {
        ready.may_drop(error)
            || (ready.may_be_one_item(error) && !self.refused_batches().contains(&ready.step.id))
    }

    fn part<'a>(
        &'a self,
        ready: &'a Ready,
        positions: Vec<usize>,
        resources: &'a [Resource],
    ) -> BoxFuture<'a, Result<Vec<(usize, Outcome)>, Stop>> {
        async move {
            let Some(first) = positions.first().map(|at| &resources[*at]) else { return Ok(Vec::new()) };
            let items =
                Value::Array(positions.iter().map(|at| resources[*at].item.value().clone()).collect());
            let bindings = Bindings { items: Some(&items), item: None, steps: None, ..self.bindings(first) };
            // The region may be told by the item; the batch shares it.
            let target = match self.target_of(ready, &self.bindings(first)) {
                Ok(target) => target,
                Err(problem) => return Ok(all(&positions, || Outcome::Fail(problem.clone()))),
            };
            let whole = match self.whole(ready, &target, render(ready, &bindings)).await {
                Ok(whole) => whole,
                // One item that vanished between list and batch, or that may not be read, fails some
                // services' whole batch: the others are asked for again without it. An error drops only
                // what was asked for alone.
                Err(error) if positions.len() > 1 && self.may_halve(ready, &error) => {
                    let (left, right) = positions.split_at(positions.len() / 2);
                    let (left, right) = (left.to_vec(), right.to_vec());
                    let mut outcomes = self.part(ready, left, resources).await?;
                    outcomes.extend(self.part(ready, right, resources).await?);
                    return Ok(outcomes);
                }
                Err(error) if error.class() == ErrorClass::Missing && ready.is_unruled(&error) => {
                    return Ok(all(&positions, || missing(ready)));
                }
                Err(error) => match ready.ruling(&error) {
                    Ruling::Use(answer) => Whole { answer: listed(ready, answer), failures: Vec::new() },
                    Ruling::Unread(Some(answer)) => {
                        let unread = self.unread(ready, &target.region, &error);
                        let whole = Whole { answer: listed(ready, answer), failures: Vec::new() };
                        let outcomes = matched(ready, &positions, resources, whole).into_iter();
                        let value = |outcome| match outcome {
                            Outcome::Result(value) => Some(value),
                            _ => None,
                        };
                        let unread =
                            |(at, outcome)| (at, Outcome::Unread(Arc::clone(&unread), value(outcome)));
                        return Ok(outcomes.map(unread).collect());
                    }
                    _ => {
                        let outcome = self.ruled(ready, &target.region, &error)?;
                        return Ok(all(&positions, || outcome.clone()));
                    }
                },
            };
            Ok(matched(ready, &positions, resources, whole))
        }
        .boxed()
    }
}

fn all(positions: &[usize], outcome: impl Fn() -> Outcome) -> Vec<(usize, Outcome)> {
    positions.iter().map(|at| (*at, outcome())).collect()
}

/// The list of the step's `items` in an answer, or all of it.
fn listed(ready: &Ready, mut answer: Value) -> Value {
    match &ready.step.items {
        Some(items) => Value::Array(items.take_all(&mut answer)),
        None => answer,
    }
}

/// The part of an answer that the plan keeps.
fn kept(ready: &Ready, answer: Value) -> Outcome {
    let Some(path) = &ready.step.result else { return Outcome::Result(answer) };
    let part = |mut answer: Value| {
        let mut found = path.take_all(&mut answer);
        if path.is_list() {
            Some(Value::Array(found))
        } else {
            (!found.is_empty()).then(|| found.swap_remove(0))
        }
    };
    let found = match answer {
        // With `items` the answer is a list of results, and the path is about each of them.
        Value::Array(results) if ready.step.items.is_some() => {
            Some(Value::Array(results.into_iter().filter_map(part).collect()))
        }
        answer => part(answer),
    };
    found.map_or(Outcome::Absent, Outcome::Result)
}

/// Gives each item of a batch the result with its key, or what the batch says about its failure.
fn matched(
    ready: &Ready,
    positions: &[usize],
    resources: &[Resource],
    whole: Whole,
) -> Vec<(usize, Outcome)> {
    let Some(matching) = &ready.step.matching else { return all(positions, || Outcome::Absent) };
    let mut results: HashMap<String, Value> = HashMap::new();
    if let Value::Array(found) = whole.answer {
        for result in found {
            if let Some(key) = matching.result.first(&result).map(ToString::to_string) {
                results.entry(key).or_insert(result);
            }
        }
    }
    let failed = |key: &Value| {
        let paths = matching.failures.as_ref()?;
        let failures = whole.failures.iter().filter(|failure| paths.key.first(failure) == Some(key));
        // Of several, one that leaves open whether the item exists counts.
        failures.map(|failure| reason_of(paths, failure)).reduce(Option::or)
    };
    let outcome = |at: usize| {
        let item = &resources[at].item;
        let Some(key) = matching.item.first(item.value()) else { return unmatched(ready, item) };
        match (results.get(&key.to_string()), failed(key)) {
            (Some(result), _) => match &ready.step.result {
                None => Outcome::Result(result.clone()),
                Some(path) => path.first(result).cloned().map_or(Outcome::Absent, Outcome::Result),
            },
            (None, Some(None)) => Outcome::Drop,
            (None, Some(Some(reason))) => Outcome::Fail(
                Problem::new(format!(
                    "`{}:{}` reports a failure for {}: {reason}",
                    ready.step.service,
                    ready.step.operation,
                    item.label()
                ))
                .remedy(ASKED_AGAIN),
            ),
            (None, None) => unmatched(ready, item),
        }
    };
    positions.iter().map(|at| (*at, outcome(*at))).collect()
}

/// Why a batch has no result for an item; `None` when the item does not exist.
fn reason_of<'f>(paths: &BatchFailures, failure: &'f Value) -> Option<&'f str> {
    let reason = paths.reason.as_ref()?.first(failure).and_then(Value::as_str);
    let reason = reason.unwrap_or("no reason is given");
    (!paths.missing.contains(reason)).then_some(reason)
}

/// What becomes of an item that the service says does not exist.
fn missing(ready: &Ready) -> Outcome {
    match ready.unmatched() {
        Unmatched::Absent => Outcome::Absent,
        Unmatched::Drop | Unmatched::Fail => Outcome::Drop,
    }
}

/// What becomes of an item that a batch does not mention.
fn unmatched(ready: &Ready, item: &Item) -> Outcome {
    match ready.unmatched() {
        Unmatched::Drop => Outcome::Drop,
        Unmatched::Absent => Outcome::Absent,
        Unmatched::Fail => Outcome::Fail(
            Problem::new(format!(
                "`{}:{}` does not mention {}, so it is not known whether it exists",
                ready.step.service,
                ready.step.operation,
                item.label()
            ))
            .remedy(ASKED_AGAIN),
        ),
    }
}

/// Appends a page to those before it.
fn append(ready: &Ready, whole: &mut Value, page: Value) {
    match (whole, page) {
        (Value::Array(whole), Value::Array(page)) => whole.extend(page),
        (Value::Object(whole), Value::Object(mut page)) => {
            let keys = ready.operation.pagination().map_or(&[][..], |pagination| &pagination.result_keys);
            for key in keys {
                match (whole.get_mut(key), page.remove(key)) {
                    (Some(Value::Array(whole)), Some(Value::Array(page))) => whole.extend(page),
                    (None, Some(page)) => _ = whole.insert(key.clone(), page),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

impl Reader {
    /// Files the outcomes of a stage: results into `steps`, failures aside, dropped items away.
    fn apply(&self, chunk: Chunk, outcomes: Vec<(&Ready, Vec<(usize, Outcome)>)>) -> Chunk {
        let Chunk { resources, mut failures } = chunk;
        let mut resources: Vec<Option<Resource>> = resources.into_iter().map(Some).collect();
        let mut dropped = vec![false; resources.len()];
        for (ready, outcomes) in outcomes {
            let mut fail = |resource: &mut Option<Resource>, problem: Problem, refused: bool| {
                if let Some(resource) = resource.take() {
                    self.progress.failed(&problem, refused);
                    failures.push(ItemFailure { resource: resource.item.label(), problem });
                }
            };
            for (at, outcome) in outcomes {
                let file = |resource: &mut Option<Resource>, value: Value| {
                    if let Some(Value::Object(steps)) = resource.as_mut().map(|resource| &mut resource.steps)
                    {
                        steps.insert(ready.step.id.clone(), value);
                    }
                };
                match outcome {
                    Outcome::Absent => {}
                    Outcome::Drop => dropped[at] = true,
                    Outcome::Result(value) => file(&mut resources[at], value),
                    Outcome::Unread(unread, value) => {
                        if let Some(resource) = &mut resources[at] {
                            resource.unread.push(unread);
                        }
                        if let Some(value) = value {
                            file(&mut resources[at], value);
                        }
                    }
                    Outcome::Fail(problem) => fail(&mut resources[at], problem, false),
                    Outcome::Refused(problem) => fail(&mut resources[at], problem, true),
                }
            }
        }
        let kept = resources.into_iter().zip(dropped).filter(|(_, dropped)| !dropped);
        Chunk { resources: kept.filter_map(|(resource, _)| resource).collect(), failures }
    }
}
