//! Batches: one call for many items.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, MutexGuard, PoisonError},
};

use berth_core::{BatchFailures, ErrorClass, Problem, ProblemCode, Unmatched};
use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;

use super::{
    item::Item,
    plan::{ErrorAction, ReadyStep},
    reader::{Bindings, UnitReader, render},
    resource::{RegionStop, Resource},
    step_result::{FullAnswer, StepResult, listed},
};
use crate::errors::CallError;

/// The remedy if a batch does not report what happened to a resource.
const ASKED_AGAIN: &str = "its entity is kept unchanged; the next resync retries the call";

impl UnitReader {
    /// Requests many items at once. If the service rejects the request, one item may be the cause: the
    /// batch is halved until that item is alone. Once every item of a batch was rejected individually, the
    /// next batches are not halved.
    pub(super) async fn batch(
        &self,
        ready: &ReadyStep,
        positions: Vec<usize>,
        resources: &[Resource],
    ) -> Result<Vec<(usize, StepResult)>, RegionStop> {
        let is_many = positions.len() > 1;
        let outcomes = self.part(ready, positions, resources).await?;
        let is_refused =
            |outcome: &StepResult| matches!(outcome, StepResult::Refused(_) | StepResult::Unread(..));
        if is_many && outcomes.iter().all(|(_, outcome)| is_refused(outcome)) {
            self.refused_batches().insert(ready.step.id.clone());
        }
        Ok(outcomes)
    }

    fn refused_batches(&self) -> MutexGuard<'_, HashSet<String>> {
        self.refused_batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_halve(&self, ready: &ReadyStep, error: &CallError) -> bool {
        ready.may_drop(error)
            || (ready.may_be_one_item(error) && !self.refused_batches().contains(&ready.step.id))
    }

    fn part<'a>(
        &'a self,
        ready: &'a ReadyStep,
        positions: Vec<usize>,
        resources: &'a [Resource],
    ) -> BoxFuture<'a, Result<Vec<(usize, StepResult)>, RegionStop>> {
        async move {
            let Some(first) = positions.first().map(|at| &resources[*at]) else { return Ok(Vec::new()) };
            let items =
                Value::Array(positions.iter().map(|at| resources[*at].item.value().clone()).collect());
            let bindings =
                Bindings { items: Some(&items), item: None, steps: None, ..self.bindings_of(Some(first)) };
            // The region may depend on the item; all items of a batch share it.
            let target = match self.target_of(ready, &self.bindings_of(Some(first))) {
                Ok(target) => target,
                Err(problem) => return Ok(all(&positions, || StepResult::Fail(problem.clone()))),
            };
            let whole = match self.full_answer(ready, &target, render(ready, &bindings)).await {
                Ok(whole) => whole,
                // With some services, one item that was deleted after the list, or that may not be read,
                // fails the whole batch: the others are requested again without it. An error drops an item
                // only if that item was requested alone.
                Err(error) if positions.len() > 1 && self.may_halve(ready, &error) => {
                    let (left, right) = positions.split_at(positions.len() / 2);
                    let (left, right) = (left.to_vec(), right.to_vec());
                    let mut outcomes = self.part(ready, left, resources).await?;
                    outcomes.extend(self.part(ready, right, resources).await?);
                    return Ok(outcomes);
                }
                Err(error) if error.class() == ErrorClass::Missing && ready.has_no_rule_for(&error) => {
                    return Ok(all(&positions, || missing(ready)));
                }
                Err(error) => match ready.error_action(&error) {
                    ErrorAction::Use(answer) => {
                        FullAnswer { answer: listed(ready, answer), failures: Vec::new() }
                    }
                    ErrorAction::Unread(Some(answer)) => {
                        let unread = self.unread(ready, &target.region, &error);
                        let whole = FullAnswer { answer: listed(ready, answer), failures: Vec::new() };
                        let outcomes = matched(ready, &positions, resources, whole).into_iter();
                        let value = |outcome| match outcome {
                            StepResult::Result(value) => Some(value),
                            _ => None,
                        };
                        let unread =
                            |(at, outcome)| (at, StepResult::Unread(Arc::clone(&unread), value(outcome)));
                        return Ok(outcomes.map(unread).collect());
                    }
                    _ => {
                        let outcome = self.result_of_error(ready, &target.region, &error)?;
                        return Ok(all(&positions, || outcome.clone()));
                    }
                },
            };
            Ok(matched(ready, &positions, resources, whole))
        }
        .boxed()
    }
}

fn all(positions: &[usize], outcome: impl Fn() -> StepResult) -> Vec<(usize, StepResult)> {
    positions.iter().map(|at| (*at, outcome())).collect()
}

/// Assigns each item of a batch the result with its key, or the failure that the batch reports.
fn matched(
    ready: &ReadyStep,
    positions: &[usize],
    resources: &[Resource],
    whole: FullAnswer,
) -> Vec<(usize, StepResult)> {
    let Some(matching) = &ready.step.matching else { return all(positions, || StepResult::Absent) };
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
        // If several are reported, prefer one that leaves open whether the item exists.
        failures.map(|failure| reason_of(paths, failure)).reduce(Option::or)
    };
    let outcome = |at: usize| {
        let item = &resources[at].item;
        let Some(key) = matching.item.first(item.value()) else { return unmatched(ready, item) };
        match (results.get(&key.to_string()), failed(key)) {
            (Some(result), _) => match &ready.step.result {
                None => StepResult::Result(result.clone()),
                Some(path) => path.first(result).cloned().map_or(StepResult::Absent, StepResult::Result),
            },
            (None, Some(None)) => StepResult::Drop,
            (None, Some(Some(reason))) => StepResult::Fail(
                Problem::new(
                    ProblemCode::AwsInvalidAnswer,
                    format!(
                        "`{}:{}` reports a failure for {}: {reason}",
                        ready.step.service,
                        ready.step.operation,
                        item.label()
                    ),
                )
                .remedy(ASKED_AGAIN),
            ),
            (None, None) => unmatched(ready, item),
        }
    };
    positions.iter().map(|at| (*at, outcome(*at))).collect()
}

/// Returns why a batch has no result for an item; `None` if the item does not exist.
fn reason_of<'f>(paths: &BatchFailures, failure: &'f Value) -> Option<&'f str> {
    let reason = paths.reason.as_ref()?.first(failure).and_then(Value::as_str);
    let reason = reason.unwrap_or("no reason given");
    (!paths.missing.contains(reason)).then_some(reason)
}

/// Returns the result for an item that does not exist, according to the service.
fn missing(ready: &ReadyStep) -> StepResult {
    match ready.unmatched() {
        Unmatched::Absent => StepResult::Absent,
        Unmatched::Drop | Unmatched::Fail => StepResult::Drop,
    }
}

/// Returns the result for an item that a batch does not mention.
fn unmatched(ready: &ReadyStep, item: &Item) -> StepResult {
    match ready.unmatched() {
        Unmatched::Drop => StepResult::Drop,
        Unmatched::Absent => StepResult::Absent,
        Unmatched::Fail => StepResult::Fail(
            Problem::new(
                ProblemCode::AwsInvalidAnswer,
                format!(
                    "`{}:{}` does not mention {}: it may or may not exist",
                    ready.step.service,
                    ready.step.operation,
                    item.label()
                ),
            )
            .remedy(ASKED_AGAIN),
        ),
    }
}
