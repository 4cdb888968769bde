//! Keeps secrets out of what people read: the log, example documents, recordings.
//!
//! Berth's own messages hold none. This is for what others wrote: messages of libraries and of AWS, which
//! repeat what they were given, and resources, into which people put secrets of their own.
//!
//! One table says what tokens look like (`forms`), one which names say that a value is secret
//! (`names`). Three users apply them, each in its own way:
//! - [`Redactor`] for the log: takes a secret out of a text and leaves the words around it.
//! - [`example`] for documents that people write mappings with: rather too much than too little.
//! - [`recording`] for answers of AWS that are mapped again later: what is replaced keeps its type, and
//!   names of things that only point to a secret stay.

mod forms;
mod names;

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use names::{Sure, says_secret};

/// What stands in the place of a secret.
pub const MASK: &str = "[REDACTED]";

/// What stands in the place of a secret in a recording. Port takes it in identifiers, too.
pub const RECORDED_MASK: &str = "REDACTED";

/// Shorter literals are not looked for: they would be found everywhere.
const SHORTEST_LITERAL: usize = 6;

/// Takes the secrets that it knows, and what looks like one, out of texts.
#[derive(Debug)]
pub struct Redactor {
    /// The longest first: one may hold another.
    literals: Vec<SecretString>,
}

impl Redactor {
    /// Knows these secrets, but for those of less than six bytes.
    pub fn new(literals: impl IntoIterator<Item = SecretString>) -> Self {
        let mut literals: Vec<SecretString> = literals
            .into_iter()
            .filter(|literal| literal.expose_secret().len() >= SHORTEST_LITERAL)
            .collect();
        literals.sort_by_key(|literal| std::cmp::Reverse(literal.expose_secret().len()));
        Self { literals }
    }

    /// The text with [`MASK`] in the place of each secret.
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

    /// The same of every text in an object, names included. A text whose name says that it is secret goes
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

/// Replaces every secret in a document that is shown to people as an example. `known` are secrets that
/// must not be in it anywhere.
///
/// A text that holds a secret goes as a whole, and so does all that has a name which may say secret: an
/// example serves to write a mapping with, and needs no value of a tag named `db-password`.
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

/// Replaces all texts and numbers of a value; its shape stays.
fn blank(value: &mut Value) {
    match value {
        Value::String(_) | Value::Number(_) => *value = Value::String(MASK.to_owned()),
        Value::Array(list) => list.iter_mut().for_each(blank),
        Value::Object(members) => members.values_mut().for_each(blank),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Replaces what looks like a secret in the JSON text of an answer, and counts it. A text without any
/// comes back as it is, to the byte.
///
/// Three rules, in this order: everything below a member that holds people's own values (environment
/// variables, user data); the value of a member, or of a pair of name and value, whose name says secret;
/// and text that has the form of one. What is replaced keeps its type, so that a mapping takes it as
/// before. Names that are only likely to say secret do not count: a page's token is needed.
///
/// # Errors
/// When it is no JSON.
pub fn recording(text: &[u8]) -> Result<(String, u64), serde_json::Error> {
    let mut value: Value = serde_json::from_slice(text)?;
    let mut count = 0;
    recorded(&mut value, false, &mut count);
    if count == 0 {
        // It parsed as JSON, so it is UTF-8.
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

/// Replaces every text below.
fn hide(value: &mut Value, count: &mut u64) {
    match value {
        Value::String(text) => replace(text, count),
        Value::Array(elements) => elements.iter_mut().for_each(|element| hide(element, count)),
        // An object below a name that says secret describes one: its own names tell.
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
