//! Reads XML bodies in one streaming pass.

use std::borrow::Cow;

use berth_core::lossy;
use quick_xml::{
    Reader,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};
use serde_json::{Map, Value};

use super::{
    json_sink::{JsonSink, ValueSink, unknown_union_member},
    repairs::RepairLog,
    scalar,
};
use crate::model::{Model, Reference, Shape, Structure};

/// Deeper than any model; protects the stack against recursive shapes.
const MAX_DEPTH: usize = 100;

/// Returns the name of the root element, if the body is XML at all.
pub(crate) fn root_name(body: &[u8]) -> Option<String> {
    // Everything before the root is short.
    const REACH: usize = 4096;
    let head = String::from_utf8_lossy(&body[..body.len().min(REACH)]);
    let mut reader = reader(&head);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => return Some(local_name(&start).to_owned()),
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// An element with its text and its children, for documents without a model: errors.
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let (text, _) = lossy(body);
        let mut reader = reader(&text);
        let mut open: Vec<Self> = Vec::new();
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    if open.len() >= MAX_DEPTH {
                        return None;
                    }
                    let name = local_name(&start).to_owned();
                    open.push(Self { name, text: String::new(), children: Vec::new() });
                }
                Event::End(_) => {
                    let element = open.pop()?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(element),
                        None => return Some(element),
                    }
                }
                Event::Eof => return None,
                event => {
                    if let Some(element) = open.last_mut().filter(|element| element.children.is_empty()) {
                        append_text(&mut element.text, &event);
                    }
                }
            }
        }
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }
}

fn reader(text: &str) -> Reader<&[u8]> {
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    reader.config_mut().expand_empty_elements = true;
    reader.config_mut().allow_dangling_amp = true;
    reader
}

fn local_name<'n>(start: &'n BytesStart<'_>) -> &'n str {
    let name = start.name().into_inner();
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// Adds the text of an event, with U+FFFD for a character or an entity that does not exist. Returns the
/// number of replacements.
fn append_text(text: &mut String, event: &Event<'_>) -> u64 {
    match event {
        Event::Text(part) => text.push_str(&part.xml10_content()),
        Event::CData(part) => text.push_str(&part.xml10_content()),
        Event::GeneralRef(reference) => {
            match (reference.resolve_char_ref(), resolve_predefined_entity(reference)) {
                (Ok(Some(letter)), _) => text.push(letter),
                (Ok(None), Some(letters)) => text.push_str(letters),
                _ => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    return 1;
                }
            }
        }
        _ => {}
    }
    0
}

/// Reads one document.
pub(crate) struct Decoder<'m, 'b> {
    model: &'m Model,
    /// The required suffix of the root's name.
    root_suffix: &'static str,
    reader: Reader<&'b [u8]>,
    depth: usize,
    /// Whether there was text where only elements are allowed.
    stray: bool,
}

impl<'m, 'b> Decoder<'m, 'b> {
    /// Creates a decoder of a document whose root's name must end with `root_suffix`.
    pub(crate) fn new(model: &'m Model, body: &'b [u8], root_suffix: &'static str) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
        Ok(Self { model, root_suffix, reader: reader(text), depth: 0, stray: false })
    }

    /// Reads a document whose root, or the child of it that `wrapper` names, contains the members, in
    /// addition to those from outside the body.
    pub(crate) fn members<S: JsonSink>(
        mut self,
        sink: &mut S,
        output: &'m Structure,
        wrapper: Option<&str>,
        outside: Vec<(usize, Value)>,
    ) -> Result<S::Done, String> {
        let root = self.root()?;
        let Some(wrapper) = wrapper else {
            let value = self.structure(sink, output, &root, outside)?;
            return self.finish(value);
        };
        let mut result = None;
        let mut outside = Some(outside);
        while let Some(child) = self.child()? {
            if local_name(&child) == wrapper
                && let Some(outside) = outside.take()
            {
                result = Some(self.structure(sink, output, &child, outside)?);
            } else {
                self.skip()?;
            }
        }
        let value = result.ok_or_else(|| format!("there is no element `{wrapper}`"))?;
        self.finish(value)
    }

    /// Reads a document whose root is a value of this shape.
    pub(crate) fn root_value<S: JsonSink>(
        mut self,
        sink: &mut S,
        reference: &'m Reference,
    ) -> Result<S::Done, String> {
        let root = self.root()?;
        let value = self.value(sink, reference, &root)?;
        self.finish(value)
    }

    fn next(&mut self) -> Result<Event<'b>, String> {
        let event = self
            .reader
            .read_event()
            .map_err(|error| format!("XML, at byte {}: {error}", self.reader.error_position()))?;
        match event {
            Event::Eof => {
                Err(format!("XML, at byte {}: the document is truncated", self.reader.buffer_position()))
            }
            event => Ok(event),
        }
    }

    fn root(&mut self) -> Result<BytesStart<'b>, String> {
        loop {
            match self.next()? {
                Event::Start(start) => {
                    let name = local_name(&start);
                    let is_response = name.ends_with(self.root_suffix);
                    if name.eq_ignore_ascii_case("html") || name == "ErrorResponse" || !is_response {
                        return Err(format!("`{name}` is not the root of a response"));
                    }
                    return Ok(start);
                }
                Event::Text(text) if !text.xml10_content().trim().is_empty() => {
                    return Err("the response is not XML".to_owned());
                }
                _ => {}
            }
        }
    }

    /// Returns the next child of the open element, or nothing at its end.
    fn child(&mut self) -> Result<Option<BytesStart<'b>>, String> {
        loop {
            match self.next()? {
                Event::Start(start) => return Ok(Some(start)),
                Event::End(_) => return Ok(None),
                Event::Text(text) => self.stray |= !text.trim_ascii().is_empty(),
                Event::CData(_) | Event::GeneralRef(_) => self.stray = true,
                _ => {}
            }
        }
    }

    /// Skips the open element.
    fn skip(&mut self) -> Result<(), String> {
        let mut open = 1_usize;
        while open > 0 {
            match self.next()? {
                Event::Start(_) => open += 1,
                Event::End(_) => open -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks that only white space and comments follow the root.
    fn finish<T>(mut self, value: T) -> Result<T, String> {
        loop {
            match self.reader.read_event().map_err(|error| error.to_string())? {
                Event::Eof => return Ok(value),
                Event::Text(text) if text.xml10_content().trim().is_empty() => {}
                Event::Comment(_) | Event::PI(_) => {}
                _ => return Err("unexpected data after the document".to_owned()),
            }
        }
    }

    /// Returns the value of the open element, and reads its end.
    fn value<S: JsonSink>(
        &mut self,
        sink: &mut S,
        reference: &'m Reference,
        start: &BytesStart<'b>,
    ) -> Result<S::Done, String> {
        if self.depth >= MAX_DEPTH {
            return Err("the document is nested too deeply".to_owned());
        }
        self.depth += 1;
        let value = match self.model.shape(reference) {
            Shape::Structure(structure) => self.structure(sink, structure, start, Vec::new())?,
            Shape::List(element) if reference.flattened => {
                let mut list = sink.list();
                let mark = sink.log().mark();
                sink.element(&mut list);
                let item = self.value(sink, element, start)?;
                sink.log().within_element(mark, mark);
                sink.push(&mut list, item);
                sink.close_list(list)
            }
            // Every child is an element, regardless of its name.
            Shape::List(element) => {
                let mut list = sink.list();
                let mark = sink.log().mark();
                let mut is_empty = true;
                self.stray = false;
                while let Some(child) = self.child()? {
                    is_empty = false;
                    sink.element(&mut list);
                    let before = sink.log().mark();
                    let item = self.value(sink, element, &child)?;
                    sink.log().within_element(mark, before);
                    sink.push(&mut list, item);
                }
                // Text instead of elements does not prove that the list is empty.
                if is_empty && self.stray {
                    sink.log().left_out();
                }
                sink.close_list(list)
            }
            Shape::Map(key, element) => {
                let mut entries = Map::new();
                if reference.flattened {
                    self.entry(sink.log(), key, element, &mut entries)?;
                } else {
                    while self.child()?.is_some() {
                        self.entry(sink.log(), key, element, &mut entries)?;
                    }
                }
                sink.value(Value::Object(entries))
            }
            Shape::String if reference.quirk.is_none() => {
                let text = self.text(sink.log())?;
                sink.string(text)
            }
            shape => {
                let text = self.text(sink.log())?.into_owned();
                match (scalar::from_text(shape, text), reference.quirk) {
                    (Some(value), Some(quirk)) => sink.value(scalar::unquirk(quirk, value)),
                    (Some(value), None) => sink.value(value),
                    (None, _) => {
                        sink.log().left_out();
                        sink.value(Value::Null)
                    }
                }
            }
        };
        self.depth -= 1;
        Ok(value)
    }

    /// Reads one entry of a map: the open element contains a key and a value.
    fn entry(
        &mut self,
        log: &mut RepairLog,
        key: &'m Reference,
        element: &'m Reference,
        entries: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let key_name = key.name.as_deref().unwrap_or("key");
        let value_name = element.name.as_deref().unwrap_or("value");
        let (mut name, mut value) = (None, None);
        let mut sink = ValueSink::default();
        while let Some(child) = self.child()? {
            let tag = local_name(&child);
            if tag == key_name {
                name = Some(self.text(&mut sink.log)?.into_owned());
            } else if tag == value_name {
                value = Some(self.value(&mut sink, element, &child)?);
            } else {
                self.skip()?;
            }
        }
        match (name, value) {
            (Some(name), Some(value)) => _ = entries.insert(name, value),
            // An entry without a key or a value.
            _ => sink.log.left_out(),
        }
        let mark = log.mark();
        log.absorb(sink.log);
        log.within_entry(mark);
        Ok(())
    }

    fn structure<S: JsonSink>(
        &mut self,
        sink: &mut S,
        structure: &'m Structure,
        start: &BytesStart<'b>,
        outside: Vec<(usize, Value)>,
    ) -> Result<S::Done, String> {
        let mut members = sink.structure();
        if let Some(index) = structure.root_text {
            let text = self.text(sink.log())?.into_owned();
            // A bucket in us-east-1: the AWS CLI prints null.
            let value = if text.is_empty() { Value::Null } else { Value::String(text) };
            sink.set_value(&mut members, structure, index, value);
            return Ok(sink.close(members, structure));
        }
        let (mut first_tag, mut is_empty) = (None, true);
        self.stray = false;
        let mut cursor = 0;
        // Elements of flattened lists and maps may be interleaved with others.
        let mut scattered: Vec<(usize, Value)> = Vec::new();
        while let Some(child) = self.child()? {
            is_empty = false;
            let tag = local_name(&child);
            let found = find(structure, tag, cursor);
            if first_tag.is_none() && structure.union {
                first_tag = Some(tag.to_owned());
            }
            let Some((index, member)) = found.and_then(|index| Some((index, structure.members.get(index)?)))
            else {
                self.skip()?;
                continue;
            };
            let reference = &member.reference;
            cursor = index + 1;
            match self.model.shape(reference) {
                shape @ (Shape::List(_) | Shape::Map(..)) if reference.flattened => {
                    let mark = sink.log().mark();
                    self.scattered(sink.log(), shape, scattered_value(&mut scattered, index, shape), &child)?;
                    sink.log().within(mark, &member.name);
                    // The next element is probably another one of the same list.
                    cursor = index;
                }
                // If a member occurs twice, the first one counts.
                _ if sink.has(&members, index) => self.skip()?,
                _ => {
                    sink.member(&mut members, index, &member.name);
                    let mark = sink.log().mark();
                    let value = self.value(sink, reference, &child)?;
                    if sink.log().mark() != mark && sink.is_null(&value) {
                        sink.discard(&mut members, value);
                    } else {
                        sink.set(&mut members, index, value);
                    }
                    sink.log().within(mark, &member.name);
                }
            }
        }
        for (list, other) in &structure.twins {
            let first = scattered
                .iter()
                .find(|(index, _)| index == list)
                .and_then(|(_, items)| items.get(0).cloned());
            scattered.extend(first.map(|first| (*other, first)));
        }
        for (index, value) in scattered.into_iter().chain(outside) {
            if !sink.has(&members, index) {
                sink.set_value(&mut members, structure, index, value);
            }
        }
        if structure.has_attributes {
            attributes(sink, &mut members, structure, start);
        }
        if is_empty && self.stray {
            sink.log().left_out();
        }
        match first_tag {
            Some(tag) if sink.is_empty(&members) => Ok(sink.replace(members, unknown_union_member(tag))),
            _ => Ok(sink.close(members, structure)),
        }
    }

    /// Adds the open element to its flattened list or map.
    fn scattered(
        &mut self,
        log: &mut RepairLog,
        shape: &'m Shape,
        to: &mut Value,
        child: &BytesStart<'b>,
    ) -> Result<(), String> {
        match (shape, to) {
            (Shape::List(element), Value::Array(items)) => {
                let mark = log.mark();
                let mut values = ValueSink::default();
                items.push(self.value(&mut values, element, child)?);
                log.absorb(values.log);
                log.within_element(mark, mark);
                Ok(())
            }
            (Shape::Map(key, element), Value::Object(entries)) => self.entry(log, key, element, entries),
            _ => self.skip(),
        }
    }

    /// Returns the text of the open element before its first child.
    fn text(&mut self, log: &mut RepairLog) -> Result<Cow<'b, str>, String> {
        let mut text = Cow::Borrowed("");
        loop {
            match self.next()? {
                Event::End(_) => return Ok(text),
                Event::Start(_) => {
                    self.skip()?;
                    while self.child()?.is_some() {
                        self.skip()?;
                    }
                    return Ok(text);
                }
                Event::Text(part) if text.is_empty() => text = part.xml10_content(),
                event => log.repairs.replaced += append_text(text.to_mut(), &event),
            }
        }
    }
}

/// Returns the flattened list or map at this index of the model, which is empty at first.
fn scattered_value<'s>(scattered: &'s mut Vec<(usize, Value)>, index: usize, shape: &Shape) -> &'s mut Value {
    let known = scattered.iter().position(|(known, _)| *known == index);
    let at = known.unwrap_or_else(|| {
        let empty = match shape {
            Shape::List(_) => Value::Array(Vec::new()),
            _ => Value::Object(Map::new()),
        };
        scattered.push((index, empty));
        scattered.len() - 1
    });
    &mut scattered[at].1
}

fn find(structure: &Structure, tag: &str, cursor: usize) -> Option<usize> {
    let index = structure.find(tag, cursor, |member| !member.reference.location.is_outside_body())?;
    let list = structure.twins.iter().find(|(_, other)| *other == index).map(|(list, _)| *list);
    Some(list.unwrap_or(index))
}

/// Reads members that are bound to attributes of the element, unless an element of that name already set
/// them.
fn attributes<S: JsonSink>(
    sink: &mut S,
    members: &mut S::Members,
    structure: &Structure,
    start: &BytesStart<'_>,
) {
    for (index, member) in structure.members.iter().enumerate() {
        if !member.reference.xml_attribute || sink.has(members, index) {
            continue;
        }
        // `xsi:type`: the document may use another prefix for the namespace.
        let local = |name: &str| name.rsplit_once(':').map(|(_, local)| local.to_owned());
        // An unreadable attribute counts as absent.
        for attribute in start.attributes().flatten() {
            let name = attribute.key.into_inner();
            let is_namespace = name == "xmlns" || name.starts_with("xmlns:");
            if !is_namespace
                && (name == member.key || (local(name).is_some() && local(name) == local(&member.key)))
            {
                let normal = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0);
                let value = normal.unwrap_or_else(|_| {
                    // It contains a character or an entity that does not exist.
                    sink.log().coerced();
                    attribute.value.clone()
                });
                let value = value.into_owned();
                sink.set_value(members, structure, index, Value::String(value));
                break;
            }
        }
    }
}
