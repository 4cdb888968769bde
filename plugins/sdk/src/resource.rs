//! One element of a batch.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::{Json, json::Name};

/// A resource with what a mapper wants of it: `{"item": …, "steps": {…}, "parents": {…}}`.
///
/// `Steps` and `Parents` are structs with one field per step; a step that was not asked for, or
/// whose answer the fetch plan declares absent, has no entry, so their fields are optional.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound(
    deserialize = "Item: Deserialize<'de>, Steps: Deserialize<'de> + Default, Parents: Deserialize<'de> + Default"
))]
pub struct Resource<Item, Steps = IgnoredAny, Parents = IgnoredAny> {
    /// The item of the list step.
    pub item: Item,
    /// The results of the enriching steps, by step id.
    #[serde(default)]
    pub steps: Steps,
    /// The items that the list steps before this one ran for, by step id.
    #[serde(default)]
    pub parents: Parents,
}

/// A resource of which nothing is parsed yet.
#[derive(Debug, Clone, Deserialize)]
pub struct RawResource<'a> {
    /// The item of the list step.
    #[serde(borrow)]
    pub item: Json<'a>,
    /// The results of the enriching steps, by step id.
    #[serde(default)]
    pub steps: Fields<'a>,
    /// The items that the list steps before this one ran for, by step id.
    #[serde(default)]
    pub parents: Fields<'a>,
}

impl<'a> RawResource<'a> {
    /// The result of an enriching step; `None` where there is none, or only null.
    pub fn step(&self, id: &str) -> Option<Json<'a>> {
        self.steps.get(id).filter(|result| !result.is_null())
    }

    /// The most telling name at hand: the item if it is a string, else its first member that ends
    /// in `Arn`, then `Id`, then `Name`.
    pub(crate) fn name(&self) -> Option<String> {
        if let Some(name) = self.item.as_str() {
            return Some(name.into_owned());
        }
        let fields = self.item.fields().ok()?;
        ["arn", "id", "name"].iter().find_map(|ending| {
            fields
                .iter()
                .filter(|(name, _)| name.to_ascii_lowercase().ends_with(ending))
                .find_map(|(_, value)| value.as_str().filter(|text| !text.is_empty()))
                .map(Cow::into_owned)
        })
    }
}

/// The members of a JSON object, in their order.
#[derive(Debug, Clone, Default)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Fields<'a> {
    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<Json<'a>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// All members, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

impl<'a> IntoIterator for Fields<'a> {
    type Item = (Cow<'a, str>, Json<'a>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or(32));
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Members)
    }
}
