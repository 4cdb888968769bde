//! A catalog in memory: for experiments, for tests, and for programs that need the entities without Port.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use berth_core::{
    AppConfig, BegunResync, BlueprintId, Catalog, CatalogError, CatalogInfo, CatalogSession, CatalogView,
    DeleteReport, Entity, EntityKey, EntityStore, EventSession, FieldSet, Kind, KindEntry, Opened,
    OwnedEntity, ResourceConfig, ResyncStart, ResyncStatus, UpsertOptions, UpsertOutcome, UpsertReport,
};
use futures::stream::{self, BoxStream, StreamExt};

/// Holds what is written to it, and owns all of it.
///
/// Its app-config is the one that it is created with; without one, the default mappings of all kinds, as in a
/// new installation.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use berth_embed::{MemoryCatalog, core::{BlueprintId, Entity, EntityStore, UpsertOptions}};
///
/// let catalog = MemoryCatalog::new();
/// let bucket = Entity::new(BlueprintId::new("s3Bucket")?, "arn:aws:s3:::acme-logs");
/// let options = UpsertOptions { merge: true, create_missing_related_entities: true };
/// catalog.upsert(&bucket.key.blueprint, &[bucket.clone()], options).await;
/// assert_eq!(catalog.entities(), [bucket]);
/// # Ok::<_, Box<dyn std::error::Error>>(()) })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    wanted: Wanted,
    entities: Mutex<BTreeMap<EntityKey, Entity>>,
}

/// What the app-config asks for.
#[derive(Debug, Default)]
enum Wanted {
    /// All kinds, by their default mappings.
    #[default]
    Defaults,
    /// These kinds, by their default mappings.
    Kinds(BTreeSet<Kind>),
    /// These resources.
    Resources(Vec<ResourceConfig>),
}

impl MemoryCatalog {
    /// Creates an empty catalog with the app-config of a new installation.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty catalog that asks for these kinds, by their default mappings.
    pub fn of_kinds(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self { wanted: Wanted::Kinds(kinds.into_iter().collect()), ..Self::default() }
    }

    /// Creates an empty catalog with these resource mappings.
    pub fn with_resources(resources: Vec<ResourceConfig>) -> Self {
        Self { wanted: Wanted::Resources(resources), ..Self::default() }
    }

    /// Returns its entities, by blueprint and identifier.
    pub fn entities(&self) -> Vec<Entity> {
        self.held().values().cloned().collect()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<EntityKey, Entity>> {
        self.entities.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryCatalog {
    fn info(&self, defaults: &[KindEntry]) -> CatalogInfo {
        let mappings = defaults.iter().filter_map(|entry| entry.manifest.mapping.clone());
        let resources = match &self.wanted {
            Wanted::Defaults => mappings.collect(),
            Wanted::Kinds(kinds) => mappings.filter(|mapping| kinds.contains(&mapping.kind)).collect(),
            Wanted::Resources(resources) => resources.clone(),
        };
        let config = AppConfig { resources, ..AppConfig::default() };
        CatalogInfo { config, ..CatalogInfo::default() }
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn read(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Arc<dyn CatalogView>>, CatalogError> {
        Ok(Opened { info: self.info(defaults), session: self })
    }

    async fn open(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Box<dyn ResyncStart>>, CatalogError> {
        Ok(Opened { info: self.info(defaults), session: Box::new(Start(self)) })
    }

    async fn follow(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Arc<dyn EventSession>>, CatalogError> {
        Ok(Opened { info: self.info(defaults), session: self })
    }

    fn upsert_batch(&self) -> usize {
        100
    }
}

/// A resync that has not started.
struct Start(Arc<MemoryCatalog>);

#[async_trait]
impl ResyncStart for Start {
    async fn begin(self: Box<Self>, _: SystemTime) -> BegunResync {
        BegunResync { session: self.0, reported: Ok(()) }
    }
}

#[async_trait]
impl CatalogSession for MemoryCatalog {
    async fn end(self: Arc<Self>, _: ResyncStatus) -> Result<(), CatalogError> {
        Ok(())
    }
}

impl EventSession for MemoryCatalog {}

#[async_trait]
impl CatalogView for MemoryCatalog {
    fn owned(&self) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>> {
        let owned = self.held().keys().map(|key| OwnedEntity { key: key.clone() }).collect();
        stream::iter([Ok(owned)]).boxed()
    }

    async fn current(&self, keys: &[EntityKey], _: &FieldSet) -> Result<Vec<Entity>, CatalogError> {
        let held = self.held();
        Ok(keys.iter().filter_map(|key| held.get(key).cloned()).collect())
    }

    async fn relations(
        &self,
        _: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        // It has no blueprints, so no targets that must exist.
        Ok(Some(BTreeMap::new()))
    }
}

#[async_trait]
impl EntityStore for MemoryCatalog {
    async fn upsert(&self, _: &BlueprintId, entities: &[Entity], options: UpsertOptions) -> UpsertReport {
        let mut held = self.held();
        let outcomes = entities
            .iter()
            .map(|entity| match held.get_mut(&entity.key) {
                None => {
                    held.insert(entity.key.clone(), entity.clone());
                    UpsertOutcome::Created
                }
                Some(former) if options.merge => {
                    merge(former, entity);
                    UpsertOutcome::Updated
                }
                Some(former) => {
                    former.clone_from(entity);
                    UpsertOutcome::Updated
                }
            })
            .collect();
        UpsertReport { outcomes }
    }

    async fn delete(&self, keys: &[EntityKey], _: bool) -> DeleteReport {
        let mut held = self.held();
        let deleted = keys.iter().filter(|key| held.remove(key).is_some()).cloned().collect();
        DeleteReport { deleted, failed: Vec::new() }
    }
}

/// Merges an entity; fields that it does not set stay unchanged.
fn merge(held: &mut Entity, entity: &Entity) {
    for (slot, value) in
        [(&mut held.title, &entity.title), (&mut held.icon, &entity.icon), (&mut held.team, &entity.team)]
    {
        if value.is_some() {
            slot.clone_from(value);
        }
    }
    held.properties.extend(entity.properties.clone());
    held.relations.extend(entity.relations.clone());
}
