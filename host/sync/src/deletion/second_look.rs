//! Lists units again before anything is deleted: AWS's lists are eventually consistent.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use berth_core::{
    EntityKey, FetchError, FetchRequest, KindManifest, KindReads, MapContext, MapRequest, Problem,
    ProblemCode, Scope, Unit,
};
use futures::{StreamExt, stream};

use super::{
    Doomed, Keep,
    lookup::{StaleEntities, StaleEntity},
};
use crate::{Kept, SecondLook, outcome::map_problem, unit_task::options};

/// The most units that are listed a second time; entities of further units wait for the next resync.
const SECOND_LOOK: usize = 500;
/// Units to list again at once.
const LOOKS_AT_ONCE: usize = 16;
impl StaleEntities<'_, '_> {
    /// Lists again the units that own the entities to delete: AWS's lists are eventually consistent, and
    /// entities that are found are kept.
    pub(super) async fn look_again(
        &mut self,
        doomed: &mut Vec<Doomed>,
        facts: &HashMap<EntityKey, StaleEntity>,
    ) {
        let mut wanted: BTreeMap<usize, HashSet<EntityKey>> = BTreeMap::new();
        for doomed in doomed.iter() {
            let Some(known) = facts.get(&doomed.key) else { continue };
            for at in self.policy.units_behind(&known.stale()) {
                if self.units.get(at).is_some_and(|unit| unit.kind.scope != Scope::Account) {
                    wanted.entry(at).or_default().insert(doomed.key.clone());
                }
            }
        }
        let mut keep: BTreeMap<EntityKey, Keep> = BTreeMap::new();
        for (at, keys) in wanted.iter().skip(SECOND_LOOK) {
            let unit = self.units[*at].id.clone();
            keep.extend(keys.iter().map(|key| (key.clone(), Keep::NotLookedTwice { unit: unit.clone() })));
        }
        let this = &*self;
        let looks: Vec<_> = wanted
            .iter()
            .take(SECOND_LOOK)
            .map(|(at, keys)| async move { (*at, this.look(*at, keys).await) })
            .collect();
        let looked = looks.len() as u64;
        let found: Vec<(usize, Result<HashSet<EntityKey>, Problem>)> =
            stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).collect().await;
        for (at, found) in found {
            let unit = self.units[at].id.clone();
            let wanted = wanted.remove(&at).unwrap_or_default();
            match found {
                Ok(found) => {
                    let there = wanted.into_iter().filter(|key| found.contains(key));
                    keep.extend(there.map(|key| (key, Keep::FoundAgain { unit: unit.clone() })));
                }
                Err(problem) => {
                    tracing::warn!(
                        %unit, %problem,
                        "cannot list a unit a second time; nothing of it is deleted"
                    );
                    let missing = wanted.into_iter();
                    keep.extend(missing.map(|key| (key, Keep::NotLookedTwice { unit: unit.clone() })));
                }
            }
        }
        doomed.retain(|doomed| !keep.contains_key(&doomed.key));
        let again = keep.values().filter(|keep| matches!(keep, Keep::FoundAgain { .. })).count() as u64;
        self.deletion.second_look = SecondLook { units: looked, found: again };
        for (entity, keep) in keep {
            self.deletion.kept.push(Kept { entity, keep });
        }
    }

    /// Returns which of these entities a unit produces now. Lists only, if the mapping needs no more;
    /// otherwise reads everything.
    async fn look(&self, at: usize, keys: &HashSet<EntityKey>) -> Result<HashSet<EntityKey>, Problem> {
        let unit = &self.units[at];
        let listed = unit.kind.list_only();
        if listed != *unit.kind
            && let Some(found) = self.keys_of(unit, listed, keys, true).await?
        {
            return Ok(found);
        }
        let found = self.keys_of(unit, KindManifest::clone(&unit.kind), keys, false).await?;
        Ok(found.unwrap_or_default())
    }

    /// Reads a unit by this plan, and maps what it reads. Returns `None` if `strict` is set and the mapping
    /// needs more than that plan reads.
    async fn keys_of(
        &self,
        unit: &Unit,
        kind: KindManifest,
        keys: &HashSet<EntityKey>,
        strict: bool,
    ) -> Result<Option<HashSet<EntityKey>>, Problem> {
        let Some(resource) = self.resources.get(unit.id.resource) else { return Ok(None) };
        let (_, mapping) = resource.mapping.as_ref().map_err(Problem::clone)?;
        let mut pages = self.reader.fetch(FetchRequest {
            account: Arc::clone(&unit.account),
            regions: unit.regions.clone(),
            kind: Arc::new(kind),
            options: options(&unit.resource),
            one: None,
            fresh: true,
        });
        let mut found = HashSet::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| match error {
                FetchError::Skipped(problem) | FetchError::Failed(problem) => problem,
            })?;
            if let Some(failure) = page.failures.first() {
                return Err(failure.problem.clone());
            }
            if page.count == 0 {
                continue;
            }
            let request = MapRequest {
                kind: unit.id.kind.clone(),
                context: MapContext {
                    account: Arc::clone(&unit.account),
                    region: page.region.clone(),
                    options: unit.resource.selector.include_actions.clone(),
                },
                mapping: mapping.clone(),
                documents: false,
                page,
            };
            let report = match self.mapper.map(request).await {
                Ok(report) => report,
                Err(_) if strict => return Ok(None),
                Err(error) => return Err(map_problem(error)),
            };
            let unmapped = report.misconfigured.iter().any(|field| field.blueprint.is_none());
            if strict && (unmapped || report.filtered > 0 || !report.errors.is_empty()) {
                return Ok(None);
            }
            if let Some(error) = report.errors.first() {
                return Err(Problem::new(
                    ProblemCode::MappingFailed,
                    format!("cannot map {}: {}", error.resource, error.reason),
                ));
            }
            found.extend(
                report.entities.into_iter().map(|entity| entity.key).filter(|key| keys.contains(key)),
            );
        }
        Ok(Some(found))
    }
}
