//! Enriches a batch of resources: one call per item, or one call for many.

use std::{collections::HashMap, sync::Arc};

use berth_core::{ItemFailure, Problem};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde_json::Value;

use super::{
    plan::{List, ReadyStep},
    reader::UnitReader,
    resource::{Chunk, RegionStop, Resource},
    step_result::{StepResult, kept},
};

/// A request to make, for the items at these positions.
struct Job<'a> {
    ready: &'a ReadyStep,
    positions: Vec<usize>,
}

impl UnitReader {
    /// Runs the enrichments of a list's items, stage by stage.
    pub(super) async fn enrich(&self, list: &List, mut chunk: Chunk) -> Result<Chunk, RegionStop> {
        for stage in &list.stages {
            let resources = &chunk.resources;
            // Boxed, because the compiler cannot prove that a closure's future outlives its borrow.
            let calls: Vec<BoxFuture<'_, _>> = stage
                .iter()
                .flat_map(|ready| self.jobs(ready, resources))
                .map(|job| self.work(job, resources).boxed())
                .collect();
            let outcomes: Vec<(&ReadyStep, Vec<(usize, StepResult)>)> = stream::iter(calls)
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
    ) -> Result<(&'a ReadyStep, Vec<(usize, StepResult)>), RegionStop> {
        let outcomes = match job.ready.step.batch {
            Some(_) => self.batch(job.ready, job.positions, resources).await?,
            None => self.each(job.ready, job.positions, resources).await?,
        };
        Ok((job.ready, outcomes))
    }

    /// Returns the requests of a step: one per item, or one per batch of items with the same values in the
    /// request.
    fn jobs<'a>(&self, ready: &'a ReadyStep, resources: &[Resource]) -> Vec<Job<'a>> {
        let Some(batch) = &ready.step.batch else {
            return (0..resources.len()).map(|at| Job { ready, positions: vec![at] }).collect();
        };
        let size = usize::try_from(batch.size).unwrap_or(usize::MAX).max(1);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut known: HashMap<(Option<*const Value>, Option<String>), usize> = HashMap::new();
        for (at, resource) in resources.iter().enumerate() {
            let parents = ready.uses_parents.then_some(Arc::as_ptr(&resource.parents));
            let region = ready.region.as_ref().map(|region| {
                region
                    .render(&self.bindings_of(Some(resource)))
                    .map_or_else(String::new, |region| region.to_string())
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

    async fn each(
        &self,
        ready: &ReadyStep,
        positions: Vec<usize>,
        resources: &[Resource],
    ) -> Result<Vec<(usize, StepResult)>, RegionStop> {
        let mut outcomes = Vec::with_capacity(positions.len());
        for at in positions {
            let outcome = match self.request(ready, Some(&resources[at])) {
                Err(problem) => StepResult::Fail(problem),
                Ok((target, input)) => match self.full_answer(ready, &target, input).await {
                    Ok(whole) => kept(ready, whole.answer),
                    Err(error) => self.result_of_error(ready, &target.region, &error)?,
                },
            };
            outcomes.push((at, outcome));
        }
        Ok(outcomes)
    }
}

impl UnitReader {
    /// Applies the outcomes of a stage: stores results in `steps`, moves failures aside, and drops items.
    fn apply(&self, chunk: Chunk, outcomes: Vec<(&ReadyStep, Vec<(usize, StepResult)>)>) -> Chunk {
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
                    StepResult::Absent => {}
                    StepResult::Drop => dropped[at] = true,
                    StepResult::Result(value) => file(&mut resources[at], value),
                    StepResult::Unread(unread, value) => {
                        if let Some(resource) = &mut resources[at] {
                            resource.unread.push(unread);
                        }
                        if let Some(value) = value {
                            file(&mut resources[at], value);
                        }
                    }
                    StepResult::Fail(problem) => fail(&mut resources[at], problem, false),
                    StepResult::Refused(problem) => fail(&mut resources[at], problem, true),
                }
            }
        }
        let kept = resources.into_iter().zip(dropped).filter(|(_, dropped)| !dropped);
        Chunk { resources: kept.filter_map(|(resource, _)| resource).collect(), failures }
    }
}
