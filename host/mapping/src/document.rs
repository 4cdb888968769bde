//! What the resource documents of a kind are made of, as the manifest of its plugin declares it.

mod source;
mod trace;
mod view;

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
    ser::SerializeMap as _,
};

pub use crate::paths::Name;
pub use source::{SourceExpression, TemplatePart, ValueSource};
pub use trace::{Traced, TracedValue, Tracer};
pub use view::{BatchContext, BatchTexts, Made, ResourceView, Split};

/// The names of a path of a resource, as in `steps.describe.Name`.
pub fn names_of(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// Why a resource is refused that has something else where `expected` must stand.
pub fn misplaced(json: &str, expected: &str) -> String {
    let start: String = json.chars().take(40).collect();
    format!("`{start}` stands where {expected} is expected")
}

/// The members of an object, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMembers<T>(pub Vec<(String, T)>);

impl<T> ObjectMembers<T> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Serialize> Serialize for ObjectMembers<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<T> Default for ObjectMembers<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ObjectMembers<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = ObjectMembers<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectMembers<T>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(ObjectMembers(members))
            }
        }
        from.deserialize_map(OfObject(PhantomData))
    }
}

/// What the documents of a kind are made of: `document` in the manifest, which `wit/README.md` describes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DocumentShape {
    /// The path of a list in the resource: there is a document for each of its elements, which paths call `each`.
    /// Only for plugins that make their documents themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// What is joined to an element of [`each`](Self::each); paths call it `joined`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// The paths of objects whose members a document takes over; none for `item`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<Vec<String>>,
    /// Properties that are set, whatever was merged under their name.
    #[serde(skip_serializing_if = "ObjectMembers::is_empty")]
    pub set: ObjectMembers<PropertySource>,
    /// The path of the ID of the account that owns the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What `__ExtraContext` says of the place of the resource.
    #[serde(skip_serializing_if = "DocumentOrigin::is_region")]
    pub origin: DocumentOrigin,
    /// Further members of `__ExtraContext`. `*` stands for all members of an object.
    #[serde(skip_serializing_if = "ObjectMembers::is_empty")]
    pub context: ObjectMembers<String>,
    /// Whether members that are not listed below are kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_unknown: bool,
    /// Properties that a document must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// Properties that a document takes over as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
    /// The members of properties with another name.
    #[serde(skip_serializing_if = "ObjectMembers::is_empty")]
    pub members: ObjectMembers<String>,
    /// Properties that are times.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<String>,
    /// The members of properties, at any depth, that are times.
    #[serde(skip_serializing_if = "ObjectMembers::is_empty")]
    pub nested_times: ObjectMembers<Vec<String>>,
    /// Properties that AWS writes as text and that are whole numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<String>,
    /// Properties that AWS writes as text and that are true or false.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub booleans: Vec<String>,
    /// What the documents or the default mapping read although AWS's models do not have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmodeled: Vec<String>,
}

/// A property of the documents that the manifest lists.
#[derive(Debug, Clone)]
pub struct Property {
    /// Its name in documents.
    pub name: String,
    /// AWS's name of the member, where it differs by more than the case of its first letter.
    pub member: Option<String>,
    /// What becomes of the value.
    pub form: ValueForm,
    /// Whether a document must have it.
    pub required: bool,
}

/// What becomes of a value on its way into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueForm {
    /// It is taken over.
    AsIs,
    /// It is a time.
    Time,
    /// The members of these names, at any depth, are times.
    Times(Vec<String>),
    /// It is a whole number; one in quotes loses them.
    Number,
    /// It is true or false; one in quotes loses them.
    Boolean,
}

impl DocumentShape {
    /// The paths of the objects that are merged, as they are written, without the sign of one that may be missing.
    pub fn merge_paths(&self) -> Vec<String> {
        self.merges().into_iter().map(|(path, _)| path.join(".")).collect()
    }

    /// The sources of all values, each with its place.
    pub fn sources(&self) -> impl Iterator<Item = (String, &str)> {
        let set = self.set.0.iter().map(|(name, source)| (format!("set.{name}"), source.value.as_str()));
        let context = self.context.0.iter();
        set.chain(context.map(|(name, value)| (format!("context.{name}"), value.as_str())))
    }

    /// The source of a property, if it is set.
    pub fn source_of(&self, property: &str) -> Option<&str> {
        self.set.0.iter().find(|(name, _)| name == property).map(|(_, source)| source.value.as_str())
    }

    /// Whether `__ExtraContext` may have a member.
    pub fn has_context(&self, name: &str) -> bool {
        let by_origin: &[&str] = match self.origin {
            DocumentOrigin::Region => &["AccountId", "Region"],
            DocumentOrigin::Account => &["AccountId"],
            DocumentOrigin::None => &[],
        };
        by_origin.contains(&name) || self.context.0.iter().any(|(known, _)| known == name || known == "*")
    }

    /// The properties that are listed, each with the list.
    pub fn listed_in(&self) -> impl Iterator<Item = (&'static str, &str)> {
        fn of<'n>(
            list: &'static str,
            names: impl Iterator<Item = &'n String>,
        ) -> impl Iterator<Item = (&'static str, &'n str)> {
            names.map(move |name| (list, name.as_str()))
        }
        of("required", self.required.iter())
            .chain(of("properties", self.properties.iter()))
            .chain(of("members", self.members.0.iter().map(|(name, _)| name)))
            .chain(of("times", self.times.iter()))
            .chain(of("nestedTimes", self.nested_times.0.iter().map(|(name, _)| name)))
            .chain(of("numbers", self.numbers.iter()))
            .chain(of("booleans", self.booleans.iter()))
    }

    /// The member that a property with another name comes from.
    pub fn member_of(&self, property: &str) -> Option<&str> {
        self.members.0.iter().find(|(name, _)| name == property).map(|(_, member)| member.as_str())
    }

    /// The names of the times inside a property.
    pub fn times_in(&self, property: &str) -> &[String] {
        let found = self.nested_times.0.iter().find(|(name, _)| name == property);
        found.map(|(_, times)| times.as_slice()).unwrap_or_default()
    }

    /// The properties that are listed.
    pub fn listed(&self) -> Vec<Property> {
        let mut listed: Vec<Property> = Vec::new();
        let mut change = |name: &str, change: &dyn Fn(&mut Property)| {
            if let Some(known) = listed.iter_mut().find(|known| known.name == name) {
                change(known);
                return;
            }
            let mut property =
                Property { name: name.to_owned(), member: None, form: ValueForm::AsIs, required: false };
            change(&mut property);
            listed.push(property);
        };
        for name in &self.required {
            change(name, &|property| property.required = true);
        }
        for name in &self.properties {
            change(name, &|_| {});
        }
        for (name, member) in &self.members.0 {
            change(name, &|property| property.member = Some(member.clone()));
        }
        for (names, form) in [
            (&self.times, ValueForm::Time),
            (&self.numbers, ValueForm::Number),
            (&self.booleans, ValueForm::Boolean),
        ] {
            for name in names {
                change(name, &|property| property.form = form.clone());
            }
        }
        for (name, times) in &self.nested_times.0 {
            change(name, &|property| property.form = ValueForm::Times(times.clone()));
        }
        listed
    }

    /// The paths of the objects that are merged, and whether they may be missing.
    pub fn merges(&self) -> Vec<(Vec<String>, bool)> {
        let paths = self.merge.clone().unwrap_or_else(|| vec!["item".to_owned()]);
        let split = |text: &String| {
            let (path, optional) = text.strip_suffix('?').map_or((text.as_str(), false), |path| (path, true));
            (names_of(path), optional)
        };
        paths.iter().map(split).collect()
    }
}

/// The element of another list that has the same value in a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The path of the list.
    pub from: String,
    /// The member.
    pub by: String,
}

/// What `__ExtraContext` says of the place of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentOrigin {
    /// The account, and the region of a kind that is regional.
    #[default]
    Region,
    /// The account.
    Account,
    /// Nothing.
    None,
}

impl DocumentOrigin {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_region(&self) -> bool {
        *self == Self::Region
    }
}

/// The source of a property that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertySource {
    /// A placeholder, or a text with placeholders.
    pub value: String,
    /// What happens where it is null or missing.
    pub nulls: NullPolicy,
    /// The option that must be on.
    pub option: Option<String>,
}

/// What happens to a property whose value is null or missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NullPolicy {
    /// It stays as it was merged.
    #[default]
    Skip,
    /// Null is written, and what is missing is not.
    Keep,
    /// Null is written in both cases.
    Write,
}

impl Serialize for PropertySource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.nulls == NullPolicy::default() && self.option.is_none() {
            return to.serialize_str(&self.value);
        }
        let mut members = to.serialize_map(None)?;
        members.serialize_entry("value", &self.value)?;
        if self.nulls != NullPolicy::default() {
            members.serialize_entry("nulls", &self.nulls)?;
        }
        if let Some(option) = &self.option {
            members.serialize_entry("option", option)?;
        }
        members.end()
    }
}

impl<'de> Deserialize<'de> for PropertySource {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            value: String,
            #[serde(default)]
            nulls: NullPolicy,
            #[serde(default)]
            option: Option<String>,
        }
        struct OfEither;
        impl<'de> Visitor<'de> for OfEither {
            type Value = PropertySource;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or an object")
            }
            fn visit_str<E>(self, text: &str) -> Result<PropertySource, E> {
                Ok(PropertySource { value: text.to_owned(), nulls: NullPolicy::default(), option: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PropertySource, A::Error> {
                let Long { value, nulls, option } = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(PropertySource { value, nulls, option })
            }
        }
        from.deserialize_any(OfEither)
    }
}
