//! What a manifest says of a kind: the form of its documents, and the default mapping.

use berth_mapping::document::{DocumentShape, ObjectMembers};
use serde::Deserialize;

/// What is read of a manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) kinds: Vec<Kind>,
}

/// What is read of a kind.
#[derive(Debug, Deserialize)]
pub(crate) struct Kind {
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) document: DocumentShape,
    pub(crate) mapping: Mapping,
}

/// The default mapping.
#[derive(Debug, Deserialize)]
pub(crate) struct Mapping {
    pub(crate) port: Port,
}

/// The part of it that concerns Port.
#[derive(Debug, Deserialize)]
pub(crate) struct Port {
    pub(crate) entity: Entity,
}

/// The part of it that concerns entities.
#[derive(Debug, Deserialize)]
pub(crate) struct Entity {
    pub(crate) mappings: Mappings,
}

/// The expressions of an entity's fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mappings {
    pub(crate) blueprint: String,
    pub(crate) identifier: String,
    #[serde(default)]
    pub(crate) title: Option<String>,
    #[serde(default)]
    pub(crate) icon: Option<String>,
    #[serde(default)]
    pub(crate) team: Option<String>,
    #[serde(default)]
    pub(crate) properties: ObjectMembers<String>,
    #[serde(default)]
    pub(crate) relations: ObjectMembers<String>,
}
