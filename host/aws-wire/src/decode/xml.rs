//! XML bodies, read in one streaming pass: elements become values as they end.

use quick_xml::{
    Reader,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};
use serde_json::{Map, Value};

use super::scalar;
use crate::{
    Protocol,
    model::{Model, Reference, Shape, Structure},
};

/// Deeper than any model; guards the stack against shapes that hold themselves.
const MAX_DEPTH: usize = 100;

/// Reads a document whose root, or the child of it that `wrapper` names, holds the members.
pub(super) fn decode(
    model: &Model,
    output: &Structure,
    wrapper: Option<&str>,
    body: &[u8],
) -> Result<Value, String> {
    let mut decoder = Decoder::new(model, body)?;
    let root = decoder.root()?;
    let Some(wrapper) = wrapper else {
        let value = decoder.structure(output, &root)?;
        return decoder.finish(value);
    };
    let mut result = None;
    while let Some(child) = decoder.child()? {
        if result.is_none() && local_name(&child) == wrapper {
            result = Some(decoder.structure(output, &child)?);
        } else {
            decoder.skip()?;
        }
    }
    decoder.finish(result.ok_or_else(|| format!("there is no element `{wrapper}`"))?)
}

/// Reads a document whose root is a value of this shape.
pub(super) fn decode_value(model: &Model, reference: &Reference, body: &[u8]) -> Result<Value, String> {
    let mut decoder = Decoder::new(model, body)?;
    let root = decoder.root()?;
    let value = decoder.value(reference, &root)?;
    decoder.finish(value)
}

/// The name of the root element, if the body is XML at all.
pub(super) fn root_name(body: &[u8]) -> Option<String> {
    // What may stand before the root is short.
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
pub(super) struct Element {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = reader(std::str::from_utf8(body).ok()?);
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
                        append_text(&mut element.text, &event).ok()?;
                    }
                }
            }
        }
    }

    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }
}

fn reader(text: &str) -> Reader<&[u8]> {
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    reader.config_mut().expand_empty_elements = true;
    reader
}

fn local_name<'n>(start: &'n BytesStart<'_>) -> &'n str {
    let name = start.name().into_inner();
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// Adds what an event holds of an element's text.
fn append_text(text: &mut String, event: &Event<'_>) -> Result<(), String> {
    match event {
        Event::Text(part) => text.push_str(&part.xml10_content()),
        Event::CData(part) => text.push_str(&part.xml10_content()),
        Event::GeneralRef(reference) => {
            let resolved = reference.resolve_char_ref().map_err(|error| error.to_string())?;
            match (resolved, resolve_predefined_entity(reference)) {
                (Some(letter), _) => text.push(letter),
                (None, Some(letters)) => text.push_str(letters),
                (None, None) => return Err("an entity is not defined".to_owned()),
            }
        }
        _ => {}
    }
    Ok(())
}

struct Decoder<'m, 'b> {
    model: &'m Model,
    reader: Reader<&'b [u8]>,
    depth: usize,
}

impl<'m, 'b> Decoder<'m, 'b> {
    fn new(model: &'m Model, body: &'b [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
        Ok(Self { model, reader: reader(text), depth: 0 })
    }

    fn next(&mut self) -> Result<Event<'b>, String> {
        let event = self
            .reader
            .read_event()
            .map_err(|error| format!("XML, at byte {}: {error}", self.reader.error_position()))?;
        match event {
            Event::Eof => {
                Err(format!("XML, at byte {}: the document is cut off", self.reader.buffer_position()))
            }
            event => Ok(event),
        }
    }

    fn root(&mut self) -> Result<BytesStart<'b>, String> {
        loop {
            match self.next()? {
                Event::Start(start) => {
                    let name = local_name(&start);
                    // A portal's page would otherwise pass for an answer without members, and mean
                    // that nothing exists. Only EC2's roots have a name that can be told.
                    let is_response = self.model.protocol != Protocol::Ec2 || name.ends_with("Response");
                    if name.eq_ignore_ascii_case("html") || name == "ErrorResponse" || !is_response {
                        return Err(format!("the root `{name}` is not that of an answer"));
                    }
                    return Ok(start);
                }
                Event::Text(text) if !text.xml10_content().trim().is_empty() => {
                    return Err("the answer is not XML".to_owned());
                }
                _ => {}
            }
        }
    }

    /// The next child of the element that is open; at its end nothing.
    fn child(&mut self) -> Result<Option<BytesStart<'b>>, String> {
        loop {
            match self.next()? {
                Event::Start(start) => return Ok(Some(start)),
                Event::End(_) => return Ok(None),
                _ => {}
            }
        }
    }

    /// Passes over the element that is open.
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

    /// Only white space and comments may follow the root.
    fn finish(mut self, value: Value) -> Result<Value, String> {
        loop {
            match self.reader.read_event().map_err(|error| error.to_string())? {
                Event::Eof => return Ok(value),
                Event::Text(text) if text.xml10_content().trim().is_empty() => {}
                Event::Comment(_) | Event::PI(_) => {}
                _ => return Err("something follows the document".to_owned()),
            }
        }
    }

    /// The value of the element that is open, up to and with its end.
    fn value(&mut self, reference: &'m Reference, start: &BytesStart<'b>) -> Result<Value, String> {
        if self.depth >= MAX_DEPTH {
            return Err("the document is nested too deeply".to_owned());
        }
        self.depth += 1;
        let value = match self.model.shape(reference) {
            Shape::Structure(structure) => self.structure(structure, start),
            Shape::List(element) if reference.flattened => {
                self.value(element, start).map(|item| Value::Array(vec![item]))
            }
            Shape::List(element) => self.list(element),
            Shape::Map(key, element) => {
                let mut entries = Map::new();
                if reference.flattened {
                    self.entry(key, element, &mut entries)?;
                } else {
                    while self.child()?.is_some() {
                        self.entry(key, element, &mut entries)?;
                    }
                }
                Ok(Value::Object(entries))
            }
            shape => {
                let text = self.text()?;
                scalar::from_text(shape, text).map_err(|reason| format!("{}: {reason}", local_name(start)))
            }
        }?;
        self.depth -= 1;
        Ok(match reference.quirk {
            Some(quirk) => scalar::unquirk(quirk, value),
            None => value,
        })
    }

    /// Every child is an element of the list, whatever its name.
    fn list(&mut self, element: &'m Reference) -> Result<Value, String> {
        let mut items = Vec::new();
        while let Some(child) = self.child()? {
            items.push(self.value(element, &child)?);
        }
        Ok(Value::Array(items))
    }

    /// One entry of a map: the element that is open holds a key and a value.
    fn entry(
        &mut self,
        key: &'m Reference,
        element: &'m Reference,
        entries: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let key_name = key.name.as_deref().unwrap_or("key");
        let value_name = element.name.as_deref().unwrap_or("value");
        let (mut name, mut value) = (None, None);
        while let Some(child) = self.child()? {
            let tag = local_name(&child);
            if tag == key_name {
                name = Some(self.text()?);
            } else if tag == value_name {
                value = Some(self.value(element, &child)?);
            } else {
                return Err(format!("`{tag}` in an entry of a map"));
            }
        }
        let (Some(name), Some(value)) = (name, value) else {
            return Err("an entry of a map lacks its key or its value".to_owned());
        };
        entries.insert(name, value);
        Ok(())
    }

    fn structure(&mut self, structure: &'m Structure, start: &BytesStart<'b>) -> Result<Value, String> {
        let mut found: Vec<(usize, Value)> = Vec::new();
        let mut first_tag = None;
        let mut cursor = 0;
        if let Some(index) = structure.root_text {
            let text = self.text()?;
            // A bucket in us-east-1: the AWS CLI prints null.
            let value = if text.is_empty() { Value::Null } else { Value::String(text) };
            found.push((index, value));
            return Ok(assemble(structure, found));
        }
        while let Some(child) = self.child()? {
            let tag = local_name(&child);
            let Some(index) = find(structure, tag, cursor) else {
                first_tag.get_or_insert_with(|| tag.to_owned());
                self.skip()?;
                continue;
            };
            first_tag.get_or_insert_with(|| tag.to_owned());
            cursor = index + 1;
            let reference = &structure.members[index].reference;
            let known = found.iter().rposition(|(known, _)| *known == index);
            match (known, self.model.shape(reference)) {
                (None, _) => {
                    let value = self.value(reference, &child)?;
                    found.push((index, value));
                }
                (Some(at), Shape::List(element)) if reference.flattened => {
                    let item = self.value(element, &child)?;
                    if let Some((_, Value::Array(items))) = found.get_mut(at) {
                        items.push(item);
                    }
                    cursor = index;
                }
                (Some(at), Shape::Map(key, element)) if reference.flattened => {
                    if let Some((_, Value::Object(entries))) = found.get_mut(at) {
                        self.entry(key, element, entries)?;
                    }
                    cursor = index;
                }
                // A member that comes twice: the first counts.
                (Some(_), _) => self.skip()?,
            }
        }
        for (list, other) in &structure.twins {
            let first =
                found.iter().find(|(index, _)| index == list).and_then(|(_, items)| items.get(0).cloned());
            found.extend(first.map(|first| (*other, first)));
        }
        if structure.has_attributes {
            attributes(structure, start, &mut found)?;
        }
        match first_tag {
            Some(tag) if structure.union && found.is_empty() => Ok(unknown_union_member(tag)),
            _ => Ok(assemble(structure, found)),
        }
    }

    /// The text of the element that is open: what stands before its first child.
    fn text(&mut self) -> Result<String, String> {
        let mut text = String::new();
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
                event => append_text(&mut text, &event)?,
            }
        }
    }
}

/// What botocore makes of a union whose member it does not know.
pub(super) fn unknown_union_member(name: String) -> Value {
    let mut inner = Map::new();
    inner.insert("name".to_owned(), Value::String(name));
    let mut outer = Map::new();
    outer.insert("SDK_UNKNOWN_MEMBER".to_owned(), Value::Object(inner));
    Value::Object(outer)
}

fn find(structure: &Structure, tag: &str, cursor: usize) -> Option<usize> {
    let index = structure.find(tag, cursor, |member| !member.reference.location.is_outside_body())?;
    let list = structure.twins.iter().find(|(_, other)| *other == index).map(|(list, _)| *list);
    Some(list.unwrap_or(index))
}

/// Members bound to attributes of the element, unless an element of that name gave them already.
fn attributes(
    structure: &Structure,
    start: &BytesStart<'_>,
    found: &mut Vec<(usize, Value)>,
) -> Result<(), String> {
    for (index, member) in structure.members.iter().enumerate() {
        let reference = &member.reference;
        if !reference.xml_attribute || found.iter().any(|(known, _)| *known == index) {
            continue;
        }
        // `xsi:type`: the prefix that the document uses for the namespace may be another.
        let local = |name: &str| name.rsplit_once(':').map(|(_, local)| local.to_owned());
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let name = attribute.key.into_inner();
            let is_namespace = name == "xmlns" || name.starts_with("xmlns:");
            if !is_namespace
                && (name == member.key || (local(name).is_some() && local(name) == local(&member.key)))
            {
                let value = attribute
                    .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                    .map_err(|error| error.to_string())?;
                found.push((index, Value::String(value.into_owned())));
            }
        }
    }
    Ok(())
}

/// The members in the model's order.
pub(super) fn assemble(structure: &Structure, mut found: Vec<(usize, Value)>) -> Value {
    found.sort_by_key(|(index, _)| *index);
    let members = found
        .into_iter()
        .filter_map(|(index, value)| Some((structure.members.get(index)?.name.clone(), value)));
    Value::Object(members.collect())
}
