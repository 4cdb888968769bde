//! Creates resources of a fixture with one change each.

use serde_json::{Map, Value, json};

/// Members deeper than this are passed on unchanged, and would only cost time.
pub(super) const DEPTH: usize = 5;

/// A changed resource of a fixture.
pub(super) struct Variant {
    /// Which resource, and what was changed.
    pub(super) at: String,
    /// The position of the resource in the fixture.
    pub(super) of: usize,
    /// Whether a member was removed.
    pub(super) is_missing: bool,
    pub(super) resource: Value,
}

/// A text that is hard to write: a zero, quotes, a backslash, and a character of four bytes.
const HARD_TEXT: &str = "\u{0}\"\\\u{10ffff}";

/// Returns what AWS may also send: each member in turn missing or null, each text hard to write, and one more
/// member.
pub(super) fn variants(index: usize, resource: &Value) -> Vec<Variant> {
    let mut found = Vec::new();
    let changed = |at, resource| Variant { at, of: index, is_missing: false, resource };
    for place in members(resource) {
        let mut missing = resource.clone();
        remove(&mut missing, &place);
        found.push(Variant {
            at: label(index, &place, "missing"),
            of: index,
            is_missing: true,
            resource: missing,
        });
        if is_part(&place) {
            continue;
        }
        found.push(changed(label(index, &place, "null"), with(resource, &place, Value::Null)));
        if resource.pointer(&place).is_some_and(Value::is_string) {
            let hard = with(resource, &place, json!(HARD_TEXT));
            found.push(changed(label(index, &place, "with text that is hard to write"), hard));
        }
    }
    let mut more = resource.clone();
    if let Some(item) = more["item"].as_object_mut() {
        item.insert("BerthUnknownMember".into(), json!({"a": [1, null, "\u{2028}"]}));
        found.push(changed(format!("resource {index} with a member that AWS may add"), more));
    }
    found
}

/// Returns what AWS does not send: each member in turn with another type.
pub(super) fn odd_variants(index: usize, resource: &Value) -> Vec<Variant> {
    let odd = [
        ("with a text", json!(HARD_TEXT)),
        ("with a number", json!(-1.5e300)),
        ("with a list", json!([[]])),
        ("with an object", json!({"": {}})),
    ];
    let places = members(resource).into_iter().filter(|place| !is_part(place));
    let of_place = |place: String| {
        odd.each_ref().map(|(how, other)| Variant {
            at: label(index, &place, how),
            of: index,
            is_missing: false,
            resource: with(resource, &place, other.clone()),
        })
    };
    places.flat_map(of_place).collect()
}

/// Returns whether a place is a part of the resource itself (`item`, `steps`, `parents`), which is never
/// null.
fn is_part(place: &str) -> bool {
    place.matches('/').count() == 1
}

fn label(index: usize, place: &str, how: &str) -> String {
    format!("resource {index}, `{}` {how}", place.trim_start_matches('/').replace('/', "."))
}

/// Returns the members that two objects do not share.
pub(super) fn members_that_differ(one: &Value, other: &Value) -> Vec<String> {
    let names = [one, other].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
    names.filter(|name| one.get(name.as_str()) != other.get(name.as_str())).cloned().collect()
}

/// Returns the members of all objects in a value, as JSON pointers.
pub(super) fn members(value: &Value) -> Vec<String> {
    fn collect(value: &Value, place: &str, found: &mut Vec<String>) {
        if place.matches('/').count() == DEPTH {
            return;
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                    collect(member, &place, found);
                    found.push(place);
                }
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    collect(element, &format!("{place}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(value, "", &mut found);
    found
}

fn remove(value: &mut Value, place: &str) {
    if let Some((parent, name)) = place.rsplit_once('/')
        && let Some(Value::Object(members)) = value.pointer_mut(parent)
    {
        members.shift_remove(&name.replace("~1", "/").replace("~0", "~"));
    }
}

fn with(value: &Value, place: &str, other: Value) -> Value {
    let mut value = value.clone();
    if let Some(at) = value.pointer_mut(place) {
        *at = other;
    }
    value
}
