//! JSON in `awsJson` and `restJson`.

use berth_aws_protocol::{
    Operation, Protocol,
    model::{Model, Reference, Shape, Structure},
};
use serde_json::{Map, Value, json};

use super::Parts;
use crate::{
    answer::Node,
    error::Refusal,
    template::{Escape, Part, Piece, Template, escape},
};

/// The input of an operation from a body.
pub(crate) fn input(operation: &Operation, body: &[u8]) -> Result<Value, Refusal> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    let given: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, "SerializationException", error.to_string()))?;
    let Value::Object(given) = given else {
        return Err(Refusal::new(400, "SerializationException", "the body is no object"));
    };
    let model = operation.service().model();
    let structure = operation.model().input.as_ref().and_then(|input| model.structure(input));
    let name = |key: String| {
        let member =
            structure.and_then(|structure| structure.members.iter().find(|member| member.key == key));
        member.map_or(key, |member| member.name.clone())
    };
    Ok(Value::Object(given.into_iter().map(|(key, value)| (name(key), value)).collect::<Map<_, _>>()))
}

/// The body of an error.
pub(crate) fn error(protocol: Protocol, refusal: &Refusal) -> Vec<u8> {
    let body = match protocol {
        Protocol::RestJson => json!({"message": refusal.message}),
        _ => json!({"__type": refusal.code, "message": refusal.message}),
    };
    body.to_string().into_bytes()
}

pub(crate) fn template(operation: &Operation, root: &Node) -> Template {
    let model = operation.service().model();
    let mut parts = Parts::default();
    let output = operation.model().output.as_ref();
    let structure = output.and_then(|output| model.structure(output));
    let payload = structure.and_then(|structure| Some((structure.payload?, structure)));
    match (output, payload, root) {
        (Some(_), Some((payload, structure)), Node::Structure(members)) => {
            if let Some((index, node)) = members.iter().find(|(index, _)| *index == payload) {
                value(model, &structure.members[*index].reference, node, &mut parts);
            }
        }
        (Some(output), _, root) => value(model, output, root, &mut parts),
        (None, ..) => parts.text("{}"),
    }
    Template { parts: parts.into_vec(), escape: Escape::Json }
}

fn value(model: &Model, reference: &Reference, node: &Node, to: &mut Parts) {
    match (node, model.shape(reference)) {
        (Node::Text(pieces), _) => {
            to.text("\"");
            write(pieces, to);
            to.text("\"");
        }
        (Node::Literal(pieces), _) => write(pieces, to),
        (Node::Document(json), _) => to.text(json),
        (Node::Structure(members), Shape::Structure(structure)) => object(model, structure, members, to),
        (Node::List(elements), Shape::List(element)) => {
            to.text("[");
            for (index, node) in elements.iter().enumerate() {
                if index > 0 {
                    to.text(",");
                }
                value(model, element, node, to);
            }
            to.text("]");
        }
        (Node::Each(node), Shape::List(element)) => {
            to.text("[");
            let mut each = Parts::default();
            value(model, element, node, &mut each);
            to.part(Part::Each(each.into_vec(), b","));
            to.text("]");
        }
        (Node::Map(entries), Shape::Map(_, element)) => {
            to.text("{");
            for (index, (key, node)) in entries.iter().enumerate() {
                if index > 0 {
                    to.text(",");
                }
                to.text(&format!("{}:", json!(key)));
                value(model, element, node, to);
            }
            to.text("}");
        }
        _ => to.text("null"),
    }
}

fn object(model: &Model, structure: &Structure, members: &[(usize, Node)], to: &mut Parts) {
    to.text("{");
    let mut first = true;
    for (index, node) in members {
        let member = &structure.members[*index];
        let comma = if first { "" } else { "," };
        let key = format!("{comma}{}:", json!(member.key));
        match node {
            Node::IfMore(node) => {
                let mut inner = Parts::default();
                inner.text(&key);
                value(model, &member.reference, node, &mut inner);
                to.part(Part::IfMore(inner.into_vec()));
            }
            node => {
                to.text(&key);
                value(model, &member.reference, node, to);
            }
        }
        first = false;
    }
    to.text("}");
}

fn write(pieces: &[Piece], to: &mut Parts) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => {
                let mut bytes = Vec::new();
                escape(Escape::Json, text, &mut bytes);
                to.bytes(&bytes);
            }
            piece => to.part(Part::Piece(piece.clone())),
        }
    }
}
