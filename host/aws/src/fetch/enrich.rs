//! Enriching a batch: one call per item, or one for many.

use std::{collections::HashMap, sync::Arc};

use berth_core::{FetchError, ItemFailure, Problem, Region, Unmatched};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde_json::{Map, Value};

use super::{
    Bindings, Chunk, Reader, Resource, Stop, advance,
    item::Item,
    plan::{List, Ready, Ruling},
    render,
};
use crate::{
    client::{Target, decode},
    errors::{CallError, Class},
};

/// What became of an item in a step.
enum Outcome {
    Result(Value),
    /// Mapped without the step's result.
    Absent,
    /// No resource (any more).
    Drop,
    Fail(Problem),
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
            chunk = apply(chunk, outcomes);
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
                    Ok(answer) => kept(ready, answer),
                    Err(error) => self.ruled(ready, &target.region, &error)?,
                },
            };
            outcomes.push((at, outcome));
        }
        Ok(outcomes)
    }

    fn ruled(&self, ready: &Ready, region: &Region, error: &CallError) -> Result<Outcome, Stop> {
        Ok(match ready.ruling(error) {
            Ruling::Absent => Outcome::Absent,
            Ruling::Drop => Outcome::Drop,
            Ruling::Use(mut answer) => {
                if let Some(items) = &ready.step.items {
                    answer = Value::Array(items.take_all(&mut answer));
                }
                kept(ready, answer)
            }
            Ruling::Fail => Outcome::Fail(self.problem(ready, region, error)),
            Ruling::SkipUnit => return Err(FetchError::Skipped(self.problem(ready, region, error)).into()),
        })
    }

    /// The answer to a call with all its pages: the list of its `items`, or the first page's
    /// answer with the lists of the others appended.
    async fn whole(&self, ready: &Ready, target: &Target, mut input: Value) -> Result<Value, CallError> {
        let mut whole: Option<Value> = None;
        loop {
            let mut answer = {
                // Never closed.
                let _seat = self.enriching.acquire().await;
                decode(&ready.operation, &*self.answer(target, ready, &input).await?)?
            };
            let more = advance(ready, &answer, &mut input)?;
            if let Some(items) = &ready.step.items {
                answer = Value::Array(items.take_all(&mut answer));
            }
            match &mut whole {
                None => whole = Some(answer),
                Some(whole) => append(ready, whole, answer),
            }
            if !more {
                return Ok(whole.unwrap_or(Value::Null));
            }
        }
    }

    fn batch<'a>(
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
            let answer = match self.whole(ready, &target, render(ready, &bindings)).await {
                Ok(answer) => answer,
                // One item that vanished between list and batch fails some services' whole batch:
                // the others are asked again without it.
                Err(error) if error.class() == Class::Missing && ready.is_unruled(&error) => {
                    if positions.len() == 1 {
                        return Ok(all(&positions, || unmatched(ready, &first.item)));
                    }
                    let (left, right) = positions.split_at(positions.len() / 2);
                    let (left, right) = (left.to_vec(), right.to_vec());
                    let mut outcomes = self.batch(ready, left, resources).await?;
                    outcomes.extend(self.batch(ready, right, resources).await?);
                    return Ok(outcomes);
                }
                Err(error) => match ready.ruling(&error) {
                    Ruling::Use(mut answer) => match &ready.step.items {
                        Some(items) => Value::Array(items.take_all(&mut answer)),
                        None => answer,
                    },
                    Ruling::Absent => return Ok(all(&positions, || Outcome::Absent)),
                    Ruling::Drop => return Ok(all(&positions, || Outcome::Drop)),
                    Ruling::Fail => {
                        let problem = self.problem(ready, &target.region, &error);
                        return Ok(all(&positions, || Outcome::Fail(problem.clone())));
                    }
                    Ruling::SkipUnit => {
                        return Err(FetchError::Skipped(self.problem(ready, &target.region, &error)).into());
                    }
                },
            };
            Ok(matched(ready, &positions, resources, answer))
        }
        .boxed()
    }
}

fn all(positions: &[usize], outcome: impl Fn() -> Outcome) -> Vec<(usize, Outcome)> {
    positions.iter().map(|at| (*at, outcome())).collect()
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

/// Gives each item of a batch the result with its key.
fn matched(
    ready: &Ready,
    positions: &[usize],
    resources: &[Resource],
    answer: Value,
) -> Vec<(usize, Outcome)> {
    let Some(matching) = &ready.step.matching else { return all(positions, || Outcome::Absent) };
    let mut results: HashMap<String, Value> = HashMap::new();
    if let Value::Array(found) = answer {
        for result in found {
            if let Some(key) = matching.result.first(&result).map(ToString::to_string) {
                results.entry(key).or_insert(result);
            }
        }
    }
    let outcome = |at: usize| {
        let item = &resources[at].item;
        let result = matching.item.first(item.value()).and_then(|key| results.get(&key.to_string()).cloned());
        match result {
            None => unmatched(ready, item),
            Some(result) => match &ready.step.result {
                None => Outcome::Result(result),
                Some(path) => path.first(&result).cloned().map_or(Outcome::Absent, Outcome::Result),
            },
        }
    };
    positions.iter().map(|at| (*at, outcome(*at))).collect()
}

fn unmatched(ready: &Ready, item: &Item) -> Outcome {
    match ready.step.matching.as_ref().map(|matching| matching.unmatched).unwrap_or_default() {
        Unmatched::Drop => Outcome::Drop,
        Unmatched::Absent => Outcome::Absent,
        Unmatched::Fail => Outcome::Fail(Problem::new(format!(
            "`{}:{}` answered nothing for {}",
            ready.step.service,
            ready.step.operation,
            item.label()
        ))),
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

/// Files the outcomes of a stage: results into `steps`, failures aside, dropped items away.
fn apply(chunk: Chunk, outcomes: Vec<(&Ready, Vec<(usize, Outcome)>)>) -> Chunk {
    let Chunk { resources, mut failures } = chunk;
    let mut resources: Vec<Option<Resource>> = resources.into_iter().map(Some).collect();
    let mut dropped = vec![false; resources.len()];
    for (ready, outcomes) in outcomes {
        for (at, outcome) in outcomes {
            match outcome {
                Outcome::Absent => {}
                Outcome::Drop => dropped[at] = true,
                Outcome::Result(value) => {
                    if let Some(resource) = &mut resources[at] {
                        let steps = resource.steps.as_object_mut();
                        steps
                            .map(|steps: &mut Map<String, Value>| steps.insert(ready.step.id.clone(), value));
                    }
                }
                Outcome::Fail(problem) => {
                    if let Some(resource) = resources[at].take() {
                        failures.push(ItemFailure { resource: resource.item.label(), problem });
                    }
                }
            }
        }
    }
    let kept = resources.into_iter().zip(dropped).filter(|(_, dropped)| !dropped);
    Chunk { resources: kept.filter_map(|(resource, _)| resource).collect(), failures }
}
