//! A plugin in JavaScript.

use std::fmt::Write as _;

use super::{Field, Files, ListItem, Members, Scaffold, sdk::WIT, template};

pub(super) const SDK: &str = template!("js/sdk/berth.js");

/// Returns the files of the plugin, with its SDK.
pub(super) fn files(plugin: &Scaffold, item: &ListItem) -> Files {
    let source = match item {
        ListItem::Text { member } => {
            plugin.filled(template!("js/text.js.tmpl"), &[("member", member.clone())])
        }
        ListItem::Object(members) => of_object(plugin, members),
    };
    vec![
        ("package.json".into(), plugin.filled(template!("js/package.json.tmpl"), &[])),
        ("package-lock.json".into(), plugin.filled(template!("js/package-lock.json.tmpl"), &[])),
        ("README.md".into(), plugin.filled(template!("js/README.md.tmpl"), &[])),
        (".gitignore".into(), template!("js/gitignore").into()),
        ("mapping.js".into(), source),
        ("sdk/berth.js".into(), SDK.into()),
        ("sdk/wit/plugin.wit".into(), WIT.into()),
    ]
}

fn of_object(plugin: &Scaffold, members: &Members) -> String {
    let (mut properties, mut entity) = (String::new(), String::new());
    for field in members.used() {
        let form = match field {
            _ if field.member == members.identifier.member => "required: true",
            _ if field.is_time() => "time: true",
            _ if field.document() != field.member => "",
            _ => continue,
        };
        // Writing to a String cannot fail.
        _ = writeln!(properties, "  {}: {{ {form} }},", field.document());
    }
    for (field, times) in &members.nested {
        let times = times.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
        _ = writeln!(properties, "  {}: {{ times: [{times}] }},", field.document());
    }
    for field in &members.properties {
        let value = format!("item.{}", field.member);
        let value = if field.is_time() { format!("time({value})") } else { value };
        _ = writeln!(entity, "      {}: {value},", field.property());
    }
    let time = if members.properties.iter().any(Field::is_time) { ", time" } else { "" };
    let slots = [
        ("time", time.to_owned()),
        ("properties", properties.replace("{  }", "{}")),
        ("identifier", members.identifier.member.clone()),
        ("title", members.title.member.clone()),
        ("entity", entity),
    ];
    plugin.filled(template!("js/mapping.js.tmpl"), &slots)
}
