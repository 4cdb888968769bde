//! The names that Port accepts, according to the schemas of its public API reference.
//!
//! Port validates identifiers against the schema of a whole request, so an invalid one may fail the other
//! entities of the request, too. Therefore Berth checks before it sends anything.
//!
//! Berth uses [`char::is_alphabetic`] for `\p{L}`. It also includes a few marks that are not letters to
//! Port, so this check never rejects a name that Port would accept.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{Entity, Problem, ProblemCode, blueprint_names::shown, ids::fits_identifier};

/// The maximum number of characters in an entity's identifier and in a relation's target.
const IDENTIFIER_LENGTH: usize = 1000;
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
}
