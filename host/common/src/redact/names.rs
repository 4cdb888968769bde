//! The names that mark a value as secret.

use serde_json::{Map, Value};

/// How certain a name must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sure {
    /// The value is a secret.
    Certain,
    /// The value may be a secret: a `token` may also be a page token.
    Maybe,
}

/// Parts of names, in lower case and without punctuation, with the certainty of each.
const SECRET: &[(&str, Sure)] = &[
    ("password", Sure::Certain),
    ("passwd", Sure::Certain),
    ("passphrase", Sure::Certain),
    ("secret", Sure::Certain),
    ("credential", Sure::Certain),
    ("privatekey", Sure::Certain),
    ("apikey", Sure::Certain),
    ("accesskey", Sure::Certain),
    ("signingkey", Sure::Certain),
    ("encryptionkey", Sure::Certain),
    ("authkey", Sure::Certain),
    ("authtoken", Sure::Certain),
    ("accesstoken", Sure::Certain),
    ("refreshtoken", Sure::Certain),
    ("sessiontoken", Sure::Certain),
    ("securitytoken", Sure::Certain),
    ("bearer", Sure::Certain),
    ("connectionstring", Sure::Certain),
    ("pwd", Sure::Maybe),
    ("token", Sure::Maybe),
    ("cookie", Sure::Maybe),
    ("authorization", Sure::Maybe),
];

/// Suffixes of names that only refer to a secret, such as `SecretArn`.
const REFERENCES: [&str; 12] =
    ["arn", "arns", "id", "name", "status", "type", "enabled", "policy", "date", "time", "used", "version"];

/// Members that name the value beside them, as in tags and environment variables.
const LABELS: [&str; 4] = ["key", "name", "parameterkey", "optionname"];

/// Members that hold the value that another member names.
const LABELLED: [&str; 3] = ["value", "values", "parametervalue"];

/// Members whose texts, at any depth, are private data of the user.
const PRIVATE: [&str; 7] = [
    "environment",
    "environmentvariables",
    "environmentfiles",
    "userdata",
    "stagevariables",
    "containerenvironment",
    "defaultarguments",
];

/// Returns whether a name marks its value as secret. [`Sure::Maybe`] accepts all names of the table.
/// [`Sure::Certain`] accepts only the certain ones, and no name that ends like a reference.
pub(super) fn says_secret(name: &str, sure: Sure) -> bool {
    let plain = plain(name);
    match sure {
        Sure::Maybe => SECRET.iter().any(|(part, _)| plain.contains(part)),
        Sure::Certain => {
            SECRET.iter().any(|(part, sure)| *sure == Sure::Certain && plain.contains(part))
                && !REFERENCES.iter().any(|end| plain.ends_with(end))
        }
    }
}

/// Returns the name that a pair of name and value gives to its value.
pub(super) fn label(members: &Map<String, Value>) -> Option<&str> {
    members.iter().find(|(name, value)| is_label(name) && value.is_string())?.1.as_str()
}

/// Returns whether this member names the value beside it.
pub(super) fn is_label(name: &str) -> bool {
    LABELS.contains(&plain(name).as_str())
}

/// Returns whether this member holds the value that another member names.
pub(super) fn is_labelled(name: &str) -> bool {
    LABELLED.contains(&plain(name).as_str())
}

/// Returns whether every text below this member is private data of the user.
pub(super) fn holds_private_values(name: &str) -> bool {
    PRIVATE.contains(&plain(name).as_str())
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
