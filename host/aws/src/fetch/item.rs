//! The items of a list.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::Value;

/// An item as the JSON text that the mapping gets. Most items stay text; an item is parsed only if a plan
/// needs one of its values.
#[derive(Debug)]
pub(super) struct Item {
    json: Bytes,
    value: OnceLock<Value>,
}

impl Item {
    /// Creates an item of a page.
    pub(super) fn new(json: Bytes) -> Self {
        Self { json, value: OnceLock::new() }
    }

    /// Returns the text.
    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }

    /// Returns the value.
    pub(super) fn value(&self) -> &Value {
        // A decoder wrote the text, so it is valid.
        self.value.get_or_init(|| serde_json::from_slice(&self.json).unwrap_or_default())
    }

    /// Returns the most descriptive name: its ARN, else its id, its name, or any member with such a suffix.
    pub(super) fn label(&self) -> String {
        const NAMES: [&str; 6] = ["Arn", "ARN", "Id", "Name", "Identifier", "Url"];
        match self.value() {
            Value::String(text) => text.clone(),
            Value::Object(members) => {
                let named = |end: &str| {
                    members.iter().find_map(|(name, value)| {
                        let ends = name.ends_with(end) || name.eq_ignore_ascii_case(end);
                        value.as_str().filter(|_| ends)
                    })
                };
                NAMES
                    .iter()
                    .find_map(|end| named(end))
                    .map_or_else(|| "an unnamed resource".into(), Into::into)
            }
            other => other.to_string(),
        }
    }
}

impl From<Value> for Item {
    fn from(value: Value) -> Self {
        Self { json: value.to_string().into(), value: value.into() }
    }
}
