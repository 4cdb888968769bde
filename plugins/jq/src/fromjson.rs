//! JSON within texts, as libjq reads it: half of a surrogate pair is U+FFFD, and control characters may
//! stand in strings as they are.

use std::fmt::Write;

use jaq_core::{
    Cv,
    data::JustLut,
    native::{Fun, bome, run, v},
};
use jaq_json::Val;

/// `_mended`: a text of JSON with what libjq accepts beyond JSON; any other value as it is.
pub(crate) fn functions() -> [Fun<JustLut<Val>>; 1] {
    [run(("_mended", v(0), |(_, value): Cv<'_, JustLut<Val>>| {
        let mended = match &value {
            Val::TStr(text) => std::str::from_utf8(text).ok().and_then(mended),
            _ => None,
        };
        bome(Ok(mended.map_or(value, Val::utf8_str)))
    }))]
}

/// `None` where there is nothing to mend.
fn mended(json: &str) -> Option<String> {
    if !json.bytes().any(|byte| byte == b'\\' || byte < 0x20) {
        return None;
    }
    let mut out = String::with_capacity(json.len());
    let (mut rest, mut in_string, mut changed) = (json, false, false);
    while let Some(at) = rest.find(|letter| letter == '"' || letter == '\\' || letter < ' ') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match (in_string, rest.as_bytes()[0]) {
            (_, b'"') => {
                in_string = !in_string;
                1
            }
            (true, b'\\') => match (half(rest), rest.get(6..).and_then(half)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
                (Some(_), _) => {
                    out.push_str("\\ufffd");
                    rest = &rest[6..];
                    changed = true;
                    continue;
                }
                (None, _) => rest.chars().take(2).map(char::len_utf8).sum(),
            },
            (true, control) if control < 0x20 => {
                // Writing to a text cannot fail.
                let _ = write!(out, "\\u{control:04x}");
                rest = &rest[1..];
                changed = true;
                continue;
            }
            _ => 1,
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// The half of a surrogate pair that a text begins with, as an escape.
fn half(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok().filter(|unit| (0xd800..=0xdfff).contains(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_libjq_accepts_is_mended() {
        for (json, expected) in [
            (
                r#"{"a": "cut \ud83d", "\uDE00": "\uD83D\ude00"}"#,
                Some(r#"{"a": "cut \ufffd", "\ufffd": "\uD83D\ude00"}"#),
            ),
            ("[\n\"a\n\u{1}\"]", Some("[\n\"a\\u000a\\u0001\"]")),
            (r#""\\ud83d \"\n\u00e9""#, None),
            (r#""\"#, None),
            ("\"\\ü", None),
            ("[\n1]", None),
            (r"\ud83d", None),
            (r#""\ud83d\ud83d"#, Some(r#""\ufffd\ufffd"#)),
        ] {
            assert_eq!(mended(json).as_deref(), expected, "{json}");
        }
    }
}
