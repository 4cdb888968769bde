//! A document on its way through a mapping, and what expressions make of it.

use std::{
    borrow::Cow,
    cell::{Cell, OnceCell},
};

use berth_mapping::{
    Found, Parsed, PathTree, Slot, append_str,
    document::{BatchContext, ResourceView},
};
use jaq_json::{Num, Val};

use crate::write::write;

/// What the expressions of a mapping read, and where it is found.
pub(crate) enum Paths {
    /// In documents.
    Documents(PathTree),
    /// In resources, of which the documents are not made.
    Resources(Box<ResourceView>),
}

impl Default for Paths {
    fn default() -> Self {
        Self::Documents(PathTree::default())
    }
}

impl Paths {
    /// An expression that is evaluated on texts.
    ///
    /// # Errors
    /// When the documents' declaration has a source that cannot be read.
    pub(crate) fn place(&mut self, parsed: Parsed) -> Result<berth_mapping::Expression, String> {
        match self {
            Self::Documents(paths) => Ok(parsed.place(paths)),
            Self::Resources(view) => {
                for path in parsed.paths() {
                    view.slot(path)?;
                }
                // Each of them is known now.
                Ok(parsed.place_at(|path| view.slot(path).unwrap_or(Slot::at(usize::MAX))))
            }
        }
    }

    /// Has [`Document::pruned`] hold this path.
    pub(crate) fn keep(&mut self, path: &[String]) {
        match self {
            Self::Documents(paths) => paths.keep(path),
            Self::Resources(view) => view.keep(path),
        }
    }

    /// Has a document hold everything, for an expression that may read all of it.
    pub(crate) fn keep_all(&mut self) {
        if let Self::Resources(view) = self {
            view.keep_all();
        }
    }

    /// What is read of each element of a batch.
    pub(crate) fn tree(&self) -> &PathTree {
        match self {
            Self::Documents(paths) => paths,
            Self::Resources(view) => view.paths(),
        }
    }
}

/// A document: what was found in it, and its values where an expression needs them.
pub(crate) struct Document<'a, 'd> {
    source: Source<'a, 'd>,
    pub(crate) found: &'d Found<'a>,
    whole: OnceCell<Val>,
    pruned: OnceCell<Val>,
    is_broken: Cell<bool>,
}

/// What the value of a document is made of.
enum Source<'a, 'd> {
    Text(&'a str, &'d PathTree),
    /// A resource, with what was found in it.
    Resource {
        text: &'a str,
        found: &'d Found<'a>,
        view: &'d ResourceView,
        context: &'d BatchContext,
    },
}

impl<'a, 'd> Document<'a, 'd> {
    pub(crate) fn new(text: &'a str, paths: &'d PathTree, found: &'d Found<'a>) -> Self {
        Self::of(Source::Text(text, paths), found)
    }

    /// The document of a resource: its text, what was found in it, and what was found of the document.
    pub(crate) fn of_resource(
        text: &'a str,
        resource: &'d Found<'a>,
        view: &'d ResourceView,
        context: &'d BatchContext,
        found: &'d Found<'a>,
    ) -> Self {
        Self::of(Source::Resource { text, found: resource, view, context }, found)
    }

    fn of(source: Source<'a, 'd>, found: &'d Found<'a>) -> Self {
        let (whole, pruned) = (OnceCell::new(), OnceCell::new());
        Self { source, found, whole, pruned, is_broken: Cell::new(false) }
    }

    /// A document of which the value is at hand.
    pub(crate) fn with_value(value: Val, text: &'a str, paths: &'d PathTree, found: &'d Found<'a>) -> Self {
        Self { whole: value.into(), ..Self::new(text, paths, found) }
    }

    /// All of it.
    pub(crate) fn whole(&self) -> &Val {
        self.whole.get_or_init(|| match &self.source {
            Source::Text(text, _) => self.parse(text.as_bytes()),
            Source::Resource { text, found, view, context } => {
                self.parse(view.document(text, found, context).unwrap_or_default().as_bytes())
            }
        })
    }

    /// What the expressions read that are evaluated on values, and nothing else.
    pub(crate) fn pruned(&self) -> &Val {
        if let Some(whole) = self.whole.get() {
            return whole;
        }
        self.pruned.get_or_init(|| match &self.source {
            Source::Text(_, paths) => {
                let mut text = Vec::new();
                paths.pruned(self.found, &mut text);
                self.parse(&text)
            }
            Source::Resource { text, found, view, context } => {
                self.parse(view.pruned(text, found, context).unwrap_or_default().as_bytes())
            }
        })
    }

    fn parse(&self, text: &[u8]) -> Val {
        jaq_json::read::parse_single(text).unwrap_or_else(|_| {
            self.is_broken.set(true);
            Val::Null
        })
    }

    /// Whether it was seen to be no JSON.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.get()
    }
}

/// What an expression gave.
pub(crate) enum Output<'v> {
    Text(berth_mapping::Value<'v>),
    Value(Val),
}

impl Output<'_> {
    pub(crate) fn is_null(&self) -> bool {
        match self {
            Self::Text(value) => value.is_null(),
            Self::Value(value) => matches!(value, Val::Null),
        }
    }

    /// What counts as given: the rule of the integration that Berth replaces.
    pub(crate) fn is_truthy(&self) -> bool {
        match self {
            Self::Text(value) => !value.is_empty(),
            Self::Value(value) => match value {
                Val::Null | Val::Bool(false) => false,
                Val::Bool(true) => true,
                Val::Num(number) => *number != Num::Int(0),
                Val::TStr(text) | Val::BStr(text) => !text.is_empty(),
                Val::Arr(elements) => !elements.is_empty(),
                Val::Obj(members) => !members.is_empty(),
            },
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Text(value) => value.as_bool(),
            Self::Value(Val::Bool(is)) => Some(*is),
            Self::Value(_) => None,
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        match self {
            Self::Text(value) => value.is_text(),
            Self::Value(value) => matches!(value, Val::TStr(_)),
        }
    }

    pub(crate) fn is_number(&self) -> bool {
        match self {
            Self::Text(value) => value.is_number(),
            Self::Value(value) => matches!(value, Val::Num(_)),
        }
    }

    /// The text that it is, or that it is shown as.
    pub(crate) fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(value) => match value.as_text() {
                Some(text) => text,
                None => Cow::Owned(self.json()),
            },
            Self::Value(Val::TStr(text)) => String::from_utf8_lossy(text),
            Self::Value(other) => Cow::Owned(other.to_string()),
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(value) => value.write(out),
            Self::Value(value) => write(value, out),
        }
    }

    fn json(&self) -> String {
        let mut json = Vec::new();
        self.write(&mut json);
        String::from_utf8_lossy(&json).into_owned()
    }

    /// It in a message: its beginning.
    pub(crate) fn shown(&self) -> String {
        const LONGEST: usize = 60;
        let mut text = self.json();
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
            text.push('…');
        }
        format!("`{text}`")
    }
}

/// A copy of an object's text with one more member.
pub(crate) fn with_member(object: &[u8], name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + name.len() + value.len() + 4);
    out.extend_from_slice(object.strip_suffix(b"}").unwrap_or(object));
    if out.len() > 1 {
        out.push(b',');
    }
    append_str(name, &mut out);
    out.push(b':');
    out.extend_from_slice(value);
    out.push(b'}');
    out
}
