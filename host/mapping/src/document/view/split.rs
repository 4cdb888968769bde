//! Resources that have several documents.

use std::borrow::Cow;

use super::super::{DocumentShape, misplaced, names_of};
use crate::{
    Found, PathTree, Slot, State, split_list, split_object,
    text::{member, string},
};

/// How a resource is split that has a document for each element of a list.
#[derive(Debug)]
pub struct Split {
    pub(super) paths: PathTree,
    each: Slot,
    list_name: String,
    join: Option<(Slot, String)>,
    /// The item of the resource, if a mapping reads of it.
    pub(super) item: Option<Slot>,
}

impl Split {
    pub(super) fn new(shape: &DocumentShape) -> Option<Self> {
        let path = names_of(shape.each.as_deref()?);
        let mut paths = PathTree::default();
        let each = paths.add(&path);
        let join = shape.join.as_ref().map(|join| (paths.add(&names_of(&join.from)), join.by.clone()));
        let list_name = path.last().cloned().unwrap_or_default();
        Some(Self { paths, each, list_name, join, item: None })
    }

    /// What is read of a resource.
    pub fn paths(&self) -> &PathTree {
        &self.paths
    }

    /// What each document is made of: the element, what is joined to it, and the resource's item without the list.
    ///
    /// # Errors
    /// Why the resource is refused.
    pub fn parts(&self, found: &Found<'_>) -> Result<Vec<String>, String> {
        let list = |slot: Slot| match found.state(slot) {
            State::Text(text) => text,
            _ => "null",
        };
        let elements = list_of(list(self.each))?;
        let others = match &self.join {
            Some((slot, by)) if list(*slot) != "null" => {
                let others = list_of(list(*slot))?.into_iter();
                others.filter_map(|other| Some((key(other, by)?, other))).collect()
            }
            _ => Vec::new(),
        };
        let mut rest = Vec::new();
        if let Some(State::Text(item)) = self.item.map(|item| found.state(item)) {
            for (name, value) in split_object(item).map_err(|_| misplaced(item, "an object"))? {
                if string(name).ok().as_deref() != Some(&self.list_name) {
                    rest.push(format!("{name}:{value}"));
                }
            }
        }
        let rest = rest.join(",");
        let mut parts = Vec::with_capacity(elements.len());
        for element in elements {
            let own = self.join.as_ref().filter(|_| !others.is_empty()).and_then(|(_, by)| key(element, by));
            let joined = own.and_then(|own| others.iter().find(|(other, _)| *other == own));
            let (before, joined) = joined.map_or(("", ""), |(_, joined)| (",\"joined\":", *joined));
            parts.push(["{\"each\":", element, before, joined, ",\"item\":{", &rest, "}}"].concat());
        }
        Ok(parts)
    }
}

/// The text of a member.
fn key<'a>(object: &'a str, name: &str) -> Option<Cow<'a, str>> {
    string(member(object, name).ok()??).ok()
}

fn list_of(list: &str) -> Result<Vec<&str>, String> {
    split_list(list).map_err(|_| misplaced(list, "a list"))
}
