//! Port's checks of blueprints and of the values of entities.

use std::{collections::BTreeSet, net::IpAddr};

use chrono::DateTime;
use serde_json::{Map, Value};

use crate::error::ApiError;

const TYPES: [&str; 5] = ["string", "number", "boolean", "array", "object"];

/// The pattern of an entity's identifier, as Port's API reference has it.
const ENTITY_PATTERN: &str = r"^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/=-]+$";

/// The most characters in an entity's identifier.
const ENTITY_LENGTH: usize = 1000;

/// The most characters in a blueprint's identifier and title, and in the names in it.
const NAME_LENGTH: usize = 100;

/// The most characters in a blueprint's description.
const DESCRIPTION_LENGTH: usize = 200;

/// Checks an identifier: letters, digits and `@_.+:\/=-`.
pub(crate) fn check_identifier(what: &str, identifier: &Value) -> Result<String, ApiError> {
    match identifier.as_str() {
        Some(text) if fits_entity(text) => Ok(text.to_owned()),
        _ => Err(ApiError::invalid(format!(
            "identifier of {what} must be a string that must match pattern {ENTITY_PATTERN}, not {identifier}"
        ))),
    }
}

fn fits_entity(text: &str) -> bool {
    let allowed = |c: char| c.is_alphabetic() || c.is_ascii_digit() || "@_.+:\\/=-".contains(c);
    !matches!(text, "" | "." | "..") && text.chars().count() <= ENTITY_LENGTH && text.chars().all(allowed)
}

/// Checks what the schema of the bulk route says of an entity: one that does not fit has the whole
/// request refused.
pub(crate) fn check_in_bulk(position: usize, entity: &Value) -> Result<(), ApiError> {
    let refused = |place: &str| {
        Err(ApiError::invalid(format!(
            "body/entities/{position}/{place} must match pattern \"{ENTITY_PATTERN}\""
        )))
    };
    let fits = |value: &Value| value.as_str().is_some_and(fits_entity);
    match &entity["identifier"] {
        Value::Object(_) => {}
        identifier if fits(identifier) => {}
        _ => return refused("identifier"),
    }
    for (name, target) in entity["relations"].as_object().into_iter().flatten() {
        let fit = match target {
            Value::Null | Value::Object(_) => true,
            Value::Array(targets) => targets.iter().all(fits),
            target => fits(target),
        };
        if !fit {
            return refused(&format!("relations/{name}"));
        }
    }
    Ok(())
}

/// Checks the name of a property or a relation.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "@_=-".contains(c);
    if (1..=NAME_LENGTH).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "\"{name}\" must match pattern \"^[A-Za-z0-9@_=\\-]+$\" and have at most {NAME_LENGTH} characters"
    ))
}

/// Checks a blueprint's own form. `exists` tells whether another blueprint exists.
pub(crate) fn check_blueprint(
    definition: &Map<String, Value>,
    exists: impl Fn(&str) -> bool,
) -> Result<String, ApiError> {
    let identifier = check_identifier("a blueprint", definition.get("identifier").unwrap_or(&Value::Null))?;
    let invalid = |text: String| ApiError::invalid(format!("blueprint \"{identifier}\": {text}"));
    if identifier.chars().count() > NAME_LENGTH || identifier.contains('=') {
        return Err(invalid("its identifier must match pattern \"^[\\p{L}0-9@_.+:\\/-]+$\"".into()));
    }
    for (key, limit) in [("title", NAME_LENGTH), ("description", DESCRIPTION_LENGTH)] {
        let text = definition.get(key).and_then(Value::as_str).unwrap_or_default();
        if text.chars().count() > limit {
            return Err(invalid(format!("\"{key}\" must NOT have more than {limit} characters")));
        }
    }
    for key in ["title", "icon", "description"] {
        if definition.get(key).is_some_and(|value| !value.is_string() && !value.is_null()) {
            return Err(invalid(format!("\"{key}\" must be string")));
        }
    }
    let schema = object(definition, "schema").map_err(&invalid)?;
    let properties = object(schema, "properties").map_err(&invalid)?;
    for (name, property) in properties {
        check_name(name).map_err(&invalid)?;
        let kind = property.get("type").and_then(Value::as_str).unwrap_or_default();
        if !TYPES.contains(&kind) {
            return Err(invalid(format!("schema.properties.{name}.type must be one of {TYPES:?}")));
        }
    }
    for name in strings(schema.get("required")).map_err(&invalid)? {
        if !properties.contains_key(&name) {
            return Err(invalid(format!("schema.required names \"{name}\", which is no property")));
        }
    }
    let relations = match definition.get("relations") {
        None => &Map::new(),
        Some(_) => object(definition, "relations").map_err(&invalid)?,
    };
    for (name, relation) in relations {
        check_name(name).map_err(&invalid)?;
        let target = relation.get("target").and_then(Value::as_str).unwrap_or_default();
        if target != identifier && !exists(target) {
            return Err(ApiError::not_found("Blueprint", target));
        }
        for flag in ["many", "required"] {
            if relation.get(flag).is_some_and(|flag| !flag.is_boolean()) {
                return Err(invalid(format!("relations.{name}.{flag} must be boolean")));
            }
        }
    }
    if definition.get("mirrorProperties").is_some() {
        for (name, mirror) in object(definition, "mirrorProperties").map_err(&invalid)? {
            check_name(name).map_err(&invalid)?;
            let path = mirror.get("path").and_then(Value::as_str).unwrap_or_default();
            if !relations.contains_key(path.split('.').next().unwrap_or_default()) {
                return Err(invalid(format!("mirrorProperties.{name}.path must start with a relation")));
            }
        }
    }
    Ok(identifier)
}

fn object<'a>(parent: &'a Map<String, Value>, key: &str) -> Result<&'a Map<String, Value>, String> {
    parent.get(key).and_then(Value::as_object).ok_or_else(|| format!("\"{key}\" must be object"))
}

fn strings(list: Option<&Value>) -> Result<Vec<String>, String> {
    match list {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(list) => {
            serde_json::from_value(list.clone()).map_err(|_| "\"required\" must be string[]".into())
        }
    }
}

/// A relation of a blueprint.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) target: String,
    pub(crate) many: bool,
    pub(crate) required: bool,
}

/// A blueprint's relation of that name.
pub(crate) fn relation(blueprint: &Map<String, Value>, name: &str) -> Option<Relation> {
    let relation = blueprint.get("relations")?.get(name)?;
    let flag = |key: &str| relation.get(key).and_then(Value::as_bool).unwrap_or_default();
    Some(Relation {
        target: relation.get("target")?.as_str()?.to_owned(),
        many: flag("many"),
        required: flag("required"),
    })
}

/// The names of a blueprint's relations.
pub(crate) fn relation_names(blueprint: &Map<String, Value>) -> Vec<String> {
    let relations = blueprint.get("relations").and_then(Value::as_object);
    relations.map(|relations| relations.keys().cloned().collect()).unwrap_or_default()
}

/// Checks the properties that an upsert sets.
pub(crate) fn check_properties(
    blueprint: &Map<String, Value>,
    set: &Map<String, Value>,
) -> Result<(), ApiError> {
    let schema = blueprint.get("schema").and_then(Value::as_object);
    let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    for (name, value) in set {
        let Some(property) = properties.and_then(|properties| properties.get(name)) else {
            return Err(ApiError::invalid(format!(
                "property \"{name}\" does not exist in blueprint {}",
                blueprint.get("identifier").unwrap_or(&Value::Null)
            )));
        };
        if !value.is_null() {
            check_value(property, value)
                .map_err(|reason| ApiError::invalid(format!("\"/properties/{name}\" {reason}")))?;
        }
    }
    Ok(())
}

/// Checks that nothing required is missing from a whole entity.
pub(crate) fn check_required(
    blueprint: &Map<String, Value>,
    properties: &Map<String, Value>,
    relations: &Map<String, Value>,
) -> Result<(), ApiError> {
    let schema = blueprint.get("schema").and_then(Value::as_object);
    for name in strings(schema.and_then(|schema| schema.get("required"))).unwrap_or_default() {
        if properties.get(&name).is_none_or(Value::is_null) {
            return Err(ApiError::invalid(format!("property \"{name}\" is required")));
        }
    }
    for name in relation_names(blueprint) {
        let required = relation(blueprint, &name).is_some_and(|relation| relation.required);
        if required && relations.get(&name).is_none_or(Value::is_null) {
            return Err(ApiError::invalid(format!("relation \"{name}\" is required")));
        }
    }
    Ok(())
}

fn check_value(property: &Value, value: &Value) -> Result<(), String> {
    let kind = property.get("type").and_then(Value::as_str).unwrap_or_default();
    let fits = match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    if !fits {
        return Err(format!("must be {kind}"));
    }
    if let Some(allowed) = property.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        return Err(format!("must be equal to one of the allowed values {}", Value::from(allowed.clone())));
    }
    if let (Some(format), Some(text)) = (property.get("format").and_then(Value::as_str), value.as_str())
        && !fits_format(format, text)
    {
        return Err(format!("must match format \"{format}\""));
    }
    if let (Some(items), Some(values)) = (property.get("items"), value.as_array()) {
        for (index, value) in values.iter().enumerate() {
            check_value(items, value).map_err(|reason| format!("item {index} {reason}"))?;
        }
        let distinct: BTreeSet<String> = values.iter().map(Value::to_string).collect();
        if property.get("uniqueItems") == Some(&Value::Bool(true)) && distinct.len() < values.len() {
            return Err("must not have duplicate items".into());
        }
    }
    Ok(())
}

fn fits_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" => DateTime::parse_from_rfc3339(text).is_ok(),
        "url" => url::Url::parse(text).is_ok(),
        "email" => text.contains('@'),
        "ipv4" => matches!(text.parse(), Ok(IpAddr::V4(_))),
        "ipv6" => matches!(text.parse(), Ok(IpAddr::V6(_))),
        _ => true,
    }
}
