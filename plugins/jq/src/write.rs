//! JQ values as JSON, with numbers as libjq writes them.

use berth_mapping::{append_float, append_str};
use jaq_json::{Num, Val};

/// Appends a value as JSON. As with libjq, not-a-number is null and infinity the largest number.
pub(crate) fn write(value: &Val, out: &mut Vec<u8>) {
    match value {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(true) => out.extend_from_slice(b"true"),
        Val::Bool(false) => out.extend_from_slice(b"false"),
        Val::Num(Num::Float(number)) => append_float(*number, out),
        Val::Num(Num::Dec(text)) => match text.parse() {
            Ok(number) => append_float(number, out),
            Err(_) => out.extend_from_slice(b"null"),
        },
        Val::Num(integer) => out.extend_from_slice(integer.to_string().as_bytes()),
        Val::TStr(text) | Val::BStr(text) => append_str(&String::from_utf8_lossy(text), out),
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
                    Val::TStr(text) | Val::BStr(text) => append_str(&String::from_utf8_lossy(text), out),
                    other => append_str(&other.to_string(), out),
                }
                out.push(b':');
                write(member, out);
            }
            out.push(b'}');
        }
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
