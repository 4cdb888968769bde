//! What looks like a secret in AWS's answers.
//!
//! AWS answers few secrets, but people put theirs where AWS answers them: environment variables of
//! functions and containers, user data, tags, parameters of stacks. Three rules, in this order:
//! everything below a member that holds such values; the value of a member or a name-value pair whose
//! name says secret; and text that has the form of a credential. What is replaced keeps its type, so
//! that a mapping takes it as before.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Stands in place of a secret.
const REDACTED: &str = "REDACTED";

/// Members below which every text is somebody's own: names lower-cased.
const PRIVATE: [&str; 7] = [
    "environment",
    "environmentvariables",
    "environmentfiles",
    "userdata",
    "stagevariables",
    "containerenvironment",
    "defaultarguments",
];

/// Names that say secret. A name that ends in one of [`REFERENCES`] only points to one.
static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)passw(or)?d|passphrase|secret|credential|private[-_]?key|api[-_]?key|access[-_]?key|auth[-_]?token|bearer|session[-_]?token|connection[-_]?string",
    )
});

/// Ends of names of things that are no secrets themselves.
const REFERENCES: [&str; 12] =
    ["arn", "arns", "id", "name", "status", "type", "enabled", "policy", "date", "time", "used", "version"];

/// Text with the form of a credential: AWS access keys, private keys, JSON web tokens, tokens of
/// GitHub, Slack and Port, and passwords in URLs.
static SECRET_FORM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.|\b(?:ghp|gho|ghs|github_pat|xox[abprs])[_-][A-Za-z0-9_-]{10,}|://[^/\s:@]+:[^/\s:@]+@",
    )
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|_| unreachable!("a constant that the tests compile"))
}

/// Replaces what looks like a secret in a JSON text, and counts it. A text without any comes back as
/// it is, to the byte.
///
/// # Errors
/// When it is no JSON.
pub(super) fn json(text: &[u8]) -> Result<(String, u64), serde_json::Error> {
    let mut value: Value = serde_json::from_slice(text)?;
    let mut count = 0;
    walk(&mut value, false, &mut count);
    if count == 0 {
        // It parsed as JSON, so it is UTF-8.
        return Ok((String::from_utf8_lossy(text).into_owned(), 0));
    }
    Ok((serde_json::to_string(&value)?, count))
}

fn walk(value: &mut Value, private: bool, count: &mut u64) {
    match value {
        Value::Object(members) => {
            // `{"Name": "DB_PASSWORD", "Value": …}`, as tags, parameters and container variables have it.
            let named = ["Name", "name", "Key", "key", "ParameterKey", "OptionName"]
                .iter()
                .find_map(|name| members.get(*name)?.as_str())
                .is_some_and(says_secret);
            for (name, member) in members.iter_mut() {
                let is_value = matches!(name.as_str(), "Value" | "value" | "ParameterValue");
                let label = matches!(name.as_str(), "Name" | "name" | "Key" | "key");
                let hidden = PRIVATE.iter().any(|known| known.eq_ignore_ascii_case(name));
                if says_secret(name) || named && is_value {
                    hide(member, count);
                } else {
                    walk(member, (private || hidden) && !label, count);
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| walk(element, private, count)),
        Value::String(text) if private || has_form(text) => replace(text, count),
        _ => {}
    }
}

/// Replaces every text below.
fn hide(value: &mut Value, count: &mut u64) {
    match value {
        Value::String(text) => replace(text, count),
        Value::Array(elements) => elements.iter_mut().for_each(|element| hide(element, count)),
        // An object below a name that says secret describes one: its own names tell.
        Value::Object(_) => walk(value, false, count),
        _ => {}
    }
}

fn replace(text: &mut String, count: &mut u64) {
    if !text.is_empty() && text != REDACTED {
        REDACTED.clone_into(text);
        *count += 1;
    }
}

fn says_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    SECRET_NAME.is_match(name) && !REFERENCES.iter().any(|end| lower.ends_with(end))
}

fn has_form(text: &str) -> bool {
    SECRET_FORM.is_match(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn redacted(value: &Value) -> Value {
        serde_json::from_str(&json(value.to_string().as_bytes()).unwrap().0).unwrap()
    }

    #[test]
    fn secrets_are_replaced_and_the_rest_is_kept() {
        let r = REDACTED;
        for (before, after) in [
            (json!({"MasterUserPassword": "hunter2"}), json!({"MasterUserPassword": r})),
            (
                json!({"Environment": {"Variables": {"STAGE": "prod", "N": 1}}}),
                json!({"Environment": {"Variables": {"STAGE": r, "N": 1}}}),
            ),
            (
                json!({"environment": [{"name": "URL", "value": "x"}]}),
                json!({"environment": [{"name": "URL", "value": r}]}),
            ),
            (
                json!({"Tags": [{"Key": "api-key", "Value": "v"}, {"Key": "team", "Value": "t"}]}),
                json!({"Tags": [{"Key": "api-key", "Value": r}, {"Key": "team", "Value": "t"}]}),
            ),
            (
                json!({"Parameters": [{"ParameterKey": "DbPassword", "ParameterValue": "v"}]}),
                json!({"Parameters": [{"ParameterKey": "DbPassword", "ParameterValue": r}]}),
            ),
            (json!({"Description": "uses AKIAIOSFODNN7EXAMPLE"}), json!({"Description": r})),
            (json!(["-----BEGIN RSA PRIVATE KEY-----\nMII"]), json!([r])),
            (json!({"Url": "postgres://me:pw@db/x"}), json!({"Url": r})),
        ] {
            assert_eq!(redacted(&before), after);
        }
    }

    #[test]
    fn what_only_points_to_a_secret_is_no_secret() {
        let value = json!({
            "SecretArn": "arn:aws:secretsmanager:eu-west-1:1:secret:db", "PasswordLastUsed": "2026-01-01",
            "MasterUserSecret": {"SecretArn": "arn:x", "KmsKeyId": "k"}, "AccessKeyId": "k-1",
            "Name": "my-secret", "ARN": "arn:aws:secretsmanager:eu-west-1:1:secret:db", "SecretVersion": "1",
        });
        assert_eq!(redacted(&value), value);
    }

    proptest! {
        #[test]
        fn a_text_without_secrets_stays_as_it_is(name in "[a-z]{1,8}", number in any::<f64>()) {
            let text = format!("[ {{\"item\" : {{\"{name}\": [1.0, {}, null]}}}} ]", json!(number));
            let (same, count) = json(text.as_bytes()).unwrap();
            prop_assert!(count > 0 || same == text);
        }

        #[test]
        fn twice_is_once(text in "\\PC{0,40}") {
            let value = json!({"Environment": {"Variables": {"A": text}}, "Password": [text], "B": text});
            let once = redacted(&value);
            prop_assert_eq!(json(once.to_string().as_bytes()).unwrap().1, 0);
        }
    }
}
