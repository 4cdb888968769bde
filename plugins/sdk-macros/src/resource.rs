//! The members of a resource that a mapping reads, as structs.

use std::fmt::Write as _;

use berth_mapping::document::Name;

/// The members that are read: a tree of names.
#[derive(Debug, Default)]
pub(crate) struct Members {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    name: Name,
    /// Whether its text is read, and not only members of it.
    wanted: bool,
    /// Whether it matters that it is there, and not only that it is not null.
    presence_matters: bool,
    children: Vec<Node>,
}

/// What a resource consists of.
const PARTS: [&str; 3] = ["item", "steps", "parents"];

impl Members {
    /// Has a member read; `presence_matters` is whether it matters that it is there.
    pub(crate) fn want(&mut self, path: &[Name], presence_matters: bool) {
        let mut node = &mut self.root;
        for name in path {
            let position = node.children.iter().position(|child| child.name.is(name));
            let position = position.unwrap_or_else(|| {
                node.children.push(Node { name: name.clone(), ..Node::default() });
                node.children.len() - 1
            });
            node = &mut node.children[position];
            if name.alias.is_some() {
                node.name = name.clone();
            }
        }
        node.wanted = true;
        // A part of the resource is always there.
        node.presence_matters |= presence_matters && path.len() > 1;
    }

    /// The code of a member that is wanted: a `Json`.
    pub(crate) fn access(&self, path: &[Name]) -> String {
        let (mut code, mut node) = ("resource".to_owned(), &self.root);
        for (depth, name) in path.iter().enumerate() {
            let Some(position) = node.children.iter().position(|child| child.name.is(name)) else { break };
            node = &node.children[position];
            match depth {
                0 => _ = write!(code, ".{}", name.text),
                _ => _ = write!(code, ".m{position}"),
            }
            if node.is_text() {
                if node.presence_matters {
                    code.push_str(".json()");
                }
                let below: Vec<_> = path[depth + 1..].iter().map(|name| &name.text).collect();
                if !below.is_empty() {
                    code = format!("member({code}, &{below:?})?");
                }
                return code;
            }
            // Steps and parents are no options, and neither is the item.
            if depth > 0 {
                code.push_str(".unwrap_or_default()");
            }
        }
        code
    }

    /// The code of whether an object is there of which members are read.
    pub(crate) fn is_there(&self, path: &[Name]) -> Option<String> {
        let code = self.access(path);
        code.strip_suffix(".unwrap_or_default()").map(|code| format!("{code}.is_some()"))
    }

    /// The type of a resource.
    pub(crate) fn resource(&self) -> String {
        let parts = PARTS.map(|part| match self.root.children.iter().find(|node| node.name.text == part) {
            Some(node) if node.is_text() => "Json<'a>".to_owned(),
            Some(_) => format!("{}<'a>", type_name(part)),
            None => "IgnoredAny".to_owned(),
        });
        format!("Resource<{}>", parts.join(", "))
    }

    /// The structs of the members.
    pub(crate) fn structs(&self) -> String {
        let mut code = String::new();
        for node in self.root.children.iter().filter(|node| !node.is_text()) {
            node.structs(&node.name.text, &mut code);
        }
        code
    }
}

impl Node {
    /// Whether its text is read; members of it are looked for in the text then.
    fn is_text(&self) -> bool {
        self.wanted || self.children.is_empty()
    }

    fn structs(&self, path: &str, code: &mut String) {
        let mut fields = String::new();
        for (position, child) in self.children.iter().enumerate() {
            let below = format!("{path}.{position}{}", child.name.text);
            let alias =
                child.name.alias.as_ref().map(|alias| format!(", alias = {alias:?}")).unwrap_or_default();
            let of = if child.is_text() && child.presence_matters {
                "Present<'a>".to_owned()
            } else if child.is_text() {
                "Json<'a>".to_owned()
            } else {
                child.structs(&below, code);
                format!("::core::option::Option<{}<'a>>", type_name(&below))
            };
            // Writing to a String cannot fail.
            _ = write!(fields, "#[serde(borrow, rename = {:?}{alias})] m{position}: {of},", child.name.text);
        }
        _ = write!(
            code,
            "#[derive(Clone, Copy, Default, ::berth_plugin::generated::Deserialize)]
            #[serde(default, expecting = \"an object\", crate = \"::berth_plugin::generated::serde\")]
            #[expect(non_camel_case_types, reason = \"generated\")]
            pub struct {}<'a> {{ {fields} }}",
            type_name(path)
        );
    }
}

/// The name of the struct of an object.
fn type_name(path: &str) -> String {
    let mut name = String::from("Members");
    for part in path.split('.') {
        name.push('_');
        name.extend(part.chars().filter(char::is_ascii_alphanumeric));
    }
    name
}
