//! A fake catalog.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use berth_core::{
    AppConfig, BegunResync, BlueprintId, Catalog, CatalogError, CatalogInfo, CatalogSession, CatalogView,
    DeleteReport, Document, DocumentBatch, DocumentsError, Entity, EntityKey, EntityStore, EventDocuments,
    EventSession, FieldSet, Kind, KindEntry, Milestone, Opened, OwnedEntity, Problem, ProblemCode,
    Processing, ResyncStart, ResyncStatus, UpsertOptions, UpsertOutcome, UpsertReport,
};
use futures::{StreamExt, stream, stream::BoxStream};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What a catalog says of an entity beside what was written.
type States = dyn Fn(&mut Entity) + Send + Sync;

/// A catalog in memory that counts what is asked of it. It serves as its own view and sessions.
pub struct FakeCatalog {
    /// Members of the app-config, over those of the default one.
    pub config: Value,
    /// What it says when it is opened.
    pub notes: Vec<String>,
    /// Whether it cannot be opened.
    pub broken: bool,
    /// What it holds.
    pub entities: Mutex<BTreeMap<EntityKey, Entity>>,
    /// What it states of an entity besides.
    pub states_of: Option<Box<States>>,
    /// How the identifiers begin that it holds for somebody else.
    pub foreign_prefix: Option<&'static str>,
    /// Entities that one request carries.
    pub upsert_batch: usize,
    /// How many entities each request brought.
    pub upserts: Mutex<Vec<usize>>,
    /// How long a request takes.
    pub upsert_delay: Duration,
    /// How often it was asked for entities.
    pub searches: Mutex<usize>,
    /// Answers no more once it has taken in these, and says so.
    pub stalls_at: Option<&'static str>,
    /// Says that it has stalled.
    pub stalled: Notify,
    /// What it refuses.
    pub refuse: BTreeSet<String>,
    /// Whether it refuses everything.
    pub refuses_all: bool,
    /// Whether a thing needs its account.
    pub needs_account: bool,
    /// By blueprint and name; without any, a thing relates to an account.
    pub relations: BTreeMap<&'static str, BTreeMap<&'static str, &'static str>>,
    /// Whether it has no blueprints.
    pub without_blueprints: bool,
    /// Whether it does not say what it holds and what it needs.
    pub unlisted: bool,
    /// How resyncs went.
    pub states: Mutex<Vec<String>>,
    /// Says that a resync has ended.
    pub ended: Notify,
    /// The steps that it was told.
    pub milestones: Mutex<Vec<Milestone>>,
    /// What it stops each resync with.
    pub stops: Option<Problem>,
    /// Whether it refuses to be told milestones.
    pub deaf: bool,
    /// Who makes entities.
    pub processing: Mutex<Processing>,
    /// How many examples it wants.
    pub examples: usize,
    /// Documents, and `end` when all were handed over, by entry.
    pub documents: Mutex<BTreeMap<usize, Vec<String>>>,
    /// Documents of events by the resource's name, with what is to be done by them.
    pub event_documents: Mutex<Vec<(String, &'static str)>>,
    /// What it says to documents of an entry, and when: at the first, or at the end.
    pub refuses: BTreeMap<(usize, &'static str), DocumentsError>,
    /// Examples that it was shown.
    pub shown: Mutex<BTreeMap<String, usize>>,
    /// Whether documents beside entities are never done.
    pub stuck: bool,
    /// How long it takes to take documents.
    pub delay: Duration,
}

impl Default for FakeCatalog {
    fn default() -> Self {
        Self {
            config: Value::Null,
            notes: Vec::new(),
            broken: false,
            entities: Mutex::default(),
            states_of: None,
            foreign_prefix: None,
            upsert_batch: 3,
            upserts: Mutex::default(),
            upsert_delay: Duration::ZERO,
            searches: Mutex::default(),
            stalls_at: None,
            stalled: Notify::default(),
            refuse: BTreeSet::new(),
            refuses_all: false,
            needs_account: false,
            relations: BTreeMap::new(),
            without_blueprints: false,
            unlisted: false,
            states: Mutex::default(),
            ended: Notify::default(),
            milestones: Mutex::default(),
            stops: None,
            deaf: false,
            processing: Mutex::default(),
            examples: 0,
            documents: Mutex::default(),
            event_documents: Mutex::default(),
            refuses: BTreeMap::new(),
            shown: Mutex::default(),
            stuck: false,
            delay: Duration::ZERO,
        }
    }
}

impl FakeCatalog {
    /// The keys of what it holds.
    pub fn held(&self) -> Vec<String> {
        self.entities.lock().unwrap().keys().map(ToString::to_string).collect()
    }

    fn processing(&self) -> Processing {
        *self.processing.lock().unwrap()
    }

    fn owns(&self, key: &EntityKey) -> bool {
        self.foreign_prefix.is_none_or(|prefix| !key.identifier.starts_with(prefix))
    }

    fn info(&self, defaults: &[KindEntry]) -> Result<CatalogInfo, CatalogError> {
        if self.broken {
            return Err(CatalogError(Problem::new(ProblemCode::Other, "it is closed")));
        }
        let resources: Vec<Value> = defaults
            .iter()
            .map(|entry| serde_json::to_value(entry.manifest.mapping.as_ref().unwrap()).unwrap())
            .collect();
        let mut config = json!({ "resources": resources });
        for (key, value) in self.config.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let config: AppConfig = serde_json::from_value(config).unwrap();
        Ok(CatalogInfo {
            config,
            notes: self.notes.clone(),
            processing: self.processing(),
            examples: self.examples,
            ..CatalogInfo::default()
        })
    }

    fn take_in(&self, blueprint: &BlueprintId, entities: &[Entity], options: UpsertOptions) -> UpsertReport {
        let mut held = self.entities.lock().unwrap();
        let relations = self.relations.get(blueprint.as_str());
        let outcomes = entities
            .iter()
            .map(|entity| {
                if self.refuses_all || self.refuse.contains(&entity.key.identifier) {
                    return UpsertOutcome::Refused(Problem::new(ProblemCode::Other, "no"));
                }
                let by_title = |query: &Value, blueprint: &str| {
                    let found = |(key, entity): &(&EntityKey, &Entity)| {
                        key.blueprint.as_str() == blueprint && entity.title.as_ref() == Some(&query["title"])
                    };
                    held.iter().find(found).map(|(key, _)| key.identifier.clone())
                };
                if let Some(query) = &entity.search {
                    let found = by_title(query, entity.key.blueprint.as_str());
                    return found.map_or(UpsertOutcome::NotFound, UpsertOutcome::Found);
                }
                let mut entity = entity.clone();
                for relation in entity.relations.values_mut().filter(|value| value.is_object()) {
                    *relation = json!(by_title(relation, "account"));
                }
                let entity = &entity;
                if self.needs_account
                    && let Some(account) = entity.relations.get("account").and_then(Value::as_str)
                {
                    let target = EntityKey {
                        blueprint: BlueprintId::new("account").unwrap(),
                        identifier: account.into(),
                    };
                    if !held.contains_key(&target) {
                        return UpsertOutcome::MissingRelation(Problem::new(ProblemCode::Other, "not_found"));
                    }
                }
                for (name, target) in relations.into_iter().flatten() {
                    let Some(identifier) = entity.relations.get(*name).and_then(Value::as_str) else {
                        continue;
                    };
                    let target = Entity::new(BlueprintId::new(target).unwrap(), identifier);
                    if !options.create_missing_related_entities && !held.contains_key(&target.key) {
                        return UpsertOutcome::MissingRelation(Problem::new(
                            ProblemCode::Other,
                            format!("no {}", target.key),
                        ));
                    }
                }
                let mut entity = entity.clone();
                if let Some(known) = held.get(&entity.key).filter(|_| options.merge).cloned() {
                    let Entity { title, properties, relations, .. } = std::mem::replace(&mut entity, known);
                    entity.title = title.or(entity.title);
                    entity.properties.extend(properties);
                    entity.relations.extend(relations);
                }
                match held.insert(entity.key.clone(), entity.clone()) {
                    None => UpsertOutcome::Created,
                    Some(_) => UpsertOutcome::Updated,
                }
            })
            .collect();
        UpsertReport { outcomes }
    }
}

fn id_of(document: &Document) -> String {
    let document: Value = serde_json::from_str(document.get()).unwrap();
    document["Properties"]["Id"].as_str().unwrap().to_owned()
}

#[async_trait]
impl Catalog for FakeCatalog {
    async fn read(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Arc<dyn CatalogView>>, CatalogError> {
        Ok(Opened { info: self.info(defaults)?, session: self })
    }

    async fn open(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Box<dyn ResyncStart>>, CatalogError> {
        Ok(Opened { info: self.info(defaults)?, session: Box::new(Start(self)) })
    }

    async fn follow(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Arc<dyn EventSession>>, CatalogError> {
        Ok(Opened { info: self.info(defaults)?, session: self })
    }

    fn upsert_batch(&self) -> usize {
        self.upsert_batch
    }
}

struct Start(Arc<FakeCatalog>);

#[async_trait]
impl ResyncStart for Start {
    async fn begin(self: Box<Self>, _: SystemTime) -> BegunResync {
        self.0.states.lock().unwrap().push("running".into());
        BegunResync { session: self.0, reported: Ok(()) }
    }
}

#[async_trait]
impl CatalogSession for FakeCatalog {
    async fn watch_for_abort(&self) -> Problem {
        match &self.stops {
            Some(problem) => problem.clone(),
            None => std::future::pending().await,
        }
    }

    async fn milestone(&self, milestone: &Milestone) -> Result<(), CatalogError> {
        self.milestones.lock().unwrap().push(milestone.clone());
        if self.deaf { Err(CatalogError(Problem::new(ProblemCode::Other, "503"))) } else { Ok(()) }
    }

    async fn documents(&self, batch: DocumentBatch) -> Result<(), DocumentsError> {
        assert_eq!(batch.config.kind, batch.unit.kind);
        if self.stuck {
            return std::future::pending().await;
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if let Some(error) = self.refuses.get(&(batch.unit.resource, "first")) {
            return Err(error.clone());
        }
        let mut documents = self.documents.lock().unwrap();
        documents.entry(batch.unit.resource).or_default().extend(batch.documents.iter().map(id_of));
        Ok(())
    }

    async fn documents_end(&self, resource: usize) -> Result<(), DocumentsError> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        self.documents.lock().unwrap().entry(resource).or_default().push("end".into());
        self.refuses.get(&(resource, "end")).map_or(Ok(()), |error| Err(error.clone()))
    }

    async fn examples(&self, kind: &Kind, documents: &[Document]) -> Result<(), CatalogError> {
        *self.shown.lock().unwrap().entry(kind.to_string()).or_default() += documents.len();
        Err(CatalogError(Problem::new(ProblemCode::Other, "what is only shown may be refused")))
    }

    async fn end(self: Arc<Self>, status: ResyncStatus) -> Result<(), CatalogError> {
        self.states.lock().unwrap().push(format!("{status:?}"));
        self.ended.notify_one();
        Ok(())
    }
}

#[async_trait]
impl EventSession for FakeCatalog {
    async fn documents(&self, _: &Kind, documents: &[EventDocuments]) -> Result<(), CatalogError> {
        let mut taken = self.event_documents.lock().unwrap();
        for of_resource in documents {
            let operation = if of_resource.gone { "delete" } else { "upsert" };
            taken.extend(of_resource.documents.iter().map(|document| (id_of(document), operation)));
        }
        Ok(())
    }
}

#[async_trait]
impl CatalogView for FakeCatalog {
    // Like a Port whose clock is behind: nothing counts as written after the resync began.
    fn owned(&self) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>> {
        assert_ne!(self.processing(), Processing::Documents, "the catalog is not looked at");
        if self.unlisted {
            return stream::iter([Err(CatalogError(Problem::new(ProblemCode::Other, "503")))]).boxed();
        }
        let entities = self.entities.lock().unwrap();
        let keys = entities.keys().filter(|key| self.owns(key)).map(|key| OwnedEntity { key: key.clone() });
        stream::iter([Ok(keys.collect())]).boxed()
    }

    async fn current(&self, keys: &[EntityKey], _: &FieldSet) -> Result<Vec<Entity>, CatalogError> {
        *self.searches.lock().unwrap() += 1;
        let entities = self.entities.lock().unwrap();
        let found = keys.iter().filter(|key| self.owns(key)).filter_map(|key| {
            let mut entity = entities.get(key).cloned()?;
            if let Some(states) = &self.states_of {
                states(&mut entity);
            }
            Some(entity)
        });
        Ok(found.collect())
    }

    async fn relations(
        &self,
        blueprint: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        if self.without_blueprints {
            return Ok(None);
        }
        if !self.relations.is_empty() {
            let named =
                |(name, target): (&&str, &&str)| ((*name).to_owned(), BlueprintId::new(target).unwrap());
            let relations = self.relations.get(blueprint.as_str());
            return Ok(relations.map(|relations| relations.iter().map(named).collect()));
        }
        let account = BTreeMap::from([("account".to_owned(), BlueprintId::new("account").unwrap())]);
        Ok(Some(if blueprint.as_str() == "thing" { account } else { BTreeMap::new() }))
    }

    async fn required(&self, blueprint: &BlueprintId) -> Result<BTreeSet<String>, CatalogError> {
        if self.unlisted {
            return Err(CatalogError(Problem::new(ProblemCode::Other, "503")));
        }
        if self.without_blueprints {
            return Ok(BTreeSet::new());
        }
        Ok(BTreeSet::from([format!(
            "properties.{}",
            if blueprint.as_str() == "thing" { "region" } else { "x" }
        )]))
    }
}

#[async_trait]
impl EntityStore for FakeCatalog {
    async fn upsert(
        &self,
        blueprint: &BlueprintId,
        entities: &[Entity],
        options: UpsertOptions,
    ) -> UpsertReport {
        self.upserts.lock().unwrap().push(entities.len());
        if !self.upsert_delay.is_zero() {
            tokio::time::sleep(self.upsert_delay).await;
        }
        let report = self.take_in(blueprint, entities, options);
        if let Some(identifier) = self.stalls_at
            && entities.iter().any(|entity| entity.key.identifier == identifier)
        {
            self.stalled.notify_one();
            std::future::pending::<()>().await;
        }
        report
    }

    async fn delete(&self, keys: &[EntityKey], _: bool) -> DeleteReport {
        assert_ne!(self.processing(), Processing::Documents, "the catalog deletes by itself");
        let mut held = self.entities.lock().unwrap();
        let deleted = keys.iter().filter(|key| held.remove(key).is_some()).cloned().collect();
        DeleteReport { deleted, failed: Vec::new() }
    }
}
