//! What a resync may report, and what Port may contain after it.

use berth_core::{Problem, UnitState};
use berth_sync::Report;
use serde_json::json;

use super::Stage;
use crate::{
    sim::is_ours,
    world::{EntityKey, Key, Kind, REGIONS, Resource, account_id},
};

impl Stage {
    pub(super) fn check_problem(&self, of: &str, problem: &Problem) {
        let mut state = self.state();
        if problem.message.trim().is_empty() {
            state.violation(format!("a failure has no cause: {of}"));
        }
        if problem.remedy.as_deref().is_none_or(str::is_empty) {
            state.violation(format!("a failure has no remedy: {of}: {}", problem.message));
        }
    }

    /// What has to hold after every resync that was not killed.
    pub(super) fn check(&self, report: &Report) {
        let (expected, tags_failed, tags_unknown, skip) = {
            let state = self.state();
            let quiet = state.world.scope().mapping.iter().all(|entry| !entry.nameless);
            (
                state.world.expected(),
                state.tags_failed,
                state.tags_unknown,
                !quiet || state.world.begun_scope_changed(),
            )
        };
        for unit in &report.units {
            if let UnitState::Failed(problem) | UnitState::Skipped(problem) = &unit.state {
                self.check_problem("a unit", problem);
            }
        }
        for (_, resource, problem) in &report.item_failures {
            self.check_problem(resource, problem);
        }
        if skip || !report.refusals.is_empty() || !report.deletion.failed.is_empty() {
            return;
        }
        let complete: Vec<(Kind, String, Option<String>)> = report
            .units
            .iter()
            .filter(|unit| unit.state.is_complete())
            .filter_map(|unit| {
                let region = unit.unit.place.as_ref().and_then(|place| place.region());
                Some((
                    Kind::of(unit.unit.kind.as_str())?,
                    unit.unit.account.as_str().to_owned(),
                    region.map(|region| region.as_str().to_owned()),
                ))
            })
            .collect();
        for (entity, resource) in &expected {
            let Some((key, resource)) = resource else { continue };
            let region = key.kind.is_regional().then(|| REGIONS[key.region].to_owned());
            let unit = (key.kind, account_id(key.account), region);
            if !complete.contains(&unit) {
                continue;
            }
            let (settled, touched, lagged) = {
                let state = self.state();
                let touched = state.touched.contains(entity) || state.foreign.contains_key(entity);
                (state.world.is_unchanged(key), touched, state.has_lagged(key))
            };
            if settled && !touched && !lagged {
                self.check_entity(
                    "after a resync that read it",
                    entity,
                    key,
                    resource,
                    !(tags_failed || tags_unknown),
                );
            }
        }
    }

    /// Whether Port holds what a resource says.
    fn check_entity(&self, when: &str, entity: &EntityKey, key: &Key, resource: &Resource, with_tags: bool) {
        let name = format!("{}/{}", entity.0, entity.1);
        let Some(held) = self.port.entity(&entity.0, &entity.1) else {
            self.state().violation(format!("an entity is not in Port {when}: {name}"));
            return;
        };
        let revision = format!("rev-{}", resource.revision);
        let (property, value) = match key.kind {
            Kind::Subnet => ("state", revision),
            Kind::User => ("path", format!("/{revision}/")),
            _ => ("status", revision),
        };
        let tags = json!([{"Key": "revision", "Value": resource.tags.to_string()}]);
        let tagged = key.kind != Kind::Table || !with_tags || held["properties"]["tags"] == tags;
        // Who deletes the entity of an account takes it out of all relations to it.
        let owners = std::iter::once(key.account).chain(resource.shared).map(account_id);
        let (mut owners, related) = (owners, &held["relations"]["account"]);
        if !self.state().account_touched() && !owners.any(|owner| *related == owner) {
            self.state().violation(format!("an entity has lost its account {when}: {name}: {related}"));
        }
        if held["properties"][property] != value || !tagged {
            self.state().violation(format!(
                "an entity has other contents {when}: {name}: {} instead of {value}, tags {tags}",
                held["properties"]
            ));
        }
    }

    /// What has to hold after a resync that met no fault: Port says what is true.
    pub fn check_all(&self, may_keep: bool) {
        let (expected, foreign) = {
            let state = self.state();
            (state.world.expected(), state.foreign.clone())
        };
        for (entity, resource) in &expected {
            let name = format!("{}/{}", entity.0, entity.1);
            if foreign.contains_key(entity) {
                continue;
            }
            match resource {
                Some((key, resource)) => self.check_entity("at the end", entity, key, resource, true),
                None if self.port.entity(&entity.0, &entity.1).is_none() => {
                    self.state().violation(format!("an entity is not in Port at the end: {name}"));
                }
                None => {}
            }
        }
        for (key, writer) in self.port.writers() {
            if is_ours(&writer) && !expected.contains_key(&key) && !may_keep {
                self.state().violation(format!("an entity is left over at the end: {}/{}", key.0, key.1));
            }
        }
        for (key, held) in &foreign {
            if self.port.entity(&key.0, &key.1).as_ref() != Some(held) {
                let name = format!("{}/{}", key.0, key.1);
                self.state().violation(format!("an entity of somebody else is not as they left it: {name}"));
            }
        }
    }
}
