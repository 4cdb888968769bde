//! Reading a batch: a serde deserializer that skips fast.
//!
//! A mapper wants some members of a resource and skips the rest. The structure is walked here, what
//! nobody asks for is jumped over by [`scan`], and single values that are asked for in
//! another form than text are left to `serde_json`.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{BorrowedStrDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::Error;

use berth_mapping::scan;

/// How deep objects and lists that are read, not skipped, may be nested. As for `serde_json`.
const DEPTH: u32 = 128;

/// What [`Json`](crate::Json) asks a deserializer for. The one here gives it a value's text.
pub(crate) const TEXT: &str = "$berth_plugin::Json";

/// A place in a text of JSON.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

/// Reads one value, which must be all of the text.
///
/// # Errors
/// When it is no JSON, as far as it is looked at, or has another shape.
pub(crate) fn from_str<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    let mut reader = Reader::new(text);
    let value = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: DEPTH }
    }

    /// The next byte that is no white space, which is not taken.
    #[inline]
    fn peek(&mut self) -> Result<u8, Error> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Error::custom("the text ends too early")),
            }
        }
    }

    /// Takes a byte that must come next.
    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek()? != byte {
            return Err(self.wrong(char::from(byte)));
        }
        self.at += 1;
        Ok(())
    }

    #[cold]
    fn wrong(&self, expected: impl std::fmt::Display) -> Error {
        Error::custom(format_args!("expected `{expected}` at byte {}", self.at))
    }

    /// Nothing but white space is left.
    ///
    /// # Errors
    /// When something is.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        match self.peek() {
            Ok(_) => Err(self.wrong("the end")),
            Err(_) => Ok(()),
        }
    }

    /// Enters a list.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn list(&mut self) -> Result<Elements<'_, 'a>, Error> {
        self.expect(b'[')?;
        Ok(Elements { reader: self, place: Place::Begin })
    }

    /// Takes the text of the next value.
    #[inline]
    fn skip(&mut self) -> Result<&'a str, Error> {
        let first = self.peek()?;
        let (bytes, from) = (self.text.as_bytes(), self.at);
        let end = match first {
            b'"' => scan::string_end(bytes, from + 1).map(|(end, _)| end),
            b'{' | b'[' => scan::container_end(bytes, from),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let rest = bytes.get(from..).unwrap_or_default();
                let length = rest
                    .iter()
                    .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
                Some(from + length.unwrap_or(rest.len()))
            }
            _ => None,
        };
        let text = end.and_then(|end| self.text.get(from..end)).ok_or_else(|| self.wrong("a value"))?;
        self.at = from + text.len();
        Ok(text)
    }

    /// Takes a string, of which the first quote comes next.
    #[inline]
    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.expect(b'"')?;
        let from = self.at;
        let (end, escapes) =
            scan::string_end(self.text.as_bytes(), from).ok_or_else(|| self.wrong("a string that ends"))?;
        self.at = end;
        let cut = if escapes { self.text.get(from - 1..end) } else { self.text.get(from..end - 1) };
        let text = cut.unwrap_or_default();
        if escapes { serde_json::from_str(text).map(Cow::Owned) } else { Ok(Cow::Borrowed(text)) }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| Error::custom("recursion limit exceeded"))?;
        let value = read(self);
        self.depth += 1;
        value
    }

    /// Whether another element or member comes: takes the comma before it, or the closing bracket.
    #[inline]
    fn another(&mut self, place: &mut Place, closing: u8) -> Result<bool, Error> {
        if *place == Place::End {
            return Ok(false);
        }
        let next = self.peek()?;
        if next == closing {
            self.at += 1;
            *place = Place::End;
            return Ok(false);
        }
        if *place == Place::Middle {
            if next != b',' {
                return Err(self.wrong(','));
            }
            self.at += 1;
        }
        *place = Place::Middle;
        Ok(true)
    }
}

/// Where in a list or an object the reader is.
#[derive(PartialEq, Eq)]
enum Place {
    Begin,
    Middle,
    End,
}

/// The elements of a list, one after the other.
pub(crate) struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    place: Place,
}

impl<'a> Elements<'_, 'a> {
    /// The next element's text and what it reads as; `None` behind the last one.
    ///
    /// # Errors
    /// When the list itself is broken: a comma is missing, an element does not end.
    pub(crate) fn next<T: Deserialize<'a>>(&mut self) -> Result<Option<Result<T, Error>>, Error> {
        if !self.reader.another(&mut self.place, b']')? {
            return Ok(None);
        }
        self.reader.peek()?;
        let (from, depth) = (self.reader.at, self.reader.depth);
        let value = T::deserialize(&mut *self.reader);
        if value.is_ok() {
            return Ok(Some(value));
        }
        // What is wrong, and where, tells the slower reader; then on behind the element.
        self.reader.at = from;
        self.reader.depth = depth;
        let element = self.reader.skip()?;
        Ok(Some(serde_json::from_str(element)))
    }
}

impl<'a> SeqAccess<'a> for Elements<'_, 'a> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.reader.another(&mut self.place, b']')? {
            seed.deserialize(&mut *self.reader).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// The members of an object.
struct Members<'r, 'a> {
    reader: &'r mut Reader<'a>,
    place: Place,
}

impl<'a> MapAccess<'a> for Members<'_, 'a> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if !self.reader.another(&mut self.place, b'}')? {
            return Ok(None);
        }
        let key = match self.reader.string()? {
            Cow::Borrowed(name) => seed.deserialize(BorrowedStrDeserializer::<Error>::new(name))?,
            Cow::Owned(name) => {
                let name: StrDeserializer<'_, Error> = name.as_str().into_deserializer();
                seed.deserialize(name)?
            }
        };
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.reader.expect(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}

impl<'a> Deserializer<'a> for &mut Reader<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek()? {
            b'"' => match self.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            b'{' => self.deeper(|reader| {
                reader.at += 1;
                let mut members = Members { reader, place: Place::Begin };
                let value = visitor.visit_map(&mut members)?;
                if members.reader.another(&mut members.place, b'}')? {
                    return Err(members.reader.wrong('}'));
                }
                Ok(value)
            }),
            b'[' => self.deeper(|reader| {
                reader.at += 1;
                let mut elements = Elements { reader, place: Place::Begin };
                let value = visitor.visit_seq(&mut elements)?;
                if elements.reader.another(&mut elements.place, b']')? {
                    return Err(elements.reader.wrong(']'));
                }
                Ok(value)
            }),
            _ => serde_json::Deserializer::from_str(self.skip()?).deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.peek()? != b'n' {
            return visitor.visit_some(self);
        }
        match self.skip()? {
            "null" => visitor.visit_none(),
            _ => Err(self.wrong("null")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == TEXT {
            visitor.visit_borrowed_str(self.skip()?)
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        serde_json::Deserializer::from_str(self.skip()?).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Item<'a> {
        #[serde(borrow)]
        name: Option<Cow<'a, str>>,
        size: Option<i64>,
        share: f64,
        pair: Option<(u8, bool)>,
        inner: Option<Box<Item<'a>>>,
        list: Vec<Item<'a>>,
        any: Value,
    }

    #[test]
    fn reads_what_serde_json_reads() {
        for text in [
            r"{}",
            r#" { "name" : "a\"\u00e9\n" , "size" : -12 , "other" : [ { "}" : "]\\" } ] , "share" : 1 } "#,
            r#"{"name":null,"size":null,"share":2.5e3,"pair":[1,true],"any":{"a":[1,2.5,"x",null,{"b":false}]}}"#,
            r#"{"inner":{"name":"ü","list":[{},{"size":1},{"unknown":true,"unknown2":-1.5e-7}]},"list":[]}"#,
        ] {
            let expected: Item<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(from_str::<Item<'_>>(text).unwrap(), expected, "{text}");
            assert_eq!(from_str::<Value>(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
    }

    #[test]
    fn refuses_what_serde_json_refuses() {
        for text in [
            "",
            "{",
            "[]x",
            r#"{"size":"x"}"#,
            r#"{"size":1.5}"#,
            r#"{"name":3}"#,
            r#"{"pair":[1,true,2]}"#,
            r#"{"pair":[1]}"#,
            r#"{"name":"x" "size":1}"#,
            r#"{"name" "x"}"#,
            r#"{"name":"x"#,
            r#"{"list":[{]}"#,
            r#"{"list":{}}"#,
            r#"{"any":nul}"#,
            r#"{"size":null0}"#,
            r"{3:4}",
            "3",
        ] {
            assert!(serde_json::from_str::<Item<'_>>(text).is_err(), "{text}");
            assert!(from_str::<Item<'_>>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(from_str::<Value>(&deep(100)).is_ok());
        assert!(from_str::<Value>(&deep(1000)).is_err());
        // What is skipped may be as deep as it is.
        assert!(from_str::<serde::de::IgnoredAny>(&deep(100_000)).is_ok());
    }

    #[test]
    fn an_element_of_another_shape_costs_only_itself() {
        let mut reader = Reader::new(r#"[{"size":1},{"size":"x","name":"]"},3,{"size":2}]"#);
        let mut elements = reader.list().unwrap();
        let mut sizes = Vec::new();
        while let Some(element) = elements.next::<Item<'_>>().unwrap() {
            sizes.push(element.ok().and_then(|item| item.size));
        }
        assert_eq!(sizes, [Some(1), None, None, Some(2)]);
        reader.end().unwrap();
    }
}
