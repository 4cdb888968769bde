//! JSON bodies, read in one streaming pass guided by the model.

use std::{borrow::Cow, fmt};

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};
use serde_json::{Map, Value};

use super::{scalar, xml};
use crate::{
    Protocol,
    model::{Model, Quirk, Reference, Shape, Structure},
    timestamp::Timestamp,
};

/// Reads a body that holds the members. An empty body has none.
pub(super) fn decode(model: &Model, output: &Structure, body: &[u8]) -> Result<Value, String> {
    read(body, Seed { model, target: Target::Structure(output) }, || Value::Object(Map::new()))
}

/// Reads a body that is one value.
pub(super) fn decode_value(model: &Model, reference: &Reference, body: &[u8]) -> Result<Value, String> {
    let empty = || match model.shape(reference) {
        Shape::List(_) => Value::Array(Vec::new()),
        _ => Value::Object(Map::new()),
    };
    read(body, Seed { model, target: Target::Value(reference) }, empty)
}

fn read(body: &[u8], seed: Seed<'_>, empty: impl FnOnce() -> Value) -> Result<Value, String> {
    if body.is_empty() {
        return Ok(empty());
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = seed.deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

#[derive(Clone, Copy)]
enum Target<'m> {
    Structure(&'m Structure),
    Value(&'m Reference),
}

/// What the model expects at this place.
#[derive(Clone, Copy)]
struct Seed<'m> {
    model: &'m Model,
    target: Target<'m>,
}

impl<'m> Seed<'m> {
    fn value(self, reference: &'m Reference) -> Self {
        Self { model: self.model, target: Target::Value(reference) }
    }

    fn shape(self) -> Option<&'m Shape> {
        match self.target {
            Target::Structure(_) => None,
            Target::Value(reference) => Some(self.model.shape(reference)),
        }
    }

    fn structure(self) -> Option<&'m Structure> {
        match self.target {
            Target::Structure(structure) => Some(structure),
            Target::Value(reference) => self.model.structure(reference),
        }
    }

    fn quirk(self) -> Option<Quirk> {
        match self.target {
            Target::Structure(_) => None,
            Target::Value(reference) => reference.quirk,
        }
    }

    /// Refuses a scalar where the model has something that holds other values. The error does not
    /// repeat it: it may be a secret.
    fn scalar<E: Error>(self) -> Result<Self, E> {
        match self.shape() {
            None | Some(Shape::Structure(_) | Shape::List(_) | Shape::Map(..)) => {
                Err(E::invalid_type(Unexpected::Other("a scalar"), &self))
            }
            Some(_) => Ok(self),
        }
    }

    /// Only restJson converts numbers and booleans that came as something else.
    fn converts(self) -> bool {
        self.model.protocol == Protocol::RestJson
    }

    fn text(self, text: String) -> Value {
        let value = match self.shape() {
            Some(Shape::Timestamp) => scalar::timestamp(text),
            Some(Shape::Blob) => Value::String(scalar::base64(text)),
            Some(Shape::Boolean) if self.converts() => Value::Bool(text.eq_ignore_ascii_case("true")),
            Some(Shape::Integer) if self.converts() => {
                scalar::integer(text.trim()).unwrap_or(Value::String(text))
            }
            Some(Shape::Float) if self.converts() => {
                scalar::float(text.trim()).unwrap_or(Value::String(text))
            }
            _ => Value::String(text),
        };
        match self.quirk() {
            Some(quirk) => scalar::unquirk(quirk, value),
            None => value,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        if self.structure().is_some_and(|structure| structure.document) {
            return Value::deserialize(from);
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.shape() {
            None | Some(Shape::Structure(_) | Shape::Map(..)) => "an object",
            Some(Shape::List(_)) => "a list",
            Some(_) => "a scalar",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.scalar()?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(match self.scalar()?.shape() {
            Some(Shape::Timestamp) => seconds(&value.into()),
            #[expect(clippy::cast_precision_loss, reason = "a number that the model calls a float")]
            Some(Shape::Float) if self.converts() => scalar::number(value as f64),
            _ => value.into(),
        })
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.scalar().map(|_| value.into()),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(match self.scalar()?.shape() {
            Some(Shape::Timestamp) => seconds(&value.into()),
            #[expect(clippy::cast_possible_truncation, reason = "within bounds, checked here")]
            Some(Shape::Integer) if self.converts() && value.abs() < 9e18 => (value as i64).into(),
            _ => value.into(),
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(self.scalar()?.text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(self.scalar()?.text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        match self.shape() {
            Some(Shape::List(element)) => {
                let mut list = Vec::with_capacity(items.size_hint().unwrap_or_default());
                while let Some(item) = items.next_element_seed(self.value(element))? {
                    list.push(item);
                }
                Ok(Value::Array(list))
            }
            None | Some(Shape::Structure(_) | Shape::Map(..)) => {
                Err(A::Error::custom("a list, where an object is expected"))
            }
            Some(_) => Value::deserialize(SeqAccessDeserializer::new(items)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        if let Some(structure) = self.structure() {
            return self.members(structure, members);
        }
        match self.shape() {
            Some(Shape::Map(_, element)) => {
                let mut map = Map::new();
                while let Some(key) = members.next_key::<String>()? {
                    map.insert(key, members.next_value_seed(self.value(element))?);
                }
                Ok(Value::Object(map))
            }
            Some(Shape::List(_)) => Err(A::Error::custom("an object, where a list is expected")),
            _ => Value::deserialize(MapAccessDeserializer::new(members)),
        }
    }
}

impl Seed<'_> {
    fn members<'de, A: MapAccess<'de>>(
        self,
        structure: &Structure,
        mut members: A,
    ) -> Result<Value, A::Error> {
        let mut found: Vec<(usize, Value)> = Vec::new();
        let (mut unknown, mut cursor) = (None, 0);
        while let Some(Key(key)) = members.next_key::<Key<'de>>()? {
            // As in botocore, a member that is bound to a header may be in the body as well.
            let index = structure.find(&key, cursor, |_| true);
            let Some(index) = index else {
                let set = members.next_value::<Option<IgnoredAny>>()?.is_some();
                if structure.union && set && key != "__type" {
                    unknown.get_or_insert_with(|| key.into_owned());
                }
                continue;
            };
            cursor = index + 1;
            let reference = &structure.members[index].reference;
            let value = members.next_value_seed(self.value(reference))?;
            // Of a key that comes twice, the last counts; null is none.
            found.retain(|(known, _)| *known != index);
            if !value.is_null() {
                found.push((index, value));
            }
        }
        match unknown {
            Some(name) if found.is_empty() => Ok(xml::unknown_union_member(name)),
            _ => Ok(xml::assemble(structure, found)),
        }
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A number that is not a time (out of reach) stays as it is.
fn seconds(number: &Value) -> Value {
    let time = number.as_number().and_then(Timestamp::from_number);
    time.map_or_else(|| number.clone(), |time| Value::String(time.iso8601()))
}
