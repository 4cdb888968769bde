//! The types of settings' values: how each is written, and the remedy for a wrong one.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde_json::Value;
use url::Url;

/// What is wrong with a value, and the remedy. Never holds a secret.
#[derive(Debug)]
pub(super) struct ValueProblem {
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl ValueProblem {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    fn found(text: &str, remedy: impl Into<String>) -> Self {
        Self::new(format!("found `{text}`"), remedy)
    }
}

/// A value of a setting.
pub(super) trait FromValue: Sized {
    /// Reads the value; `example` is a valid one.
    ///
    /// # Errors
    /// Returns what is wrong with it.
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem>;
}

impl FromValue for String {
    fn from_value(value: &Value, _: &str) -> Result<Self, ValueProblem> {
        match value {
            Value::String(text) => Ok(text.trim().to_owned()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(flag.to_string()),
            _ => Err(ValueProblem::new(
                "found a list or a table where a text is expected",
                "give a plain text",
            )),
        }
    }
}

impl FromValue for SecretString {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        String::from_value(value, example).map(Self::from)
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        String::from_value(value, example).map(Self::from)
    }
}

/// Booleans in Ocean's notation.
impl FromValue for bool {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let text = String::from_value(value, example)?;
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
            "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
            _ => Err(ValueProblem::found(&text, "use `true` or `false`")),
        }
    }
}

/// The value as it is written; the section reads it.
pub(super) struct UnparsedValue(pub(super) Value);

impl FromValue for UnparsedValue {
    fn from_value(value: &Value, _: &str) -> Result<Self, ValueProblem> {
        Ok(Self(value.clone()))
    }
}

/// A whole number above zero.
pub(super) struct Count(pub(super) usize);

impl FromValue for Count {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let text = String::from_value(value, example)?;
        let number = text.parse().ok().filter(|number| *number > 0).map(Self);
        number.ok_or_else(|| {
            ValueProblem::found(&text, format!("use a whole number above zero, as in `{example}`"))
        })
    }
}

/// Whole seconds, at least one.
pub(super) struct Seconds(pub(super) Duration);

impl FromValue for Seconds {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        Count::from_value(value, example).map(|Count(seconds)| Self(Duration::from_secs(seconds as u64)))
    }
}

/// Seconds, which may have a fraction and may be zero.
pub(super) struct Fraction(pub(super) Duration);

impl FromValue for Fraction {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let text = String::from_value(value, example)?;
        let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds
            .map(Self)
            .ok_or_else(|| ValueProblem::found(&text, format!("use a number of seconds, as in `{example}`")))
    }
}

/// Seconds above zero, which may have a fraction.
pub(super) struct Time(pub(super) Duration);

impl FromValue for Time {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let remedy = || format!("use a number of seconds, as in `{example}`");
        match Fraction::from_value(value, example)? {
            Fraction(seconds) if seconds.is_zero() => {
                Err(ValueProblem::found(&String::from_value(value, example)?, remedy()))
            }
            Fraction(seconds) => Ok(Self(seconds)),
        }
    }
}

/// The URL of an HTTP server.
impl FromValue for Url {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let text = String::from_value(value, example)?;
        match Self::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
            _ => Err(ValueProblem::new(
                format!("found `{text}`, which is not an http(s) URL"),
                format!("use one such as `{example}`"),
            )),
        }
    }
}

/// A list of texts: an array, JSON in a text, or comma-separated.
impl FromValue for Vec<String> {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let of_array = |items: &[Value]| {
            let texts = items.iter().map(|item| item.as_str().map(|text| text.trim().to_owned()));
            texts.collect::<Option<Self>>()
        };
        let texts = match value {
            Value::Array(items) => of_array(items),
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(Value::Array(items)) => of_array(&items),
                _ => Some(split(text)),
            },
            _ => None,
        };
        texts.ok_or_else(|| {
            ValueProblem::new("not a list of texts", format!("use a list such as `{example}`"))
        })
    }
}

/// A list of paths, or one.
pub(super) struct Paths(pub(super) Vec<PathBuf>);

impl FromValue for Paths {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let paths = match value {
            Value::String(one) => Some(vec![one.into()]),
            Value::Array(paths) => paths.iter().map(|path| path.as_str().map(PathBuf::from)).collect(),
            _ => None,
        };
        let wrong = || ValueProblem::new("not a list of paths", format!("use a list such as `{example}`"));
        paths.map(Self).ok_or_else(wrong)
    }
}

/// One of a set of words.
pub(super) struct OneOf<T>(pub(super) T);

/// Values that are words.
pub(super) trait Words: Copy + 'static {
    /// Each word and its value.
    const WORDS: &'static [(&'static str, Self)];
    /// Whether the case of letters is ignored.
    const ANY_CASE: bool = false;
}

impl<T: Words> FromValue for OneOf<T> {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let text = String::from_value(value, example)?;
        let is = |word: &str| if T::ANY_CASE { word.eq_ignore_ascii_case(&text) } else { word == text };
        let found = T::WORDS.iter().find(|(word, _)| is(word));
        found.map(|(_, meaning)| Self(*meaning)).ok_or_else(|| {
            let words: Vec<String> = T::WORDS.iter().map(|(word, _)| format!("`{word}`")).collect();
            let words = match words.split_last() {
                Some((last, first)) if !first.is_empty() => format!("{} or {last}", first.join(", ")),
                _ => words.concat(),
            };
            ValueProblem::found(&text, format!("use {words}"))
        })
    }
}

/// Returns whether a value is empty, however it is written: no text, `[]`, `[""]`, `null`, `,`.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Null | Value::Array(_) | Value::Object(_))) => is_empty(&value),
            Ok(Value::String(inner)) => is_empty(&Value::String(inner)),
            Ok(_) => false,
            Err(_) => text.chars().all(|c| c.is_whitespace() || ",;[]{}()\"'".contains(c)),
        },
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Splits a comma-separated list.
pub(super) fn split(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fruit {
        Apple,
        Pear,
        Plum,
    }

    impl Words for Fruit {
        const WORDS: &'static [(&'static str, Self)] =
            &[("apple", Self::Apple), ("pear", Self::Pear), ("plum", Self::Plum)];
    }

    #[test]
    fn a_wrong_word_is_answered_with_the_right_ones() {
        let read = |text: &str| OneOf::<Fruit>::from_value(&json!(text), "apple").map(|OneOf(fruit)| fruit);
        assert_eq!(read(" pear ").unwrap(), Fruit::Pear);
        let ValueProblem { problem, remedy } = read("Pear").unwrap_err();
        assert_eq!((problem.as_str(), remedy.as_str()), ("found `Pear`", "use `apple`, `pear` or `plum`"));
    }

    #[test]
    fn times_may_have_a_fraction_and_counts_may_not() {
        let time = |value: Value| Time::from_value(&value, "90").map(|Time(time)| time).ok();
        assert_eq!(time(json!("7.5")), Some(Duration::from_millis(7500)));
        assert_eq!((time(json!(0)), time(json!("-1")), time(json!("soon"))), (None, None, None));
        assert!(Fraction::from_value(&json!(0), "90").is_ok());
        let count = |value: Value| Count::from_value(&value, "90").map(|Count(count)| count).ok();
        assert_eq!((count(json!(3)), count(json!("3"))), (Some(3), Some(3)));
        assert_eq!((count(json!(0)), count(json!(1.5)), count(json!([1]))), (None, None, None));
    }

    #[test]
    fn lists_come_in_three_forms() {
        let list = |value: Value| Vec::<String>::from_value(&value, "[]").ok();
        let both = Some(vec!["a".to_owned(), "b".to_owned()]);
        for value in [json!([" a", "b"]), json!(r#"["a", "b"]"#), json!("a, b,")] {
            assert_eq!(list(value), both);
        }
        assert_eq!((list(json!([1])), list(json!({"a": 1}))), (None, None));
    }
}
