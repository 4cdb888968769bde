//! Plugins that are reloaded while a resync runs: a unit uses the version at its start until its end.

use std::sync::Arc;

use berth_core::{AppConfig, KindReads, Mapper, MapperSnapshot, Mapping, Problem, Unit};

use crate::{ResolvedResource, resolve};

/// The plugin's version for a unit.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) mapper: Arc<dyn MapperSnapshot>,
    pub(crate) mapping: Mapping,
}

/// The versions that units of a resync start with.
pub(crate) struct Versions<'r> {
    live: &'r Arc<dyn Mapper>,
    config: &'r AppConfig,
    /// The plugins that the resync was planned with.
    planned: Arc<dyn MapperSnapshot>,
    /// The plugins that were loaded since.
    newer: Option<Newer>,
}

struct Newer {
    mapper: Arc<dyn MapperSnapshot>,
    resources: Vec<ResolvedResource>,
}

impl<'r> Versions<'r> {
    /// `planned` is what `live` was when the resync was planned with `config`.
    pub(crate) fn new(
        live: &'r Arc<dyn Mapper>,
        planned: Arc<dyn MapperSnapshot>,
        config: &'r AppConfig,
    ) -> Self {
        Self { live, config, planned, newer: None }
    }

    /// Returns the current plugin's fetch plan and code for a planned unit that starts. Keeps the version
    /// that the resync was planned with if the new one would have been planned differently; then the next
    /// resync uses the new one.
    ///
    /// The inner error is that no plugin maps the kind any longer.
    pub(crate) fn begin(
        &mut self,
        unit: &Arc<Unit>,
        planned: &ResolvedResource,
    ) -> (Arc<Unit>, Result<Version, Problem>) {
        self.renew();
        let former = || {
            let mapping = planned.mapping.as_ref().map_err(Problem::clone);
            mapping
                .map(|(_, mapping)| Version { mapper: Arc::clone(&self.planned), mapping: mapping.clone() })
        };
        let Some(newer) = &self.newer else { return (Arc::clone(unit), former()) };
        let Some(resource) = newer.resources.get(planned.index) else { return (Arc::clone(unit), former()) };
        match &resource.mapping {
            Err(problem) => (Arc::clone(unit), Err(problem.clone())),
            Ok((kind, _)) if kind.scope != unit.kind.scope || kind.regions() != unit.kind.regions() => {
                tracing::debug!(
                    kind = %kind.kind,
                    "the new version of the plugin reads other regions; the next resync uses it"
                );
                (Arc::clone(unit), former())
            }
            Ok((kind, mapping)) => {
                let unit = Unit { kind: Arc::clone(kind), ..Unit::clone(unit) };
                let version = Version { mapper: Arc::clone(&newer.mapper), mapping: mapping.clone() };
                (Arc::new(unit), Ok(version))
            }
        }
    }

    fn renew(&mut self) {
        let now = Arc::clone(self.live).snapshot();
        let known = self.newer.as_ref().map_or(&self.planned, |newer| &newer.mapper);
        if same(known, &now) {
            return;
        }
        let (resources, _) = resolve(self.config, &now.kinds(), &now.refused());
        self.newer = Some(Newer { mapper: now, resources });
    }
}

/// Returns whether nothing was reloaded between two [snapshots](Mapper::snapshot).
pub(crate) fn same(one: &Arc<dyn MapperSnapshot>, other: &Arc<dyn MapperSnapshot>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}
