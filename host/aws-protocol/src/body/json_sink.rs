//! JSON sinks: a reader makes one pass over a response and writes its output into a [`JsonSink`].
//!
//! One sink builds values. The other writes JSON text and records where a page's items are: no part of a
//! page becomes a tree of values, and the text for the mapping is written while the response is read.

use std::{borrow::Cow, ops::Range};

use berth_core::PathSegment;
use serde_json::{Map, Value};

use super::repairs::RepairLog;
use crate::model::Structure;

/// Receives the output of a decoder, in the order of the response.
pub(crate) trait JsonSink {
    /// A value that is complete.
    type Done;
    /// A list that is being read.
    type List;
    /// A structure that is being read.
    type Members;

    /// The log of repairs.
    fn log(&mut self) -> &mut RepairLog;

    fn string(&mut self, text: Cow<'_, str>) -> Self::Done;
    /// Adds a complete value.
    fn value(&mut self, value: Value) -> Self::Done;
    fn is_null(&self, done: &Self::Done) -> bool;
    fn is_object(&self, done: &Self::Done) -> bool;

    fn list(&mut self) -> Self::List;
    /// Announces that the next value is an element of the list, for [`push`](Self::push).
    fn element(&mut self, list: &mut Self::List);
    fn push(&mut self, list: &mut Self::List, element: Self::Done);
    fn close_list(&mut self, list: Self::List) -> Self::Done;

    fn structure(&mut self) -> Self::Members;
    /// Announces that the next value is the member at this index of the model, for [`set`](Self::set) or
    /// [`discard`](Self::discard).
    fn member(&mut self, members: &mut Self::Members, index: usize, name: &str);
    fn set(&mut self, members: &mut Self::Members, index: usize, value: Self::Done);
    /// Sets a member to a complete value.
    fn set_value(&mut self, members: &mut Self::Members, structure: &Structure, index: usize, value: Value) {
        let Some(member) = structure.members.get(index) else { return };
        self.member(members, index, &member.name);
        let value = self.value(value);
        self.set(members, index, value);
    }
    /// Drops the last member.
    fn discard(&mut self, members: &mut Self::Members, value: Self::Done);
    /// Drops a member that was set earlier.
    fn forget(&mut self, members: &mut Self::Members, index: usize);
    fn has(&self, members: &Self::Members, index: usize) -> bool;
    fn is_empty(&self, members: &Self::Members) -> bool;
    /// Closes a structure, with its members in the model's order.
    fn close(&mut self, members: Self::Members, structure: &Structure) -> Self::Done;
    /// Replaces a structure by a value.
    fn replace(&mut self, members: Self::Members, value: Value) -> Self::Done;
}

/// Builds values.
#[derive(Default)]
pub(crate) struct ValueSink {
    pub(crate) log: RepairLog,
}

impl JsonSink for ValueSink {
    type Done = Value;
    type List = Vec<Value>;
    type Members = Vec<(usize, Value)>;

    fn log(&mut self) -> &mut RepairLog {
        &mut self.log
    }

    fn string(&mut self, text: Cow<'_, str>) -> Value {
        Value::String(text.into_owned())
    }

    fn value(&mut self, value: Value) -> Value {
        value
    }

    fn is_null(&self, done: &Value) -> bool {
        done.is_null()
    }

    fn is_object(&self, done: &Value) -> bool {
        done.is_object()
    }

    fn list(&mut self) -> Vec<Value> {
        Vec::new()
    }

    fn element(&mut self, _: &mut Vec<Value>) {}

    fn push(&mut self, list: &mut Vec<Value>, element: Value) {
        list.push(element);
    }

    fn close_list(&mut self, list: Vec<Value>) -> Value {
        Value::Array(list)
    }

    fn structure(&mut self) -> Self::Members {
        Vec::new()
    }

    fn member(&mut self, _: &mut Self::Members, _: usize, _: &str) {}

    fn set(&mut self, members: &mut Self::Members, index: usize, value: Value) {
        members.push((index, value));
    }

    fn discard(&mut self, _: &mut Self::Members, _: Value) {}

    fn forget(&mut self, members: &mut Self::Members, index: usize) {
        members.retain(|(known, _)| *known != index);
    }

    fn has(&self, members: &Self::Members, index: usize) -> bool {
        members.iter().any(|(known, _)| *known == index)
    }

    fn is_empty(&self, members: &Self::Members) -> bool {
        members.is_empty()
    }

    fn close(&mut self, mut members: Self::Members, structure: &Structure) -> Value {
        members.sort_by_key(|(index, _)| *index);
        let named = members
            .into_iter()
            .filter_map(|(index, value)| Some((structure.members.get(index)?.name.clone(), value)));
        Value::Object(named.collect())
    }

    fn replace(&mut self, _: Self::Members, value: Value) -> Value {
        value
    }
}

/// Writes JSON, and records the positions of the values at a path.
pub(crate) struct TextSink<'p> {
    json: Vec<u8>,
    path: &'p [PathSegment],
    /// The length of the path's prefix that leads to the next value; `None` if the path does not lead
    /// there.
    next: Option<usize>,
    items: Vec<Range<usize>>,
    /// The members of all open structures, those of the innermost last.
    pieces: Vec<Piece>,
    scratch: Vec<u8>,
    pub(crate) log: RepairLog,
}

/// A written member.
struct Piece {
    index: usize,
    /// From its name to the end of its value.
    span: Range<usize>,
}

/// A list that is being written.
pub(crate) struct OpenList {
    start: usize,
    depth: Option<usize>,
    count: usize,
}

/// A structure that is being written.
pub(crate) struct OpenMembers {
    start: usize,
    depth: Option<usize>,
    /// The index of its first member in the pieces.
    base: usize,
    /// Whether they are in the model's order, with nothing between them.
    in_order: bool,
}

/// The start of a complete value, which ends where the text ends.
pub(crate) struct WrittenValue(usize);

impl<'p> TextSink<'p> {
    /// `room` is the approximate size in bytes.
    pub(crate) fn new(path: &'p [PathSegment], room: usize) -> Self {
        Self {
            json: Vec::with_capacity(room),
            path,
            next: Some(0),
            items: Vec::new(),
            pieces: Vec::new(),
            scratch: Vec::new(),
            log: RepairLog::default(),
        }
    }

    /// Returns the text, and the positions of the items in it, in their order.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<Range<usize>>) {
        (self.json, self.items)
    }

    fn write<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        // Writing values into memory does not fail.
        _ = serde_json::to_writer(&mut self.json, value);
    }

    fn done(&mut self, start: usize, depth: Option<usize>) -> WrittenValue {
        if depth == Some(self.path.len()) {
            self.items.push(start..self.json.len());
        }
        WrittenValue(start)
    }

    /// Returns the length of the path's prefix that leads to a child.
    fn below(&self, depth: Option<usize>, leads: impl Fn(&PathSegment) -> bool) -> Option<usize> {
        let depth = depth?;
        self.path.get(depth).filter(|segment| leads(segment)).map(|_| depth + 1)
    }

    fn end(&mut self, members: &OpenMembers) -> WrittenValue {
        if !members.in_order {
            self.rearrange(members);
        }
        self.json.push(b'}');
        self.pieces.truncate(members.base);
        self.done(members.start, members.depth)
    }

    /// Rewrites the members of a structure in the model's order.
    fn rearrange(&mut self, members: &OpenMembers) {
        let inside = members.start + 1;
        let Some(pieces) = self.pieces.get_mut(members.base..) else { return };
        pieces.sort_by_key(|piece| piece.index);
        self.scratch.clear();
        let first = self.items.partition_point(|item| item.start < inside);
        let mut moved = Vec::new();
        for piece in pieces {
            if !self.scratch.is_empty() {
                self.scratch.push(b',');
            }
            let at = inside + self.scratch.len();
            self.scratch.extend_from_slice(&self.json[piece.span.clone()]);
            moved.extend(self.items[first..].iter().filter(|item| piece.span.contains(&item.start)).map(
                |item| {
                    let start = item.start - piece.span.start + at;
                    start..start + item.len()
                },
            ));
        }
        self.items.truncate(first);
        self.items.extend(moved);
        self.json.truncate(inside);
        self.json.extend_from_slice(&self.scratch);
    }

    fn take_back(&mut self, from: usize) {
        self.json.truncate(from);
        let kept = self.items.partition_point(|item| item.start < from);
        self.items.truncate(kept);
    }
}

impl JsonSink for TextSink<'_> {
    type Done = WrittenValue;
    type List = OpenList;
    type Members = OpenMembers;

    fn log(&mut self) -> &mut RepairLog {
        &mut self.log
    }

    fn string(&mut self, text: Cow<'_, str>) -> WrittenValue {
        let (start, depth) = (self.json.len(), self.next);
        self.write(&*text);
        self.done(start, depth)
    }

    fn value(&mut self, value: Value) -> WrittenValue {
        match value {
            Value::Array(values) if self.next.is_some() => {
                let mut list = self.list();
                for value in values {
                    self.element(&mut list);
                    let value = self.value(value);
                    self.push(&mut list, value);
                }
                self.close_list(list)
            }
            Value::Object(entries) if self.next.is_some() => {
                let mut members = self.structure();
                for (index, (name, value)) in entries.into_iter().enumerate() {
                    self.member(&mut members, index, &name);
                    let value = self.value(value);
                    self.set(&mut members, index, value);
                }
                self.end(&members)
            }
            value => {
                let (start, depth) = (self.json.len(), self.next);
                self.write(&value);
                self.done(start, depth)
            }
        }
    }

    fn is_null(&self, done: &WrittenValue) -> bool {
        self.json.get(done.0..) == Some(b"null")
    }

    fn is_object(&self, done: &WrittenValue) -> bool {
        self.json.get(done.0) == Some(&b'{')
    }

    fn list(&mut self) -> OpenList {
        let list = OpenList { start: self.json.len(), depth: self.next, count: 0 };
        self.json.push(b'[');
        list
    }

    fn element(&mut self, list: &mut OpenList) {
        if list.count > 0 {
            self.json.push(b',');
        }
        self.next = self.below(list.depth, |segment| match segment {
            PathSegment::Flatten => true,
            PathSegment::Index(index) => *index == list.count,
            PathSegment::Name(_) => false,
        });
        list.count += 1;
    }

    fn push(&mut self, _: &mut OpenList, _: WrittenValue) {}

    fn close_list(&mut self, list: OpenList) -> WrittenValue {
        self.json.push(b']');
        self.done(list.start, list.depth)
    }

    fn structure(&mut self) -> OpenMembers {
        let (start, base) = (self.json.len(), self.pieces.len());
        self.json.push(b'{');
        OpenMembers { start, depth: self.next, base, in_order: true }
    }

    fn member(&mut self, members: &mut OpenMembers, index: usize, name: &str) {
        if let Some(before) = self.pieces.get(members.base..).and_then(<[Piece]>::last) {
            members.in_order &= before.index < index;
            self.json.push(b',');
        }
        let start = self.json.len();
        self.write(name);
        self.json.push(b':');
        self.next = self.below(
            members.depth,
            |segment| matches!(segment, PathSegment::Name(expected) if expected == name),
        );
        self.pieces.push(Piece { index, span: start..start });
    }

    fn set(&mut self, _: &mut OpenMembers, _: usize, _: WrittenValue) {
        if let Some(piece) = self.pieces.last_mut() {
            piece.span.end = self.json.len();
        }
    }

    fn discard(&mut self, members: &mut OpenMembers, _: WrittenValue) {
        let Some(piece) = self.pieces.pop() else { return };
        // Remove its comma, too.
        let comma = usize::from(self.pieces.len() > members.base);
        self.take_back(piece.span.start - comma);
    }

    fn forget(&mut self, members: &mut OpenMembers, index: usize) {
        let known = self.pieces.iter().skip(members.base).position(|piece| piece.index == index);
        if let Some(at) = known {
            let forgotten = self.pieces.remove(members.base + at).span;
            self.items.retain(|item| !forgotten.contains(&item.start));
            members.in_order = false;
        }
    }

    fn has(&self, members: &OpenMembers, index: usize) -> bool {
        self.pieces.iter().skip(members.base).any(|piece| piece.index == index)
    }

    fn is_empty(&self, members: &OpenMembers) -> bool {
        self.pieces.len() == members.base
    }

    fn close(&mut self, members: OpenMembers, _: &Structure) -> WrittenValue {
        self.end(&members)
    }

    fn replace(&mut self, members: OpenMembers, value: Value) -> WrittenValue {
        self.take_back(members.start);
        self.pieces.truncate(members.base);
        self.next = members.depth;
        self.value(value)
    }
}

/// Returns a union whose member is unknown, in botocore's format.
pub(crate) fn unknown_union_member(name: String) -> Value {
    let mut inner = Map::new();
    inner.insert("name".to_owned(), Value::String(name));
    let mut outer = Map::new();
    outer.insert("SDK_UNKNOWN_MEMBER".to_owned(), Value::Object(inner));
    Value::Object(outer)
}
