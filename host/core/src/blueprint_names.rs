//! The names in a blueprint that Port takes.

use serde_json::{Map, Value};

use crate::ids::fits_identifier;

/// The maximum number of characters in a blueprint's identifier and title, and in the names of its
/// properties and relations.
const NAME_LENGTH: usize = 100;

/// The maximum number of characters in a blueprint's description.
const DESCRIPTION_LENGTH: usize = 200;

/// The maximum number of characters of a name in a message.
const SHOWN: usize = 120;

/// Parts of a blueprint whose keys are names.
const NAMED: [&str; 4] = ["relations", "mirrorProperties", "calculationProperties", "aggregationProperties"];

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
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
