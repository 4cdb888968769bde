//! JSON as text: its values, its strings, and how libjq writes it.

use std::{borrow::Cow, io::Write as _};

use crate::scan;

/// The type of a JSON text, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Type {
    // In the order in which JQ sorts them; false sorts before true.
    Null,
    Bool,
    Number,
    String,
    List,
    Object,
}

impl Type {
    pub(crate) fn of(json: &str) -> Self {
        match json.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::List,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Bool,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    /// As JQ's `type` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::List => "array",
            Self::Object => "object",
        }
    }
}

/// A place in a text of JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// The text is no JSON, as far as it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// What was read since an earlier position.
    pub(crate) fn since(&self, from: usize) -> Result<&'a str, Broken> {
        self.text.get(from..self.at).ok_or(Broken)
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The next byte that is no white space, which is not taken.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Takes a byte if it comes next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// Takes the text of a string, with its quotes, and returns whether it has escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<(&'a str, bool), Broken> {
        if !self.take(b'"') {
            return Err(Broken);
        }
        let from = self.at - 1;
        let (end, escapes) = scan::string_end(self.text.as_bytes(), self.at).ok_or(Broken)?;
        self.at = end;
        Ok((self.since(from)?, escapes))
    }

    /// Takes the name of a member like a [string](Self::string), and the colon behind it.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<(&'a str, bool), Broken> {
        let name = self.string()?;
        if self.take(b':') { Ok(name) } else { Err(Broken) }
    }

    /// Takes the text of the next value.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<&'a str, Broken> {
        let (first, from) = (self.peek().ok_or(Broken)?, self.at);
        let bytes = self.text.as_bytes();
        self.at = match first {
            b'"' => scan::string_end(bytes, from + 1).ok_or(Broken)?.0,
            b'{' | b'[' => scan::container_end(bytes, from).ok_or(Broken)?,
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let rest = bytes.get(from..).unwrap_or_default();
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                from + rest.iter().position(ends).unwrap_or(rest.len())
            }
            _ => return Err(Broken),
        };
        self.since(from)
    }

    /// Whether another element or member comes; takes the comma before it, or the closing bracket.
    #[inline]
    pub(crate) fn another(&mut self, first: &mut bool, closing: u8) -> Result<bool, Broken> {
        if self.take(closing) {
            return Ok(false);
        }
        if !std::mem::take(first) && !self.take(b',') {
            return Err(Broken);
        }
        Ok(true)
    }
}

/// Returns the elements of a list in JSON, as texts. Finds where each ends, and does not check it.
///
/// # Errors
/// When the text is no list, as far as it is looked at.
pub fn split_list(list: &str) -> Result<Vec<&str>, Broken> {
    let mut found = Vec::new();
    let mut reader = Reader::new(list);
    let mut first = true;
    if !reader.take(b'[') {
        return Err(Broken);
    }
    while reader.another(&mut first, b']')? {
        found.push(reader.value()?);
    }
    if reader.peek().is_some() { Err(Broken) } else { Ok(found) }
}

/// Returns the members of an object in JSON, as texts: names with their quotes, and values. Finds where each ends,
/// and does not check it.
///
/// # Errors
/// When the text is no object, as far as it is looked at.
pub fn split_object(object: &str) -> Result<Vec<(&str, &str)>, Broken> {
    let mut found = Vec::new();
    let mut reader = Reader::new(object);
    let mut first = true;
    if !reader.take(b'{') {
        return Err(Broken);
    }
    while reader.another(&mut first, b'}')? {
        let (name, _) = reader.name()?;
        found.push((name, reader.value()?));
    }
    if reader.peek().is_some() { Err(Broken) } else { Ok(found) }
}

/// Calls for each element of a list, which the text must be, until one is refused.
pub(crate) fn elements<'a, E>(
    list: &'a str,
    mut each: impl FnMut(&'a str) -> Result<(), E>,
) -> Result<Result<(), E>, Broken> {
    let mut reader = Reader::new(list);
    let mut first = true;
    if !reader.take(b'[') {
        return Err(Broken);
    }
    while reader.another(&mut first, b']')? {
        if let Err(refused) = each(reader.value()?) {
            return Ok(Err(refused));
        }
    }
    Ok(Ok(()))
}

/// The member of an object, which the text must be. Of several with the same name the last counts.
pub(crate) fn member<'a>(object: &'a str, name: &str) -> Result<Option<&'a str>, Broken> {
    let mut reader = Reader::new(object);
    let (mut first, mut found) = (true, None);
    if !reader.take(b'{') {
        return Err(Broken);
    }
    while reader.another(&mut first, b'}')? {
        let (key, escapes) = reader.name()?;
        let value = reader.value()?;
        if is_name(key, escapes, name)? {
            found = Some(value);
        }
    }
    Ok(found)
}

/// Whether a string of JSON is this text.
#[inline]
pub(crate) fn is_name(key: &str, escapes: bool, name: &str) -> Result<bool, Broken> {
    if escapes {
        Ok(string(key)? == name)
    } else {
        Ok(key.len() == name.len() + 2 && key.get(1..key.len() - 1) == Some(name))
    }
}

/// The text that a string of JSON stands for.
pub(crate) fn string(json: &str) -> Result<Cow<'_, str>, Broken> {
    if json.contains('\\') {
        return serde_json::from_str(json).map(Cow::Owned).map_err(|_| Broken);
    }
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.map(Cow::Borrowed).ok_or(Broken)
}

/// A whole number that is written as JQ writes it, and that every JSON parser reads alike.
pub(crate) fn small_integer(json: &str) -> Option<i64> {
    const DIGITS: usize = 15;
    let digits = json.strip_prefix('-').unwrap_or(json);
    let plain = (1..=DIGITS).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (!digits.starts_with('0') || json == "0");
    if plain { json.parse().ok() } else { None }
}

/// Appends a value of JSON, with its numbers as libjq writes them.
pub(crate) fn append(json: &str, out: &mut Vec<u8>) {
    let bytes = json.as_bytes();
    if matches!(bytes.first(), Some(b'"' | b't' | b'f' | b'n')) {
        out.extend_from_slice(bytes);
        return;
    }
    // Up to here it is copied.
    let (mut copied, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match scan::string_end(bytes, at + 1) {
                Some((end, _)) => at = end,
                None => break,
            },
            b'-' | b'0'..=b'9' => {
                let rest = bytes.get(at..).unwrap_or_default();
                let part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let end = at + rest.iter().position(|byte| !part(byte)).unwrap_or(rest.len());
                let number = json.get(at..end).unwrap_or_default();
                if !is_integer(number) {
                    out.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
                    append_number(number, out);
                    copied = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
}

fn is_integer(number: &str) -> bool {
    number != "-0" && !number.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// Appends a number of JSON as libjq writes it.
pub(crate) fn append_number(number: &str, out: &mut Vec<u8>) {
    if is_integer(number) {
        out.extend_from_slice(number.as_bytes());
    } else {
        append_float(number.parse().unwrap_or(f64::NAN), out);
    }
}

/// Appends a number as libjq writes it: `1.0` is 1, `-0.0` is 0, not-a-number is null and infinity the largest
/// number.
pub fn append_float(number: f64, out: &mut Vec<u8>) {
    /// Up to here libjq writes integers without an exponent.
    const INTEGERS: f64 = 1e17;
    let written = if number.is_nan() {
        out.write_all(b"null")
    } else if number.is_infinite() {
        write!(out, "{:?}", f64::MAX.copysign(number))
    } else if number.fract() == 0.0 && number.abs() <= INTEGERS {
        #[expect(clippy::cast_possible_truncation, reason = "checked just above")]
        let whole = number as i64;
        write!(out, "{whole}")
    } else {
        write!(out, "{number:?}")
    };
    // Writing to memory cannot fail.
    let _ = written;
}

/// Appends a value of JSON as a whole number: one in quotes loses them, anything else stays as it is.
pub fn append_integer(out: &mut Vec<u8>, json: &str) {
    // The parsed number, not its text: `+3` and `007` are numbers to Rust, but not to JSON.
    match unquoted(json).and_then(|text| text.parse::<i64>().ok()) {
        Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
        None => out.extend_from_slice(json.as_bytes()),
    }
}

/// Appends a value of JSON as true or false: one in quotes loses them, anything else stays as it is.
pub fn append_bool(out: &mut Vec<u8>, json: &str) {
    let text = unquoted(json).filter(|text| matches!(*text, "true" | "false"));
    out.extend_from_slice(text.unwrap_or(json).as_bytes());
}

fn unquoted(json: &str) -> Option<&str> {
    json.strip_prefix('"')?.strip_suffix('"')
}

/// Appends a string as JSON.
pub fn append_str(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        match rest.as_bytes()[at] {
            escaped @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', escaped]),
            // Writing to memory cannot fail.
            control => drop(write!(out, "\\u{control:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}
