//! Takes out of resource documents what looks like a secret, before people see them as examples.
//!
//! Rather too much than too little: an example serves to write a mapping with, and needs no value of
//! a tag named `db-password`.

use serde_json::Value;

use super::MASK;

/// Parts of names, without punctuation and in lower case, whose values are secret.
const SECRET_NAMES: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "authkey",
    "authorization",
    "cookie",
];

/// Members that name the value beside them, as in tags and environment variables.
const NAMING: [&str; 3] = ["key", "name", "parameterkey"];

/// Members that hold a value which another member names.
const NAMED: [&str; 3] = ["value", "values", "parametervalue"];

/// Replaces every secret in a document. `known` are secrets that must not be in it anywhere.
pub(crate) fn mask(document: &mut Value, known: &[&str]) {
    match document {
        Value::String(text) if is_secret(text) || known.iter().any(|k| !k.is_empty() && text.contains(k)) => {
            MASK.clone_into(text);
        }
        Value::Array(list) => list.iter_mut().for_each(|element| mask(element, known)),
        Value::Object(members) => {
            let named_secret = members.iter().any(|(name, value)| {
                NAMING.contains(&plain(name).as_str()) && value.as_str().is_some_and(names_secret)
            });
            for (name, value) in members.iter_mut() {
                if names_secret(name) || named_secret && NAMED.contains(&plain(name).as_str()) {
                    blank(value);
                } else {
                    mask(value, known);
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

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn names_secret(name: &str) -> bool {
    let name = plain(name);
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Whether a text is, or holds, a secret by its form.
fn is_secret(text: &str) -> bool {
    const MARKS: [&str; 12] = [
        "-----BEGIN",
        "Bearer ",
        "ghp_",
        "gho_",
        "ghs_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "sk_live_",
        "hvs.",
        // A JSON web token: `{"` in base64.
        "eyJ",
    ];
    MARKS.iter().any(|mark| text.contains(mark)) || has_access_key(text) || has_login(text)
}

/// An AWS access key id: `AKIA` or `ASIA` and sixteen more.
fn has_access_key(text: &str) -> bool {
    ["AKIA", "ASIA"].iter().flat_map(|prefix| text.match_indices(prefix)).any(|(at, _)| {
        let rest = text.as_bytes().get(at + 4..at + 20);
        rest.is_some_and(|rest| rest.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()))
    })
}

/// A URL with a login: `https://user:password@host`.
fn has_login(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ', '"']).next().unwrap_or_default();
        authority.split_once('@').is_some_and(|(login, _)| login.contains(':'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_go_by_name_by_label_by_form_and_by_value() {
        let mut document = json!({
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "FunctionName": "f",
                "Environment": {"Variables": {"DB_PASSWORD": "hush", "STAGE": "prod", "PORT": 5432}},
                "Tags": [{"Key": "api-token", "Value": "hush"}, {"Key": "team", "Value": "red"}],
                "Settings": [{"Name": "MasterUserPassword", "Value": {"Inner": ["hush", 7, true, null]}}],
                "Arguments": {
                    "--url": "postgres://me:hush@db.example:5432/x",
                    "--key": "AKIAIOSFODNN7EXAMPLE",
                    "--cert": "-----BEGIN RSA PRIVATE KEY-----",
                    "--jwt": "eyJhbGciOiJIUzI1NiJ9.e30.x",
                    "--site": "https://example.com/a@b:c",
                },
                "Note": "the-client-secret-itself is here",
            },
        });
        mask(&mut document, &["the-client-secret-itself", ""]);
        assert_eq!(
            document,
            json!({
                "Type": "AWS::Lambda::Function",
                "Properties": {
                    "FunctionName": "f",
                    "Environment": {"Variables": {"DB_PASSWORD": MASK, "STAGE": "prod", "PORT": 5432}},
                    "Tags": [{"Key": "api-token", "Value": MASK}, {"Key": "team", "Value": "red"}],
                    "Settings": [{"Name": "MasterUserPassword", "Value": {"Inner": [MASK, MASK, true, null]}}],
                    "Arguments": {
                        "--url": MASK, "--key": MASK, "--cert": MASK, "--jwt": MASK,
                        "--site": "https://example.com/a@b:c",
                    },
                    "Note": MASK,
                },
            })
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_or_survives_under_a_secret_name(text in "\\PC{0,40}") {
            let mut document = json!({"Plain": text, "Password": text});
            mask(&mut document, &["hush"]);
            prop_assert_eq!(&document["Password"], MASK);
        }
    }
}
