//! The content of a response, from the shape of the output: every member of the model, lists with one element,
//! and names that are consistent with all other responses.

use berth_aws_protocol::Protocol;
use berth_aws_protocol::{
    Operation,
    model::{Model, Quirk, Reference, Shape, TimestampFormat},
};

use crate::{
    catalog::{Catalog, Known, Role, list_of},
    hash, noun,
    noun::Form,
    template::Piece,
    values::{self, Entry},
};

/// Below this depth structures have no members: a few models branch without end.
const DEPTH: usize = 9;

/// A value of an answer that is not yet about anything.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(Vec<Piece>),
    /// A number or a boolean.
    Literal(Vec<Piece>),
    /// Members by their position in the structure.
    Structure(Vec<(usize, Node)>),
    List(Vec<Node>),
    /// One for each resource.
    Each(Box<Node>),
    Map(Vec<(String, Node)>),
    /// Only when there is a next page.
    IfMore(Box<Node>),
    /// JSON as it is.
    Document(&'static str),
}

/// The answer of an operation.
pub(crate) fn build(catalog: &Catalog, known: &Known, regions: &[String]) -> Node {
    let builder = Builder::new(catalog, known, regions);
    let output = known.operation.model().output.as_ref();
    let root = output.and_then(|output| builder.value(output, "", "", &mut Vec::new()));
    root.unwrap_or_else(|| Node::Structure(Vec::new()))
}

struct Builder<'m> {
    catalog: &'m Catalog,
    known: &'m Known,
    operation: &'m Operation,
    model: &'m Model,
    regions: &'m [String],
    /// The collections whose resources the answer is about.
    collections: Vec<usize>,
    /// The list with one element for each resource.
    each: Option<String>,
    /// Paths of the structures that are the resource.
    resources: Vec<String>,
    /// The path of the name as the input has it.
    key: Option<String>,
    /// Paths of page tokens and of the member that tells of more.
    tokens: Vec<String>,
    more: Option<String>,
    inputs: Vec<String>,
}

impl<'m> Builder<'m> {
    fn new(catalog: &'m Catalog, known: &'m Known, regions: &'m [String]) -> Self {
        let operation = &known.operation;
        let model = operation.service().model();
        let mut builder = Self {
            catalog,
            known,
            operation,
            model,
            regions,
            collections: Vec::new(),
            each: None,
            resources: Vec::new(),
            key: None,
            tokens: Vec::new(),
            more: None,
            inputs: Vec::new(),
        };
        match &known.role {
            Role::List { collection, items } => {
                builder.collections.push(*collection);
                builder.each = Some(list_of(items).to_owned());
            }
            Role::About { collections, shape } => {
                builder.collections.extend(collections);
                builder.each = shape.each.as_ref().map(|each| list_of(each).to_owned());
                match (&shape.resource, &builder.each) {
                    (Some(resource), _) => {
                        builder.resources.push(String::new());
                        builder.resources.push(resource.as_str().to_owned());
                    }
                    (None, None) => {
                        builder.resources.push(String::new());
                        builder.resources.extend(builder.structures_of_root());
                    }
                    (None, Some(_)) => {}
                }
                if let (Some(each), Some(key)) = (&builder.each, &shape.key) {
                    builder.key = Some(format!("{each}[].{}", key.as_str()));
                }
            }
            Role::Own => {}
        }
        if let Some(each) = &builder.each {
            builder.resources.push(format!("{each}[]"));
        }
        if let Some(pagination) = operation.pagination() {
            let paths = pagination.output_tokens.iter().flat_map(|token| token.split("||"));
            builder.tokens.extend(paths.map(|path| path.trim().to_owned()));
            builder.more.clone_from(&pagination.more_results);
        }
        if let Some(input) = operation.model().input.as_ref().and_then(|input| model.structure(input)) {
            builder.inputs.extend(input.members.iter().map(|member| member.name.clone()));
        }
        builder
    }

    fn structures_of_root(&self) -> Vec<String> {
        let output = self.operation.model().output.as_ref().and_then(|output| self.model.structure(output));
        let members = output.into_iter().flat_map(|output| &output.members);
        let structures = members.filter(|member| self.model.structure(&member.reference).is_some());
        structures.map(|member| member.name.clone()).collect()
    }

    /// The value at a path. `name` is that of the member, also for the elements of its list; `within` are
    /// the structures around it.
    fn value(&self, reference: &Reference, path: &str, name: &str, within: &mut Vec<usize>) -> Option<Node> {
        let salt = hash::text(path);
        Some(match self.model.shape(reference) {
            Shape::Structure(structure) if structure.document => Node::Document(r#"{"simulated":true}"#),
            Shape::Structure(structure) => {
                if within.contains(&reference.shape) || within.len() >= DEPTH {
                    return None;
                }
                within.push(reference.shape);
                let mut members = Vec::new();
                for (index, member) in structure.members.iter().enumerate() {
                    let at =
                        if path.is_empty() { member.name.clone() } else { format!("{path}.{}", member.name) };
                    if let Some(node) = self.member(&member.reference, &at, &member.name, within) {
                        members.push((index, node));
                        if structure.union {
                            break;
                        }
                    }
                }
                within.pop();
                // What only comes with more pages is written behind what always comes.
                members.sort_by_key(|(_, node)| matches!(node, Node::IfMore(_)));
                Node::Structure(members)
            }
            Shape::List(element) => {
                let at = format!("{path}[]");
                if self.each.as_deref() == Some(path) {
                    return Some(Node::Each(Box::new(self.value(element, &at, name, within)?)));
                }
                if let Some(tags) = self.tags(element, path, name, within) {
                    return Some(Node::List(tags));
                }
                Node::List(self.value(element, &at, name, within).into_iter().collect())
            }
            Shape::Map(_, element) => self.map(element, path, name, within),
            Shape::String => match reference.quirk {
                Some(Quirk::Json) => Node::Text(vec![Piece::Text(r#"{"Resources":{}}"#.to_owned())]),
                Some(Quirk::UrlEncodedJson) => Node::Text(vec![Piece::Text(
                    "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D".to_owned(),
                )]),
                _ => Node::Text(self.text(path, name, salt)),
            },
            Shape::Integer if name == "Quantity" => {
                Node::Literal(vec![Piece::Number { salt, from: 1, to: 2 }])
            }
            Shape::Integer => Node::Literal(values::number(name, salt)),
            Shape::Float => {
                Node::Literal(vec![Piece::Number { salt, from: 1, to: 100 }, Piece::Text(".5".to_owned())])
            }
            Shape::Boolean => Node::Literal(vec![values::choice(salt, &["true", "false"])]),
            Shape::Blob => Node::Text(vec![Piece::Text("c2ltdWxhdGVk".to_owned())]),
            Shape::Timestamp => self.timestamp(reference, name, salt),
        })
    }

    fn timestamp(&self, reference: &Reference, name: &str, salt: u64) -> Node {
        let format = reference.timestamp_format.unwrap_or(match self.model.protocol {
            Protocol::Json | Protocol::RestJson | Protocol::RpcV2Cbor => TimestampFormat::Unix,
            Protocol::Ec2 | Protocol::Query | Protocol::RestXml => TimestampFormat::Iso8601,
        });
        match format {
            TimestampFormat::Unix => Node::Literal(vec![values::time(name, salt, false)]),
            TimestampFormat::Iso8601 | TimestampFormat::Rfc822 => {
                Node::Text(vec![values::time(name, salt, true)])
            }
        }
    }

    fn member(&self, reference: &Reference, path: &str, name: &str, within: &mut Vec<usize>) -> Option<Node> {
        let lists = matches!(self.known.role, Role::List { .. } | Role::Own);
        if self.tokens.iter().any(|token| token == path) {
            return lists.then(|| Node::IfMore(Box::new(Node::Text(vec![Piece::NextToken]))));
        }
        if self.more.as_deref() == Some(path) {
            let more = if lists { Piece::More } else { Piece::Text("false".to_owned()) };
            return Some(Node::Literal(vec![more]));
        }
        // Nothing fails, nothing is on its way out, nothing is within its own kind, and there is no more
        // than is said above.
        let lower = name.to_ascii_lowercase();
        let never = ["ParentId", "RootId"].contains(&name)
            || ["nexttoken", "nextmarker", "failure", "notfound", "unprocessed", "errors"]
                .iter()
                .any(|word| lower.contains(word))
            || lower.starts_with("delet") && (lower.ends_with("date") || lower.ends_with("time"))
            || reference.location.is_outside_body();
        if never {
            return None;
        }
        if name == "Quantity" && self.each.as_deref().is_some_and(|each| path_of(each) == path_of(path)) {
            return Some(Node::Literal(vec![Piece::Count]));
        }
        self.value(reference, path, name, within)
    }

    /// Two tags, for a list of structures with a key and a value.
    fn tags(
        &self,
        element: &Reference,
        path: &str,
        name: &str,
        within: &mut Vec<usize>,
    ) -> Option<Vec<Node>> {
        let structure = self.model.structure(element)?;
        let position = |names: [&str; 2]| {
            structure
                .members
                .iter()
                .position(|member| names.contains(&member.name.to_ascii_lowercase().as_str()))
        };
        let (key, value) = (position(["key", "tagkey"])?, position(["value", "tagvalue"])?);
        if !name.to_ascii_lowercase().contains("tag") && !path.to_ascii_lowercase().contains("tag") {
            return None;
        }
        let Node::Structure(members) = self.value(element, &format!("{path}[]"), name, within)? else {
            return None;
        };
        let tag = |key_text: &str, value_text: Piece| {
            let members = members.iter().map(|(index, node)| {
                let node = match *index {
                    index if index == key => Node::Text(vec![Piece::Text(key_text.to_owned())]),
                    index if index == value => Node::Text(vec![value_text.clone()]),
                    _ => node.clone(),
                };
                (*index, node)
            });
            Node::Structure(members.collect())
        };
        Some(vec![tag("Name", self.own_name()), tag("team", team())])
    }

    fn own_name(&self) -> Piece {
        let noun =
            self.collections.first().map_or("resource", |index| self.catalog.collections[*index].noun());
        Piece::Own(Form::Name, noun.to_owned())
    }

    fn map(&self, element: &Reference, path: &str, name: &str, within: &mut Vec<usize>) -> Node {
        let texts = matches!(self.model.shape(element), Shape::String);
        if texts
            && let Some((_, entries)) =
                values::MAPS.iter().find(|(operation, _)| *operation == self.known.name)
        {
            let noun = self.own_name();
            let entries = entries.iter().map(|(key, entry)| {
                let piece = match (entry, &noun) {
                    (Entry::Arn, Piece::Own(_, noun)) => Piece::Own(Form::Arn, noun.clone()),
                    (Entry::Text(text), _) => Piece::Text((*text).to_owned()),
                    (Entry::Arn, _) => Piece::Account,
                };
                ((*key).to_owned(), Node::Text(vec![piece]))
            });
            return Node::Map(entries.collect());
        }
        if texts && name.to_ascii_lowercase().contains("tag") {
            return Node::Map(vec![
                ("Name".to_owned(), Node::Text(vec![self.own_name()])),
                ("team".to_owned(), Node::Text(vec![team()])),
            ]);
        }
        let entry = self.value(element, &format!("{path}.key"), "value", within);
        Node::Map(entry.map(|entry| ("key".to_owned(), entry)).into_iter().collect())
    }

    fn text(&self, path: &str, name: &str, salt: u64) -> Vec<Piece> {
        if self.key.as_deref() == Some(path) {
            return vec![Piece::Asked];
        }
        if let Some(pieces) = values::text(path, name, salt, self.is_global().then_some(self.regions)) {
            return pieces;
        }
        let element = path.ends_with("[]");
        // A list of plain texts that are the resources.
        let first = || self.catalog.collections[*self.collections.first()?].texts.clone();
        if element
            && self.each.as_deref() == Some(&path[..path.len() - 2])
            && let Some((form, noun)) = first()
        {
            return vec![Piece::Own(form, noun)];
        }
        let one = if element { noun::singular(name) } else { name.to_owned() };
        let named = noun::form(&one);
        if let Some(piece) = named.as_ref().and_then(|(form, noun)| self.named(*form, noun, path, name)) {
            return vec![piece];
        }
        let word = noun::plain(&one);
        let meant = || {
            self.catalog.meant(&self.model_service(), &word).or_else(|| self.catalog.meant_everywhere(&word))
        };
        if element && let Some(other) = meant() {
            return vec![Piece::Other {
                collection: other,
                form: if self.catalog.collections[other].service == "ec2" { Form::Id } else { Form::Arn },
                noun: self.catalog.collections[other].noun().to_owned(),
                salt,
            }];
        }
        // A bare name is that of the resource only where the resource is.
        let is_bare = named.as_ref().is_some_and(|(_, noun)| noun.is_empty()) && !self.is_resource(path);
        let otherwise = self.made_up(named, path, name, salt);
        match self.inputs.iter().find(|input| input.eq_ignore_ascii_case(name)) {
            Some(input) if !element && !is_bare => vec![Piece::Input { member: input.clone(), otherwise }],
            _ => otherwise,
        }
    }

    fn is_global(&self) -> bool {
        self.collections.iter().any(|index| self.catalog.collections[*index].is_global())
    }

    /// Whether what holds a member is the resource itself.
    fn is_resource(&self, path: &str) -> bool {
        self.resources.iter().any(|resource| resource == path_of(path))
    }

    fn model_service(&self) -> String {
        self.operation.service().name().to_owned()
    }

    /// The name of a resource that exists: of the one the answer is about, of the one it belongs to, or of
    /// another one.
    fn named(&self, form: Form, noun: &str, path: &str, name: &str) -> Option<Piece> {
        let own = |noun: &str| Piece::Own(form, noun.to_owned());
        let collections = || self.collections.iter().map(|index| &self.catalog.collections[*index]);
        if noun.is_empty() {
            return self
                .is_resource(path)
                .then(|| own(collections().next().map_or("resource", |collection| collection.noun())));
        }
        let nouns = || collections().flat_map(|collection| &collection.nouns);
        if nouns().any(|known| known == noun) {
            return Some(own(noun));
        }
        let parents =
            collections().filter_map(|collection| Some(&self.catalog.collections[collection.parent?]));
        if parents.flat_map(|parent| &parent.nouns).any(|known| known == noun) {
            return Some(Piece::Parent(form, noun.to_owned()));
        }
        let service = self.model_service();
        // What refers to a resource and to what that belongs to refers to the right one of these.
        let other = |collection: usize| Piece::Other {
            collection,
            form,
            noun: self.catalog.collections[collection].noun().to_owned(),
            salt: self.catalog.collections[self.catalog.root(collection)].salt,
        };
        if let Some(collection) = self.catalog.meant(&service, noun) {
            return Some(other(collection));
        }
        if noun.len() > 2 && nouns().any(|known| known.starts_with(noun) || known.ends_with(noun)) {
            return Some(own(noun));
        }
        if self.inputs.iter().any(|input| input.eq_ignore_ascii_case(name)) {
            return None;
        }
        // Other services name keys by their ARNs.
        self.catalog.meant_everywhere(noun).map(other).map(|piece| match piece {
            Piece::Other { collection, noun, salt, .. }
                if self.catalog.collections[collection].service == "kms" =>
            {
                Piece::Other { collection, form: Form::Arn, noun, salt }
            }
            piece => piece,
        })
    }

    /// A text that means nothing, but looks like what it is.
    fn made_up(&self, named: Option<(Form, String)>, path: &str, name: &str, salt: u64) -> Vec<Piece> {
        let text = |text: &str| Piece::Text(text.to_owned());
        let Some((form, noun)) = named else {
            return vec![text(&format!("{}-", noun::plain(name))), Piece::Hex { salt, digits: 4 }];
        };
        // A bare `Id` is that of what holds it.
        let holder = || noun::singular(&noun::plain(path_of(path).rsplit('.').next().unwrap_or("thing")));
        let noun = if noun.is_empty() { holder() } else { noun };
        match form {
            Form::Id => vec![text(&format!("{}-", noun::prefix(&noun))), Piece::Hex { salt, digits: 17 }],
            Form::Name => vec![text(&format!("{noun}-")), Piece::Hex { salt, digits: 6 }],
            Form::Arn => vec![
                text(&format!("arn:aws:{}:", self.model.signing_name)),
                if self.is_global() { text("") } else { Piece::Region },
                text(":"),
                Piece::Account,
                text(&format!(":{noun}/{noun}-")),
                Piece::Hex { salt, digits: 8 },
            ],
            Form::Url => vec![text("https://"), Piece::Hex { salt, digits: 12 }, text(".example.com/")],
        }
    }
}

/// The path of what holds a member.
fn path_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(holder, _)| holder)
}

fn team() -> Piece {
    values::choice(hash::text("team"), &["payments", "search", "platform"])
}
