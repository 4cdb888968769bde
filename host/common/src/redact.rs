//! Removes secrets from everything that people read: the log, example documents and recordings.
//!
//! Berth's own messages contain no secrets. This module handles text from others: messages of libraries and
//! of AWS, which may repeat their input, and resources, in which users may have stored secrets.
//!
//! One table lists the forms of tokens (`forms`), and one the names that mark a value as secret (`names`).
//! Three functions apply them:
//! - [`Redactor`] for the log: removes the secret and keeps the words around it.
//! - [`example`] for documents that people write mappings with: when in doubt, it removes the value.
//! - [`recording`] for AWS responses that are mapped again later: replacements keep the type of the value,
//!   and names that only refer to a secret are kept.

mod forms;
mod names;

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use names::{Sure, says_secret};

/// The text that replaces a secret.
pub const MASK: &str = "[REDACTED]";

/// The text that replaces a secret in a recording. Port accepts it in identifiers.
pub const RECORDED_MASK: &str = "REDACTED";

/// Shorter literals are ignored: they would match almost everywhere.
const SHORTEST_LITERAL: usize = 6;

/// Removes known secrets, and text that has the form of a secret.
#[derive(Debug)]
pub struct Redactor {
    /// Sorted by length, longest first: a literal may contain another one.
    literals: Vec<SecretString>,
}

impl Redactor {
    /// Creates a redactor for these secrets. Ignores secrets shorter than six bytes.
    pub fn new(literals: impl IntoIterator<Item = SecretString>) -> Self {
        let mut literals: Vec<SecretString> = literals
            .into_iter()
            .filter(|literal| literal.expose_secret().len() >= SHORTEST_LITERAL)
            .collect();
        literals.sort_by_key(|literal| std::cmp::Reverse(literal.expose_secret().len()));
        Self { literals }
    }

    /// Replaces each secret in the text with [`MASK`].
    pub fn text(&self, text: String) -> String {
        let mut text = text;
        for literal in &self.literals {
            if text.contains(literal.expose_secret()) {
                text = text.replace(literal.expose_secret(), MASK);
            }
        }
        match forms::replaced(&text, MASK) {
            Cow::Owned(redacted) => redacted,
            Cow::Borrowed(_) => text,
        }
    }

    /// Redacts every text in an object, including names. A text whose name marks it as secret is replaced
    /// as a whole.
    pub fn object(&self, object: Map<String, Value>) -> Map<String, Value> {
        let redacted = object.into_iter().map(|(name, value)| {
            let secret = value.is_string() && says_secret(&name, Sure::Maybe);
            let value = if secret { MASK.into() } else { self.value(value) };
            (self.text(name), value)
        });
        redacted.collect()
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(list) => list.into_iter().map(|value| self.value(value)).collect(),
            Value::Object(object) => Value::Object(self.object(object)),
            other => other,
        }
    }
}

/// Replaces every secret in a document that people see as an example. `known` lists secrets that must not
/// appear anywhere in it.
///
/// A text that contains a secret is replaced as a whole, and so is every value whose name may mark a
/// secret: an example is for writing mappings, which does not need the value of a tag named `db-password`.
pub fn example(document: &mut Value, known: &[&str]) {
    match document {
        Value::String(text)
            if forms::holds_secret(text) || known.iter().any(|k| !k.is_empty() && text.contains(k)) =>
        {
            MASK.clone_into(text);
        }
        Value::Array(list) => list.iter_mut().for_each(|element| example(element, known)),
        Value::Object(members) => {
            let named_secret = names::label(members).is_some_and(|label| says_secret(label, Sure::Maybe));
            for (name, value) in members.iter_mut() {
                if says_secret(name, Sure::Maybe) || named_secret && names::is_labelled(name) {
                    blank(value);
                } else {
                    example(value, known);
                }
            }
        }
        _ => {}
    }
}

/// Replaces all texts and numbers of a value and keeps its shape.
fn blank(value: &mut Value) {
    match value {
        Value::String(_) | Value::Number(_) => *value = Value::String(MASK.to_owned()),
        Value::Array(list) => list.iter_mut().for_each(blank),
        Value::Object(members) => members.values_mut().for_each(blank),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Replaces secrets in the JSON text of a response and counts them. A text without secrets is returned
/// unchanged, byte for byte.
///
/// Three rules apply, in this order: everything below a member that holds private data of the user
/// (environment variables, user data); the value of a member, or of a pair of name and value, whose name
/// marks a secret; and text that has the form of a secret. Replacements keep the type of the value, so that
/// a mapping still accepts it. Names that only may mark a secret do not count: paging needs its token.
///
/// # Errors
/// If the text is not JSON.
pub fn recording(text: &[u8]) -> Result<(String, u64), serde_json::Error> {
    let mut value: Value = serde_json::from_slice(text)?;
    let mut count = 0;
    recorded(&mut value, false, &mut count);
    if count == 0 {
        // The text parsed as JSON, so it is UTF-8.
        return Ok((String::from_utf8_lossy(text).into_owned(), 0));
    }
    Ok((serde_json::to_string(&value)?, count))
}

fn recorded(value: &mut Value, private: bool, count: &mut u64) {
    match value {
        Value::Object(members) => {
            // `{"Name": "DB_PASSWORD", "Value": …}`, as tags, parameters and container variables have it.
            let named = names::label(members).is_some_and(|label| says_secret(label, Sure::Certain));
            for (name, member) in members.iter_mut() {
                if says_secret(name, Sure::Certain) || named && names::is_labelled(name) {
                    hide(member, count);
                } else {
                    let private = private || names::holds_private_values(name);
                    recorded(member, private && !names::is_label(name), count);
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| recorded(element, private, count)),
        Value::String(text) if private || forms::holds_secret(text) => replace(text, count),
        _ => {}
    }
}

/// Replaces every text below a value.
fn hide(value: &mut Value, count: &mut u64) {
    match value {
        Value::String(text) => replace(text, count),
        Value::Array(elements) => elements.iter_mut().for_each(|element| hide(element, count)),
        // An object below such a name describes a secret: the names of its members decide.
        Value::Object(_) => recorded(value, false, count),
        _ => {}
    }
}

fn replace(text: &mut String, count: &mut u64) {
    if !text.is_empty() && text != RECORDED_MASK {
        RECORDED_MASK.clone_into(text);
        *count += 1;
    }
}

#[cfg(test)]
mod tests;
