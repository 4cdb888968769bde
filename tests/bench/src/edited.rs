//! Measures mappings that a user edited, in comparison with the default, which the plugin's own code maps.

use anyhow::Result;
use berth_core::ResourceConfig;
use serde_json::{Map, Value, json};

/// An edit that the fast evaluator does: a text with values in it.
const TITLE: &str = "\"\\(.__AccountId)/\" + (";
/// An edit that needs the whole of JQ.
const ENVIRONMENT: &str =
    ".Properties.Tags // [] | map(select(.Key | ascii_downcase == \"environment\")) | .[0].Value";
/// What is put around each expression, so that all of them need the whole of JQ.
const WHOLE: &str = " | if type == \"string\" then explode | implode else . end";

/// What a user made of a kind's default mapping.
pub(crate) struct Edited {
    pub(crate) name: &'static str,
    pub(crate) mapping: ResourceConfig,
}

/// The edits that are measured.
///
/// # Errors
/// Where a default mapping has no expression for a title.
pub(crate) fn all(default: &ResourceConfig) -> Result<Vec<Edited>> {
    let edited = |name, edit: fn(&mut Map<String, Value>)| -> Result<Edited> {
        let mut mapping = serde_json::to_value(default)?;
        if let Some(fields) = mapping["port"]["entity"]["mappings"].as_object_mut() {
            edit(fields);
        }
        Ok(Edited { name, mapping: serde_json::from_value(mapping)? })
    };
    Ok(vec![
        edited("default, as JQ", |_| ())?,
        edited("two edited fields", two_fields)?,
        edited("plain paths", plain_paths)?,
        edited("all need jaq", all_of_jq)?,
    ])
}

fn two_fields(fields: &mut Map<String, Value>) {
    let title = fields.get("title").and_then(Value::as_str).unwrap_or(".Type").to_owned();
    fields.insert("title".to_owned(), json!(format!("{TITLE}{title})")));
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("environment".to_owned(), json!(ENVIRONMENT));
    }
}

/// As many properties and relations as the default has, each a path of its own.
fn plain_paths(fields: &mut Map<String, Value>) {
    for group in ["properties", "relations"] {
        let Some(members) = fields.get_mut(group).and_then(Value::as_object_mut) else { continue };
        for (name, expression) in members.iter_mut() {
            let plain = expression.as_str().is_some_and(|text| {
                text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))
            });
            if !plain {
                *expression = json!(format!(".Properties.{name}"));
            }
        }
        *members = members.iter().map(|(name, one)| (format!("my_{name}"), one.clone())).collect();
    }
}

fn all_of_jq(fields: &mut Map<String, Value>) {
    for field in fields.values_mut() {
        match field {
            Value::String(text) => text.push_str(WHOLE),
            Value::Object(members) => {
                for member in members.values_mut() {
                    if let Value::String(text) = member {
                        text.push_str(WHOLE);
                    }
                }
            }
            _ => {}
        }
    }
    // The blueprint is compared with the manifest's.
    fields.entry("blueprint").and_modify(|blueprint| {
        if let Some(text) = blueprint.as_str().and_then(|text| text.strip_suffix(WHOLE)) {
            *blueprint = json!(text);
        }
    });
}
