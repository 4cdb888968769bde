//! The query protocol: a form with names like `Filter.1.Value.2`.

use std::collections::BTreeMap;

use berth_aws_protocol::{
    Operation, Protocol,
    model::{Model, Reference, Shape, Structure},
};
use serde_json::{Map, Value};

use super::xml::escaped;
use crate::error::Refusal;

/// A form's parameters by name.
pub(crate) type Form = BTreeMap<String, String>;

/// The parameters of a body.
pub(crate) fn form(body: &[u8]) -> Form {
    url::form_urlencoded::parse(body).into_owned().collect()
}

/// The body of an error.
pub(crate) fn error(refusal: &Refusal, id: &str) -> Vec<u8> {
    let side = if refusal.status.is_server_error() { "Receiver" } else { "Sender" };
    format!(
        "<ErrorResponse><Error><Type>{side}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>",
        refusal.code,
        escaped(&refusal.message)
    )
    .into_bytes()
}

/// The input of an operation from a form.
pub(crate) fn input(operation: &Operation, form: &Form) -> Value {
    let model = operation.service().model();
    let reader = Reader { model, form, ec2: model.protocol == Protocol::Ec2 };
    let structure = operation.model().input.as_ref().and_then(|input| model.structure(input));
    structure.map_or_else(|| Value::Object(Map::new()), |structure| reader.structure(structure, ""))
}

struct Reader<'f> {
    model: &'f Model,
    form: &'f Form,
    ec2: bool,
}

impl Reader<'_> {
    /// Whether there is anything at a name or below it.
    fn has(&self, name: &str) -> bool {
        self.form.contains_key(name)
            || self
                .form
                .range(format!("{name}.")..)
                .next()
                .is_some_and(|(key, _)| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }

    fn structure(&self, structure: &Structure, prefix: &str) -> Value {
        let members = structure.members.iter().filter_map(|member| {
            let name = self.name(&member.reference, &member.name);
            let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            Some((member.name.clone(), self.value(&member.reference, &name)?))
        });
        Value::Object(members.collect())
    }

    /// EC2 capitalises the names of its locations.
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

    fn value(&self, reference: &Reference, name: &str) -> Option<Value> {
        match self.model.shape(reference) {
            Shape::Structure(structure) => self.has(name).then(|| self.structure(structure, name)),
            Shape::List(element) => {
                let prefix = match (&element.name, reference.flattened || self.ec2) {
                    (_, true) if self.ec2 => name.to_owned(),
                    (Some(own), true) => match name.rsplit_once('.') {
                        Some((parent, _)) => format!("{parent}.{own}"),
                        None => own.clone(),
                    },
                    (None, true) => name.to_owned(),
                    (own, false) => format!("{name}.{}", own.as_deref().unwrap_or("member")),
                };
                let items: Vec<Value> =
                    (1..).map_while(|index| self.value(element, &format!("{prefix}.{index}"))).collect();
                (!items.is_empty()).then_some(Value::Array(items))
            }
            // No read takes a map in a form.
            Shape::Map(..) => None,
            Shape::Integer | Shape::Float => {
                let text = self.form.get(name)?;
                Some(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())))
            }
            Shape::Boolean => Some(Value::from(self.form.get(name)? == "true")),
            Shape::String | Shape::Blob | Shape::Timestamp => {
                Some(Value::from(self.form.get(name)?.as_str()))
            }
        }
    }
}
