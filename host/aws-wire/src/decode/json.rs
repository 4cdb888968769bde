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
    fn converts(&self) -> bool {
        self.model.protocol == Protocol::RestJson
    }

    fn text(self, text: Cow<'_, str>) -> F::Done {
        let value = match self.shape() {
            Some(Shape::Timestamp) => scalar::timestamp(text.into_owned()),
            Some(Shape::Blob) => Value::String(scalar::base64(text.into_owned())),
            Some(Shape::Boolean) if self.converts() => Value::Bool(text.eq_ignore_ascii_case("true")),
            Some(Shape::Integer) if self.converts() => {
                scalar::integer(text.trim()).unwrap_or(Value::String(text.into_owned()))
            }
            Some(Shape::Float) if self.converts() => {
                scalar::float(text.trim()).unwrap_or(Value::String(text.into_owned()))
            }
            _ if self.quirk().is_none() => return self.form.string(text),
            _ => Value::String(text.into_owned()),
        };
        self.form.value(match self.quirk() {
            Some(quirk) => scalar::unquirk(quirk, value),
            None => value,
        })
    }
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
        Ok(self.scalar()?.form.value(Value::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<F::Done, E> {
        let seed = self.scalar()?;
        let value = match seed.shape() {
            Some(Shape::Timestamp) => seconds(&value.into()),
            #[expect(clippy::cast_precision_loss, reason = "a number that the model calls a float")]
            Some(Shape::Float) if seed.converts() => scalar::number(value as f64),
            _ => value.into(),
        };
        Ok(seed.form.value(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<F::Done, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Ok(self.scalar()?.form.value(value.into())),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<F::Done, E> {
        let seed = self.scalar()?;
        let value = match seed.shape() {
            Some(Shape::Timestamp) => seconds(&value.into()),
            #[expect(clippy::cast_possible_truncation, reason = "within bounds, checked here")]
            Some(Shape::Integer) if seed.converts() && value.abs() < 9e18 => (value as i64).into(),
            _ => value.into(),
        };
        Ok(seed.form.value(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<F::Done, E> {
        Ok(self.scalar()?.text(Cow::Borrowed(text)))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<F::Done, E> {
        Ok(self.scalar()?.text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<F::Done, A::Error> {
        match self.shape() {
            Some(Shape::List(element)) => {
                let mut list = self.form.list();
                loop {
                    // Whether there is another element is only known when it is read.
                    let (model, form) = (self.model, &mut *self.form);
                    let next = Element { list: &mut list, model, reference: element, form };
                    if items.next_element_seed(next)?.is_none() {
                        return Ok(self.form.close_list(list));
                    }
                }
            }
            None | Some(Shape::Structure(_) | Shape::Map(..)) => {
                Err(A::Error::custom("a list, where an object is expected"))
            }
            Some(_) => Ok(self.form.value(Value::deserialize(SeqAccessDeserializer::new(items))?)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<F::Done, A::Error> {
        if let Some(structure) = self.structure() {
            return self.members(structure, members);
        }
        match self.shape() {
            Some(Shape::Map(_, element)) => {
                let mut map = Map::new();
                while let Some(key) = members.next_key::<String>()? {
                    let target = Target::Value(element);
                    let value = Seed { model: self.model, target, form: &mut Values };
                    map.insert(key, members.next_value_seed(value)?);
                }
                Ok(self.form.value(Value::Object(map)))
            }
            Some(Shape::List(_)) => Err(A::Error::custom("an object, where a list is expected")),
            _ => Ok(self.form.value(Value::deserialize(MapAccessDeserializer::new(members))?)),
        }
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
            let value = members.next_value_seed(Seed { model: self.model, target, form: &mut *form })?;
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
    model: &'m Model,
    reference: &'m Reference,
    form: &'f mut F,
}

impl<'de, F: Form> DeserializeSeed<'de> for Element<'_, '_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.form.element(self.list);
        let target = Target::Value(self.reference);
        let item = Seed { model: self.model, target, form: &mut *self.form }.deserialize(from)?;
        self.form.push(self.list, item);
        Ok(())
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
