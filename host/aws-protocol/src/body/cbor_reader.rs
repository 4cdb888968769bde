//! Reads CBOR bodies (RFC 8949) in one pass, guided by the model.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use berth_core::lossy;
use serde_json::{Map, Value};

use super::{
    json_sink::{JsonSink, ValueSink},
    repairs::RepairLog,
    scalar,
};
use crate::{
    model::{Model, Reference, Shape, Structure},
    timestamp::Timestamp,
};

/// Protects the stack.
const MAX_DEPTH: usize = 100;

/// Reads a body that contains the members. An empty body has none.
pub(crate) fn decode(
    log: &mut RepairLog,
    model: &Model,
    output: &Structure,
    body: &[u8],
) -> Result<Value, String> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let mut reader = Reader { rest: body, depth: 0, log };
    let value = reader.item(Expected::Structure(model, output))?;
    if reader.rest.is_empty() { Ok(value) } else { Err("unexpected data after the CBOR item".to_owned()) }
}

/// Reads a body without a model: an error.
pub(crate) fn decode_any(body: &[u8]) -> Option<Value> {
    Reader { rest: body, depth: 0, log: &mut RepairLog::default() }.item(Expected::Anything).ok()
}

#[derive(Clone, Copy)]
enum Expected<'m> {
    Structure(&'m Model, &'m Structure),
    Value(&'m Model, &'m Reference),
    Anything,
}

impl<'m> Expected<'m> {
    fn structure(self) -> Option<(&'m Model, &'m Structure)> {
        match self {
            Self::Structure(model, structure) => Some((model, structure)),
            Self::Value(model, reference) => Some((model, model.structure(reference)?)),
            Self::Anything => None,
        }
    }

    fn shape(self) -> Option<&'m Shape> {
        match self {
            Self::Value(model, reference) => Some(model.shape(reference)),
            Self::Structure(..) | Self::Anything => None,
        }
    }

    fn element(self) -> Self {
        match self {
            Self::Value(model, reference) => match model.shape(reference) {
                Shape::List(element) | Shape::Map(_, element) => Self::Value(model, element),
                _ => Self::Anything,
            },
            Self::Structure(..) | Self::Anything => Self::Anything,
        }
    }
}

struct Reader<'b, 'l> {
    rest: &'b [u8],
    depth: usize,
    log: &'l mut RepairLog,
}

/// The number of elements of a list or map.
#[derive(Clone, Copy)]
enum Length {
    Known(u64),
    UntilBreak,
}

impl<'b> Reader<'b, '_> {
    fn take(&mut self, count: u64) -> Result<&'b [u8], String> {
        let taken = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let (taken, rest) = taken.ok_or("CBOR: the body is truncated")?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: u64) -> Result<u64, String> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// Returns the major type, the additional information, and the argument if there is one.
    fn head(&mut self) -> Result<(u8, u8, Option<u64>), String> {
        let first = self.number(1)?.to_le_bytes()[0];
        let info = first & 0x1f;
        let argument = match info {
            0..24 => Some(u64::from(info)),
            24..28 => Some(self.number(1 << (info - 24))?),
            31 => None,
            _ => return Err("CBOR: a reserved length".to_owned()),
        };
        Ok((first >> 5, info, argument))
    }

    fn at_break(&mut self) -> bool {
        match self.rest.strip_prefix(&[0xff]) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Returns whether another element follows, and counts it.
    fn more(&mut self, length: &mut Length) -> bool {
        match length {
            Length::Known(0) => false,
            Length::Known(left) => {
                *left -= 1;
                true
            }
            Length::UntilBreak => !self.at_break(),
        }
    }

    fn item(&mut self, expected: Expected<'_>) -> Result<Value, String> {
        if self.depth >= MAX_DEPTH {
            return Err("CBOR: nested too deeply".to_owned());
        }
        self.depth += 1;
        let value = self.item_inner(expected)?;
        self.depth -= 1;
        Ok(self.fitting(expected, value))
    }

    /// Converts a value to the type in the model.
    fn fitting(&mut self, expected: Expected<'_>, value: Value) -> Value {
        let fitting = match (expected.shape(), value) {
            (Some(Shape::Structure(structure)), value) if structure.document => return value,
            (None, value)
            | (_, value @ Value::Null)
            | (Some(Shape::Structure(_) | Shape::Map(..)), value @ Value::Object(_))
            | (Some(Shape::List(_)), value @ Value::Array(_))
            | (Some(Shape::String | Shape::Blob), value @ Value::String(_))
            | (Some(Shape::Integer | Shape::Float), value @ Value::Number(_))
            | (Some(Shape::Boolean), value @ Value::Bool(_)) => return value,
            (Some(Shape::String), value) => {
                self.log.coerced();
                return value.to_string().into();
            }
            (Some(Shape::Timestamp), Value::String(text)) => scalar::timestamp(&text),
            (Some(Shape::Timestamp), Value::Number(number)) => {
                Timestamp::from_number(&number).map(|time| time.iso8601().into())
            }
            (Some(Shape::Integer), Value::String(text)) => scalar::integer(&text),
            (Some(Shape::Float), Value::String(text)) => scalar::float(&text),
            _ => None,
        };
        fitting.unwrap_or_else(|| {
            self.log.left_out();
            Value::Null
        })
    }

    fn item_inner(&mut self, expected: Expected<'_>) -> Result<Value, String> {
        let (major, info, argument) = self.head()?;
        let length = argument.map_or(Length::UntilBreak, Length::Known);
        Ok(match (major, argument) {
            (0, Some(number)) => number.into(),
            (1, Some(number)) => match i64::try_from(number) {
                Ok(number) => (-1 - number).into(),
                #[expect(clippy::cast_precision_loss, reason = "a 64-bit integer cannot hold it")]
                Err(_) => scalar::number(-1.0 - number as f64),
            },
            (2, _) => BASE64.encode(self.bytes(2, length)?).into(),
            (3, _) => {
                let bytes = self.bytes(3, length)?;
                let (text, replaced) = lossy(&bytes);
                self.log.repairs.replaced += replaced;
                text.into()
            }
            (4, _) => return self.list(expected, length),
            (5, _) => return self.map(expected, length),
            // Only tag 1, a time, is in use, and the model contains that as well.
            (6, Some(_)) => return self.item(expected),
            (7, _) => match (info, argument) {
                (20, _) => false.into(),
                (21, _) => true.into(),
                (22 | 23, _) => Value::Null,
                (25, Some(bits)) => scalar::number(half(bits)),
                (26, Some(bits)) => {
                    let bits = u32::try_from(bits).map_err(|error| error.to_string())?;
                    scalar::number(f32::from_bits(bits).into())
                }
                (27, Some(bits)) => scalar::number(f64::from_bits(bits)),
                // An undefined simple value.
                (_, Some(_)) => {
                    self.log.left_out();
                    Value::Null
                }
                _ => return Err("CBOR: a break outside a list or map".to_owned()),
            },
            _ => return Err("CBOR: an item of unknown length".to_owned()),
        })
    }

    fn bytes(&mut self, major: u8, length: Length) -> Result<Vec<u8>, String> {
        let Length::UntilBreak = length else {
            let Length::Known(length) = length else { return Ok(Vec::new()) };
            return Ok(self.take(length)?.to_vec());
        };
        let mut bytes = Vec::new();
        while !self.at_break() {
            match self.head()? {
                (part, _, Some(length)) if part == major => bytes.extend(self.take(length)?),
                _ => return Err("CBOR: a chunk of another type".to_owned()),
            }
        }
        Ok(bytes)
    }

    fn list(&mut self, expected: Expected<'_>, mut length: Length) -> Result<Value, String> {
        let mut items = Vec::new();
        let list = self.log.mark();
        while self.more(&mut length) {
            let mark = self.log.mark();
            items.push(self.item(expected.element())?);
            self.log.within_element(list, mark);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, expected: Expected<'_>, mut length: Length) -> Result<Value, String> {
        let Some((model, structure)) = expected.structure().filter(|(_, structure)| !structure.document)
        else {
            let mut entries = Map::new();
            while self.more(&mut length) {
                let key = self.key()?;
                let mark = self.log.mark();
                let value = self.item(expected.element())?;
                self.log.within_entry(mark);
                // Null means absent, as in botocore.
                if let Some(key) = key
                    && !value.is_null()
                {
                    entries.insert(key, value);
                }
            }
            return Ok(Value::Object(entries));
        };
        let mut found = Vec::new();
        while self.more(&mut length) {
            let key = self.key()?;
            let index = key.and_then(|key| structure.members.iter().position(|member| member.name == key));
            let Some((index, member)) = index.and_then(|index| Some((index, structure.members.get(index)?)))
            else {
                let mut ignored =
                    Reader { rest: self.rest, depth: self.depth, log: &mut RepairLog::default() };
                ignored.item(Expected::Anything)?;
                self.rest = ignored.rest;
                continue;
            };
            let mark = self.log.mark();
            let value = self.item(Expected::Value(model, &member.reference))?;
            self.log.within(mark, &member.name);
            found.extend((!value.is_null()).then_some((index, value)));
        }
        Ok(ValueSink::default().close(found, structure))
    }

    /// Returns a key; `None` if it is not a text, so that it matches no member.
    fn key(&mut self) -> Result<Option<String>, String> {
        if let Value::String(key) = self.item(Expected::Anything)? {
            return Ok(Some(key));
        }
        self.log.coerced();
        Ok(None)
    }
}

/// Decodes a 16-bit float.
fn half(bits: u64) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::try_from((bits >> 10) & 0x1f).unwrap_or_default();
    let fraction = f64::from(u32::try_from(bits & 0x3ff).unwrap_or_default());
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (fraction + 1024.0) * 2_f64.powi(exponent - 25),
    }
}
