//! XML responses of the query protocols and of `restXml`.

use berth_aws_protocol::{
    Operation, Protocol,
    model::{Model, Reference, Shape, Structure},
};

use super::Parts;
use crate::{
    answer::Node,
    error::Refusal,
    template::{Escape, Part, Piece, Template, escape},
};

/// The id of every request, in the bodies that name one.
const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

/// The body of an error of S3.
pub(crate) fn s3_error(refusal: &Refusal, id: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message><RequestId>{id}</RequestId></Error>",
        refusal.code,
        escaped(&refusal.message)
    )
    .into_bytes()
}

pub(crate) fn escaped(text: &str) -> String {
    let mut bytes = Vec::new();
    escape(Escape::Xml, text, &mut bytes);
    String::from_utf8(bytes).unwrap_or_default()
}

pub(crate) fn template(operation: &Operation, root: &Node) -> Template {
    let model = operation.service().model();
    let mut to = Parts::default();
    let output = operation.model().output.as_ref().and_then(|output| model.structure(output));
    let no_members = Vec::new();
    let members = if let Node::Structure(members) = root { members } else { &no_members };
    let none = Structure::default();
    let structure = output.unwrap_or(&none);
    let name = operation.name();
    let namespace = || format!("https://{}.amazonaws.com/doc/{}/", model.endpoint_prefix, model.api_version);
    to.text("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    match model.protocol {
        Protocol::Ec2 => {
            to.text(&format!(
                "<{name}Response xmlns=\"http://ec2.amazonaws.com/doc/{}/\">",
                model.api_version
            ));
            to.text(&format!("<requestId>{REQUEST_ID}</requestId>"));
            fields(model, structure, members, &mut to);
            to.text(&format!("</{name}Response>"));
        }
        Protocol::Query => {
            let result = operation.model().result_wrapper.clone().unwrap_or_else(|| format!("{name}Result"));
            to.text(&format!("<{name}Response xmlns=\"{}\"><{result}>", namespace()));
            fields(model, structure, members, &mut to);
            to.text(&format!(
                "</{result}><ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata>"
            ));
            to.text(&format!("</{name}Response>"));
        }
        _ => {
            let text = structure.root_text.and_then(|root| members.iter().find(|(index, _)| *index == root));
            let payload =
                structure.payload.and_then(|payload| members.iter().find(|(index, _)| *index == payload));
            if let Some((index, node)) = text.or(payload) {
                let member = &structure.members[*index];
                value(model, &member.reference, &member.key, node, &mut to);
            } else {
                let root = operation.model().output.as_ref().and_then(|output| output.name.clone());
                let root = root.unwrap_or_else(|| format!("{name}Result"));
                to.text(&format!("<{root}>"));
                fields(model, structure, members, &mut to);
                to.text(&format!("</{root}>"));
            }
        }
    }
    Template { parts: to.into_vec(), escape: Escape::Xml }
}

fn fields(model: &Model, structure: &Structure, members: &[(usize, Node)], to: &mut Parts) {
    for (index, node) in members {
        let member = &structure.members[*index];
        if !member.reference.xml_attribute {
            value(model, &member.reference, &member.key, node, to);
        }
    }
}

fn value(model: &Model, reference: &Reference, name: &str, node: &Node, to: &mut Parts) {
    match (node, model.shape(reference)) {
        (Node::IfMore(node), _) => {
            let mut inner = Parts::default();
            value(model, reference, name, node, &mut inner);
            to.part(Part::IfMore(inner.into_vec()));
        }
        (Node::List(elements), Shape::List(element)) if reference.flattened => {
            for node in elements {
                value(model, element, name, node, to);
            }
        }
        (Node::Each(node), Shape::List(element)) if reference.flattened => {
            let mut each = Parts::default();
            value(model, element, name, node, &mut each);
            to.part(Part::Each(each.into_vec(), b""));
        }
        (Node::Map(entries), Shape::Map(key, element)) if reference.flattened => {
            for (entry_key, node) in entries {
                entry(model, (key, element), name, (entry_key, node), to);
            }
        }
        (node, shape) => {
            to.text(&format!("<{name}>"));
            match (node, shape) {
                (Node::Text(pieces) | Node::Literal(pieces), _) => write(pieces, to),
                (Node::Document(text), _) => to.text(&escaped(text)),
                (Node::Structure(members), Shape::Structure(structure)) => {
                    fields(model, structure, members, to);
                }
                (Node::List(elements), Shape::List(element)) => {
                    for node in elements {
                        value(model, element, element.name.as_deref().unwrap_or("member"), node, to);
                    }
                }
                (Node::Each(node), Shape::List(element)) => {
                    let mut each = Parts::default();
                    value(model, element, element.name.as_deref().unwrap_or("member"), node, &mut each);
                    to.part(Part::Each(each.into_vec(), b""));
                }
                (Node::Map(entries), Shape::Map(key, element)) => {
                    for (entry_key, node) in entries {
                        entry(model, (key, element), "entry", (entry_key, node), to);
                    }
                }
                _ => {}
            }
            to.text(&format!("</{name}>"));
        }
    }
}

fn entry(
    model: &Model,
    (key, element): (&Reference, &Reference),
    name: &str,
    (entry_key, node): (&str, &Node),
    to: &mut Parts,
) {
    let key_name = key.name.as_deref().unwrap_or("key");
    to.text(&format!("<{name}><{key_name}>{}</{key_name}>", escaped(entry_key)));
    value(model, element, element.name.as_deref().unwrap_or("value"), node, to);
    to.text(&format!("</{name}>"));
}

fn write(pieces: &[Piece], to: &mut Parts) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => to.text(&escaped(text)),
            piece => to.part(Part::Piece(piece.clone())),
        }
    }
}
