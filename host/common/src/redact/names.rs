//! Which names say that the value beside them is secret.

use serde_json::{Map, Value};

/// How sure a name must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sure {
    /// The value is a secret.
    Certain,
    /// The value may be one: a `token` may also lead to a next page.
    Maybe,
}

/// Parts of names, in lower case and without punctuation, and how sure each is.
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

/// Ends of names of things that are no secrets themselves: `SecretArn` only points to one.
const REFERENCES: [&str; 12] =
    ["arn", "arns", "id", "name", "status", "type", "enabled", "policy", "date", "time", "used", "version"];

/// Members that name the value beside them, as in tags and environment variables.
const LABELS: [&str; 4] = ["key", "name", "parameterkey", "optionname"];

/// Members that hold a value which another member names.
const LABELLED: [&str; 3] = ["value", "values", "parametervalue"];

/// Members below which every text is somebody's own.
const PRIVATE: [&str; 7] = [
    "environment",
    "environmentvariables",
    "environmentfiles",
    "userdata",
    "stagevariables",
    "containerenvironment",
    "defaultarguments",
];

/// Whether a name says that its value is secret. With [`Sure::Maybe`] all names of the table do; with
/// [`Sure::Certain`] only the certain ones, and none that ends as references do.
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

/// What an object with a name and a value calls the value.
pub(super) fn label(members: &Map<String, Value>) -> Option<&str> {
    members.iter().find(|(name, value)| is_label(name) && value.is_string())?.1.as_str()
}

/// Whether this member names the value beside it.
pub(super) fn is_label(name: &str) -> bool {
    LABELS.contains(&plain(name).as_str())
}

/// Whether this member holds what another one names.
pub(super) fn is_labelled(name: &str) -> bool {
    LABELLED.contains(&plain(name).as_str())
}

/// Whether every text below this member is somebody's own.
pub(super) fn holds_private_values(name: &str) -> bool {
    PRIVATE.contains(&plain(name).as_str())
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
