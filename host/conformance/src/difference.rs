//! Describes how two JSON values differ, for people.

use std::collections::BTreeSet;

use serde_json::Value;

/// Returns one line for each place at which two values differ, as in `entities[0].title: "a" → "b"`. Empty if
/// they are equal. Numbers are equal by value.
pub(crate) fn difference(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", before, after, &mut lines);
    lines
}

fn compare(at: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => compare(&at, a, b, lines),
                    (Some(a), None) => lines.push(format!("- {at}: {}", shown(a))),
                    (None, Some(b)) => lines.push(format!("+ {at}: {}", shown(b))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for index in 0..a.len().max(b.len()) {
                let at = format!("{at}[{index}]");
                match (a.get(index), b.get(index)) {
                    (Some(a), Some(b)) => compare(&at, a, b, lines),
                    (Some(a), None) => lines.push(format!("- {at}: {}", shown(a))),
                    (None, Some(b)) => lines.push(format!("+ {at}: {}", shown(b))),
                    (None, None) => {}
                }
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        _ if before == after => {}
        _ => lines.push(format!("{at}: {} → {}", shown(before), shown(after))),
    }
}

/// Returns a value in one line, shortened if it is long.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 120;
    let mut text = value.to_string();
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_place_is_one_line() {
        let before = json!({"same": [1, {"a": null}], "gone": 1, "title": "a", "list": [1, 2]});
        let after = json!({"same": [1.0, {"a": null}], "new": {"x": true}, "title": "b", "list": [1]});
        assert_eq!(
            difference(&before, &after),
            ["- gone: 1", "- list[1]: 2", "+ new: {\"x\":true}", "title: \"a\" → \"b\""]
        );
        assert_eq!(difference(&before, &before), Vec::<String>::new());
    }
}
