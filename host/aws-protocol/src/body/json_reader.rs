//! Reads JSON bodies in one streaming pass, guided by the model.

use std::{borrow::Cow, fmt};

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};
use serde_json::{Map, Value};

use super::{
    json_sink::{JsonSink, ValueSink, unknown_union_member},
    repairs::Mark,
    scalar,
};
use crate::{
    model::{Model, Quirk, Reference, Shape, Structure},
    timestamp::Timestamp,
};

/// The type of numbers in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// The type in the response.
    AsSent,
    /// The type in the model.
    AsModelled,
}

/// Reads a body that contains the members, in addition to those from outside the body. An empty body has
/// none.
pub(crate) fn decode<S: JsonSink>(
    sink: &mut S,
    model: &Model,
    output: &Structure,
    numbers: Numbers,
    body: &[u8],
    outside: &[(usize, Value)],
) -> Result<S::Done, String> {
    let body = if body.is_empty() { b"{}" } else { body };
    read(body, Seed { model, numbers, target: Target::Structure(output, outside), sink })
}

/// Reads a body that is one value.
pub(crate) fn decode_value<S: JsonSink>(
    sink: &mut S,
    model: &Model,
    reference: &Reference,
    numbers: Numbers,
    body: &[u8],
) -> Result<S::Done, String> {
    let body = match (model.shape(reference), body) {
        (Shape::List(_), []) => b"[]",
        (_, []) => b"{}",
        (_, body) => body,
    };
    read(body, Seed { model, numbers, target: Target::Value(reference), sink })
}

fn read<S: JsonSink>(body: &[u8], seed: Seed<'_, '_, S>) -> Result<S::Done, String> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = seed.deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

#[derive(Clone, Copy)]
enum Target<'m> {
    /// A structure, and its members that are already known.
    Structure(&'m Structure, &'m [(usize, Value)]),
    Value(&'m Reference),
}

/// The expected shape at this place, and the sink of the value.
struct Seed<'m, 'f, S> {
    model: &'m Model,
    numbers: Numbers,
    target: Target<'m>,
    sink: &'f mut S,
}

impl<'m, S: JsonSink> Seed<'m, '_, S> {
    fn shape(&self) -> Option<&'m Shape> {
        match self.target {
            Target::Structure(..) => None,
            Target::Value(reference) => Some(self.model.shape(reference)),
        }
    }

    fn structure(&self) -> Option<&'m Structure> {
        match self.target {
            Target::Structure(structure, _) => Some(structure),
            Target::Value(reference) => self.model.structure(reference),
        }
    }

    fn quirk(&self) -> Option<Quirk> {
        match self.target {
            Target::Structure(..) => None,
            Target::Value(reference) => reference.quirk,
        }
    }

    /// Returns whether numbers get the type in the model.
    fn converts(&self) -> bool {
        self.numbers == Numbers::AsModelled
    }

    /// Returns whether this is the body itself, which must be an object.
    fn is_body(&self) -> bool {
        matches!(self.target, Target::Structure(..))
    }

    /// Omits a value that does not match the model.
    fn left_out(self) -> S::Done {
        self.sink.log().left_out();
        self.sink.value(Value::Null)
    }

    /// Omits a scalar where the model expects a container. The error does not repeat the value, which may
    /// be a secret.
    fn scalar<E: Error>(self, made: impl FnOnce(&Shape) -> Option<Made>) -> Result<S::Done, E> {
        if self.is_body() {
            return Err(E::invalid_type(Unexpected::Other("a scalar"), &self));
        }
        Ok(match self.shape().and_then(made) {
            Some(Made::Right(value)) => self.sink.value(value),
            Some(Made::Text(text)) => self.odd(text),
            None => self.left_out(),
        })
    }

    /// Returns the text of a value that is not a text.
    fn odd(self, text: String) -> S::Done {
        self.sink.log().coerced();
        self.sink.string(text.into())
    }

    fn text<E: Error>(self, text: Cow<'_, str>) -> Result<S::Done, E> {
        let value = match self.shape() {
            Some(Shape::String) if self.quirk().is_none() => return Ok(self.sink.string(text)),
            Some(Shape::String) => Some(Value::String(text.into_owned())),
            Some(Shape::Timestamp) => scalar::timestamp(&text),
            Some(Shape::Blob) => Some(Value::String(scalar::base64(text.into_owned()))),
            // botocore treats any other text as false.
            Some(Shape::Boolean) if text.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
            Some(Shape::Boolean) if text.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
            Some(Shape::Integer) => scalar::integer(text.trim()),
            Some(Shape::Float) => scalar::float(text.trim()),
            _ => None,
        };
        let quirk = self.quirk();
        self.scalar(|_| {
            Some(Made::Right(match quirk {
                Some(quirk) => scalar::unquirk(quirk, value?),
                None => value?,
            }))
        })
    }

    /// Handles a list or an object that does not match the model.
    fn other(self, value: &Value) -> S::Done {
        match self.shape() {
            Some(Shape::String) => self.odd(value.to_string()),
            _ => self.left_out(),
        }
    }
}

/// A scalar converted by the model.
enum Made {
    Right(Value),
    /// The text of a value of another type.
    Text(String),
}

impl<'de, S: JsonSink> DeserializeSeed<'de> for Seed<'_, '_, S> {
    type Value = S::Done;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Done, D::Error> {
        if self.structure().is_some_and(|structure| structure.document) {
            return Ok(self.sink.value(Value::deserialize(from)?));
        }
        from.deserialize_any(self)
    }
}

impl<'de, S: JsonSink> Visitor<'de> for Seed<'_, '_, S> {
    type Value = S::Done;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.shape() {
            None | Some(Shape::Structure(_) | Shape::Map(..)) => "an object",
            Some(Shape::List(_)) => "a list",
            Some(_) => "a scalar",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<S::Done, E> {
        Ok(self.sink.value(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<S::Done, E> {
        self.scalar(|shape| match shape {
            Shape::Boolean => Some(Made::Right(Value::Bool(value))),
            Shape::String => Some(Made::Text(value.to_string())),
            _ => None,
        })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<S::Done, E> {
        let converts = self.converts();
        self.scalar(|shape| match shape {
            #[expect(clippy::cast_precision_loss, reason = "the model declares a float")]
            Shape::Float if converts => Some(Made::Right(scalar::number(value as f64))),
            Shape::Integer | Shape::Float => Some(Made::Right(value.into())),
            Shape::Timestamp => seconds(&value.into()).map(Made::Right),
            Shape::String => Some(Made::Text(value.to_string())),
            _ => None,
        })
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<S::Done, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.scalar(|shape| match shape {
                Shape::Integer | Shape::Float => Some(Made::Right(value.into())),
                Shape::String => Some(Made::Text(value.to_string())),
                _ => None,
            }),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<S::Done, E> {
        let truncates = self.converts();
        self.scalar(|shape| match shape {
            #[expect(clippy::cast_possible_truncation, reason = "the bounds are checked here")]
            Shape::Integer if value.abs() < 9e18 && (truncates || value.fract() == 0.0) => {
                Some(Made::Right((value as i64).into()))
            }
            Shape::Integer | Shape::Float => Some(Made::Right(value.into())),
            Shape::Timestamp => seconds(&value.into()).map(Made::Right),
            Shape::String => Some(Made::Text(Value::from(value).to_string())),
            _ => None,
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<S::Done, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<S::Done, E> {
        self.text(Cow::Owned(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<S::Done, A::Error> {
        match self.shape() {
            Some(Shape::List(element)) => {
                let mut list = self.sink.list();
                let mark = self.sink.log().mark();
                loop {
                    // Whether there is another element is only known after reading it.
                    let (model, numbers, sink) = (self.model, self.numbers, &mut *self.sink);
                    let next = Element { list: &mut list, mark, model, numbers, reference: element, sink };
                    if items.next_element_seed(next)?.is_none() {
                        return Ok(self.sink.close_list(list));
                    }
                }
            }
            None => Err(A::Error::custom("a list, where an object is expected")),
            Some(_) => {
                let value = Value::deserialize(SeqAccessDeserializer::new(items))?;
                Ok(self.other(&value))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<S::Done, A::Error> {
        if let Some(structure) = self.structure() {
            return self.members(structure, members);
        }
        let Some(Shape::Map(_, element)) = self.shape() else {
            let value = Value::deserialize(MapAccessDeserializer::new(members))?;
            return Ok(self.other(&value));
        };
        let (mut map, mut sink) = (Map::new(), ValueSink::default());
        while let Some(key) = members.next_key::<String>()? {
            let target = Target::Value(element);
            let mark = sink.log.mark();
            let value = Seed { model: self.model, numbers: self.numbers, target, sink: &mut sink };
            map.insert(key, members.next_value_seed(value)?);
            sink.log.within_entry(mark);
        }
        self.sink.log().absorb(sink.log);
        Ok(self.sink.value(Value::Object(map)))
    }
}

impl<S: JsonSink> Seed<'_, '_, S> {
    fn members<'de, A: MapAccess<'de>>(
        self,
        structure: &Structure,
        mut members: A,
    ) -> Result<S::Done, A::Error> {
        let sink = self.sink;
        let mut found = sink.structure();
        let (mut unknown, mut cursor) = (None, 0);
        while let Some(Key(key)) = members.next_key::<Key<'de>>()? {
            // As in botocore, a member that is bound to a header may be in the body as well.
            let known = structure.find(&key, cursor, |_| true);
            let Some((index, member)) = known.and_then(|index| Some((index, structure.members.get(index)?)))
            else {
                let set = members.next_value::<Option<IgnoredAny>>()?.is_some();
                if structure.union && set && key != "__type" {
                    unknown.get_or_insert_with(|| key.into_owned());
                }
                continue;
            };
            cursor = index + 1;
            // If a key occurs twice, the last one counts; null means absent.
            sink.forget(&mut found, index);
            sink.member(&mut found, index, &member.name);
            let target = Target::Value(&member.reference);
            let mark = sink.log().mark();
            let seed = Seed { model: self.model, numbers: self.numbers, target, sink: &mut *sink };
            let value = members.next_value_seed(seed)?;
            sink.log().within(mark, &member.name);
            if sink.is_null(&value) {
                sink.discard(&mut found, value);
            } else {
                sink.set(&mut found, index, value);
            }
        }
        if let Target::Structure(_, outside) = self.target {
            for (index, value) in outside {
                if !sink.has(&found, *index) {
                    sink.set_value(&mut found, structure, *index, value.clone());
                }
            }
        }
        match unknown {
            Some(name) if sink.is_empty(&found) => Ok(sink.replace(found, unknown_union_member(name))),
            _ => Ok(sink.close(found, structure)),
        }
    }
}

/// An element of a list, if there is another.
struct Element<'m, 'f, S: JsonSink> {
    list: &'f mut S::List,
    /// The mark at the start of the list.
    mark: Mark,
    model: &'m Model,
    numbers: Numbers,
    reference: &'m Reference,
    sink: &'f mut S,
}

impl<'de, S: JsonSink> DeserializeSeed<'de> for Element<'_, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.sink.element(self.list);
        let target = Target::Value(self.reference);
        let mark = self.sink.log().mark();
        let seed = Seed { model: self.model, numbers: self.numbers, target, sink: &mut *self.sink };
        let item = seed.deserialize(from)?;
        self.sink.log().within_element(self.mark, mark);
        self.sink.push(self.list, item);
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Returns `None` if the number is not a time in the supported range.
fn seconds(number: &Value) -> Option<Value> {
    let time = number.as_number().and_then(Timestamp::from_number)?;
    Some(Value::String(time.iso8601()))
}
