//! A service model in memory, and its parser for the compact JSON that `generate.py` writes.
//!
//! Public for test servers, which use it to read requests and write responses.

use std::{borrow::Cow, collections::BTreeMap, marker::PhantomData};

use serde::{Deserialize, Deserializer, de};

use crate::{Pagination, endpoint_table::EndpointTable, protocols::for_each_protocol};

pub use crate::timestamp::TimestampFormat;

macro_rules! define {
    ($($(#[$meta:meta])* $protocol:ident => $_codec:ty,)*) => {
        /// The protocol that a service speaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Protocol {
            $($(#[$meta])* $protocol,)*
        }
    };
}

for_each_protocol!(define);

/// The model of a service.
#[derive(Debug)]
pub struct Model {
    /// `Version` of the query protocols.
    pub api_version: String,
    /// The service's name in host names.
    pub endpoint_prefix: String,
    /// The service's name in signatures.
    pub signing_name: String,
    /// The protocol of requests and responses.
    pub protocol: Protocol,
    /// `1.0` or `1.1` for [`Protocol::Json`].
    pub json_version: Option<String>,
    /// The prefix of the operation in `x-amz-target`.
    pub target_prefix: Option<String>,
    /// Whether the service formerly used the query protocol and still returns its error codes.
    pub query_compatible: bool,
    /// Headers of every request, unless its input sets them.
    pub headers: BTreeMap<String, String>,
    /// Sorted by name.
    pub operations: Vec<OperationModel>,
    /// All shapes, by [`Reference::shape`].
    pub shapes: Vec<Shape>,
    /// The first table applies to every operation without its own.
    pub(crate) endpoints: Vec<EndpointTable>,
}

/// One read operation.
#[derive(Debug)]
pub struct OperationModel {
    /// The name, such as `DescribeInstances`.
    pub name: String,
    /// The HTTP method.
    pub method: http::Method,
    /// The template of the path and query, such as `/{Bucket}?tagging`.
    pub uri: String,
    /// The input's structure.
    pub input: Option<Reference>,
    /// The output's structure.
    pub output: Option<Reference>,
    /// The element within the root that contains the members.
    pub result_wrapper: Option<String>,
    /// The prefix of the endpoint's host, with placeholders.
    pub host_prefix: Option<String>,
    /// Whether requests are unsigned.
    pub unsigned: bool,
    pub(crate) endpoint: usize,
    /// The pagination of its responses.
    pub pagination: Option<Pagination>,
}

/// A shape: the type of a value.
#[derive(Debug)]
pub enum Shape {
    /// Named members.
    Structure(Structure),
    /// Elements.
    List(Reference),
    /// Keys and values.
    Map(Reference, Reference),
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Float,
    /// True or false.
    Boolean,
    /// Bytes.
    Blob,
    /// A point in time.
    Timestamp,
}

/// A structure and its members, in the model's order.
#[derive(Debug, Default)]
pub struct Structure {
    /// In the model's order.
    pub members: Vec<Member>,
    /// Names of the members that an input must set.
    pub required: Vec<String>,
    /// The member that is the whole body.
    pub payload: Option<usize>,
    /// Whether it is arbitrary JSON, without declared members.
    pub document: bool,
    /// Whether exactly one member is set.
    pub union: bool,
    /// Pairs of members that are read from the same elements as a flattened list: the list, and the other
    /// member, which gets the first element. Only S3's old notification shapes have them.
    pub twins: Vec<(usize, usize)>,
    /// Whether a member is bound to an XML attribute.
    pub has_attributes: bool,
    /// The member that is the text of the element itself.
    pub root_text: Option<usize>,
}

impl Structure {
    /// Returns the member with this key in a response. The search begins at `cursor`: responses mostly
    /// follow the model's order, so the member after the last hit is the most likely one.
    pub(crate) fn find(&self, key: &str, cursor: usize, fits: impl Fn(&Member) -> bool) -> Option<usize> {
        let (before, after) = self.members.split_at(cursor.min(self.members.len()));
        let fits = |member: &Member| member.key == key && fits(member);
        let later = after.iter().position(fits).map(|index| index + before.len());
        later.or_else(|| before.iter().position(fits))
    }
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// The name in JSON and in the AWS CLI.
    pub name: String,
    /// The shape of its value.
    pub reference: Reference,
    /// The name of the element or key in a response.
    pub key: String,
}

/// A use of a shape, with its binding to the message: the traits of the use override those of the shape.
#[derive(Debug)]
pub struct Reference {
    /// Index into [`Model::shapes`].
    pub shape: usize,
    /// `locationName`: the name in the message, if it differs.
    pub name: Option<String>,
    /// The name in EC2 requests.
    pub query_name: Option<String>,
    /// The place in the message that it is bound to.
    pub location: Location,
    /// Whether the elements have no enclosing element.
    pub flattened: bool,
    /// Whether it is an attribute instead of an element.
    pub xml_attribute: bool,
    /// `xmlns` of the element.
    pub xml_namespace: Option<XmlNamespace>,
    /// The format of a time.
    pub timestamp_format: Option<TimestampFormat>,
    /// Whether it is base64-encoded JSON in a header.
    pub json_value: bool,
    /// Whether it is part of the host.
    pub host_label: bool,
    /// Whether it is a token that makes retries safe.
    pub idempotency_token: bool,
    /// The value to send if an input has none.
    pub default: Option<String>,
    /// The special treatment by the AWS CLI.
    pub quirk: Option<Quirk>,
}

/// The place in the message that a member is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// In the body.
    #[default]
    Body,
    /// A header.
    Header,
    /// All headers whose names begin with the same prefix.
    Headers,
    /// Part of the path.
    Uri,
    /// A parameter of the query.
    #[serde(rename = "querystring")]
    Query,
    /// The HTTP status.
    #[serde(rename = "statusCode")]
    StatusCode,
}

impl Location {
    /// Returns whether a response binds the member outside the body.
    pub fn is_outside_body(self) -> bool {
        matches!(self, Self::Header | Self::Headers | Self::StatusCode)
    }
}

/// `xmlns` of an element in a request.
#[derive(Debug, Clone, Deserialize)]
pub struct XmlNamespace {
    /// The prefix, such as `xsi`.
    pub prefix: Option<String>,
    /// The namespace.
    pub uri: String,
}

/// Special treatment by the AWS CLI, in addition to the model (`botocore/handlers.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quirk {
    /// The text is JSON: a template that was provided as JSON.
    Json,
    /// The text is percent-encoded JSON: IAM's policy documents.
    UrlEncodedJson,
    /// The text is base64 of text: the console output of an instance.
    Base64Text,
    /// In a request, only the part after the last `/`: Route 53 returns `/hostedzone/Z1`, and expects `Z1`.
    LastSegment,
    /// The value is the text of the document's root: a bucket's location.
    RootText,
}

impl Model {
    /// Returns the shape of a reference.
    pub fn shape(&self, reference: &Reference) -> &Shape {
        // `Model::parse` creates only valid indices.
        self.shapes.get(reference.shape).unwrap_or(&Shape::String)
    }

    /// Returns the structure of a reference, if it is one.
    pub fn structure(&self, reference: &Reference) -> Option<&Structure> {
        match self.shape(reference) {
            Shape::Structure(structure) => Some(structure),
            _ => None,
        }
    }

    /// Parses the compact JSON.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let raw: RawModel<'_> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let names: BTreeMap<&str, usize> =
            raw.shapes.0.iter().enumerate().map(|(index, (name, _))| (name.as_ref(), index)).collect();
        let resolver = Resolver { names, shapes: &raw.shapes.0 };
        let shapes =
            raw.shapes.0.iter().map(|(_, shape)| resolver.shape(shape)).collect::<Result<Vec<_>, _>>()?;
        let operations = raw
            .operations
            .into_iter()
            .map(|(name, operation)| {
                let method = operation
                    .method
                    .parse()
                    .map_err(|_| format!("{name}: `{}` is not a method", operation.method))?;
                let resolve = |reference: Option<RawNode<'_>>| {
                    reference.map(|reference| resolver.reference(&reference)).transpose()
                };
                Ok(OperationModel {
                    name,
                    method,
                    uri: operation.uri,
                    input: resolve(operation.input)?,
                    output: resolve(operation.output)?,
                    result_wrapper: operation.result_wrapper,
                    host_prefix: operation.host_prefix,
                    unsigned: operation.unsigned,
                    endpoint: operation.endpoint,
                    pagination: operation.pagination,
                })
            })
            .collect::<Result<_, String>>()?;
        Ok(Self {
            api_version: raw.api_version,
            endpoint_prefix: raw.endpoint_prefix,
            signing_name: raw.signing_name,
            protocol: raw.protocol,
            json_version: raw.json_version,
            target_prefix: raw.target_prefix,
            query_compatible: raw.query_compatible,
            headers: raw.headers,
            operations,
            shapes,
            endpoints: raw.endpoints,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawModel<'a> {
    api_version: String,
    endpoint_prefix: String,
    signing_name: String,
    protocol: Protocol,
    json_version: Option<String>,
    target_prefix: Option<String>,
    #[serde(default)]
    query_compatible: bool,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(borrow)]
    operations: BTreeMap<String, RawOperation<'a>>,
    #[serde(borrow)]
    shapes: Ordered<'a, RawNode<'a>>,
    endpoints: Vec<EndpointTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOperation<'a> {
    method: String,
    uri: String,
    #[serde(borrow)]
    input: Option<RawNode<'a>>,
    #[serde(borrow)]
    output: Option<RawNode<'a>>,
    result_wrapper: Option<String>,
    host_prefix: Option<String>,
    #[serde(default)]
    unsigned: bool,
    #[serde(default)]
    endpoint: usize,
    pagination: Option<Pagination>,
}

/// A shape, or a use of one. One type for both: `serde(flatten)` would buffer every shape.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawNode<'a> {
    /// The name of the used shape; empty for a shape.
    #[serde(borrow)]
    shape: Cow<'a, str>,
    /// The type of a shape; empty for a use.
    r#type: &'a str,
    #[serde(borrow)]
    members: Ordered<'a, RawNode<'a>>,
    required: Vec<String>,
    #[serde(borrow)]
    member: Option<Box<RawNode<'a>>>,
    #[serde(borrow)]
    key: Option<Box<RawNode<'a>>>,
    #[serde(borrow)]
    value: Option<Box<RawNode<'a>>>,
    default: Option<String>,
    quirk: Option<Quirk>,
    document: bool,
    flattened: bool,
    host_label: bool,
    idempotency_token: bool,
    #[serde(rename = "jsonvalue")]
    json_value: bool,
    location: Option<Location>,
    location_name: Option<String>,
    payload: Option<String>,
    query_name: Option<String>,
    timestamp_format: Option<TimestampFormat>,
    union: bool,
    xml_attribute: bool,
    xml_namespace: Option<RawNamespace>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum RawNamespace {
    Full(XmlNamespace),
    Uri(String),
}

/// A JSON object that keeps its order.
struct Ordered<'a, T>(Vec<(Cow<'a, str>, T)>);

impl<T> Default for Ordered<'_, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Ordered<'a, T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairs<'a, T>(PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> de::Visitor<'de> for Pairs<'a, T> {
            type Value = Ordered<'a, T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    pairs.push((key, map.next_value()?));
                }
                Ok(Ordered(pairs))
            }
        }
        from.deserialize_map(Pairs(PhantomData))
    }
}

struct Resolver<'r> {
    names: BTreeMap<&'r str, usize>,
    shapes: &'r [(Cow<'r, str>, RawNode<'r>)],
}

impl Resolver<'_> {
    fn find(&self, name: &str) -> Result<(usize, &RawNode<'_>), String> {
        let index = *self.names.get(name).ok_or_else(|| format!("no shape `{name}`"))?;
        let (_, shape) = self.shapes.get(index).ok_or_else(|| format!("no shape `{name}`"))?;
        Ok((index, shape))
    }

    fn shape(&self, raw: &RawNode<'_>) -> Result<Shape, String> {
        let part = |part: &Option<Box<RawNode<'_>>>| {
            self.reference(part.as_ref().ok_or("a list or map has no element shape")?)
        };
        Ok(match raw.r#type {
            "structure" => Shape::Structure(self.structure(raw)?),
            "list" => Shape::List(part(&raw.member)?),
            "map" => Shape::Map(part(&raw.key)?, part(&raw.value)?),
            "string" | "character" => Shape::String,
            "integer" | "long" => Shape::Integer,
            "float" | "double" => Shape::Float,
            "boolean" => Shape::Boolean,
            "blob" => Shape::Blob,
            "timestamp" => Shape::Timestamp,
            other => return Err(format!("unknown type `{other}`")),
        })
    }

    fn structure(&self, raw: &RawNode<'_>) -> Result<Structure, String> {
        let members = raw
            .members
            .0
            .iter()
            .map(|(name, raw)| {
                let reference = self.reference(raw)?;
                let key = self.key(raw, &reference)?.unwrap_or_else(|| name.clone().into_owned());
                Ok(Member { name: name.clone().into_owned(), reference, key })
            })
            .collect::<Result<Vec<_>, String>>()?;
        let payload = raw.payload.as_ref();
        let mut twins = Vec::new();
        for (list, member) in members.iter().enumerate().filter(|(_, member)| member.reference.flattened) {
            let others = members.iter().enumerate().filter(|(other, _)| *other != list);
            let same = others
                .filter(|(_, other)| other.key == member.key && !other.reference.location.is_outside_body());
            twins.extend(same.map(|(other, _)| (list, other)));
        }
        Ok(Structure {
            twins,
            payload: payload.and_then(|payload| members.iter().position(|member| member.name == *payload)),
            root_text: members.iter().position(|member| member.reference.quirk == Some(Quirk::RootText)),
            has_attributes: members.iter().any(|member| member.reference.xml_attribute),
            members,
            required: raw.required.clone(),
            document: raw.document,
            union: raw.union,
        })
    }

    /// Returns the name of a member in a response. A flattened list has the name of its elements.
    fn key(&self, raw: &RawNode<'_>, reference: &Reference) -> Result<Option<String>, String> {
        let (_, shape) = self.find(&raw.shape)?;
        let element = match &shape.member {
            Some(member) if reference.flattened => self.reference(member)?.name,
            _ => None,
        };
        Ok(element.or_else(|| reference.name.clone()))
    }

    fn reference(&self, raw: &RawNode<'_>) -> Result<Reference, String> {
        let (index, shape) = self.find(&raw.shape)?;
        let (own, base) = (raw, shape);
        let text = |own: &Option<String>, base: &Option<String>| own.clone().or_else(|| base.clone());
        Ok(Reference {
            shape: index,
            name: text(&own.location_name, &base.location_name),
            query_name: text(&own.query_name, &base.query_name),
            location: own.location.or(base.location).unwrap_or_default(),
            flattened: own.flattened || base.flattened,
            xml_attribute: own.xml_attribute || base.xml_attribute,
            xml_namespace: own.xml_namespace.as_ref().or(base.xml_namespace.as_ref()).map(|namespace| {
                match namespace.clone() {
                    RawNamespace::Full(namespace) => namespace,
                    RawNamespace::Uri(uri) => XmlNamespace { prefix: None, uri },
                }
            }),
            timestamp_format: own.timestamp_format.or(base.timestamp_format),
            json_value: own.json_value || base.json_value,
            host_label: own.host_label || base.host_label,
            idempotency_token: own.idempotency_token || base.idempotency_token,
            default: raw.default.clone(),
            quirk: raw.quirk,
        })
    }
}
