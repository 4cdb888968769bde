//! The result of a step for an item: its response with all pages, or the plan's outcome for an error.

use std::sync::Arc;

use berth_core::{FetchError, Problem, Region, UnreadStep};
use serde_json::Value;

use super::{
    plan::{ErrorAction, ReadyStep, is_refusal},
    reader::UnitReader,
    resource::RegionStop,
};
use crate::{
    client::{RegionalSession, decode_list},
    errors::CallError,
    policy,
};

/// The result of a step for one item.
#[derive(Clone)]
pub(super) enum StepResult {
    Result(Value),
    /// There is no result.
    Absent,
    /// The result is unknown; the plan may set a value to map with.
    Unread(Arc<UnreadStep>, Option<Value>),
    /// The item is not a resource (any more).
    Drop,
    Fail(Problem),
    /// Like [`Fail`](Self::Fail), because access is denied.
    Refused(Problem),
}

/// The response to a call, with all its pages.
#[derive(Default)]
pub(super) struct FullAnswer {
    /// The list of the step's `items`, or the first page's response with the lists of the other pages
    /// appended.
    pub(super) answer: Value,
    /// The failures that a batch reports.
    pub(super) failures: Vec<Value>,
}

impl UnitReader {
    /// Returns the result for each item of a call that failed.
    pub(super) fn result_of_error(
        &self,
        ready: &ReadyStep,
        region: &Region,
        error: &CallError,
    ) -> Result<StepResult, RegionStop> {
        Ok(match ready.error_action(error) {
            ErrorAction::Absent => StepResult::Absent,
            ErrorAction::Drop => StepResult::Drop,
            ErrorAction::Use(answer) => kept(ready, listed(ready, answer)),
            ErrorAction::Unread(answer) => {
                let unread = self.unread(ready, region, error);
                match answer.map(|answer| kept(ready, listed(ready, answer))) {
                    Some(StepResult::Result(value)) => StepResult::Unread(unread, Some(value)),
                    _ => StepResult::Unread(unread, None),
                }
            }
            ErrorAction::Fail if is_refusal(error) => StepResult::Refused(self.problem(ready, region, error)),
            ErrorAction::Fail => StepResult::Fail(self.problem(ready, region, error)),
            ErrorAction::SkipUnit => {
                return Err(FetchError::Skipped(self.problem(ready, region, error)).into());
            }
        })
    }

    pub(super) fn unread(&self, ready: &ReadyStep, region: &Region, error: &CallError) -> Arc<UnreadStep> {
        Arc::new(UnreadStep {
            step: ready.step.id.clone(),
            call: format!("{}:{}", ready.step.service, ready.step.operation),
            denied: if is_refusal(error) { policy::actions(&ready.step) } else { Vec::new() },
            problem: self.problem(ready, region, error),
        })
    }

    /// Returns the response to a call with all its pages.
    pub(super) async fn full_answer(
        &self,
        ready: &ReadyStep,
        target: &RegionalSession,
        mut input: Value,
    ) -> Result<FullAnswer, CallError> {
        let mut whole: Option<FullAnswer> = None;
        let mut pages = self.client.pages();
        loop {
            let mut answer = {
                // The semaphore is never closed.
                let _permit = self.enriching.acquire().await;
                // A result with an unreadable key would look as if it were missing.
                let key = ready.step.matching.as_ref().map(|matching| &matching.result);
                let needed: Vec<_> = ready.step.items.iter().chain(key).collect();
                decode_list(&ready.operation, &*self.answer(target, ready, &input).await?, &needed)?
            };
            if let Some(items) = &ready.step.items {
                ready.operation.check_list(&answer, items, ready.step.empty.as_ref())?;
            }
            // A response that is not a list may have a member with the same name.
            let is_list = ready.step.items.is_some() || ready.operation.pagination().is_some();
            let more = is_list && pages.advance(&ready.operation, &answer, &mut input)?;
            let failures = ready.failures().map_or_else(Vec::new, |paths| paths.items.take_all(&mut answer));
            if let Some(items) = &ready.step.items {
                answer = Value::Array(items.take_all(&mut answer));
            }
            match &mut whole {
                None => whole = Some(FullAnswer { answer, failures }),
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
}

/// Returns the list of the step's `items` in a response, or the whole response.
pub(super) fn listed(ready: &ReadyStep, mut answer: Value) -> Value {
    match &ready.step.items {
        Some(items) => Value::Array(items.take_all(&mut answer)),
        None => answer,
    }
}

/// Returns the part of a response that the plan keeps.
pub(super) fn kept(ready: &ReadyStep, answer: Value) -> StepResult {
    let Some(path) = &ready.step.result else { return StepResult::Result(answer) };
    let part = |mut answer: Value| {
        let mut found = path.take_all(&mut answer);
        if path.is_list() {
            Some(Value::Array(found))
        } else {
            (!found.is_empty()).then(|| found.swap_remove(0))
        }
    };
    let found = match answer {
        // With `items` the response is a list of results, and the path applies to each of them.
        Value::Array(results) if ready.step.items.is_some() => {
            Some(Value::Array(results.into_iter().filter_map(part).collect()))
        }
        answer => part(answer),
    };
    found.map_or(StepResult::Absent, StepResult::Result)
}

/// Appends a page to the earlier pages.
fn append(ready: &ReadyStep, whole: &mut Value, page: Value) {
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
