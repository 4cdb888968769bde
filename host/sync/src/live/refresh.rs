//! Reads one resource again, and determines what it changes; [`apply`](super::apply) updates the catalog.
//!
//! # Invariants of both
//! - Deletes only resources that were looked up and not found, or that the selector excludes: a read that
//!   fails or is denied, in whole or in part, changes nothing.
//! - Deletes an entity only if its identifier is made of the resource's own name, if this integration owns
//!   it, and if only the event's account and region are recorded to have produced it, or if it states them.
//!   The limits of resyncs apply between two resyncs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use berth_core::{
    Account, AppConfig, Catalog, Document, Entity, EntityKey, EventDocuments, EventSession, FetchError,
    FetchRequest, KindManifest, KindReads, Ledger, MapContext, MapReport, MapRequest, Mapper, MapperSnapshot,
    Mapping, One, Opened, Place, Problem, ProblemCode, Processing, Producer, RawPage, Region, ResourceConfig,
    Scope, UnreadStep,
};
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Gate,
    account_cache::{AccountCache, KnownAccounts},
    limits::LiveLimits,
    matching::{RefreshTarget, ReportedState},
    write_arbiter::WriteArbiter,
    writer::BatchWriter,
};
use crate::{
    outcome::{item_problem, map_problem},
    plan::{ResolvedResource, allowed_regions, defaults, region_hints, resolve},
    unread::Unknown,
    version::same,
};

/// The result for a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RefreshOutcome {
    /// This many entities were written.
    Upserted(usize),
    /// This many entities were deleted.
    Deleted(usize),
    /// The catalog is up to date.
    Unchanged,
    /// It does not concern this integration.
    Ignored(String),
    /// Access is denied.
    Denied(Problem),
}

/// Why nothing, or not everything, was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Miss {
    /// A retry may help.
    Again(Problem),
    /// A retry cannot help.
    Never(Problem),
}

pub(super) struct Refresher {
    pub(super) source: Arc<AccountCache>,
    pub(super) mapper: Arc<dyn Mapper>,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) write_arbiter: Arc<WriteArbiter>,
    pub(super) ledger: Option<Arc<dyn Ledger>>,
    pub(super) gate: Option<Gate>,
    /// How long the app-config is cached.
    pub(super) config_ttl: Duration,
    pub(super) rules: tokio::sync::Mutex<Option<(Instant, Arc<Rules>)>>,
    pub(super) writer: BatchWriter,
    /// The most entities that may be deleted between two resyncs.
    pub(super) max_deletions: Option<u64>,
    pub(super) limits: tokio::sync::Mutex<LiveLimits>,
}

/// The app-config, with the plugins that map it.
pub(super) struct Rules {
    /// The plugins, which stay the same for everyone who uses these rules.
    pub(super) mapper: Arc<dyn MapperSnapshot>,
    /// The catalog, opened for them.
    pub(super) catalog: Arc<dyn EventSession>,
    pub(super) config: AppConfig,
    /// The catalog's identity.
    pub(super) identity: String,
    /// Who creates the entities.
    pub(super) processing: Processing,
    pub(super) resources: Vec<ResolvedResource>,
}

/// An entity to write.
pub(super) struct Upsert {
    pub(super) entity: Entity,
    /// Whether only this account can produce it.
    pub(super) single: bool,
    /// Whether some fields are left out: it is merged into the catalog's entity.
    pub(super) partial: bool,
}

/// The result of reading a resource again.
pub(super) enum Read {
    /// There is nothing to write.
    Done(RefreshOutcome),
    /// There are changes to write.
    Changes(EventChanges),
}

/// What an event changes in the catalog.
pub(super) struct EventChanges {
    pub(super) rules: Arc<Rules>,
    /// The producer of the event's resource.
    pub(super) producer: Producer,
    pub(super) upserts: BTreeMap<EntityKey, Upsert>,
    pub(super) doomed: BTreeSet<EntityKey>,
    /// The documents for a catalog that maps by itself.
    pub(super) documents: Vec<EventDocuments>,
    /// The documents for it if the `doomed` entities may be deleted.
    pub(super) gone: Vec<EventDocuments>,
    pub(super) read: Instant,
}

/// A resource mapping that concerns the resource, and where it reads.
struct MappingFacts<'r> {
    mapper: &'r Arc<dyn MapperSnapshot>,
    accounts: &'r KnownAccounts,
    resource: &'r ResolvedResource,
    kind: &'r KindManifest,
    mapping: &'r Mapping,
    account: &'r Arc<Account>,
    regions: Vec<Region>,
}

/// What a resource mapping sees of the resource.
#[derive(Debug, Default)]
struct Seen {
    /// Whether it exists.
    exists: bool,
    /// Whether the selector excluded all or part of it.
    filtered: bool,
    /// Each with whether fields are left out because they could not be read.
    entities: Vec<(Entity, bool)>,
    documents: Vec<Document>,
}

impl MappingFacts<'_> {
    /// Returns documents of the resource, mapped by this resource mapping.
    fn documents(&self, gone: bool, documents: Vec<Document>) -> EventDocuments {
        let config = Arc::clone(&self.resource.config);
        EventDocuments { resource: self.resource.index, config, gone, documents }
    }

    /// Returns a page with what the resource's name alone says, as if it had been read.
    fn gone_page(&self, target: &RefreshTarget, resource: &str) -> Option<RawPage> {
        let gone = self.kind.events().and_then(|rules| rules.gone.as_ref())?;
        let region = self.regions.first().filter(|_| self.kind.scope == Scope::Regional);
        let mut scope = Map::new();
        for (name, value) in [
            ("resource", json!(resource)),
            ("event", Value::clone(&target.event)),
            ("account", json!(self.account.id)),
            ("region", json!(region)),
            ("partition", json!(self.account.partition.as_str())),
            ("kind", json!(self.kind.kind)),
        ] {
            scope.insert(name.to_owned(), value);
        }
        let mut element = json!({"item": null, "steps": {}, "parents": {}});
        if let Some(Value::Object(members)) = gone.template().render(&scope) {
            for (name, value) in members {
                element[name] = value;
            }
        }
        Some(RawPage {
            region: region.cloned(),
            resources: json!([element]).to_string().into_bytes(),
            count: 1,
            failures: Vec::new(),
            unread: Vec::new(),
            reservation: berth_core::Reservation::default(),
        })
    }
}

impl Refresher {
    /// Reads a resource again, and determines what to write or delete. `last` means that AWS is believed even
    /// if it contradicts the event, because the change had enough time to show.
    pub(super) async fn read(&self, target: &RefreshTarget, last: bool) -> Result<Read, Miss> {
        if let Some(gate) = &self.gate
            && !gate().await.map_err(Miss::Again)?
        {
            return Ok(Read::Done(RefreshOutcome::Ignored(
                "live events are off for this organization".into(),
            )));
        }
        let rules = self.rules().await?;
        let id = &target.key.account;
        let accounts = self.source.accounts().await.map_err(Miss::Again)?;
        let Some(access) = accounts.get(id) else {
            return Ok(Read::Done(RefreshOutcome::Ignored(format!(
                "{id} is not an account of this integration"
            ))));
        };
        if let Err(problem) = &access.access {
            return Ok(Read::Done(RefreshOutcome::Denied(problem.clone())));
        }
        let entries = entries(&rules, &accounts, &access.account, target).await?;
        if entries.is_empty() {
            return Ok(Read::Done(RefreshOutcome::Ignored(format!(
                "the integration's mapping in Port has no resource mapping for {} in that region",
                target.key.kind
            ))));
        }

        let read = Instant::now();
        let mut upserts: BTreeMap<EntityKey, Upsert> = BTreeMap::new();
        let mut doomed: BTreeSet<EntityKey> = BTreeSet::new();
        let (mut documents, mut gone) = (Vec::new(), Vec::new());
        let mut exists = false;
        for entry in &entries {
            let seen = match self.look(entry, target, rules.processing).await? {
                Ok(seen) => seen,
                Err(denied) => return Ok(Read::Done(RefreshOutcome::Denied(denied))),
            };
            exists |= seen.exists;
            if seen.filtered || !seen.exists {
                let own = self.own_keys(entry, target).await?;
                if !seen.exists && !own.is_empty() && rules.processing != Processing::Entities {
                    gone.extend(self.documents_of_gone(entry, target).await?);
                }
                doomed.extend(own);
            }
            if !seen.documents.is_empty() {
                documents.push(entry.documents(false, seen.documents));
            }
            let single = entry.resource.entry.single_account;
            upserts.extend(
                seen.entities
                    .into_iter()
                    .map(|(entity, partial)| (entity.key.clone(), Upsert { entity, single, partial })),
            );
        }
        let contrary = match target.reported {
            ReportedState::Exists => !exists,
            ReportedState::Gone => exists,
            ReportedState::Changed => false,
        };
        if contrary && !last {
            let reported = if exists { "still exists" } else { "does not exist (yet)" };
            return Err(Miss::Again(Problem::new(
                ProblemCode::AwsInvalidAnswer,
                format!("it {reported}, which contradicts the event"),
            )));
        }
        doomed.retain(|key| !upserts.contains_key(key));
        if exists {
            gone.clear();
        }
        let place = target.key.region.clone().map_or(Place::Global, Place::Region);
        let producer = Producer { account: id.clone(), place, kind: target.key.kind.clone() };
        drop(entries);
        Ok(Read::Changes(EventChanges { rules, producer, upserts, doomed, documents, gone, read }))
    }

    /// Returns the cached app-config, with the current plugins.
    async fn rules(&self) -> Result<Arc<Rules>, Miss> {
        let mut rules = self.rules.lock().await;
        let mapper = Arc::clone(&self.mapper).snapshot();
        let kinds = mapper.kinds();
        let known = rules.as_ref().filter(|(read, _)| read.elapsed() < self.config_ttl);
        let (since, catalog, config, identity, processing) = match known {
            Some((_, known)) if same(&known.mapper, &mapper) => return Ok(Arc::clone(known)),
            Some((since, known)) => {
                let Rules { catalog, config, identity, processing, .. } = &**known;
                (*since, Arc::clone(catalog), config.clone(), identity.clone(), *processing)
            }
            None => {
                let opened = Arc::clone(&self.catalog).follow(&defaults(&kinds)).await;
                let Opened { info, session } = opened.map_err(|error| Miss::Again(error.0))?;
                (Instant::now(), session, info.config, info.identity, info.processing)
            }
        };
        let (resources, _) = resolve(&config, &kinds, &mapper.refused());
        let read = Arc::new(Rules { mapper, catalog, config, identity, processing, resources });
        *rules = Some((since, Arc::clone(&read)));
        Ok(read)
    }

    /// Reads and maps the resource as a resource mapping says. The inner error is denied access.
    async fn look(
        &self,
        entry: &MappingFacts<'_>,
        target: &RefreshTarget,
        processing: Processing,
    ) -> Result<Result<Seen, Problem>, Miss> {
        let (mapping, documents) = match processing {
            Processing::Entities => (entry.mapping.clone(), false),
            Processing::EntitiesAndDocuments => (entry.mapping.clone(), true),
            Processing::Documents => (Mapping::Documents, false),
        };
        let never = |error: berth_core::ManifestError| {
            Miss::Never(Problem::from_error(ProblemCode::Internal, &error))
        };
        let options = &entry.resource.config.selector.include_actions;
        // A fresh read: a cached response is too old.
        let mut pages = entry.accounts.reader().fetch(FetchRequest {
            account: Arc::clone(entry.account),
            regions: entry.regions.clone(),
            kind: Arc::new(entry.kind.for_single_resource().map_err(never)?),
            options: options.iter().cloned().collect(),
            one: Some(One {
                resource: Value::from(target.key.resource.as_str()),
                event: Arc::clone(&target.event),
            }),
            fresh: true,
        });
        let mut seen = Seen::default();
        // Reads to the end: only then is it known that there is nothing.
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
            let unread = std::mem::take(&mut page.unread);
            let unknown =
                Unknown::of(&entry.resource.config, entry.kind.plan(), &unread).map_err(Miss::Again)?;
            let mut report = self.map(entry, (mapping.clone(), documents), page).await?;
            let mut partial = Vec::new();
            if let Some(unknown) = unknown {
                partial = unknown.leave_out_of(&mut report);
                for UnreadStep { call, problem, .. } in &unread {
                    tracing::warn!(call, %problem, "cannot read a step; its values stay unchanged");
                }
            }
            partial.resize(report.entities.len(), false);
            if let Some(error) = report.errors.into_iter().next() {
                return Err(Miss::Never(item_problem(&error)));
            }
            seen.filtered |= report.filtered > 0;
            seen.documents.extend(report.documents);
            seen.entities.extend(report.entities.into_iter().zip(partial));
        }
        Ok(Ok(seen))
    }

    async fn map(
        &self,
        entry: &MappingFacts<'_>,
        (mapping, documents): (Mapping, bool),
        page: RawPage,
    ) -> Result<MapReport, Miss> {
        let request = MapRequest {
            kind: entry.kind.kind.clone(),
            context: MapContext {
                account: Arc::clone(entry.account),
                region: page.region.clone(),
                options: entry.resource.config.selector.include_actions.clone(),
            },
            mapping,
            documents,
            page,
        };
        entry.mapper.map(request).await.map_err(|error| Miss::Never(map_problem(error)))
    }

    /// Returns the keys that the resource's entities have by its name alone. A key that another resource
    /// would also have (such as the account's ID) is not its own: one resource of many being gone must not
    /// delete that entity.
    async fn own_keys(
        &self,
        entry: &MappingFacts<'_>,
        target: &RefreshTarget,
    ) -> Result<BTreeSet<EntityKey>, Miss> {
        let resource = &target.key.resource;
        let own = self.keys_of(entry, target, resource).await?;
        if own.is_empty() {
            return Ok(own);
        }
        let others = self.keys_of(entry, target, &format!("{resource}-another")).await?;
        Ok(own.difference(&others).cloned().collect())
    }

    /// Returns the documents of a resource that is gone, with only what is known.
    async fn documents_of_gone(
        &self,
        entry: &MappingFacts<'_>,
        target: &RefreshTarget,
    ) -> Result<Option<EventDocuments>, Miss> {
        let Some(page) = entry.gone_page(target, &target.key.resource) else { return Ok(None) };
        let report = self.map(entry, (Mapping::Documents, false), page).await?;
        Ok((!report.documents.is_empty()).then(|| entry.documents(true, report.documents)))
    }

    /// Returns the keys that the mapping produces from only what a resource's name says.
    async fn keys_of(
        &self,
        entry: &MappingFacts<'_>,
        target: &RefreshTarget,
        resource: &str,
    ) -> Result<BTreeSet<EntityKey>, Miss> {
        let Some(page) = entry.gone_page(target, resource) else { return Ok(BTreeSet::new()) };
        let report = self.map(entry, (unselective(entry.mapping), false), page).await?;
        if let Some(error) = report.errors.first() {
            tracing::debug!(
                kind = %entry.kind.kind, resource, reason = error.reason,
                "the mapping creates no identifier from the resource's name; the next resync handles \
                 deletions"
            );
            return Ok(BTreeSet::new());
        }
        // Only the catalog knows what a search query finds.
        let named = report.entities.into_iter().filter(|entity| entity.search.is_none());
        Ok(named.map(|entity| entity.key).collect())
    }
}

/// Returns the resource mappings that read this resource.
async fn entries<'r>(
    rules: &'r Rules,
    accounts: &'r KnownAccounts,
    account: &'r Arc<Account>,
    target: &RefreshTarget,
) -> Result<Vec<MappingFacts<'r>>, Miss> {
    let mut entries = Vec::new();
    for resource in rules.resources.iter().filter(|resource| resource.config.kind == target.key.kind) {
        let (kind, mapping) = match &resource.mapping {
            Ok((kind, mapping)) => (kind, mapping),
            Err(problem) => return Err(Miss::Never(problem.clone())),
        };
        let enabled = if let Some(region) = &target.key.region {
            // A region where something changes is enabled.
            vec![region.clone()]
        } else {
            let hints = region_hints(&rules.resources);
            accounts.regions(account, &hints).await.map_err(Miss::Again)?
        };
        let regions = allowed_regions(account, &enabled, resource, kind);
        if !regions.is_empty() {
            entries.push(MappingFacts {
                mapper: &rules.mapper,
                accounts,
                resource,
                kind,
                mapping,
                account,
                regions,
            });
        }
    }
    Ok(entries)
}

/// Returns the same mapping without its selector.
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
