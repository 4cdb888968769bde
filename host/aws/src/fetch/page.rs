//! Builds pages for the mapping.

use std::collections::BTreeMap;

use berth_core::{FetchError, ItemFailure, Problem, ProblemCode, RawPage, Reservation, Scope, UnreadStep};

use super::{
    reader::UnitReader,
    resource::{Chunk, Resource},
};

impl UnitReader {
    /// Builds the pages of a batch: one for all resources with the same unread steps.
    pub(super) fn pages_of(&self, chunk: Chunk) -> Result<Vec<RawPage>, FetchError> {
        let Chunk { resources, mut failures } = chunk;
        let mut groups: BTreeMap<Vec<String>, Vec<Resource>> = BTreeMap::new();
        for resource in resources {
            let mut steps: Vec<String> = resource.unread.iter().map(|unread| unread.step.clone()).collect();
            steps.sort_unstable();
            groups.entry(steps).or_default().push(resource);
        }
        if groups.is_empty() {
            groups.insert(Vec::new(), Vec::new());
        }
        groups.into_values().map(|resources| self.page(&resources, std::mem::take(&mut failures))).collect()
    }

    fn page(&self, together: &[Resource], failures: Vec<ItemFailure>) -> Result<RawPage, FetchError> {
        self.progress.read(together.len());
        let unread = together.first().map_or_else(Vec::new, |first| {
            first.unread.iter().map(|unread| UnreadStep::clone(unread)).collect()
        });
        // Does not count the items' steps and parents, which are usually short.
        let capacity = together.iter().map(|resource| resource.item.json().len() + 64).sum();
        let mut resources = Vec::with_capacity(capacity);
        resources.push(b'[');
        for (at, resource) in together.iter().enumerate() {
            if at > 0 {
                resources.push(b',');
            }
            resource.write(&mut resources).map_err(|error| {
                FetchError::Failed(Problem::from_error(ProblemCode::AwsInvalidAnswer, &error))
            })?;
        }
        resources.push(b']');
        // Reserve the page's memory before releasing that of the decoded resources, so that the unit
        // continues without waiting.
        let reservation = Reservation::of(self.budget.reserve(resources.len()));
        Ok(RawPage {
            region: (self.scope == Scope::Regional).then(|| self.target.region.clone()),
            resources,
            count: together.len(),
            failures,
            unread,
            reservation,
        })
    }
}
