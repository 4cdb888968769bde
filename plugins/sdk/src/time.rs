//! Times as properties of entities.

use berth_mapping::time::normal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::Json;

/// A time for an entity's property: the JSON text of the item, written in the one form that
/// documents have. What is not an ISO 8601 time with an offset stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timestamp<'a>(Json<'a>);

impl<'a> From<Json<'a>> for Timestamp<'a> {
    fn from(json: Json<'a>) -> Self {
        Self(json)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Timestamp<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Json::deserialize(from).map(Self)
    }
}

impl Serialize for Timestamp<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match normal(self.0.text()) {
            Some(time) => match RawValue::from_string(time) {
                Ok(time) => time.serialize(to),
                Err(error) => Err(serde::ser::Error::custom(error)),
            },
            None => self.0.serialize(to),
        }
    }
}
