//! JSON bodies, read in one streaming pass guided by the model.

use std::{borrow::Cow, fmt};

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};
use serde_json::{Map, Value};

use super::{
    form::{Form, Values, unknown_union_member},
    repairs::Mark,
    scalar,
};
use crate::{
    Protocol,
    model::{Model, Quirk, Reference, Shape, Structure},
    timestamp::Timestamp,
};

/// Reads a body that holds the members, besides those that came outside of it. An empty body has none.
pub(super) fn decode<F: Form>(
    form: &mut F,
    model: &Model,
    output: &Structure,
    body: &[u8],
    outside: &[(usize, Value)],
) -> Result<F::Done, String> {
    let body = if body.is_empty() { b"{}" } else { body };
    read(body, Seed { model, target: Target::Structure(output, outside), form })
}

/// Reads a body that is one value.
pub(super) fn decode_value<F: Form>(
    form: &mut F,
    model: &Model,
    reference: &Reference,
    body: &[u8],
) -> Result<F::Done, String> {
    let body = match (model.shape(reference), body) {
        (Shape::List(_), []) => b"[]",
        (_, []) => b"{}",
        (_, body) => body,
    };
    read(body, Seed { model, target: Target::Value(reference), form })
}

fn read<F: Form>(body: &[u8], seed: Seed<'_, '_, F>) -> Result<F::Done, String> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = seed.deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

#[derive(Clone, Copy)]
enum Target<'m> {
    /// A structure, and members of it that are known already.
    Structure(&'m Structure, &'m [(usize, Value)]),
    Value(&'m Reference),
}

/// What the model expects at this place, and what is made of it.
struct Seed<'m, 'f, F> {
    model: &'m Model,
    target: Target<'m>,
    form: &'f mut F,
}

impl<'m, F: Form> Seed<'m, '_, F> {
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

    /// Only restJson gives every number the type that the model says, as botocore has it.
    fn converts(&self) -> bool {
        self.model.protocol == Protocol::RestJson
    }

    /// Whether this is the body itself, which must be an object.
    fn is_body(&self) -> bool {
        matches!(self.target, Target::Structure(..))
    }

    /// Leaves out a value that is not what the model says.
    fn left_out(self) -> F::Done {
        self.form.log().left_out();
        self.form.value(Value::Null)
    }

    /// Leaves out a scalar where the model has something that holds other values. The error does not
    /// repeat it: it may be a secret.
    fn scalar<E: Error>(self, made: impl FnOnce(&Shape) -> Option<Made>) -> Result<F::Done, E> {
        if self.is_body() {
            return Err(E::invalid_type(Unexpected::Other("a scalar"), &self));
        }
        Ok(match self.shape().and_then(made) {
            Some(Made::Right(value)) => self.form.value(value),
            Some(Made::Text(text)) => self.odd(text),
            None => self.left_out(),
        })
    }

    /// The text of a value that is something else than a text.
    fn odd(self, text: String) -> F::Done {
        self.form.log().odd();
        self.form.string(text.into())
    }

    fn text<E: Error>(self, text: Cow<'_, str>) -> Result<F::Done, E> {
        let value = match self.shape() {
            Some(Shape::String) if self.quirk().is_none() => return Ok(self.form.string(text)),
            Some(Shape::String) => Some(Value::String(text.into_owned())),
            Some(Shape::Timestamp) => scalar::timestamp(&text),
            Some(Shape::Blob) => Some(Value::String(scalar::base64(text.into_owned()))),
            // botocore takes any other text for false.
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

    /// A list or an object where the model has a scalar, or the other of the two.
    fn other(self, value: &Value) -> F::Done {
        match self.shape() {
            Some(Shape::String) => self.odd(value.to_string()),
            _ => self.left_out(),
        }
    }
}

/// What a scalar is by the model.
enum Made {
    Right(Value),
    /// The text of another type's value.
    Text(String),
}

impl<'de, F: Form> DeserializeSeed<'de> for Seed<'_, '_, F> {
    type Value = F::Done;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<F::Done, D::Error> {
        if self.structure().is_some_and(|structure| structure.document) {
            return Ok(self.form.value(Value::deserialize(from)?));
        }
        from.deserialize_any(self)
    }
}

impl<'de, F: Form> Visitor<'de> for Seed<'_, '_, F> {
    type Value = F::Done;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.shape() {
            None | Some(Shape::Structure(_) | Shape::Map(..)) => "an object",
            Some(Shape::List(_)) => "a list",
            Some(_) => "a scalar",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<F::Done, E> {
        Ok(self.form.value(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<F::Done, E> {
        self.scalar(|shape| match shape {
            Shape::Boolean => Some(Made::Right(Value::Bool(value))),
            Shape::String => Some(Made::Text(value.to_string())),
            _ => None,
        })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<F::Done, E> {
        let converts = self.converts();
        self.scalar(|shape| match shape {
            #[expect(clippy::cast_precision_loss, reason = "a number that the model calls a float")]
            Shape::Float if converts => Some(Made::Right(scalar::number(value as f64))),
            Shape::Integer | Shape::Float => Some(Made::Right(value.into())),
            Shape::Timestamp => seconds(&value.into()).map(Made::Right),
            Shape::String => Some(Made::Text(value.to_string())),
            _ => None,
        })
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<F::Done, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.scalar(|shape| match shape {
                Shape::Integer | Shape::Float => Some(Made::Right(value.into())),
                Shape::String => Some(Made::Text(value.to_string())),
                _ => None,
            }),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<F::Done, E> {
        let truncates = self.converts();
        self.scalar(|shape| match shape {
            #[expect(clippy::cast_possible_truncation, reason = "within bounds, checked here")]
            Shape::Integer if value.abs() < 9e18 && (truncates || value.fract() == 0.0) => {
                Some(Made::Right((value as i64).into()))
            }
            Shape::Integer | Shape::Float => Some(Made::Right(value.into())),
            Shape::Timestamp => seconds(&value.into()).map(Made::Right),
            Shape::String => Some(Made::Text(Value::from(value).to_string())),
            _ => None,
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<F::Done, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<F::Done, E> {
        self.text(Cow::Owned(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<F::Done, A::Error> {
        match self.shape() {
            Some(Shape::List(element)) => {
                let mut list = self.form.list();
                let mark = self.form.log().mark();
                loop {
                    // Whether there is another element is only known when it is read.
                    let (model, form) = (self.model, &mut *self.form);
                    let next = Element { list: &mut list, mark, model, reference: element, form };
                    if items.next_element_seed(next)?.is_none() {
                        return Ok(self.form.close_list(list));
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

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<F::Done, A::Error> {
        if let Some(structure) = self.structure() {
            return self.members(structure, members);
        }
        let Some(Shape::Map(_, element)) = self.shape() else {
            let value = Value::deserialize(MapAccessDeserializer::new(members))?;
            return Ok(self.other(&value));
        };
        let (mut map, mut form) = (Map::new(), Values::default());
        while let Some(key) = members.next_key::<String>()? {
            let target = Target::Value(element);
            let mark = form.log.mark();
            let value = Seed { model: self.model, target, form: &mut form };
            map.insert(key, members.next_value_seed(value)?);
            form.log.within_entry(mark);
        }
        self.form.log().absorb(form.log);
        Ok(self.form.value(Value::Object(map)))
    }
}

impl<F: Form> Seed<'_, '_, F> {
    fn members<'de, A: MapAccess<'de>>(
        self,
        structure: &Structure,
        mut members: A,
    ) -> Result<F::Done, A::Error> {
        let form = self.form;
        let mut found = form.structure();
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
            // Of a key that comes twice, the last counts; null is none.
            form.forget(&mut found, index);
            form.member(&mut found, index, &member.name);
            let target = Target::Value(&member.reference);
            let mark = form.log().mark();
            let value = members.next_value_seed(Seed { model: self.model, target, form: &mut *form })?;
            form.log().within(mark, &member.name);
            if form.is_null(&value) {
                form.discard(&mut found, value);
            } else {
                form.set(&mut found, index, value);
            }
        }
        if let Target::Structure(_, outside) = self.target {
            for (index, value) in outside {
                if !form.has(&found, *index) {
                    form.set_value(&mut found, structure, *index, value.clone());
                }
            }
        }
        match unknown {
            Some(name) if form.is_empty(&found) => Ok(form.replace(found, unknown_union_member(name))),
            _ => Ok(form.close(found, structure)),
        }
    }
}

/// An element of a list, if there is another.
struct Element<'m, 'f, F: Form> {
    list: &'f mut F::List,
    /// Where the list began.
    mark: Mark,
    model: &'m Model,
    reference: &'m Reference,
    form: &'f mut F,
}

impl<'de, F: Form> DeserializeSeed<'de> for Element<'_, '_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.form.element(self.list);
        let target = Target::Value(self.reference);
        let mark = self.form.log().mark();
        let item = Seed { model: self.model, target, form: &mut *self.form }.deserialize(from)?;
        self.form.log().within_element(self.mark, mark);
        self.form.push(self.list, item);
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// `None` where the number is no time: out of reach.
fn seconds(number: &Value) -> Option<Value> {
    let time = number.as_number().and_then(Timestamp::from_number)?;
    Some(Value::String(time.iso8601()))
}
