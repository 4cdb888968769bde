//! Search queries, as far as the Ocean contract uses them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use serde_json::{Map, Value, json};

use crate::{
    error::ApiError,
    store::{Store, Stored},
};

/// A rule that an entity meets or not.
enum Rule {
    All(Vec<Rule>),
    Any(Vec<Rule>),
    Leaf { property: String, operator: Operator, value: Value },
}

enum Operator {
    Equal,
    NotEqual,
    In,
    NotIn,
    Contains,
    DoesNotContain,
    BeginsWith,
    EndsWith,
    IsEmpty,
    IsNotEmpty,
}

/// Runs a search; `include` narrows what is answered of each entity.
pub(crate) fn search(store: &Store, query: &Value, include: &[String]) -> Result<Vec<Value>, ApiError> {
    let rule = parse(query)?;
    let mut found = Vec::new();
    let mut look = |blueprint: &str, identifier: &str, entity: &Stored| {
        if rule.meets(blueprint, identifier, entity) {
            found.push(narrow(entity.to_json(blueprint, identifier), include));
        }
    };
    match (rule.fixed("$blueprint"), rule.fixed("$identifier")) {
        // Without this shortcut a diff of a large catalog would take quadratic time.
        (Some(blueprints), Some(identifiers)) => {
            for blueprint in blueprints {
                for identifier in &identifiers {
                    if let Some(entity) = store.entity(blueprint, identifier) {
                        look(blueprint, identifier, entity);
                    }
                }
            }
        }
        _ => {
            for (blueprint, entities) in &store.entities {
                for (identifier, entity) in entities {
                    look(blueprint, identifier, entity);
                }
            }
        }
    }
    Ok(found)
}

/// A page of what a search finds among a blueprint's entities behind `after`, and the last identifier on
/// it where there is more.
pub(crate) fn page(
    store: &Store,
    blueprint: &str,
    query: &Value,
    include: &[String],
    limit: usize,
    after: Option<&str>,
) -> Result<(Vec<Value>, Option<String>), ApiError> {
    let rule = parse(query)?;
    let none = BTreeMap::new();
    let held = store.entities.get(blueprint).unwrap_or(&none);
    let behind = |id: &str| after.is_none_or(|after| id > after);
    let mut page = Vec::new();
    let mut last = None;
    let mut look = |id: &str, entity: &Stored| {
        if !rule.meets(blueprint, id, entity) {
            return true;
        }
        if page.len() == limit {
            return false;
        }
        page.push(narrow(entity.to_json(blueprint, id), include));
        last = Some(id.to_owned());
        true
    };
    let whole = if let Some(identifiers) = rule.fixed("$identifier") {
        // As in `search`.
        let wanted: BTreeSet<&str> = identifiers.into_iter().filter(|id| behind(id)).collect();
        let mut found = wanted.into_iter().filter_map(|id| Some((id, held.get(id)?)));
        found.all(|(id, entity)| look(id, entity))
    } else {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = held.range::<str, _>((from, Bound::Unbounded));
        rest.all(|(id, entity)| look(id, entity))
    };
    Ok((page, last.filter(|_| !whole)))
}

/// The identifiers of a blueprint's entities that a query finds: what stands in an upsert in the
/// place of an identifier or a relation.
pub(crate) fn identifiers(store: &Store, blueprint: &str, query: &Value) -> Result<Vec<String>, ApiError> {
    if query.get("combinator").is_none() {
        return Err(ApiError::invalid("a search query must have \"combinator\" and \"rules\""));
    }
    let rule = parse(query)?;
    let entities = store.entities.get(blueprint).into_iter().flatten();
    Ok(entities
        .filter(|(identifier, entity)| rule.meets(blueprint, identifier, entity))
        .map(|(identifier, _)| identifier.clone())
        .collect())
}

fn parse(query: &Value) -> Result<Rule, ApiError> {
    let object = query.as_object().ok_or_else(|| ApiError::invalid("a query must be object"))?;
    if let Some(combinator) = object.get("combinator") {
        let rules = object
            .get("rules")
            .and_then(Value::as_array)
            .ok_or_else(|| ApiError::invalid("\"rules\" must be array"))?;
        let rules = rules.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        return match combinator.as_str() {
            Some("and") => Ok(Rule::All(rules)),
            Some("or") => Ok(Rule::Any(rules)),
            _ => Err(ApiError::invalid("\"combinator\" must be equal to one of \"and\", \"or\"")),
        };
    }
    let text = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| ApiError::invalid(format!("a rule must have \"{key}\"")))
    };
    let value = object.get("value").cloned().unwrap_or_default();
    let operator = match text("operator")? {
        "=" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "in" if value.is_array() => Operator::In,
        "notIn" if value.is_array() => Operator::NotIn,
        operator @ ("in" | "notIn") => {
            return Err(ApiError::invalid(format!("the value of \"{operator}\" must be array")));
        }
        "contains" => Operator::Contains,
        "doesNotContains" => Operator::DoesNotContain,
        "isEmpty" => Operator::IsEmpty,
        "isNotEmpty" => Operator::IsNotEmpty,
        "beginsWith" => Operator::BeginsWith,
        "endsWith" => Operator::EndsWith,
        other => return Err(ApiError::invalid(format!("operator \"{other}\" is not known to the stand-in"))),
    };
    Ok(Rule::Leaf { property: text("property")?.to_owned(), operator, value })
}

impl Rule {
    fn meets(&self, blueprint: &str, identifier: &str, entity: &Stored) -> bool {
        match self {
            Self::All(rules) => rules.iter().all(|rule| rule.meets(blueprint, identifier, entity)),
            Self::Any(rules) => rules.iter().any(|rule| rule.meets(blueprint, identifier, entity)),
            Self::Leaf { property, operator, value } => {
                let actual = match property.as_str() {
                    "$identifier" => json!(identifier),
                    "$blueprint" => json!(blueprint),
                    "$datasource" => json!(entity.datasource),
                    "$title" => entity.title.clone(),
                    "$team" => entity.team.clone(),
                    "$updatedAt" => json!(entity.updated_at),
                    name => entity.properties.get(name).cloned().unwrap_or_default(),
                };
                operator.holds(&actual, value)
            }
        }
    }

    /// The values that an `and` pins a property to.
    fn fixed(&self, wanted: &str) -> Option<Vec<&str>> {
        match self {
            Self::All(rules) => rules.iter().find_map(|rule| match rule {
                Self::Leaf { property, operator, value } if property == wanted => match operator {
                    Operator::Equal => Some(vec![value.as_str()?]),
                    Operator::In => value.as_array()?.iter().map(Value::as_str).collect(),
                    _ => None,
                },
                _ => None,
            }),
            _ => None,
        }
    }
}

impl Operator {
    fn holds(&self, actual: &Value, value: &Value) -> bool {
        let text = |test: fn(&str, &str) -> bool| match (actual.as_str(), value.as_str()) {
            (Some(actual), Some(value)) => test(actual, value),
            _ => false,
        };
        match self {
            Self::Equal => actual == value,
            Self::NotEqual => actual != value,
            Self::In => value.as_array().is_some_and(|values| values.contains(actual)),
            Self::NotIn => !Self::In.holds(actual, value),
            Self::Contains => match actual {
                Value::Array(list) => list.contains(value),
                _ => text(|actual, value| actual.contains(value)),
            },
            Self::DoesNotContain => !Self::Contains.holds(actual, value),
            Self::IsEmpty => match actual {
                Value::Null => true,
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                _ => false,
            },
            Self::IsNotEmpty => !Self::IsEmpty.holds(actual, value),
            Self::BeginsWith => text(|actual, value| actual.starts_with(value)),
            Self::EndsWith => text(|actual, value| actual.ends_with(value)),
        }
    }
}

/// Keeps what `include` names; what is named and not held is null.
fn narrow(entity: Value, include: &[String]) -> Value {
    if include.is_empty() {
        return entity;
    }
    let mut narrowed = Map::new();
    for path in include {
        match path.split_once('.') {
            None => {
                let value = entity.get(path).cloned().unwrap_or_default();
                narrowed.insert(path.clone(), value);
            }
            Some((part, name)) => {
                let value = entity.get(part).and_then(|part| part.get(name)).cloned().unwrap_or_default();
                let part = narrowed.entry(part).or_insert_with(|| json!({}));
                if let Some(part) = part.as_object_mut() {
                    part.insert(name.to_owned(), value);
                }
            }
        }
    }
    Value::Object(narrowed)
}
