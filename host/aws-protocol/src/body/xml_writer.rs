//! Writes XML bodies.

use std::io::Cursor;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use quick_xml::{
    Writer,
    events::{BytesEnd, BytesStart, BytesText, Event},
};

use crate::{
    input::Input,
    model::{Member, Reference},
    timestamp::TimestampFormat,
};

/// Writes a document whose root is a value.
pub(crate) fn document(reference: &Reference, default_name: &str, value: &Input<'_>) -> Vec<u8> {
    let mut document = Document(Writer::new(Cursor::new(Vec::new())));
    document.value(reference, value, reference.name.as_deref().unwrap_or(default_name));
    document.0.into_inner().into_inner()
}

/// Writes a document whose root contains these members.
pub(crate) fn members_document<'i, 'v: 'i>(
    reference: &Reference,
    default_name: &str,
    members: impl Iterator<Item = &'i (&'v Member, Input<'v>)>,
) -> Vec<u8> {
    let mut document = Document(Writer::new(Cursor::new(Vec::new())));
    document.members(reference, members, reference.name.as_deref().unwrap_or(default_name));
    document.0.into_inner().into_inner()
}

struct Document(Writer<Cursor<Vec<u8>>>);

impl Document {
    fn value(&mut self, reference: &Reference, value: &Input<'_>, name: &str) {
        match value {
            Input::Structure(members) => self.members(reference, members.iter(), name),
            Input::List(element, items) if reference.flattened => {
                for item in items {
                    self.value(element, item, name);
                }
            }
            Input::List(element, items) => {
                self.start(reference, name, &[]);
                let item_name = element.name.as_deref().unwrap_or("member");
                for item in items {
                    self.value(element, item, item_name);
                }
                self.end(name);
            }
            Input::Map(key, element, entries) => {
                if !reference.flattened {
                    self.start(reference, name, &[]);
                }
                let entry_name = if reference.flattened { name } else { "entry" };
                let key_name = key.name.as_deref().unwrap_or("key");
                let value_name = element.name.as_deref().unwrap_or("value");
                for (entry, value) in entries {
                    self.write(Event::Start(BytesStart::new(entry_name)));
                    self.text(key, key_name, entry);
                    self.value(element, value, value_name);
                    self.end(entry_name);
                }
                if !reference.flattened {
                    self.end(name);
                }
            }
            Input::Text(text) => self.text(reference, name, text),
            Input::Integer(number) => self.text(reference, name, &number.to_string()),
            Input::Float(number) => self.text(reference, name, &Input::float_text(*number)),
            Input::Boolean(value) => self.text(reference, name, if *value { "true" } else { "false" }),
            Input::Blob(bytes) => self.text(reference, name, &BASE64.encode(bytes)),
            Input::Time(time) => {
                let text = time.encode(reference.timestamp_format.unwrap_or(TimestampFormat::Iso8601));
                self.text(
                    reference,
                    name,
                    &text.as_str().map_or_else(|| text.to_string(), ToOwned::to_owned),
                );
            }
            Input::Document(value) => self.text(reference, name, &value.to_string()),
        }
    }

    fn members<'i, 'v: 'i>(
        &mut self,
        reference: &Reference,
        members: impl Iterator<Item = &'i (&'v Member, Input<'v>)>,
        name: &str,
    ) {
        let (attributes, elements): (Vec<_>, Vec<_>) =
            members.partition(|(member, _)| member.reference.xml_attribute);
        let attributes: Vec<(&str, &str)> = attributes
            .into_iter()
            .filter_map(|(member, value)| match value {
                Input::Text(text) => Some((member.reference.name.as_deref()?, text.as_ref())),
                _ => None,
            })
            .collect();
        self.start(reference, name, &attributes);
        for (member, value) in elements {
            let name = member.reference.name.as_deref().unwrap_or(&member.name);
            self.value(&member.reference, value, name);
        }
        self.end(name);
    }

    fn text(&mut self, reference: &Reference, name: &str, text: &str) {
        self.start(reference, name, &[]);
        self.write(Event::Text(BytesText::new(text)));
        self.end(name);
    }

    fn start(&mut self, reference: &Reference, name: &str, attributes: &[(&str, &str)]) {
        let mut start = BytesStart::new(name);
        if let Some(namespace) = &reference.xml_namespace {
            let attribute = match &namespace.prefix {
                Some(prefix) => format!("xmlns:{prefix}"),
                None => "xmlns".to_owned(),
            };
            start.push_attribute((attribute.as_str(), namespace.uri.as_str()));
        }
        for attribute in attributes {
            start.push_attribute(*attribute);
        }
        self.write(Event::Start(start));
    }

    fn end(&mut self, name: &str) {
        self.write(Event::End(BytesEnd::new(name)));
    }

    fn write(&mut self, event: Event<'_>) {
        // Writing to memory cannot fail.
        let _ = self.0.write_event(event);
    }
}
