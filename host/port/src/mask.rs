//! Keeps secrets out of what is sent to Port for people to read.
//!
//! Berth's own messages hold none; this is for those of libraries and of AWS, which repeat what they
//! were given.

mod document;

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

pub(crate) use document::mask;

/// What stands in the place of a secret.
const MASK: &str = "[REDACTED]";

/// Shorter literals are not looked for: they would be found everywhere.
const SHORTEST_LITERAL: usize = 6;

/// What secrets look like. Each match is replaced as a whole.
const PATTERNS: &[&str] = &[
    // Anything between the marks of a PEM block, also of one that was cut off.
    r"(?s)-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\z)",
    // JSON Web Tokens.
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
    // `Authorization: Bearer …`, and Basic.
    r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9+/._~-]{16,}=*",
    // Access key ids of AWS, long-lived and temporary.
    r"\b(?:AKIA|ASIA|AIDA|AROA|AGPA|ANPA|ANVA|ABIA|ACCA)[A-Z2-7]{16}\b",
    // Secret access keys and session tokens of AWS, by the name before them.
    r#"(?i)(?:aws_?)?(?:secret_?access_?key|session_?token|security_?token|secret_?key)["']?\s*[:=>]+\s*["']?[A-Za-z0-9/+=]{16,}"#,
    // Signatures of requests.
    r"(?i)\b(?:x-amz-(?:signature|security-token|credential)|signature)=[A-Za-z0-9%/+=-]{16,}",
    // Any other secret by the name before it.
    r#"(?i)\b(?:client_?secret|password|passwd|api_?key|access_?token|private_?key)["']?\s*[:=]\s*["']?[^\s"',;&]{6,}"#,
    // Passwords in addresses.
    r"[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@",
    // Tokens of GitHub, GitLab, Slack, Google.
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{30,})",
];

/// Ends of names whose values are secrets, whatever they look like.
const SECRET_NAMES: &[&str] = &["secret", "password", "token", "private_key", "access_key", "authorization"];

static COMPILED: LazyLock<Vec<Regex>> =
    LazyLock::new(|| PATTERNS.iter().filter_map(|pattern| Regex::new(pattern).ok()).collect());

/// Masks the secrets that it knows, and what looks like one.
pub(crate) struct Masker {
    /// The longest first: one may hold another.
    literals: Vec<SecretString>,
}

impl Masker {
    pub(crate) fn new(literals: impl IntoIterator<Item = SecretString>) -> Self {
        let mut literals: Vec<SecretString> = literals
            .into_iter()
            .filter(|literal| literal.expose_secret().len() >= SHORTEST_LITERAL)
            .collect();
        literals.sort_by_key(|literal| std::cmp::Reverse(literal.expose_secret().len()));
        Self { literals }
    }

    /// The text without its secrets.
    pub(crate) fn text(&self, text: String) -> String {
        let mut text = text;
        for literal in &self.literals {
            if text.contains(literal.expose_secret()) {
                text = text.replace(literal.expose_secret(), MASK);
            }
        }
        for pattern in COMPILED.iter() {
            if let Cow::Owned(masked) = pattern.replace_all(&text, MASK) {
                text = masked;
            }
        }
        text
    }

    /// The same of every text in an object, names included.
    pub(crate) fn object(&self, object: Map<String, Value>) -> Map<String, Value> {
        object
            .into_iter()
            .map(|(name, value)| {
                let lower = name.to_ascii_lowercase();
                let secret = value.is_string() && SECRET_NAMES.iter().any(|end| lower.ends_with(end));
                let value = if secret { MASK.into() } else { self.value(value) };
                (self.text(name), value)
            })
            .collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn masker() -> Masker {
        Masker::new(["hush-hush".to_owned(), "hush-hush-hush".into(), "tiny".into()].map(SecretString::from))
    }

    #[test]
    fn all_patterns_compile() {
        assert_eq!(COMPILED.len(), PATTERNS.len());
    }

    #[test]
    fn secrets_go_and_the_words_around_them_stay() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1g";
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----";
        for (text, masked) in [
            ("said hush-hush-hush twice: hush-hush".to_owned(), "said [REDACTED] twice: [REDACTED]"),
            ("key AKIAIOSFODNN7EXAMPLE is refused".into(), "key [REDACTED] is refused"),
            ("key ASIAIOSFODNN7EXAMPLE, expired".into(), "key [REDACTED], expired"),
            ("Authorization: Bearer abc.def-ghi_jkl.mno=".into(), "Authorization: [REDACTED]"),
            (format!("token {jwt} is no good"), "token [REDACTED] is no good"),
            (format!("before\n{pem}\nafter"), "before\n[REDACTED]\nafter"),
            (format!("cut off {}", &pem[..40]), "cut off [REDACTED]"),
            (
                "aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY in the file".into(),
                "[REDACTED] in the file",
            ),
            (r#"{"SecretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfi"}"#.into(), r#"{"[REDACTED]"}"#),
            ("?X-Amz-Signature=0123456789abcdef0123&a=b".into(), "?[REDACTED]&a=b"),
            ("client_secret: 'abcdef-ghijkl', retried".into(), "[REDACTED]', retried"),
            (
                "proxy http://user:pa55@proxy.example:3128 down".into(),
                "proxy [REDACTED]proxy.example:3128 down",
            ),
            ("ghp_0123456789abcdefghij0123".into(), "[REDACTED]"),
        ] {
            assert_eq!(masker().text(text.clone()), masked, "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "unit complete",
            "tiny",
            "arn:aws:iam::111111111111:role/PortOceanReadRole",
            "Unable to assume role: check the trust policy and the external ID",
            "a bearer of bad news",
            "bearer authentication is refused",
            "https://api.getport.io/v1/blueprints",
            "the secret access key is refused",
            "AWS::SecretsManager::Secret in eu-west-1",
            "could not get an access token: Port answered 401",
        ] {
            assert_eq!(masker().text(text.to_owned()), text);
        }
    }

    #[test]
    fn objects_are_masked_all_through() {
        let object = json!({
            "a": ["hush-hush", {"hush-hush": "x hush-hush"}], "n": 1, "b": true, "z": null,
            "nextToken": "abc", "tokens": 3,
        });
        let masked = masker().object(object.as_object().unwrap().clone());
        assert_eq!(
            Value::Object(masked),
            json!({
                "a": ["[REDACTED]", {"[REDACTED]": "x [REDACTED]"}], "n": 1, "b": true, "z": null,
                "nextToken": "[REDACTED]", "tokens": 3,
            })
        );
    }
}
