//! The names that Port accepts, according to the schemas of its public API reference.
//!
//! Port validates identifiers against the schema of a whole request, so an invalid one may fail the other
//! entities of the request, too. Therefore Berth checks before it sends anything.
//!
//! Berth uses [`char::is_alphabetic`] for `\p{L}`. It also includes a few marks that are not letters to
//! Port, so this check never rejects a name that Port would accept.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{Entity, Problem, ProblemCode};

/// The maximum number of characters in an entity's identifier and in a relation's target.
const IDENTIFIER_LENGTH: usize = 1000;
/// The maximum number of characters in a blueprint's identifier and title, and in the names of its
/// properties and relations.
const NAME_LENGTH: usize = 100;
/// The maximum number of characters in a blueprint's description.
const DESCRIPTION_LENGTH: usize = 200;
/// The maximum number of characters of a name in a message.
const SHOWN: usize = 120;

/// Parts of a blueprint whose keys are names.
const NAMED: [&str; 4] = ["relations", "mirrorProperties", "calculationProperties", "aggregationProperties"];

/// Checks the identifier of an entity and the targets of its relations:
/// `^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/=-]+$`, at most 1,000 characters. Search queries are not checked.
///
/// # Errors
/// A [`Problem`] that names the invalid value, with an expression that fixes it.
pub fn check_entity(entity: &Entity) -> Result<(), Problem> {
    if entity.search.is_none() {
        check_identifier("identifier", &entity.key.identifier)?;
    }
    for (relation, target) in &entity.relations {
        let place = format!("relations.{relation}");
        match target {
            Value::Null | Value::Object(_) => {}
            Value::String(target) => check_identifier(&place, target)?,
            Value::Array(targets) => {
                for target in targets {
                    match target {
                        Value::String(target) => check_identifier(&place, target)?,
                        _ => return Err(no_target(&place)),
                    }
                }
            }
            Value::Bool(_) | Value::Number(_) => return Err(no_target(&place)),
        }
    }
    Ok(())
}

fn no_target(place: &str) -> Problem {
    Problem::new(
        ProblemCode::MappingUnfit,
        format!("Port does not accept `{place}`: it is neither an identifier nor a list of identifiers"),
    )
    .remedy(format!("Make `{place}` in the mapping return a string, as in `<expression> | tostring`."))
}

fn check_identifier(place: &str, text: &str) -> Result<(), Problem> {
    let refused = |reason: &str| {
        Problem::new(
            ProblemCode::MappingUnfit,
            format!("Port does not accept `{place}` `{}`: {reason}", shown(text)),
        )
    };
    if text.is_empty() {
        return Err(refused("it is empty").remedy(format!(
            "Map `{place}` to a value that every resource has, or to null if there is none."
        )));
    }
    let unfit: BTreeSet<char> = text.chars().filter(|c| !fits_identifier(*c)).collect();
    if !unfit.is_empty() {
        let unfit: Vec<String> = unfit.iter().take(10).map(|c| format!("`{}`", c.escape_debug())).collect();
        return Err(refused(&format!(
            "it may contain letters, digits and `@_.+:\\/=-`, but not {}",
            unfit.join(", ")
        ))
        .remedy(format!(
            "Replace them in the mapping: `{place}: <expression> | gsub(\"[^A-Za-z0-9@_.+:/=-]\"; \"-\")`. \
                 Wherever another kind relates to this entity, its relation needs the same."
        )));
    }
    if matches!(text, "." | "..") {
        return Err(refused("an identifier cannot consist of dots only")
            .remedy(format!("Add a prefix in the mapping: `{place}: \"id-\" + <expression>`.")));
    }
    let length = text.chars().count();
    if length > IDENTIFIER_LENGTH {
        return Err(refused(&format!("it has {length} characters, and Port accepts {IDENTIFIER_LENGTH}"))
            .remedy(format!(
                "Shorten it in the mapping and keep it unique, for example by removing a prefix: \
             `{place}: <expression> | gsub(\"^<prefix>\"; \"\")`."
            )));
    }
    Ok(())
}

/// Returns whether an entity's identifier may contain a character.
pub(crate) fn fits_identifier(c: char) -> bool {
    c.is_alphabetic() || c.is_ascii_digit() || "@_.+:\\/=-".contains(c)
}

/// Checks the names of a blueprint: its identifier (`[\p{L}0-9@_.+:\\/-]+`, at most 100 characters), title
/// (at most 100) and description (at most 200), and the names of properties, relations, and mirror,
/// calculation and aggregation properties (`^[A-Za-z0-9@_=\-]+$`, at most 100).
///
/// # Errors
/// A sentence that names the first invalid name.
pub(crate) fn check_blueprint(definition: &Map<String, Value>) -> Result<(), String> {
    let text = |key: &str| definition.get(key).and_then(Value::as_str).unwrap_or_default();
    let identifier = text("identifier");
    let fits = |c: char| c != '=' && fits_identifier(c);
    if identifier.chars().count() > NAME_LENGTH || !identifier.chars().all(fits) {
        return Err(format!(
            "Port does not accept `{}` as a blueprint's identifier: up to {NAME_LENGTH} letters, digits and \
             `@_.+:\\/-` may stand in it",
            shown(identifier)
        ));
    }
    for (key, limit) in [("title", NAME_LENGTH), ("description", DESCRIPTION_LENGTH)] {
        let length = text(key).chars().count();
        if length > limit {
            return Err(format!(
                "the `{key}` of blueprint `{identifier}` has {length} characters, and Port accepts {limit}"
            ));
        }
    }
    let properties = definition.get("schema").and_then(|schema| schema.get("properties"));
    let parts = NAMED.into_iter().map(|key| (key, definition.get(key)));
    for (part, names) in [("schema.properties", properties)].into_iter().chain(parts) {
        for name in names.and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            let fits = |c: char| c.is_ascii_alphanumeric() || "@_=-".contains(c);
            if name.is_empty() || name.len() > NAME_LENGTH || !name.chars().all(fits) {
                return Err(format!(
                    "Port does not accept `{}` in `{part}` of blueprint `{identifier}`: a name has 1 to {NAME_LENGTH} \
                     of the characters A to Z, a to z, 0 to 9 and `@_=-`",
                    shown(name)
                ));
            }
        }
    }
    Ok(())
}

/// Returns the beginning of a text, for a message.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::BlueprintId;

    fn entity(identifier: &str, relations: Value) -> Entity {
        let Value::Object(relations) = relations else { panic!("{relations}") };
        Entity { relations, ..Entity::new(BlueprintId::new("alarm").unwrap(), identifier) }
    }

    #[test]
    fn identifiers_are_checked_as_port_documents_them() {
        for fits in
            ["a", "arn:aws:s3:::my-bucket/x", "Überlast", "日本", "a.b", "...", "C:\\x", "k=v", "a+b@c"]
        {
            check_entity(&entity(fits, json!({}))).unwrap();
        }
        check_entity(&entity(&"ü".repeat(1000), json!({}))).unwrap();
        for unfit in ["", ".", "..", "CPU > 80%", "a b", "a\nb", "*", "x'y", "a,b", "²"] {
            check_entity(&entity(unfit, json!({}))).unwrap_err();
        }
        check_entity(&entity(&"a".repeat(1001), json!({}))).unwrap_err();
    }

    #[test]
    fn the_problem_names_the_place_and_a_fix() {
        let problem = check_entity(&entity("CPU > 80% (prod)", json!({}))).unwrap_err();
        assert!(problem.message.contains("`identifier` `CPU > 80% (prod)`"), "{problem}");
        assert!(problem.message.contains("` `, `%`, `(`, `)`, `>`"), "{problem}");
        assert!(problem.remedy.unwrap().contains("gsub("));
        for unfit in [json!("a b"), json!(["ok", "a b"])] {
            let problem = check_entity(&entity("fine", json!({"none": null, "owner": unfit}))).unwrap_err();
            assert!(problem.message.contains("`relations.owner` `a b`"), "{problem}");
            assert!(problem.remedy.unwrap().contains("gsub("));
        }
        for unfit in [json!(7), json!([null]), json!(true)] {
            let problem = check_entity(&entity("fine", json!({"owner": unfit}))).unwrap_err();
            assert!(problem.message.contains("relations.owner"), "{problem}");
        }
    }

    #[test]
    fn search_queries_are_left_to_port() {
        let query = json!({"combinator": "and", "rules": []});
        let mut entity = Entity::found_by(BlueprintId::new("a").unwrap(), query.clone());
        entity.relations.insert("r".into(), query);
        check_entity(&entity).unwrap();
    }

    #[test]
    fn blueprint_names_are_checked() {
        let check = |change: Value| {
            let mut blueprint = json!({
                "identifier": "my/Blueprint", "title": "T", "description": "D",
                "schema": {"properties": {"a-b_c@d=1": {"type": "string"}}},
                "relations": {"account": {"target": "x"}},
            });
            for (key, value) in change.as_object().unwrap() {
                blueprint[key] = value.clone();
            }
            check_blueprint(blueprint.as_object().unwrap())
        };
        check(json!({})).unwrap();
        check(json!({"identifier": "überlast"})).unwrap();
        for unfit in [
            json!({"identifier": "a=b"}),
            json!({"identifier": "a".repeat(101)}),
            json!({"title": "t".repeat(101)}),
            json!({"description": "d".repeat(201)}),
            json!({"schema": {"properties": {"a.b": {}}}}),
            json!({"schema": {"properties": {"": {}}}}),
            json!({"relations": {"a b": {}}}),
            json!({"relations": {"r".repeat(101): {}}}),
            json!({"mirrorProperties": {"ä": {}}}),
            json!({"calculationProperties": {"a:b": {}}}),
            json!({"aggregationProperties": {"a/b": {}}}),
        ] {
            check(unfit.clone()).expect_err(&unfit.to_string());
        }
    }
}
