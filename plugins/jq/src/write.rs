//! JQ values as JSON, with numbers as libjq writes them.

use jaq_json::{Num, Val};

/// Appends a value as JSON. As with libjq, not-a-number is null and infinity the largest number.
pub(crate) fn write(value: &Val, out: &mut Vec<u8>) {
    match value {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(true) => out.extend_from_slice(b"true"),
        Val::Bool(false) => out.extend_from_slice(b"false"),
        Val::Num(Num::Float(number)) => write_float(*number, out),
        Val::Num(Num::Dec(text)) => match text.parse() {
            Ok(number) => write_float(number, out),
            Err(_) => out.extend_from_slice(b"null"),
        },
        Val::Num(integer) => out.extend_from_slice(integer.to_string().as_bytes()),
        Val::TStr(text) | Val::BStr(text) => write_str(&String::from_utf8_lossy(text), out),
        Val::Arr(elements) => {
            out.push(b'[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(element, out);
            }
            out.push(b']');
        }
        Val::Obj(members) => {
            out.push(b'{');
            for (position, (key, member)) in members.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                match key {
                    Val::TStr(text) | Val::BStr(text) => write_str(&String::from_utf8_lossy(text), out),
                    other => write_str(&other.to_string(), out),
                }
                out.push(b':');
                write(member, out);
            }
            out.push(b'}');
        }
    }
}

/// Appends a string as JSON.
pub(crate) fn write_str(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        match rest.as_bytes()[at] {
            escaped @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', escaped]),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

/// `1.0` is 1 and `-0.0` is 0, as after libjq.
fn write_float(number: f64, out: &mut Vec<u8>) {
    /// Up to here libjq writes integers without an exponent.
    const INTEGERS: f64 = 1e17;
    if number.is_nan() {
        out.extend_from_slice(b"null");
    } else if number.is_infinite() {
        write_float(f64::MAX.copysign(number), out);
    } else if number.fract() == 0.0 && number.abs() <= INTEGERS {
        #[expect(clippy::cast_possible_truncation, reason = "checked just above")]
        out.extend_from_slice((number as i64).to_string().as_bytes());
    } else {
        out.extend_from_slice(format!("{number:?}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_json() {
        for (value, json) in [
            (Val::from(1.0), "1"),
            (Val::from(-0.0), "0"),
            (Val::from(1.5), "1.5"),
            (Val::from(1e300), "1e300"),
            (Val::from(f64::NAN), "null"),
            (Val::from(f64::INFINITY), "1.7976931348623157e308"),
            (Val::from(f64::NEG_INFINITY), "-1.7976931348623157e308"),
            (Val::from(1e17), "100000000000000000"),
            (Val::from("a\"\\\n\u{1f}ü".to_owned()), r#""a\"\\\u000a\u001fü""#),
        ] {
            let mut out = Vec::new();
            write(&value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), json);
        }
        for json in ["9007199254740993", "123456789012345678901234567890", r#"{"b":[1,null,true],"a":{}}"#] {
            let mut out = Vec::new();
            write(&jaq_json::read::parse_single(json.as_bytes()).unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), json);
        }
    }
}
