//! Times as the resource documents have them: UTC with `Z`, no fraction where it is zero, else six
//! digits.
//!
//! AWS clients print the same instant in several forms: `+00:00` or `Z`, in the local offset, with
//! three, six or nine digits of a second.

use crate::scan;

/// Appends the JSON text of a time.
pub fn append_time(out: &mut Vec<u8>, json: &str) {
    match normal(json) {
        Some(time) => out.extend_from_slice(time.as_bytes()),
        None => out.extend_from_slice(json.as_bytes()),
    }
}

/// Appends a JSON value in which the strings of members of these names are times.
pub fn append_times(out: &mut Vec<u8>, json: &str, names: &[&str]) {
    let bytes = json.as_bytes();
    let part = |from: usize, to: usize| json.get(from..to).unwrap_or_default();
    let mut is_time = false;
    // Up to `copied` it is written, up to `at` it is read.
    let (mut copied, mut at) = (0, 0);
    while let Some((opened, _)) = scan::string_end(bytes, at) {
        let end = scan::string_end(bytes, opened).map_or(bytes.len(), |(end, _)| end);
        if part(end, bytes.len()).trim_start().starts_with(':') {
            is_time = names.contains(&part(opened, end - 1));
        } else if is_time {
            out.extend_from_slice(part(copied, opened - 1).as_bytes());
            append_time(out, part(opened - 1, end));
            copied = end;
        }
        at = end;
    }
    out.extend_from_slice(part(copied, bytes.len()).as_bytes());
}

/// The normal form of a quoted time in JSON; `None` when it is no time or has that form already.
pub fn normal(json: &str) -> Option<String> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    let (date_time, rest) = text.split_at_checked(19)?;
    let b = date_time.as_bytes();
    if [b[4], b[7], b[10], b[13], b[16]] != *b"--T::" {
        return None;
    }
    let number = |from: usize, to: usize| digits(date_time.get(from..to)?);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("", rest),
    };
    if offset == "Z" && (fraction.is_empty() && !rest.starts_with('.')) {
        return None;
    }
    let (year, month, day, minutes) = in_utc(year, month, day, hour * 60 + minute - offset_minutes(offset)?);
    let micros = digits(&format!("{:0<6}", fraction.get(..6).unwrap_or(fraction)))?;
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    Some(format!(
        "\"{year:04}-{month:02}-{day:02}T{:02}:{:02}:{second:02}{fraction}Z\"",
        minutes / 60,
        minutes % 60
    ))
}

fn digits(text: &str) -> Option<i32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// `Z`, `+HH:MM`, `-HHMM`, … in minutes.
fn offset_minutes(offset: &str) -> Option<i32> {
    if offset == "Z" {
        return Some(0);
    }
    let (sign, rest) = match offset.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_at_checked(2)?;
    let (hours, minutes) = (digits(hours)?, digits(minutes.strip_prefix(':').unwrap_or(minutes))?);
    (hours < 24 && minutes < 60 && rest.len() >= 4).then_some(sign * (hours * 60 + minutes))
}

/// Carries a minute of the day that is less than a day out of range into the date.
fn in_utc(mut year: i32, mut month: i32, mut day: i32, mut minutes: i32) -> (i32, i32, i32, i32) {
    if minutes < 0 {
        minutes += 24 * 60;
        day -= 1;
        if day == 0 {
            (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
            day = days_in(year, month);
        }
    } else if minutes >= 24 * 60 {
        minutes -= 24 * 60;
        day += 1;
        if day > days_in(year, month) {
            (year, month, day) = if month == 12 { (year + 1, 1, 1) } else { (year, month + 1, 1) };
        }
    }
    (year, month, day, minutes)
}

fn days_in(year: i32, month: i32) -> i32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn times_have_one_form() {
        for (given, expected) in [
            ("2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05.000Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05.123000+00:00", "2024-01-02T03:04:05.123000Z"),
            ("2024-01-02T03:04:05.123Z", "2024-01-02T03:04:05.123000Z"),
            ("2024-01-02T03:04:05.123456789Z", "2024-01-02T03:04:05.123456Z"),
            ("2024-01-01T01:30:00+02:00", "2023-12-31T23:30:00Z"),
            ("2024-02-28T23:30:00-0130", "2024-02-29T01:00:00Z"),
            ("2023-12-31T23:30:00-01:00", "2024-01-01T00:30:00Z"),
            ("2024-03-01T00:00:00+00:01", "2024-02-29T23:59:00Z"),
        ] {
            let mut out = Vec::new();
            append_time(&mut out, &format!("\"{given}\""));
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{expected}\""), "{given}");
        }
        for verbatim in [
            "null",
            "12.5",
            "\"\"",
            "\"2024-01-02\"",
            "\"2024-01-02T03:04:05\"",
            "\"2024-13-02T03:04:05+00:00\"",
            "\"2024-01-02T03:04:05+0\"",
            "\"2024-01-02T03:04:05.\"",
            "\"2024-01-0٢T03:04:05Z\"",
        ] {
            assert_eq!(normal(verbatim), None, "{verbatim}");
        }
    }

    #[test]
    fn only_named_members_are_times() {
        let json = r#"[{"AttachTime": "2024-01-02T03:04:05+00:00", "At": "2024-01-02T03:04:05+00:00"},
            {"A\"t": "AttachTime", "AttachTime":null, "B": ["2024-01-02T03:04:05+00:00", "\\"]}]"#;
        let mut out = Vec::new();
        append_times(&mut out, json, &["AttachTime"]);
        let expected = json.replacen("+00:00", "Z", 1);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
