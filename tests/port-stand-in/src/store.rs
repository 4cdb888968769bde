//! The state of the fake server, and its rules. No HTTP here.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    error::ApiError,
    raw::Lifecycle,
    schema::{self, check_identifier},
    search,
};

/// The blueprint whose entities are the teams.
const TEAMS: &str = "_team";

/// An entity as it is held.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stored {
    pub(crate) title: Value,
    pub(crate) icon: Value,
    pub(crate) team: Value,
    pub(crate) properties: Map<String, Value>,
    pub(crate) relations: Map<String, Value>,
    /// The `User-Agent` of the last writer.
    pub(crate) datasource: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// Everything that survives a restart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Store {
    pub(crate) blueprints: BTreeMap<String, Map<String, Value>>,
    /// By blueprint, then by identifier.
    pub(crate) entities: BTreeMap<String, BTreeMap<String, Stored>>,
    pub(crate) integrations: BTreeMap<String, Map<String, Value>>,
    /// `updatedAt` of the resync that somebody asked for, by integration.
    pub(crate) resync_requests: BTreeMap<String, DateTime<Utc>>,
    /// The resyncs that told of their raw data, by id.
    pub(crate) lifecycles: BTreeMap<String, Lifecycle>,
    /// How many milliseconds Port's clock is ahead of this machine's.
    pub(crate) clock_ahead: i64,
}

/// What is deleted together with an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cascade {
    /// Nothing: an entity that another one relates to is not deleted.
    Nothing,
    /// The entities whose required relation would lose its target.
    Required,
    /// Every entity that relates to it.
    Related,
}

/// The query parameters of an upsert.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UpsertFlags {
    pub(crate) upsert: bool,
    pub(crate) merge: bool,
    pub(crate) create_missing: bool,
    pub(crate) validation_only: bool,
    /// Whether the identifier may have any form: Port may hold some from before it had a pattern.
    pub(crate) any_identifier: bool,
}

impl Stored {
    fn blank(datasource: &str, at: DateTime<Utc>) -> Self {
        Self {
            title: Value::Null,
            icon: Value::Null,
            team: json!([]),
            properties: Map::new(),
            relations: Map::new(),
            datasource: datasource.to_owned(),
            created_at: at,
            updated_at: at,
        }
    }

    /// The entity as Port answers with it.
    pub(crate) fn to_json(&self, blueprint: &str, identifier: &str) -> Value {
        json!({
            "identifier": identifier, "blueprint": blueprint, "title": self.title, "icon": self.icon,
            "team": self.team, "properties": self.properties, "relations": self.relations,
            "createdAt": self.created_at, "updatedAt": self.updated_at,
            "createdBy": self.datasource, "updatedBy": self.datasource,
        })
    }
}

impl Store {
    /// Port's clock. Port keeps times to the millisecond.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let ahead = TimeDelta::try_milliseconds(self.clock_ahead).unwrap_or_default();
        let now = Utc::now();
        now.checked_add_signed(ahead).unwrap_or(now).trunc_subsecs(3)
    }

    // Blueprints.

    pub(crate) fn blueprint(&self, identifier: &str) -> Result<&Map<String, Value>, ApiError> {
        self.blueprints.get(identifier).ok_or_else(|| ApiError::not_found("Blueprint", identifier))
    }

    pub(crate) fn create_blueprint(&mut self, definition: Map<String, Value>) -> Result<Value, ApiError> {
        let identifier = schema::check_blueprint(&definition, |other| self.blueprints.contains_key(other))?;
        if self.blueprints.contains_key(&identifier) {
            return Err(ApiError::taken("Blueprint", &identifier));
        }
        self.blueprints.insert(identifier, definition.clone());
        Ok(Value::Object(definition))
    }

    /// Replaces the given parts of a definition, or all of it.
    pub(crate) fn change_blueprint(
        &mut self,
        identifier: &str,
        change: Map<String, Value>,
        whole: bool,
    ) -> Result<Value, ApiError> {
        let mut definition = self.blueprint(identifier)?.clone();
        if whole {
            definition = change;
        } else {
            definition.extend(change);
        }
        let named = schema::check_blueprint(&definition, |other| self.blueprints.contains_key(other))?;
        if named != identifier {
            return Err(ApiError::invalid("the stand-in does not rename blueprints"));
        }
        self.blueprints.insert(named, definition.clone());
        Ok(Value::Object(definition))
    }

    pub(crate) fn delete_blueprint(&mut self, identifier: &str) -> Result<(), ApiError> {
        self.blueprint(identifier)?;
        let held = self.entities.get(identifier).map_or(0, BTreeMap::len);
        let related: Vec<&String> = self
            .blueprints
            .iter()
            .filter(|(other, definition)| {
                *other != identifier
                    && schema::relation_names(definition).iter().any(|name| {
                        schema::relation(definition, name).is_some_and(|r| r.target == identifier)
                    })
            })
            .map(|(other, _)| other)
            .collect();
        if held > 0 || !related.is_empty() {
            let message =
                format!("blueprint \"{identifier}\" has {held} entities and relations from {related:?}");
            return Err(ApiError { status: 403, error: "has_dependents", message });
        }
        self.blueprints.remove(identifier);
        self.entities.remove(identifier);
        Ok(())
    }

    /// Somebody asks for a resync of an integration.
    pub(crate) fn request_resync(&mut self, integration: String) {
        let at = self.now();
        self.resync_requests.insert(integration, at);
    }

    // Entities.

    pub(crate) fn entity(&self, blueprint: &str, identifier: &str) -> Option<&Stored> {
        self.entities.get(blueprint)?.get(identifier)
    }

    /// Writes one entity; tells whether it is new. Nothing changes when it is refused.
    pub(crate) fn upsert(
        &mut self,
        blueprint_id: &str,
        entity: &Value,
        flags: UpsertFlags,
        datasource: &str,
    ) -> Result<(String, bool), ApiError> {
        let blueprint = self.blueprint(blueprint_id)?;
        let entity = entity.as_object().ok_or_else(|| ApiError::invalid("an entity must be object"))?;
        const KEYS: [&str; 7] =
            ["identifier", "blueprint", "title", "icon", "team", "properties", "relations"];
        if let Some(unknown) = entity.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(ApiError::invalid(format!(
                "an entity must NOT have the additional property \"{unknown}\""
            )));
        }
        let identifier = match entity.get("identifier") {
            Some(query @ Value::Object(_)) => self.find(blueprint_id, query)?,
            Some(Value::String(any)) if flags.any_identifier && !any.is_empty() => any.clone(),
            other => check_identifier("an entity", other.unwrap_or(&Value::Null))?,
        };
        if entity.get("blueprint").is_some_and(|named| named != blueprint_id) {
            return Err(ApiError::invalid(format!("the entity's blueprint must be \"{blueprint_id}\"")));
        }
        for key in ["title", "icon"] {
            if entity.get(key).is_some_and(|value| !value.is_string() && !value.is_null()) {
                return Err(ApiError::invalid(format!("\"/{key}\" must be string")));
            }
        }
        let team = match entity.get("team") {
            Some(query @ Value::Object(_)) => Some(json!(search::identifiers(self, TEAMS, query)?)),
            other => other.map(team).transpose()?,
        };
        let part = |key: &str| match entity.get(key) {
            None => Ok(Map::new()),
            Some(Value::Object(part)) => Ok(part.clone()),
            Some(_) => Err(ApiError::invalid(format!("\"/{key}\" must be object"))),
        };
        let (properties, mut relations) = (part("properties")?, part("relations")?);
        for (name, value) in relations.iter_mut().filter(|(_, value)| value.is_object()) {
            // A relation that does not exist is refused below.
            if let Some(relation) = schema::relation(blueprint, name) {
                *value = self.related(&relation, name, value)?;
            }
        }
        schema::check_properties(blueprint, &properties)?;

        let key = (blueprint_id.to_owned(), identifier.clone());
        let missing = self.check_relations(blueprint, &relations, &key, flags.create_missing)?;

        let held = self.entity(blueprint_id, &identifier);
        let created = held.is_none();
        if !created && !flags.upsert {
            return Err(ApiError::taken("Entity", &identifier));
        }
        let at = self.now();
        let mut next = match held {
            Some(held) if flags.merge => held.clone(),
            Some(held) => Stored { created_at: held.created_at, ..Stored::blank(datasource, at) },
            None => Stored::blank(datasource, at),
        };
        for (key, slot) in [("title", &mut next.title), ("icon", &mut next.icon)] {
            if let Some(value) = entity.get(key) {
                *slot = value.clone();
            }
        }
        if let Some(team) = team {
            next.team = team;
        }
        for (set, held) in [(properties, &mut next.properties), (relations, &mut next.relations)] {
            for (name, value) in set {
                // A null empties the value; Port then holds none.
                if value.is_null() {
                    held.remove(&name)
                } else {
                    held.insert(name, value)
                };
            }
        }
        schema::check_required(blueprint, &next.properties, &next.relations)?;
        datasource.clone_into(&mut next.datasource);
        next.updated_at = at;
        if flags.validation_only {
            return Ok((identifier, created));
        }
        for (blueprint, identifier) in missing {
            let bare = Stored::blank(datasource, at);
            self.entities.entry(blueprint).or_default().insert(identifier, bare);
        }
        self.entities.entry(key.0).or_default().insert(key.1, next);
        Ok((identifier, created))
    }

    /// The one entity that a search identifier means.
    fn find(&self, blueprint: &str, query: &Value) -> Result<String, ApiError> {
        let mut found = search::identifiers(self, blueprint, query)?.into_iter();
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(ApiError::not_found("Entity", &query.to_string())),
            _ => Err(ApiError::invalid("more than one entity matches the search query of the identifier")),
        }
    }

    /// What a search relation relates to.
    fn related(&self, relation: &schema::Relation, name: &str, query: &Value) -> Result<Value, ApiError> {
        let found = search::identifiers(self, &relation.target, query)?;
        match (relation.many, found.as_slice()) {
            (true, found) => Ok(json!(found)),
            (false, []) => Ok(Value::Null),
            (false, [one]) => Ok(json!(one)),
            (false, _) => Err(ApiError::invalid(format!(
                "more than one entity matches the search query of relation \"{name}\""
            ))),
        }
    }

    /// Checks the relations that an upsert sets; gives the targets that have to be created.
    fn check_relations(
        &self,
        blueprint: &Map<String, Value>,
        set: &Map<String, Value>,
        own: &(String, String),
        create_missing: bool,
    ) -> Result<BTreeSet<(String, String)>, ApiError> {
        let mut missing = BTreeSet::new();
        for (name, value) in set {
            let Some(relation) = schema::relation(blueprint, name) else {
                return Err(ApiError::invalid(format!(
                    "relation \"{name}\" does not exist in blueprint \"{}\"",
                    own.0
                )));
            };
            let targets: Vec<&Value> = match (value, relation.many) {
                (Value::Null, _) => Vec::new(),
                (Value::Array(list), true) => list.iter().collect(),
                (Value::String(_), false) => vec![value],
                (_, many) => {
                    let form = if many { "string[]" } else { "string" };
                    return Err(ApiError::invalid(format!(
                        "\"/relations/{name}\" must be {form}, not {value}"
                    )));
                }
            };
            for target in targets {
                let identifier = check_identifier("a related entity", target)?;
                let key = (relation.target.clone(), identifier);
                if key != *own && self.entity(&key.0, &key.1).is_none() {
                    if !create_missing {
                        let mut error = ApiError::not_found("Entity", &key.1);
                        error.message =
                            format!("{} in blueprint \"{}\" (relation \"{name}\")", error.message, key.0);
                        return Err(error);
                    }
                    missing.insert(key);
                }
            }
        }
        Ok(missing)
    }

    /// Deletes one entity and what the cascade takes along.
    pub(crate) fn delete(
        &mut self,
        blueprint: &str,
        identifier: &str,
        cascade: Cascade,
    ) -> Result<(), ApiError> {
        self.blueprint(blueprint)?;
        if self.entity(blueprint, identifier).is_none() {
            return Err(ApiError::not_found("Entity", identifier));
        }
        let mut doomed = BTreeSet::from([(blueprint.to_owned(), identifier.to_owned())]);
        let mut unseen = vec![(blueprint.to_owned(), identifier.to_owned())];
        while let Some(key) = unseen.pop() {
            for (dependent, required) in self.referrers(&key) {
                if cascade == Cascade::Nothing && dependent != key {
                    return Err(has_dependents(identifier));
                }
                let goes_along = cascade == Cascade::Related || required && cascade == Cascade::Required;
                if goes_along && doomed.insert(dependent.clone()) {
                    unseen.push(dependent);
                }
            }
        }
        for key in doomed {
            for (referrer, _) in self.referrers(&key) {
                self.forget_relation(&referrer, &key);
            }
            if let Some(entities) = self.entities.get_mut(&key.0) {
                entities.remove(&key.1);
            }
        }
        Ok(())
    }

    /// Deletes those of the entities that exist, and tells which. Without a cascade nothing is deleted
    /// when any of them has dependents.
    pub(crate) fn delete_all(
        &mut self,
        blueprint: &str,
        identifiers: Vec<String>,
        cascade: Cascade,
    ) -> Result<Vec<String>, ApiError> {
        self.blueprint(blueprint)?;
        let held: Vec<String> =
            identifiers.into_iter().filter(|id| self.entity(blueprint, id).is_some()).collect();
        if cascade == Cascade::Nothing {
            for identifier in &held {
                let key = (blueprint.to_owned(), identifier.clone());
                if self.referrers(&key).iter().any(|(dependent, _)| *dependent != key) {
                    return Err(has_dependents(identifier));
                }
            }
        }
        for identifier in &held {
            // One may have gone along with another.
            if self.entity(blueprint, identifier).is_some() {
                self.delete(blueprint, identifier, cascade)?;
            }
        }
        Ok(held)
    }

    /// Entities with a relation to that one, and whether the relation is required.
    fn referrers(&self, (blueprint, identifier): &(String, String)) -> Vec<((String, String), bool)> {
        let mut found = Vec::new();
        for (source, definition) in &self.blueprints {
            for name in schema::relation_names(definition) {
                let Some(relation) = schema::relation(definition, &name) else { continue };
                if relation.target != *blueprint {
                    continue;
                }
                for (id, entity) in self.entities.get(source).into_iter().flatten() {
                    if entity.relations.get(&name).is_some_and(|value| refers(value, identifier)) {
                        found.push(((source.clone(), id.clone()), relation.required));
                    }
                }
            }
        }
        found
    }

    fn forget_relation(&mut self, (blueprint, identifier): &(String, String), target: &(String, String)) {
        let Some(definition) = self.blueprints.get(blueprint) else { return };
        let names: Vec<String> = schema::relation_names(definition)
            .into_iter()
            .filter(|name| schema::relation(definition, name).is_some_and(|r| r.target == target.0))
            .collect();
        let Some(entity) = self.entities.get_mut(blueprint).and_then(|entities| entities.get_mut(identifier))
        else {
            return;
        };
        for name in names {
            match entity.relations.get_mut(&name) {
                Some(Value::Array(list)) => list.retain(|id| *id != target.1),
                Some(value) if *value == target.1 => {
                    entity.relations.remove(&name);
                }
                _ => {}
            }
        }
    }

    /// Puts an entity in place as it is, for tests: with `updatedAt` where given.
    pub(crate) fn seed_entity(
        &mut self,
        blueprint: &str,
        entity: &Value,
        datasource: &str,
    ) -> Result<(), ApiError> {
        let mut entity = entity.clone();
        let updated_at = entity.as_object_mut().and_then(|entity| entity.remove("updatedAt"));
        let flags = UpsertFlags { upsert: true, any_identifier: true, ..UpsertFlags::default() };
        let (identifier, _) = self.upsert(blueprint, &entity, flags, datasource)?;
        if let Some(updated_at) = updated_at {
            let updated_at = time(&updated_at)?;
            if let Some(stored) =
                self.entities.get_mut(blueprint).and_then(|entities| entities.get_mut(&identifier))
            {
                stored.updated_at = updated_at;
            }
        }
        Ok(())
    }

    /// All entities: by blueprint, then by identifier.
    pub(crate) fn dump(&self) -> Value {
        let dump: Map<String, Value> = self
            .entities
            .iter()
            .filter(|(_, entities)| !entities.is_empty())
            .map(|(blueprint, entities)| {
                let entities: Map<String, Value> =
                    entities.iter().map(|(id, entity)| (id.clone(), entity.to_json(blueprint, id))).collect();
                (blueprint.clone(), Value::Object(entities))
            })
            .collect();
        Value::Object(dump)
    }

    /// How many entities each blueprint has, and a digest of what they say: the same for the same
    /// entities, whenever and by whom they were written.
    pub(crate) fn digests(&self) -> Value {
        let digest = |entities: &BTreeMap<String, Stored>| {
            let mut hasher = DefaultHasher::new();
            for (id, held) in entities {
                id.hash(&mut hasher);
                json!([held.title, held.icon, held.team, held.properties, held.relations])
                    .to_string()
                    .hash(&mut hasher);
            }
            json!({"count": entities.len(), "digest": format!("{:016x}", hasher.finish())})
        };
        let held = self.entities.iter().filter(|(_, entities)| !entities.is_empty());
        held.map(|(blueprint, entities)| (blueprint.clone(), digest(entities))).collect()
    }
}

fn has_dependents(identifier: &str) -> ApiError {
    let message = format!("entity \"{identifier}\" has dependents; use delete_dependents=true");
    ApiError { status: 403, error: "has_dependents", message }
}

fn refers(value: &Value, identifier: &str) -> bool {
    match value {
        Value::Array(list) => list.iter().any(|id| id == identifier),
        value => value == identifier,
    }
}

/// Port holds teams as a list.
fn team(value: &Value) -> Result<Value, ApiError> {
    match value {
        Value::Null => Ok(json!([])),
        Value::String(name) => Ok(json!([name])),
        Value::Array(names) if names.iter().all(Value::is_string) => Ok(value.clone()),
        _ => Err(ApiError::invalid("\"/team\" must be string or string[]")),
    }
}

/// Reads a point in time.
pub(crate) fn time(value: &Value) -> Result<DateTime<Utc>, ApiError> {
    value
        .as_str()
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map(|time| time.to_utc())
        .ok_or_else(|| ApiError::invalid(format!("{value} must be a date-time")))
}
