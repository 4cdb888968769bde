//! Reads one resource again and brings its entity up to date.
//!
//! # Invariants
//! - Nothing is deleted that was not looked for and found absent, or left out by the selector: a
//!   read that fails or is denied, in whole or in part, changes nothing.
//! - Only an entity whose identifier is made of the resource's own name is deleted, and only if this
//!   integration owns it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use berth_core::{
    Account, AppConfig, Catalog, Entity, EntityKey, FetchError, FetchRequest, FieldSet, Intent, KindManifest,
    Ledger, MapContext, MapReport, MapRequest, Mapper, Mapping, One, Problem, RawPage, Region,
    ResourceConfig, Scope, Source, UpsertOptions, UpsertOutcome,
};
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tokio::{task::spawn_blocking, time::Instant};

use super::{
    Gate,
    journal::Journal,
    matching::{Target, Told},
    roster::Roster,
};
use crate::{
    content::key_digest,
    plan::{ResolvedResource, allowed_regions, resolve},
    run::{defaults, map_problem},
    version::same,
};

/// What became of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    /// So many entities were written.
    Upserted(usize),
    /// So many entities were deleted.
    Deleted(usize),
    /// The catalog is right as it is.
    Unchanged,
    /// It is none of our concern.
    Ignored(String),
    /// It may not be read.
    Denied(Problem),
}

/// Why nothing, or not everything, was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Miss {
    /// Another try may help.
    Again(Problem),
    /// It will not.
    Never(Problem),
}

pub(super) struct Refresher {
    pub(super) source: Arc<Roster>,
    pub(super) mapper: Arc<dyn Mapper>,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) journal: Arc<Journal>,
    pub(super) ledger: Option<Arc<dyn Ledger>>,
    pub(super) gate: Option<Gate>,
    /// How long the app-config is good for.
    pub(super) config_ttl: Duration,
    pub(super) rules: tokio::sync::Mutex<Option<(Instant, Arc<Rules>)>>,
}

/// The app-config, with the plugins that serve it.
pub(super) struct Rules {
    /// The plugins, which change for nobody who works by these rules.
    mapper: Arc<dyn Mapper>,
    config: AppConfig,
    resources: Vec<ResolvedResource>,
}

/// An entry of the app-config that is about the resource, and where it reads.
struct Entry<'r> {
    mapper: &'r Arc<dyn Mapper>,
    resource: &'r ResolvedResource,
    kind: &'r KindManifest,
    mapping: &'r Mapping,
    account: &'r Arc<Account>,
    regions: Vec<Region>,
}

/// What an entry sees of the resource.
#[derive(Debug, Default)]
struct Seen {
    /// Whether it exists.
    exists: bool,
    /// Whether the selector left all or part of it out.
    filtered: bool,
    entities: Vec<Entity>,
}

impl Refresher {
    /// Reads a resource again and writes or deletes its entities. `last`: that AWS contradicts the
    /// event is believed now, since there was time enough for the change to show.
    pub(super) async fn refresh(&self, target: &Target, last: bool) -> Result<Done, Miss> {
        if let Some(gate) = &self.gate
            && !gate().await.map_err(Miss::Again)?
        {
            return Ok(Done::Ignored("live events are switched off for this organization".into()));
        }
        let rules = self.rules().await?;
        let id = &target.key.account;
        let Some(access) = self.source.find(id).await.map_err(Miss::Again)? else {
            return Ok(Done::Ignored(format!("{id} is none of the accounts of this integration")));
        };
        if let Err(problem) = access.access {
            return Ok(Done::Denied(problem));
        }
        let entries = self.entries(&rules, &access.account, target).await?;
        if entries.is_empty() {
            return Ok(Done::Ignored(format!(
                "the integration's mapping has no resource of {} in that region",
                target.key.kind
            )));
        }

        let read = Instant::now();
        let mut upserts: BTreeMap<EntityKey, Entity> = BTreeMap::new();
        let mut doomed: BTreeSet<EntityKey> = BTreeSet::new();
        let mut exists = false;
        for entry in &entries {
            let seen = match self.look(entry, target).await? {
                Ok(seen) => seen,
                Err(denied) => return Ok(Done::Denied(denied)),
            };
            exists |= seen.exists;
            if seen.filtered || !seen.exists {
                doomed.extend(self.own_keys(entry, target).await?);
            }
            upserts.extend(seen.entities.into_iter().map(|entity| (entity.key.clone(), entity)));
        }
        let contrary = match target.told {
            Told::Exists => !exists,
            Told::Gone => exists,
            Told::Changed => false,
        };
        if contrary && !last {
            let told = if exists { "still exists" } else { "does not exist (yet)" };
            return Err(Miss::Again(Problem::new(format!("it {told}, other than the event says"))));
        }
        doomed.retain(|key| !upserts.contains_key(key));
        self.write(&rules.config, upserts, doomed, read).await
    }

    /// The app-config as of a little while ago, served by the plugins of now.
    async fn rules(&self) -> Result<Arc<Rules>, Miss> {
        let mut rules = self.rules.lock().await;
        let mapper = self.mapper.pinned().unwrap_or_else(|| Arc::clone(&self.mapper));
        let kinds = mapper.kinds();
        let known = rules.as_ref().filter(|(read, _)| read.elapsed() < self.config_ttl);
        let (since, config) = match known {
            Some((_, known)) if same(&known.mapper, &mapper) => return Ok(Arc::clone(known)),
            Some((since, known)) => (*since, known.config.clone()),
            None => {
                let session = self.catalog.open(Intent::ReadOnly, &defaults(&kinds)).await;
                (Instant::now(), session.map_err(|error| Miss::Again(error.0))?.config)
            }
        };
        let (resources, _) = resolve(&config, &kinds, &mapper.refused());
        let read = Arc::new(Rules { mapper, config, resources });
        *rules = Some((since, Arc::clone(&read)));
        Ok(read)
    }

    /// The entries of the app-config that read this resource.
    async fn entries<'r>(
        &self,
        rules: &'r Rules,
        account: &'r Arc<Account>,
        target: &Target,
    ) -> Result<Vec<Entry<'r>>, Miss> {
        let mut entries = Vec::new();
        for resource in rules.resources.iter().filter(|resource| resource.config.kind == target.key.kind) {
            let (kind, mapping) = match &resource.mapping {
                Ok((kind, mapping)) => (kind, mapping),
                Err(problem) => return Err(Miss::Never(problem.clone())),
            };
            let enabled = match &target.key.region {
                // Where something changes, the region is enabled.
                Some(region) => vec![region.clone()],
                None => self.source.regions_of(account).await.map_err(Miss::Again)?,
            };
            let regions = allowed_regions(account, &enabled, resource, kind);
            if !regions.is_empty() {
                entries.push(Entry { mapper: &rules.mapper, resource, kind, mapping, account, regions });
            }
        }
        Ok(entries)
    }

    /// Reads and maps the resource as an entry asks. The inner error is denied access.
    async fn look(&self, entry: &Entry<'_>, target: &Target) -> Result<Result<Seen, Problem>, Miss> {
        let never = |error: berth_core::ManifestError| Miss::Never(Problem::from_error(&error));
        let options = &entry.resource.config.selector.include_actions;
        let mut pages = self.source.fetch(FetchRequest {
            account: Arc::clone(entry.account),
            regions: entry.regions.clone(),
            kind: Arc::new(entry.kind.narrowed().map_err(never)?),
            options: options.iter().cloned().collect(),
            one: Some(One {
                resource: Value::from(target.key.resource.as_str()),
                event: Arc::clone(&target.event),
            }),
        });
        let mut seen = Seen::default();
        // To the very end: only then is it known that there is nothing.
        while let Some(page) = pages.next().await {
            let mut page = match page {
                Ok(page) => page,
                Err(FetchError::Skipped(problem)) => return Ok(Err(problem)),
                Err(FetchError::Failed(problem)) => return Err(Miss::Again(problem)),
            };
            if let Some(failure) = std::mem::take(&mut page.failures).into_iter().next() {
                return Err(Miss::Again(failure.problem));
            }
            if page.count == 0 {
                continue;
            }
            seen.exists = true;
            let report = self.map(entry, entry.mapping.clone(), page).await?;
            if let Some(error) = report.errors.into_iter().next() {
                return Err(Miss::Never(Problem::new(format!("not mapped: {}", error.reason))));
            }
            seen.filtered |= report.filtered > 0;
            seen.entities.extend(report.entities);
        }
        Ok(Ok(seen))
    }

    async fn map(&self, entry: &Entry<'_>, mapping: Mapping, page: RawPage) -> Result<MapReport, Miss> {
        let request = MapRequest {
            kind: entry.kind.kind.clone(),
            context: MapContext {
                account: Arc::clone(entry.account),
                region: page.region.clone(),
                options: entry.resource.config.selector.include_actions.clone(),
            },
            mapping,
            documents: false,
            page,
        };
        entry.mapper.map(request).await.map_err(|error| Miss::Never(map_problem(error)))
    }

    /// The keys that the resource's entities have by its name alone. A key that another resource
    /// would have as well (the account's id as identifier, say) is not its own: deleting that entity
    /// because one of many resources is gone would be wrong.
    async fn own_keys(&self, entry: &Entry<'_>, target: &Target) -> Result<BTreeSet<EntityKey>, Miss> {
        let resource = &target.key.resource;
        let own = self.keys_of(entry, target, resource).await?;
        if own.is_empty() {
            return Ok(own);
        }
        let others = self.keys_of(entry, target, &format!("{resource}-another")).await?;
        Ok(own.difference(&others).cloned().collect())
    }

    /// The keys that the mapping makes of the least that is known of a resource of this name.
    async fn keys_of(
        &self,
        entry: &Entry<'_>,
        target: &Target,
        resource: &str,
    ) -> Result<BTreeSet<EntityKey>, Miss> {
        let Some(gone) = entry.kind.events.as_ref().and_then(|rules| rules.gone.as_ref()) else {
            return Ok(BTreeSet::new());
        };
        let region = entry.regions.first().filter(|_| entry.kind.scope == Scope::Regional);
        let mut scope = Map::new();
        for (name, value) in [
            ("resource", json!(resource)),
            ("event", Value::clone(&target.event)),
            ("account", json!(entry.account.id)),
            ("region", json!(region)),
            ("partition", json!(entry.account.partition.as_str())),
            ("kind", json!(entry.kind.kind)),
        ] {
            scope.insert(name.to_owned(), value);
        }
        let mut element = json!({"item": null, "steps": {}, "parents": {}});
        if let Some(Value::Object(members)) = gone.template().render(&scope) {
            for (name, value) in members {
                element[name] = value;
            }
        }
        let page = RawPage {
            region: region.cloned(),
            resources: json!([element]).to_string().into_bytes(),
            count: 1,
            failures: Vec::new(),
            reservation: berth_core::Reservation::default(),
        };
        let report = self.map(entry, unselective(entry.mapping), page).await?;
        if let Some(error) = report.errors.first() {
            tracing::debug!(
                kind = %entry.kind.kind, resource, reason = error.reason,
                "the mapping makes no identifier of the resource's name; what is gone is left to the next resync"
            );
            return Ok(BTreeSet::new());
        }
        // What a search query finds is known to the catalog alone.
        let named = report.entities.into_iter().filter(|entity| entity.search.is_none());
        Ok(named.map(|entity| entity.key).collect())
    }

    async fn write(
        &self,
        config: &AppConfig,
        upserts: BTreeMap<EntityKey, Entity>,
        doomed: BTreeSet<EntityKey>,
        read: Instant,
    ) -> Result<Done, Miss> {
        let touched: Vec<u128> = upserts.keys().chain(&doomed).map(key_digest).collect();
        if touched.is_empty() {
            return Ok(Done::Unchanged);
        }
        let _touch = self.journal.touch(touched.clone(), read).await;
        self.doubt(touched).await?;
        let written = self.upsert(config, upserts).await?;
        let deleted = self.delete(config, doomed).await?;
        Ok(match (written, deleted) {
            (0, 0) => Done::Unchanged,
            (0, deleted) => Done::Deleted(deleted),
            (written, _) => Done::Upserted(written),
        })
    }

    /// Makes the ledger forget what these entities say.
    async fn doubt(&self, touched: Vec<u128>) -> Result<(), Miss> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let (ledger, catalog) = (Arc::clone(ledger), self.catalog.identity());
        let doubt = spawn_blocking(move || ledger.doubt(&catalog, &touched)).await;
        doubt.unwrap_or_else(|error| Err(Problem::from_error(&error))).map_err(Miss::Again)
    }

    async fn upsert(&self, config: &AppConfig, entities: BTreeMap<EntityKey, Entity>) -> Result<usize, Miss> {
        let options = UpsertOptions {
            merge: config.enable_merge_entity,
            create_missing_related_entities: config.create_missing_related_entities,
        };
        let entities: Vec<Entity> = entities.into_values().collect();
        let mut miss = None;
        let mut found = Vec::new();
        for same in entities.chunk_by(|a, b| a.key.blueprint == b.key.blueprint) {
            let Some(blueprint) = same.first().map(|entity| &entity.key.blueprint) else { continue };
            for outcome in self.catalog.upsert(blueprint, same, options).await.outcomes {
                match outcome {
                    UpsertOutcome::Created | UpsertOutcome::Updated | UpsertOutcome::NotFound => {}
                    UpsertOutcome::Found(identifier) => {
                        found.push(key_digest(&EntityKey { blueprint: blueprint.clone(), identifier }));
                    }
                    UpsertOutcome::Refused(problem) => miss = Some(Miss::Never(problem)),
                    // Its target may come with another event, or with the next resync.
                    UpsertOutcome::MissingRelation(problem) => _ = miss.get_or_insert(Miss::Again(problem)),
                }
            }
        }
        if !found.is_empty() {
            self.doubt(found).await?;
        }
        match miss {
            Some(miss) => Err(miss),
            None => Ok(entities.len()),
        }
    }

    async fn delete(&self, config: &AppConfig, doomed: BTreeSet<EntityKey>) -> Result<usize, Miss> {
        if doomed.is_empty() {
            return Ok(0);
        }
        let doomed: Vec<EntityKey> = doomed.into_iter().collect();
        let owned = self.catalog.current(&doomed, &FieldSet::default()).await;
        let owned: Vec<EntityKey> =
            owned.map_err(|error| Miss::Again(error.0))?.into_iter().map(|entity| entity.key).collect();
        if owned.is_empty() {
            return Ok(0);
        }
        let report = self.catalog.delete(&owned, config.delete_dependent_entities).await;
        match report.failed.into_iter().next() {
            Some((_, problem)) => Err(Miss::Again(problem)),
            None => Ok(report.deleted.len()),
        }
    }
}

/// The same mapping, for every resource.
fn unselective(mapping: &Mapping) -> Mapping {
    match mapping {
        Mapping::Native => Mapping::Native,
        Mapping::Documents => Mapping::Documents,
        Mapping::Custom(resource) => {
            let mut every = ResourceConfig::clone(resource);
            "true".clone_into(&mut every.selector.query);
            Mapping::Custom(Arc::new(every))
        }
    }
}
