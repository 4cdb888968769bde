//! Plugins in C and in Zig, which share an SDK in C.

use std::fmt::Write as _;

use super::{Files, ListItem, Members, Scaffold, sdk::WIT, template};

/// The SDK in C: path and text.
pub(super) const SDK: [(&str, &str); 6] = [
    ("sdk/berth.h", template!("c/sdk/berth.h")),
    ("sdk/berth.c", template!("c/sdk/berth.c")),
    ("sdk/json.h", template!("c/sdk/json.h")),
    ("sdk/json.c", template!("c/sdk/json.c")),
    ("sdk/bindings/plugin.h", template!("c/sdk/bindings/plugin.h")),
    ("sdk/bindings/plugin.c", template!("c/sdk/bindings/plugin.c")),
];
/// The SDK in Zig, a wrapper of the one in C.
pub(super) const SDK_ZIG: (&str, &str) = ("sdk/berth.zig", template!("zig/sdk/berth.zig"));
/// Installs the compiler.
pub(super) const REQUIREMENTS: &str = template!("c/requirements.txt");

/// Returns the files of a plugin in C, with its SDK.
pub(super) fn files(plugin: &Scaffold, item: &ListItem) -> Files {
    let source = match item {
        ListItem::Text { member } => plugin.filled(template!("c/text.c.tmpl"), &[("member", member.clone())]),
        ListItem::Object(members) => plugin.filled(template!("c/mapping.c.tmpl"), &slots(members, &IN_C)),
    };
    with_sdk(vec![
        ("README.md".into(), plugin.filled(template!("c/README.md.tmpl"), &[])),
        ("mapping.c".into(), source),
    ])
}

/// Returns the files of a plugin in Zig, with its SDK.
pub(super) fn files_zig(plugin: &Scaffold, item: &ListItem) -> Files {
    let source = match item {
        ListItem::Text { member } => {
            plugin.filled(template!("zig/text.zig.tmpl"), &[("member", member.clone())])
        }
        ListItem::Object(members) => {
            plugin.filled(template!("zig/mapping.zig.tmpl"), &slots(members, &IN_ZIG))
        }
    };
    let (path, text) = SDK_ZIG;
    with_sdk(vec![
        ("README.md".into(), plugin.filled(template!("zig/README.md.tmpl"), &[])),
        ("mapping.zig".into(), source),
        (path.into(), text.into()),
    ])
}

fn with_sdk(mut files: Files) -> Files {
    files.push((".gitignore".into(), template!("c/gitignore").into()));
    files.push(("requirements.txt".into(), REQUIREMENTS.into()));
    files.extend(SDK.map(|(path, text)| (path.into(), text.into())));
    files.push(("sdk/wit/plugin.wit".into(), WIT.into()));
    files
}

/// The syntax of a mapping in a language.
struct Syntax {
    required: &'static str,
    time: &'static str,
    /// A property of documents, with its `{name}` and `{form}`.
    member: &'static str,
    /// The names of times below a member, quoted and separated by commas.
    times: &'static str,
    /// A `{property}` of the entity from a `{member}` of the item.
    property: &'static str,
    property_time: &'static str,
}

const IN_C: Syntax = Syntax {
    required: ", .form = BERTH_REQUIRED",
    time: ", .form = BERTH_TIME",
    member: "            {.name = \"{name}\"{form}},\n",
    times: ", .times = (const char *const[]){{times}, NULL}",
    property: "  berth_property(out, \"{property}\", berth_get(item, \"{member}\"));\n",
    property_time: "  berth_property_time(out, \"{property}\", berth_get(item, \"{member}\"));\n",
};

const IN_ZIG: Syntax = Syntax {
    required: ", .form = .required",
    time: ", .form = .time",
    member: "    .{ .name = \"{name}\"{form} },\n",
    times: ", .times = &[_]?berth.Name{ {times}, null }",
    property: "    out.property(\"{property}\", item.get(\"{member}\"));\n",
    property_time: "    out.propertyTime(\"{property}\", item.get(\"{member}\"));\n",
};

fn slots(members: &Members, syntax: &Syntax) -> [(&'static str, String); 4] {
    let (mut properties, mut entity) = (String::new(), String::new());
    let mut member = |name: &str, form: &str| {
        properties += &syntax.member.replace("{name}", name).replace("{form}", form);
    };
    for field in members.used() {
        match field {
            _ if field.member == members.identifier.member => member(&field.document(), syntax.required),
            _ if field.is_time() => member(&field.document(), syntax.time),
            _ if field.document() != field.member => member(&field.document(), ""),
            _ => {}
        }
    }
    for (field, times) in &members.nested {
        let mut names = String::new();
        for (position, name) in times.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            _ = write!(names, "{comma}\"{name}\"");
        }
        member(&field.document(), &syntax.times.replace("{times}", &names));
    }
    for field in &members.properties {
        let line = if field.is_time() { syntax.property_time } else { syntax.property };
        entity += &line.replace("{property}", &field.property()).replace("{member}", &field.member);
    }
    [
        ("properties", properties),
        ("identifier", members.identifier.member.clone()),
        ("title", members.title.member.clone()),
        ("entity", entity),
    ]
}
