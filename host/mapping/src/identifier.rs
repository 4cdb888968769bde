//! Identifiers that Port accepts.

use std::borrow::Cow;

use crate::letters::is_letter;

/// What [`port_identifier`] does, as a JQ expression, for default mappings and for users' own.
pub const PORT_IDENTIFIER_JQ: &str =
    r#"gsub("(?<c>[^\\p{L}0-9@_.+:\\\\/=-])"; .c | @uri | gsub("%"; "=") | gsub("~"; "=7E"))"#;

/// A text as an entity's identifier, or as the target of a relation.
///
/// Port accepts letters of any script, the digits `0` to `9` and `@ _ . + : \ / = -`, at most 1,000
/// characters, and neither `.` nor `..` (Port's API reference: `^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/=-]+$`).
/// Many of AWS's names may hold more, such as spaces in those of alarms.
///
/// Each other character is replaced by the bytes of its UTF-8 form, each as `=` and two hexadecimal
/// digits in upper case, as in quoted-printable: `CPU > 80%` becomes `CPU=20=3E=2080=25`. A text without
/// such a character stays as it is, also where it holds `=` itself.
///
/// The replacement works character by character, so the parts of an identifier may be replaced
/// before they are joined. It does not shorten: what is longer than 1,000 characters afterwards, Port
/// refuses.
///
/// To decode, replace each `=` with two upper-case hexadecimal digits by the byte that they stand for.
/// A name that itself holds `=20` reads as one with a space; the resource's own name is in the
/// entity's title or properties.
///
/// ```
/// assert_eq!(berth_mapping::port_identifier("alarm:CPU > 80%"), "alarm:CPU=20=3E=2080=25");
/// assert_eq!(berth_mapping::port_identifier("alarm:Überlast"), "alarm:Überlast");
/// ```
pub fn port_identifier(text: &str) -> Cow<'_, str> {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    if text.bytes().all(is_accepted_byte) || text.chars().all(is_accepted) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_accepted(c) {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            out.push('=');
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }
    Cow::Owned(out)
}

/// Whether Port accepts an ASCII character in an identifier.
fn is_accepted_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'@' | b'_' | b'.' | b'+' | b':' | b'\\' | b'/' | b'=' | b'-')
}

fn is_accepted(c: char) -> bool {
    u8::try_from(c).ok().filter(u8::is_ascii).map_or_else(|| is_letter(c), is_accepted_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that an encoded one stands for, by the rule that is documented.
    fn decoded(text: &str) -> String {
        let mut rest = text.as_bytes();
        let mut out = Vec::new();
        while let [first, after @ ..] = rest {
            let digits = after.get(..2).filter(|digits| {
                *first == b'=' && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))
            });
            if let Some(digits) = digits {
                out.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
                rest = &after[2..];
            } else {
                out.push(*first);
                rest = after;
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_identifier_that_port_accepts_stays_as_it_is() {
        for text in [
            "",
            "arn:aws:iam::111122223333:role/service-role/a_b.c+d@e=f",
            r"back\slash",
            "already=20encoded",
            "Überlast",
            "alarm:負荷が高い",
            "тревога",
            "ﬁ",
            "\u{10480}",
        ] {
            assert!(matches!(port_identifier(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn each_other_character_is_its_bytes_in_hexadecimal() {
        for (text, expected) in [
            ("CPU > 80% (prod)", "CPU=20=3E=2080=25=20=28prod=29"),
            ("rds!db-1", "rds=21db-1"),
            ("/aws/app#1", "/aws/app=231"),
            ("team=ops,eu", "team=ops=2Ceu"),
            ("~!'()*|\"", "=7E=21=27=28=29=2A=7C=22"),
            ("a\u{0}b\tc\n\u{7f}", "a=00b=09c=0A=7F"),
            ("Überlast €", "Überlast=20=E2=82=AC"),
            // Neither a mark nor a number is a letter, be it `Alphabetic`.
            ("u\u{308}", "u=CC=88"),
            ("\u{345}", "=CD=85"),
            ("Ⅷ", "=E2=85=A7"),
            ("٣²", "=D9=A3=C2=B2"),
            ("🚀", "=F0=9F=9A=80"),
            ("\u{10ffff}", "=F4=8F=BF=BF"),
        ] {
            let identifier = port_identifier(text);
            assert_eq!(identifier, expected);
            assert_eq!(decoded(&identifier), text);
            assert_eq!(port_identifier(&identifier), identifier, "it is accepted from then on");
        }
    }

    #[test]
    fn of_ascii_only_what_the_pattern_names_is_accepted() {
        let accepted: String =
            (0..128_u8).map(char::from).filter(|c| port_identifier(&c.to_string()).len() == 1).collect();
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ\\_abcdefghijklmnopqrstuvwxyz";
        assert_eq!(accepted, format!("+-./0123456789:=@{letters}"));
    }

    #[test]
    fn parts_may_be_encoded_before_they_are_joined() {
        let parts = ["team, a", "/", "ü", "e\u{301}=", "20"];
        let encoded: Vec<_> = parts.iter().map(|part| port_identifier(part)).collect();
        assert_eq!(encoded.concat(), port_identifier(&parts.concat()));
    }

    #[test]
    fn every_character_comes_back() {
        let all: String = ('\0'..=char::MAX).filter(|c| *c != '=').collect();
        assert_eq!(decoded(&port_identifier(&all)), all);
    }
}
