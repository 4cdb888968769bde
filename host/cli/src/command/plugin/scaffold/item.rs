//! The items of a list, as far as a first mapping uses them.

use serde_json::{Value, json};

use super::{capital, kebab};

/// The time in the models' samples.
pub(super) const SAMPLE_TIME: &str = "2024-01-02T03:04:05Z";

/// The form of an item, as far as a first mapping uses it.
pub(super) enum ListItem {
    Text {
        /// Its name in documents.
        member: String,
    },
    Object(Box<Members>),
}

impl ListItem {
    /// What its document is made of, as the manifest says it.
    pub(super) fn document(&self) -> Value {
        let members = match self {
            Self::Text { member } => {
                return json!({"merge": [], "set": {member: "{item}"}, "required": [member]});
            }
            Self::Object(members) => &**members,
        };
        let mut document = json!({"keepUnknown": true, "required": [members.identifier.document()]});
        let (times, others): (Vec<_>, Vec<_>) = members.used().into_iter().partition(|field| field.is_time());
        // What AWS writes with a small letter is found by the name that the document gives it.
        let renamed = others.into_iter().filter(|field| field.document() != field.member);
        let lists = [
            ("properties", renamed.filter(|field| field.member != members.identifier.member).collect()),
            ("times", times),
        ];
        for (name, fields) in lists {
            if !fields.is_empty() {
                document[name] = fields.into_iter().map(Field::document).collect();
            }
        }
        if !members.nested.is_empty() {
            let nested = members.nested.iter().map(|(field, times)| (field.document(), json!(times)));
            document["nestedTimes"] = nested.collect();
        }
        document
    }
}

/// The members of an item.
pub(super) struct Members {
    pub(super) identifier: Field,
    pub(super) title: Field,
    /// The members that become properties.
    pub(super) properties: Vec<Field>,
    /// The members that contain times, and the names of the times.
    pub(super) nested: Vec<(Field, Vec<String>)>,
}

impl Members {
    /// Returns the members that the mapping uses, each once.
    pub(super) fn used(&self) -> Vec<&Field> {
        let mut used = vec![&self.identifier];
        let listed = |field: &Field| self.properties.iter().any(|other| other.member == field.member);
        if self.title.member != self.identifier.member && !listed(&self.title) {
            used.push(&self.title);
        }
        used.extend(&self.properties);
        used
    }
}

/// A member of the item that the mapping uses.
pub(super) struct Field {
    /// AWS's name.
    pub(super) member: String,
    pub(super) sample: Value,
}

impl Field {
    pub(super) fn new(member: &str, sample: &Value) -> Self {
        Self { member: member.to_owned(), sample: sample.clone() }
    }

    /// Returns the name in documents.
    pub(super) fn document(&self) -> String {
        let mut name = self.member.clone();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        name
    }

    /// Returns its path in a document, for JQ.
    pub(super) fn path(&self) -> String {
        format!(".Properties.{}", self.document())
    }

    /// Returns the property of the entity.
    pub(super) fn property(&self) -> String {
        let words = kebab(&self.member);
        let mut words = words.split('-');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |name, word| name + &capital(word))
    }

    pub(super) fn is_time(&self) -> bool {
        self.sample == SAMPLE_TIME
    }

    pub(super) fn schema(&self) -> Value {
        let title = kebab(&self.member).split('-').map(capital).collect::<Vec<_>>().join(" ");
        let mut schema = match self.sample {
            Value::String(_) if self.is_time() => json!({"type": "string", "format": "date-time"}),
            Value::Number(_) => json!({"type": "number"}),
            Value::Bool(_) => json!({"type": "boolean"}),
            Value::Array(_) => json!({"type": "array"}),
            Value::Object(_) => json!({"type": "object"}),
            _ => json!({"type": "string"}),
        };
        schema["title"] = json!(title);
        schema
    }
}

/// Returns the names of the times below a value, each once.
pub(super) fn times(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if member == SAMPLE_TIME {
                    found.push(name.clone());
                }
                found.extend(times(member));
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| found.extend(times(element))),
        _ => {}
    }
    found.sort_unstable();
    found.dedup();
    found
}
