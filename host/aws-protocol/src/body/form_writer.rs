//! Writes form-encoded bodies: pairs with names such as `Filter.1.Value.2`.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use url::form_urlencoded;

use crate::{
    Operation,
    input::Input,
    model::{Member, Model, Reference},
    request::WireRequest,
    timestamp::TimestampFormat,
};

/// How names and lists are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Query,
    Ec2,
}

/// Writes an input into the body of a request.
pub(crate) fn encode(operation: &Operation, input: &Input<'_>, dialect: Dialect, request: &mut WireRequest) {
    request.set_content_type("application/x-www-form-urlencoded; charset=utf-8");
    let model = operation.service().model();
    let mut form = FormWriter {
        ec2: dialect == Dialect::Ec2,
        model,
        pairs: form_urlencoded::Serializer::new(String::new()),
    };
    form.pairs.append_pair("Action", operation.name());
    form.pairs.append_pair("Version", &form.model.api_version);
    if let Input::Structure(members) = input {
        form.members(members, "");
    }
    request.body = form.pairs.finish().into_bytes();
}

struct FormWriter<'m> {
    model: &'m Model,
    ec2: bool,
    pairs: form_urlencoded::Serializer<'static, String>,
}

impl FormWriter<'_> {
    fn members(&mut self, members: &[(&Member, Input<'_>)], prefix: &str) {
        for (member, value) in members {
            let mut name = self.name(&member.reference, &member.name);
            if !prefix.is_empty() {
                name = format!("{prefix}.{name}");
            }
            self.value(&member.reference, value, &name);
        }
    }

    /// EC2 capitalizes the names of its locations.
    fn name(&self, reference: &Reference, default: &str) -> String {
        match (&reference.query_name, &reference.name) {
            (Some(name), _) if self.ec2 => name.clone(),
            (_, Some(name)) if self.ec2 => {
                let mut letters = name.chars();
                letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
            }
            (_, Some(name)) => name.clone(),
            (_, None) => default.to_owned(),
        }
    }

    fn value(&mut self, reference: &Reference, value: &Input<'_>, name: &str) {
        match value {
            Input::Structure(members) => self.members(members, name),
            Input::List(element, items) => self.list(reference, element, items, name),
            Input::Map(key, element, entries) => {
                let prefix = if reference.flattened { name.to_owned() } else { format!("{name}.entry") };
                let key_name = self.name(key, "key");
                let value_name = self.name(element, "value");
                for (index, (entry, value)) in (1..).zip(entries) {
                    self.pairs.append_pair(&format!("{prefix}.{index}.{key_name}"), entry);
                    self.value(element, value, &format!("{prefix}.{index}.{value_name}"));
                }
            }
            Input::Text(text) => self.pair(name, text),
            Input::Integer(number) => self.pair(name, &number.to_string()),
            Input::Float(number) => self.pair(name, &Input::float_text(*number)),
            Input::Boolean(value) => self.pair(name, if *value { "true" } else { "false" }),
            Input::Blob(bytes) => self.pair(name, &BASE64.encode(bytes)),
            Input::Time(time) => {
                let text = time.encode(reference.timestamp_format.unwrap_or(TimestampFormat::Iso8601));
                self.pair(name, &text.as_str().map_or_else(|| text.to_string(), ToOwned::to_owned));
            }
            Input::Document(value) => self.pair(name, &value.to_string()),
        }
    }

    fn list(&mut self, reference: &Reference, element: &Reference, items: &[Input<'_>], name: &str) {
        let prefix = if self.ec2 {
            name.to_owned()
        } else if items.is_empty() {
            return self.pair(name, "");
        } else if reference.flattened {
            match &element.name {
                // The elements' name replaces the list's name.
                Some(own) => match name.rsplit_once('.') {
                    Some((parent, _)) => format!("{parent}.{own}"),
                    None => own.clone(),
                },
                None => name.to_owned(),
            }
        } else {
            format!("{name}.{}", element.name.as_deref().unwrap_or("member"))
        };
        for (index, item) in (1..).zip(items) {
            self.value(element, item, &format!("{prefix}.{index}"));
        }
    }

    fn pair(&mut self, name: &str, value: &str) {
        self.pairs.append_pair(name, value);
    }
}
