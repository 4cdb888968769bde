//! JSON values that are passed on as the text they came as.

use std::{borrow::Cow, fmt, str::FromStr};

use berth_mapping::document::misplaced;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct as _};
use serde_json::value::RawValue;

use crate::{Fields, Refused, port_identifier, read, scan};

/// A JSON value as the text it came as, borrowed from the batch: copied to the output without
/// being parsed.
///
/// The default is null, so that in a struct with `#[serde(default)]` a missing member is null, as
/// it is for a JQ expression. A struct needs `#[serde(borrow)]` on one of its `Json` fields.
#[derive(Clone, Copy)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// `null`.
    pub const NULL: Json<'static> = Json("null");

    /// The value of a text that is JSON.
    pub(crate) fn of(json: &'a str) -> Self {
        Self(json)
    }

    /// The value's JSON text.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// Whether the value is null.
    pub fn is_null(self) -> bool {
        self.text() == "null"
    }

    /// The string that the value is, if it is one. Allocates only where the string has escapes.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.text().strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            serde_json::from_str(self.text()).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inner))
        }
    }

    /// The string that the value is, as an identifier that Port accepts: see [`port_identifier`]. `None`
    /// for what is no string.
    pub fn port_identifier(self) -> Option<Cow<'a, str>> {
        Some(match self.as_str()? {
            Cow::Borrowed(text) => port_identifier(text),
            Cow::Owned(text) => Cow::Owned(port_identifier(&text).into_owned()),
        })
    }

    /// The number or truth value that a text stands for (`"3"`, `"true"`), as some services write
    /// every attribute; a value that is no such text stays as it is.
    pub fn typed<T: FromStr>(self) -> Typed<'a, T> {
        match self.as_str().and_then(|text| text.parse().ok()) {
            Some(value) => Typed::Value(value),
            None => Typed::Other(self),
        }
    }

    /// The members of the object that the value is.
    ///
    /// # Errors
    /// [`Refused`] if it is something else, null included: read as empty, a resource of an
    /// unforeseen shape would look as if it were gone.
    pub fn fields(self) -> Result<Fields<'a>, Refused> {
        read::from_str(self.text()).map_err(|_| self.is_no("an object"))
    }

    /// The elements of the list that the value is.
    ///
    /// # Errors
    /// [`Refused`] if it is something else, null included.
    pub fn elements(self) -> Result<Vec<Json<'a>>, Refused> {
        read::from_str(self.text()).map_err(|_| self.is_no("a list"))
    }

    pub(crate) fn is_no(self, expected: &str) -> Refused {
        misplaced(self.text(), expected).into()
    }
}

/// What a text stands for; see [`Json::typed`].
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Typed<'a, T> {
    /// The value.
    Value(T),
    /// What is no text of such a value.
    Other(Json<'a>),
}

impl Default for Json<'_> {
    fn default() -> Self {
        Self::NULL
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> de::Visitor<'de> for Text {
            type Value = Json<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            // From the reader of batches, which knows what is asked for.
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Json(text))
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
                <&RawValue>::deserialize(from).map(|value| Json(value.get()))
            }
        }
        from.deserialize_newtype_struct(read::TEXT, Text)
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // As `RawValue` does, which cannot be made of a text without parsing it once more.
        const RAW: &str = "$serde_json::private::RawValue";
        let mut raw = to.serialize_struct(RAW, 1)?;
        raw.serialize_field(RAW, self.0)?;
        raw.end()
    }
}

/// A member name: borrowed unless it has escapes.
pub(crate) struct Name<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        from.deserialize_str(Visitor)
    }
}

/// Appends a value as JSON. A value that is not JSON (a map with keys that are not strings) is
/// taken back and told.
pub(crate) fn append(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), String> {
    let before = out.len();
    serde_json::to_writer(&mut *out, value).map_err(|error| {
        out.truncate(before);
        error.to_string()
    })
}

/// Appends a string as JSON.
pub(crate) fn append_str(out: &mut Vec<u8>, text: &str) {
    if scan::needs_escapes(text.as_bytes()) {
        // Writing a string to memory cannot fail.
        let _ = append(out, text);
    } else {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_as_serde_json_writes_them() {
        for text in ["", "plain", "ü", "a\"b", "a\\b", "0123456789abcdef0123456789abcde\n", "\u{7f}\u{1f}"] {
            let mut out = Vec::new();
            append_str(&mut out, text);
            assert_eq!(out, serde_json::to_vec(text).unwrap());
        }
    }

    #[test]
    fn values_keep_their_text() {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Item<'a> {
            #[serde(borrow)]
            tags: Json<'a>,
            name: Json<'a>,
            size: Json<'a>,
        }
        let item: Item<'_> =
            serde_json::from_str(r#"{"tags": [ {"Key":"é\n"} ], "name": "a\u00e9\"b", "other": 1}"#).unwrap();
        assert_eq!(item.tags.text(), r#"[ {"Key":"é\n"} ]"#);
        let tag = item.tags.elements().unwrap()[0].fields().unwrap();
        assert_eq!(tag.get("Key").unwrap().as_str().unwrap(), "é\n");
        assert_eq!(item.name.as_str().unwrap(), "aé\"b");
        assert!(item.size.is_null());
        assert_eq!(item.size.as_str(), None);
        assert!(item.name.fields().is_err() && item.size.elements().is_err());
    }
}
