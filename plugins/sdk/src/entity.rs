//! Entities, written straight to the output.

use serde::Serialize;

use crate::{
    Refused,
    batch::Sink,
    json::{append, append_str},
};

/// Where a mapper puts its entities.
#[derive(Debug)]
pub struct Entities {
    pub(crate) sink: Sink,
    // Kept from entity to entity, so that they are allocated once a batch.
    properties: Vec<u8>,
    relations: Vec<u8>,
}

impl Entities {
    pub(crate) fn new(sink: Sink) -> Self {
        Self { sink, properties: Vec::new(), relations: Vec::new() }
    }

    /// Begins an entity; it ends where the returned value is dropped.
    ///
    /// The identifier must be a text that is not empty, else the resource is reported as refused:
    /// an entity without one cannot exist in Port.
    pub fn entity(&mut self, blueprint: &str, identifier: impl Serialize) -> Entity<'_> {
        self.properties.clear();
        self.relations.clear();
        let start = self.sink.begin();
        let list = &mut self.sink.list;
        list.extend_from_slice(b"{\"blueprint\":");
        append_str(list, blueprint);
        list.extend_from_slice(b",\"identifier\":");
        let from = list.len();
        let written = append(list, &identifier);
        let text = list.get(from..).unwrap_or_default();
        let failure = match written {
            Err(reason) => Some(reason),
            Ok(()) if text.first() != Some(&b'"') || text.len() < 3 => {
                Some(format!("it has no identifier for the blueprint `{blueprint}`"))
            }
            Ok(()) => None,
        };
        Entity { out: self, start, failure }
    }

    /// Reports a part of the resource that cannot be mapped, while its other parts are.
    pub fn refuse(&mut self, resource: impl Into<String>, reason: impl Into<String>) {
        self.sink.refuse(Refused::new(resource, reason));
    }
}

/// An entity that is being written. Fields may come in any order.
#[derive(Debug)]
pub struct Entity<'o> {
    out: &'o mut Entities,
    start: usize,
    failure: Option<String>,
}

impl Entity<'_> {
    /// The title.
    pub fn title(&mut self, value: impl Serialize) -> &mut Self {
        self.head(b",\"title\":", value)
    }

    /// The icon.
    pub fn icon(&mut self, value: impl Serialize) -> &mut Self {
        self.head(b",\"icon\":", value)
    }

    /// The owning team, or a list of teams.
    pub fn team(&mut self, value: impl Serialize) -> &mut Self {
        self.head(b",\"team\":", value)
    }

    /// A property. A null is written: it empties the property in Port, and is what the mapping in
    /// JQ yields for a value that is missing.
    pub fn property(&mut self, name: &str, value: impl Serialize) -> &mut Self {
        let written = member(&mut self.out.properties, name, value);
        self.note(written)
    }

    /// A relation: the identifier of an entity, a list of identifiers, or null.
    pub fn relation(&mut self, name: &str, value: impl Serialize) -> &mut Self {
        let written = member(&mut self.out.relations, name, value);
        self.note(written)
    }

    fn head(&mut self, label: &[u8], value: impl Serialize) -> &mut Self {
        self.out.sink.list.extend_from_slice(label);
        let written = append(&mut self.out.sink.list, &value);
        self.note(written)
    }

    fn note(&mut self, written: Result<(), String>) -> &mut Self {
        if let Err(reason) = written {
            self.failure.get_or_insert(reason);
        }
        self
    }
}

fn member(out: &mut Vec<u8>, name: &str, value: impl Serialize) -> Result<(), String> {
    if !out.is_empty() {
        out.push(b',');
    }
    append_str(out, name);
    out.push(b':');
    append(out, &value)
}

impl Drop for Entity<'_> {
    fn drop(&mut self) {
        let Entities { sink, properties, relations } = &mut *self.out;
        if let Some(reason) = self.failure.take() {
            sink.list.truncate(self.start);
            sink.refuse(reason.into());
            return;
        }
        for (label, members) in [(",\"properties\":{", properties), (",\"relations\":{", relations)] {
            if !members.is_empty() {
                sink.list.extend_from_slice(label.as_bytes());
                sink.list.extend_from_slice(members);
                sink.list.push(b'}');
            }
        }
        sink.list.push(b'}');
    }
}
