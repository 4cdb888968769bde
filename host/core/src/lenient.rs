//! Repairs JSON with malformed strings, so that one unreadable string does not cost the rest of a document.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// The replacement for unreadable text (Unicode, section 3.9).
const REPLACEMENT: &str = "\u{fffd}";

/// A JSON document with well-formed strings.
#[derive(Debug, PartialEq, Eq)]
pub struct Mended {
    /// The document.
    pub json: Vec<u8>,
    /// The number of malformed places.
    pub replaced: u64,
}

/// Replaces malformed text in the strings of a JSON document; `None` if there is none. Nothing else
/// changes, so that a truncated document or one in another format stays unreadable.
///
/// - Invalid UTF-8, half of a surrogate pair (`\ud83d`), an escape that JSON does not define, and a raw NUL
///   become U+FFFD.
/// - Other raw control characters become their JSON escapes.
/// - A number that JSON does not allow (`NaN`, `1e999`, `007`) becomes a string.
/// - Leading byte order marks are dropped.
pub fn mend_json(body: &[u8]) -> Option<Mended> {
    let (text, mut replaced) = lossy(body);
    // Concatenated texts each bring their own byte order mark.
    let unmarked = text.trim_start_matches('\u{feff}');
    replaced += text[..text.len() - unmarked.len()].chars().count() as u64;
    let text = unmarked;
    let mut mender = Mender { json: Vec::with_capacity(text.len() + 16), replaced };
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        rest = match first {
            b'"' => mender.string(rest),
            b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {
                mender.json.push(first);
                &rest[1..]
            }
            _ => mender.word(rest),
        };
    }
    (mender.replaced > 0).then_some(Mended { json: mender.json, replaced: mender.replaced })
}

/// Parses a JSON document. If that fails, [repairs](mend_json) its strings and tries again. Also returns
/// the number of repaired places.
///
/// # Errors
/// The `serde_json` error for the original document, if the repair does not help.
pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<(T, u64)> {
    serde_json::from_slice(body).map(|value| (value, 0)).or_else(|error| {
        let mended = mend_json(body);
        mended
            .and_then(|mended| Some((serde_json::from_slice(&mended.json).ok()?, mended.replaced)))
            .ok_or(error)
    })
}

/// Decodes bytes as text, with U+FFFD for invalid UTF-8. Also returns the number of replacements.
pub fn lossy(bytes: &[u8]) -> (Cow<'_, str>, u64) {
    let text = String::from_utf8_lossy(bytes);
    let replaced = match &text {
        Cow::Borrowed(_) => 0,
        Cow::Owned(_) => {
            bytes.utf8_chunks().fold(0, |count, chunk| count + u64::from(!chunk.invalid().is_empty()))
        }
    };
    (text, replaced)
}

struct Mender {
    json: Vec<u8>,
    replaced: u64,
}

impl Mender {
    fn replace(&mut self) {
        self.json.extend_from_slice(REPLACEMENT.as_bytes());
        self.replaced += 1;
    }

    /// Copies the string at the start of the text; returns the remainder.
    fn string<'t>(&mut self, text: &'t str) -> &'t str {
        self.json.push(b'"');
        let mut rest = &text[1..];
        loop {
            let plain = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
            let Some(plain) = plain else {
                self.json.extend_from_slice(rest.as_bytes());
                return "";
            };
            self.json.extend_from_slice(&rest.as_bytes()[..plain]);
            rest = &rest[plain..];
            match rest.as_bytes()[0] {
                b'"' => {
                    self.json.push(b'"');
                    return &rest[1..];
                }
                b'\\' => rest = self.escape(rest),
                0 => {
                    self.replace();
                    rest = &rest[1..];
                }
                control => {
                    self.json.extend_from_slice(format!("\\u{control:04x}").as_bytes());
                    self.replaced += 1;
                    rest = &rest[1..];
                }
            }
        }
    }

    /// Copies the escape at the start of the text; returns the remainder.
    fn escape<'t>(&mut self, text: &'t str) -> &'t str {
        let length = match text.as_bytes().get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => match (code_unit(text), text.get(6..).and_then(code_unit)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
                (Some(0xd800..=0xdfff), _) => {
                    self.replace();
                    return &text[6..];
                }
                (Some(_), _) => 6,
                (None, _) => {
                    self.replace();
                    return &text[2..];
                }
            },
            _ => {
                self.replace();
                return &text[1..];
            }
        };
        self.json.extend_from_slice(&text.as_bytes()[..length]);
        &text[length..]
    }

    /// Copies the word or number at the start of the text; returns the remainder.
    fn word<'t>(&mut self, text: &'t str) -> &'t str {
        let end = text.find(['{', '}', '[', ']', ',', ':', '"', ' ', '\t', '\n', '\r']);
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        if is_number(word) && serde_json::from_str::<serde_json::Value>(word).is_err() {
            self.json.extend_from_slice(serde_json::Value::from(word).to_string().as_bytes());
            self.replaced += 1;
        } else {
            self.json.extend_from_slice(word.as_bytes());
        }
        rest
    }
}

/// Returns whether a word is meant as a number. Any other word that JSON does not define is garbage.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
    let unsigned = unsigned.strip_prefix('.').unwrap_or(unsigned);
    matches!(unsigned, "NaN" | "Infinity")
        || (digits(unsigned) && unsigned.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b)))
}

/// Returns the code unit of the `\uXXXX` at the start of a text.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &[u8]) -> (Value, u64) {
        from_json(text).unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(text)))
    }

    #[test]
    fn malformed_strings_are_replaced_and_everything_else_is_kept() {
        for (text, expected, replaced) in [
            (r#""cut \ud83d""#, "cut \u{fffd}", 1),
            (r#""\uDE00\uD83D""#, "\u{fffd}\u{fffd}", 2),
            (r#""\uD83d\uDe00""#, "\u{1f600}", 0),
            (r#""\ud83d\n\"x""#, "\u{fffd}\n\"x", 1),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}", 1),
            (r#""\ud83d\u0041""#, "\u{fffd}A", 1),
            (r#""\\ud83d""#, "\\ud83d", 0),
            (r#""a\x41 \u12G4 \u+123 \ü""#, "a\u{fffd}x41 \u{fffd}12G4 \u{fffd}+123 \u{fffd}ü", 4),
            ("\"a\u{1}b\nc\"", "a\u{1}b\nc", 2),
            ("\"a\0b\"", "a\u{fffd}b", 1),
            (r#""a\u0000b""#, "a\0b", 0),
            ("\u{feff}\"a\"", "a", 1),
            ("\u{feff}\u{feff}\"a\"", "a", 2),
            ("NaN", "NaN", 1),
            ("1e999", "1e999", 1),
            ("007", "007", 1),
        ] {
            assert_eq!(read(text.as_bytes()), (Value::from(expected), replaced), "{text}");
        }
        assert_eq!(
            read(b"\"a\xff\xc3b\xed\xa0\x80\""),
            (json!("a\u{fffd}\u{fffd}b\u{fffd}\u{fffd}\u{fffd}"), 5)
        );
        let text = br#"{"k\ud800": [1, -2.5e3, true, null, {"x": "\udfff"}], "y": -Infinity}"#;
        let expected = json!({"k\u{fffd}": [1, -2500.0, true, null, {"x": "\u{fffd}"}], "y": "-Infinity"});
        assert_eq!(read(text), (expected, 3));
    }

    #[test]
    fn truncated_or_other_input_is_not_repaired() {
        for text in [
            "",
            "{",
            "[1,",
            "\"\\ud83d",
            "\"a\\",
            "\"\\ud83d\\\"",
            "[\"\\ud83d\"",
            "<html>\\ud83d</html> a",
            "{} NaN",
            "[1 2]",
            "[NaN NaN]",
            "{\"a\" \"\\ud83d\"}",
            "\\",
            "\"\\u",
            "[\"\\ud83d\",]",
        ] {
            assert!(from_json::<Value>(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(mend_json(br#"{"a": ["b\n\u00e9\ud83d\ude00", 1.5e-7, false]}"#), None);
    }

    proptest! {
        #[test]
        fn a_malformed_byte_in_a_string_changes_only_that_string(
            at in 0_usize..24,
            byte in any::<u8>().prop_filter("ends the text", |byte| !b"\"\\".contains(byte)),
        ) {
            let body = r#"{"a": [{"k": 1, "text": "plain \ud83d\ude00 \u00e9 üx", "z": null}, true], "b": 2}"#;
            let start = body.find("plain").unwrap();
            let mut body = body.as_bytes().to_vec();
            body[start + at] = byte;
            let (mut value, _) = read(&body);
            prop_assert!(value["a"][0]["text"].is_string());
            value["a"][0]["text"] = "".into();
            prop_assert_eq!(value, json!({"a": [{"k": 1, "text": "", "z": null}, true], "b": 2}));
        }

        #[test]
        fn nothing_panics(body in any::<Vec<u8>>(), text in "[\\\\u\"d8cf0{}:,\\[\\] ]{0,24}") {
            let _ = from_json::<Value>(&body);
            if let Some(mended) = mend_json(text.as_bytes()) {
                prop_assert_eq!(mend_json(&mended.json), None);
            }
        }
    }
}
