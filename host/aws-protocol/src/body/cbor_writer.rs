//! Writes the subset of CBOR (RFC 8949) that requests need.

use serde_json::{Number, Value};

use crate::{input::Input, model::Member, timestamp::TimestampFormat};

/// Writes a value.
pub(crate) fn value(input: &Input<'_>, to: &mut Vec<u8>) {
    match input {
        Input::Structure(members) => structure(members, to),
        Input::List(_, items) => {
            head(4, items.len() as u64, to);
            for item in items {
                value(item, to);
            }
        }
        Input::Map(_, _, entries) => {
            head(5, entries.len() as u64, to);
            for (name, entry) in entries {
                text(name, to);
                value(entry, to);
            }
        }
        Input::Text(value) => text(value, to),
        Input::Integer(value) => number(value, to),
        Input::Float(number) => double(*number, to),
        Input::Boolean(value) => to.push(if *value { 0xf5 } else { 0xf4 }),
        Input::Blob(bytes) => {
            head(2, bytes.len() as u64, to);
            to.extend(bytes);
        }
        Input::Time(time) => {
            // Tag 1: seconds since 1970.
            to.push(0xc1);
            if let Value::Number(seconds) = time.encode(TimestampFormat::Unix) {
                number(&seconds, to);
            }
        }
        Input::Document(value) => text(&value.to_string(), to),
    }
}

fn structure(members: &[(&Member, Input<'_>)], to: &mut Vec<u8>) {
    head(5, members.len() as u64, to);
    for (member, input) in members {
        text(member.reference.name.as_ref().unwrap_or(&member.name), to);
        value(input, to);
    }
}

fn number(value: &Number, to: &mut Vec<u8>) {
    match (value.as_u64(), value.as_i64(), value.as_f64()) {
        (Some(value), _, _) => head(0, value, to),
        (None, Some(value), _) => head(1, value.unsigned_abs() - 1, to),
        (None, None, value) => double(value.unwrap_or_default(), to),
    }
}

fn text(value: &str, to: &mut Vec<u8>) {
    head(3, value.len() as u64, to);
    to.extend(value.as_bytes());
}

fn double(value: f64, to: &mut Vec<u8>) {
    to.push(0xfb);
    to.extend(value.to_be_bytes());
}

/// Writes the major type and its argument, in the shortest form.
#[expect(clippy::cast_possible_truncation, reason = "the width is checked before each cast")]
fn head(major: u8, argument: u64, to: &mut Vec<u8>) {
    let major = major << 5;
    match argument {
        0..24 => to.push(major | argument as u8),
        24..0x100 => to.extend([major | 0x18, argument as u8]),
        0x100..0x1_0000 => {
            to.push(major | 0x19);
            to.extend((argument as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            to.push(major | 0x1a);
            to.extend((argument as u32).to_be_bytes());
        }
        _ => {
            to.push(major | 0x1b);
            to.extend(argument.to_be_bytes());
        }
    }
}
