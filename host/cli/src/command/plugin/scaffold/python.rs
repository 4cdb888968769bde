//! A plugin in Python.

use std::fmt::Write as _;

use super::{Field, Files, ListItem, Members, Scaffold, sdk::WIT, template};

pub(super) const SDK: &str = template!("python/sdk/berth.py");

/// Returns the files of the plugin, with its SDK.
pub(super) fn files(plugin: &Scaffold, item: &ListItem) -> Files {
    let source = match item {
        ListItem::Text { member } => {
            plugin.filled(template!("python/text.py.tmpl"), &[("member", member.clone())])
        }
        ListItem::Object(members) => of_object(plugin, members),
    };
    vec![
        ("requirements.txt".into(), template!("python/requirements.txt").into()),
        ("README.md".into(), plugin.filled(template!("python/README.md.tmpl"), &[])),
        (".gitignore".into(), template!("python/gitignore").into()),
        ("mapping.py".into(), source),
        ("sdk/__init__.py".into(), String::new()),
        ("sdk/berth.py".into(), SDK.into()),
        ("sdk/wit/plugin.wit".into(), WIT.into()),
    ]
}

fn of_object(plugin: &Scaffold, members: &Members) -> String {
    let (mut properties, mut entity) = (String::new(), String::new());
    for field in members.used() {
        let form = match field {
            _ if field.member == members.identifier.member => "\"required\": True",
            _ if field.is_time() => "\"time\": True",
            _ if field.document() != field.member => "",
            _ => continue,
        };
        // Writing to a String cannot fail.
        _ = writeln!(properties, "    \"{}\": {{{form}}},", field.document());
    }
    for (field, times) in &members.nested {
        _ = writeln!(properties, "    \"{}\": {{\"times\": {times:?}}},", field.document());
    }
    for field in &members.properties {
        let value = format!("item.get(\"{}\")", field.member);
        let value = if field.is_time() { format!("time({value})") } else { value };
        _ = writeln!(entity, "            \"{}\": {value},", field.property());
    }
    let time = if members.properties.iter().any(Field::is_time) { ", time" } else { "" };
    let slots = [
        ("time", time.to_owned()),
        ("properties", properties),
        ("identifier", members.identifier.member.clone()),
        ("title", members.title.member.clone()),
        ("entity", entity),
    ];
    plugin.filled(template!("python/mapping.py.tmpl"), &slots)
}
