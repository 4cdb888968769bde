//! Resource documents: what users' own JQ mappings are evaluated on.

use std::borrow::Cow;

use berth_mapping::{
    append_bool, append_integer,
    time::{append_time, append_times},
};
use serde::Serialize;

use crate::{
    Context, Fields, Json, Refused,
    batch::Sink,
    json::{append, append_str},
};

/// The properties of a kind's documents: names, forms, and what happens to members that are not
/// listed.
///
/// Only the first level of `Properties` has names of its own; what lies deeper keeps AWS's.
#[derive(Debug)]
pub struct Properties {
    listed: &'static [Property],
    keep_unknown: bool,
}

impl Properties {
    /// Members that are not listed are left out.
    ///
    /// Also right for kinds whose model refuses what it does not know (S3, SQS): refusing would
    /// turn an attribute that AWS adds into a failure of the kind.
    pub const fn dropping_unknown(listed: &'static [Property]) -> Self {
        Self { listed, keep_unknown: false }
    }

    /// Members that are not listed are kept, under AWS's own name.
    pub const fn keeping_unknown(listed: &'static [Property]) -> Self {
        Self { listed, keep_unknown: true }
    }

    fn find(&self, member: &str) -> Option<&'static Property> {
        self.listed.iter().find(|property| property.is_named(member))
    }
}

/// A property of a kind's documents.
#[derive(Debug)]
pub struct Property {
    name: &'static str,
    raw: Option<&'static str>,
    form: Form,
    required: bool,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    AsIs,
    Time,
    Times(&'static [&'static str]),
    Int,
    Bool,
}

impl Property {
    /// A property, read from the member of that name, or of that name with a small first letter.
    /// Where both exist, the name itself wins.
    pub const fn new(name: &'static str) -> Self {
        Self { name, raw: None, form: Form::AsIs, required: false }
    }

    /// AWS's name of the member, where it differs by more than the case of its first letter.
    #[must_use]
    pub const fn raw(self, name: &'static str) -> Self {
        Self { raw: Some(name), ..self }
    }

    /// The value is a time: written in UTC with `Z`, without a fraction or with six digits.
    #[must_use]
    pub const fn time(self) -> Self {
        Self { form: Form::Time, ..self }
    }

    /// The value is an object or a list in which the members of these names are times.
    #[must_use]
    pub const fn times(self, names: &'static [&'static str]) -> Self {
        Self { form: Form::Times(names), ..self }
    }

    /// The value is a whole number; one in quotes loses them.
    #[must_use]
    pub const fn int(self) -> Self {
        Self { form: Form::Int, ..self }
    }

    /// The value is true or false; one in quotes loses them.
    #[must_use]
    pub const fn bool(self) -> Self {
        Self { form: Form::Bool, ..self }
    }

    /// A document without this property, or with null in it, is refused. Only for what the default mapping
    /// makes the identifier of: a document is made for whatever AWS lists, as a user's own mapping may not
    /// need the rest.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    fn is_named(&self, member: &str) -> bool {
        if member == self.name {
            return true;
        }
        match self.raw {
            Some(raw) => member == raw,
            None => {
                member.len() == self.name.len()
                    && member.get(1..) == self.name.get(1..)
                    && member.as_bytes().first().map(u8::to_ascii_uppercase)
                        == self.name.as_bytes().first().copied()
            }
        }
    }
}

impl Form {
    fn append(self, out: &mut Vec<u8>, json: &str) {
        match self {
            Self::AsIs => out.extend_from_slice(json.as_bytes()),
            Self::Time => append_time(out, json),
            Self::Times(names) => append_times(out, json, names),
            Self::Int => append_integer(out, json),
            Self::Bool => append_bool(out, json),
        }
    }
}

/// Where a mapper puts its documents.
#[derive(Debug)]
pub struct Documents {
    pub(crate) sink: Sink,
    context: Context,
    extra_context: Vec<u8>,
}

impl Documents {
    pub(crate) fn new(sink: Sink, context: &Context) -> Self {
        Self { sink, context: context.clone(), extra_context: Vec::new() }
    }

    /// Begins a document; it ends where the returned value is dropped.
    ///
    /// Beside what the mapper puts into it, every document has `Type` (the kind), `__AccountId`,
    /// and `__Region` where the kind is regional.
    pub fn document<'a>(&mut self, properties: &'static Properties) -> Document<'_, 'a> {
        self.extra_context.clear();
        Document {
            out: self,
            properties,
            entries: Vec::with_capacity(64),
            seen: Seen::default(),
            failure: None,
        }
    }

    /// Reports a part of the resource that cannot be mapped, while its other parts are.
    pub fn refuse(&mut self, resource: impl Into<String>, reason: impl Into<String>) {
        self.sink.refuse(Refused::new(resource, reason));
    }
}

/// A document that is being made.
#[derive(Debug)]
pub struct Document<'o, 'a> {
    out: &'o mut Documents,
    properties: &'static Properties,
    entries: Vec<Entry<'a>>,
    seen: Seen,
    failure: Option<String>,
}

/// Which names were set, by a few bits of each: most names are new, and need not be looked for.
#[derive(Debug, Default)]
struct Seen([u64; 4]);

impl Seen {
    /// Adds a name, and tells whether it may have been there.
    fn add(&mut self, name: &str) -> bool {
        let bytes = name.as_bytes();
        let at = |index: usize| bytes.get(index).map_or(0, |byte| usize::from(*byte));
        let middle = at(bytes.len() / 2);
        let hash = bytes.len() * 67 + at(0) * 31 + middle * 13 + at(bytes.len().wrapping_sub(1)) * 5;
        let (word, bit) = (&mut self.0[hash >> 6 & 3], 1 << (hash & 63));
        let before = *word & bit != 0;
        *word |= bit;
        before
    }
}

#[derive(Debug)]
struct Entry<'a> {
    name: Cow<'a, str>,
    value: Value<'a>,
    /// Whether the value came under the property's own name.
    by_name: bool,
}

#[derive(Debug)]
enum Value<'a> {
    Json(Json<'a>, Form),
    Made(Vec<u8>),
}

impl<'a> Document<'_, 'a> {
    /// Takes over the members of an object, by the kind's [`Properties`]. What is merged later
    /// wins. A document into which anything but an object is merged is refused.
    pub fn merge(&mut self, object: Json<'a>) -> &mut Self {
        match object.fields() {
            Ok(fields) => self.merge_fields(fields),
            Err(refused) => {
                self.failure.get_or_insert(refused.reason);
                self
            }
        }
    }

    /// As [`merge`](Self::merge), for an object whose members are at hand.
    pub fn merge_fields(&mut self, fields: Fields<'a>) -> &mut Self {
        for (member, json) in fields {
            match self.properties.find(&member) {
                Some(property) => {
                    let by_name = member == property.name;
                    self.put(Cow::Borrowed(property.name), Value::Json(json, property.form), by_name);
                }
                None if self.properties.keep_unknown => {
                    self.put(member, Value::Json(json, Form::AsIs), true);
                }
                None => {}
            }
        }
        self
    }

    /// Sets a property, whatever was merged under its name.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Serialize) -> &mut Self {
        let name = name.into();
        let mut made = Vec::new();
        match append(&mut made, &value) {
            Ok(()) => self.put(name, Value::Made(made), true),
            Err(reason) => {
                self.failure.get_or_insert(format!("property `{name}`: {reason}"));
            }
        }
        self
    }

    /// Adds a member to `__ExtraContext`.
    pub fn context(&mut self, name: &str, value: impl Serialize) -> &mut Self {
        let extra = &mut self.out.extra_context;
        let start = extra.len();
        if start > 0 {
            extra.push(b',');
        }
        append_str(extra, name);
        extra.push(b':');
        if let Err(reason) = append(extra, &value) {
            extra.truncate(start);
            self.failure.get_or_insert(format!("context `{name}`: {reason}"));
        }
        self
    }

    /// Adds `AccountId` and, for a kind that is regional, `Region` to `__ExtraContext`.
    pub fn origin(&mut self) -> &mut Self {
        let account = self.out.context.account_id.clone();
        self.context("AccountId", account);
        if let Some(region) = self.out.context.region.clone() {
            self.context("Region", region);
        }
        self
    }

    fn put(&mut self, name: Cow<'a, str>, value: Value<'a>, by_name: bool) {
        let known = if self.seen.add(&name) {
            self.entries.iter_mut().find(|entry| entry.name == name)
        } else {
            None
        };
        match known {
            Some(entry) if by_name || !entry.by_name => *entry = Entry { name, value, by_name },
            Some(_) => {}
            None => self.entries.push(Entry { name, value, by_name }),
        }
    }

    fn missing(&self) -> Option<&'static str> {
        let is_there = |name: &str| {
            self.entries.iter().any(|entry| {
                entry.name == name
                    && match &entry.value {
                        Value::Json(json, _) => !json.is_null(),
                        Value::Made(made) => made != b"null",
                    }
            })
        };
        self.properties
            .listed
            .iter()
            .find(|property| property.required && !is_there(property.name))
            .map(|property| property.name)
    }
}

impl Drop for Document<'_, '_> {
    fn drop(&mut self) {
        let missing = self.missing().map(|name| format!("it has no `{name}`"));
        let Documents { sink, context, extra_context } = &mut *self.out;
        if let Some(reason) = self.failure.take().or(missing) {
            sink.refuse(reason.into());
            return;
        }
        sink.begin();
        let list = &mut sink.list;
        list.extend_from_slice(b"{\"Type\":");
        append_str(list, &context.kind);
        list.extend_from_slice(b",\"Properties\":{");
        for (index, entry) in self.entries.iter().enumerate() {
            if index > 0 {
                list.push(b',');
            }
            append_str(list, &entry.name);
            list.push(b':');
            match &entry.value {
                Value::Json(json, form) => form.append(list, json.text()),
                Value::Made(made) => list.extend_from_slice(made),
            }
        }
        list.push(b'}');
        if !extra_context.is_empty() {
            list.extend_from_slice(b",\"__ExtraContext\":{");
            list.extend_from_slice(extra_context);
            list.push(b'}');
        }
        list.extend_from_slice(b",\"__AccountId\":");
        append_str(list, &context.account_id);
        if let Some(region) = &context.region {
            list.extend_from_slice(b",\"__Region\":");
            append_str(list, region);
        }
        list.push(b'}');
    }
}
