//! What a manifest says of a kind: the form of its documents, and the default mapping.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};

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
    pub(crate) document: Shape,
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
    pub(crate) properties: Members<String>,
    #[serde(default)]
    pub(crate) relations: Members<String>,
}

/// The members of an object, in their order.
#[derive(Debug)]
pub(crate) struct Members<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = Members<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(OfObject(PhantomData))
    }
}

/// What the documents of a kind are made of: `document` in the manifest, which `wit/README.md` describes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Shape {
    /// The paths of objects whose members a document takes over; none for `item`.
    pub(crate) merge: Option<Vec<String>>,
    /// Properties that are set, whatever was merged under their name.
    pub(crate) set: Members<PropertySource>,
    /// The path of the ID of the account that owns the resource.
    pub(crate) owner: Option<String>,
    /// What `__ExtraContext` says of the place of the resource.
    pub(crate) origin: Origin,
    /// Further members of `__ExtraContext`.
    pub(crate) context: Members<String>,
    pub(crate) keep_unknown: bool,
    pub(crate) required: Vec<String>,
    pub(crate) properties: Vec<String>,
    pub(crate) members: Members<String>,
    pub(crate) times: Vec<String>,
    pub(crate) nested_times: Members<Vec<String>>,
    pub(crate) numbers: Vec<String>,
    pub(crate) booleans: Vec<String>,
    /// Only for the check against AWS's models.
    #[serde(rename = "unmodeled")]
    _unmodeled: IgnoredAny,
}

/// A property of the documents that the manifest lists.
#[derive(Debug, Clone)]
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) member: Option<String>,
    pub(crate) form: Form,
    pub(crate) required: bool,
}

/// What becomes of a value on its way into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    AsIs,
    Time,
    Times(Vec<String>),
    Number,
    Boolean,
}

impl Shape {
    /// The properties that are listed.
    pub(crate) fn listed(&self) -> Vec<Property> {
        let mut listed: Vec<Property> = Vec::new();
        let mut change = |name: &str, change: &dyn Fn(&mut Property)| {
            if let Some(known) = listed.iter_mut().find(|known| known.name == name) {
                change(known);
                return;
            }
            let mut property =
                Property { name: name.to_owned(), member: None, form: Form::AsIs, required: false };
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
        for (names, form) in
            [(&self.times, Form::Time), (&self.numbers, Form::Number), (&self.booleans, Form::Boolean)]
        {
            for name in names {
                change(name, &|property| property.form = form.clone());
            }
        }
        for (name, times) in &self.nested_times.0 {
            change(name, &|property| property.form = Form::Times(times.clone()));
        }
        listed
    }

    /// The paths of the objects that are merged, and whether they may be missing.
    pub(crate) fn merges(&self) -> Vec<(Vec<String>, bool)> {
        let paths = self.merge.clone().unwrap_or_else(|| vec!["item".to_owned()]);
        let split = |text: &String| {
            let (path, optional) = text.strip_suffix('?').map_or((text.as_str(), false), |path| (path, true));
            (path.split('.').map(str::to_owned).collect(), optional)
        };
        paths.iter().map(split).collect()
    }
}

/// What `__ExtraContext` says of the place of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// The account, and the region of a kind that is regional.
    #[default]
    Region,
    /// The account.
    Account,
    /// Nothing.
    None,
}

/// The source of a property that is set.
#[derive(Debug, Clone)]
pub(crate) struct PropertySource {
    pub(crate) value: String,
    pub(crate) nulls: Nulls,
    /// The option that must be on.
    pub(crate) option: Option<String>,
}

/// What happens to a property whose value is null or missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Nulls {
    /// It stays as it was merged.
    #[default]
    Skip,
    /// Null is written, and what is missing is not.
    Keep,
    /// Null is written in both cases.
    Write,
}

impl<'de> Deserialize<'de> for PropertySource {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            value: String,
            #[serde(default)]
            nulls: Nulls,
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
                Ok(PropertySource { value: text.to_owned(), nulls: Nulls::default(), option: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PropertySource, A::Error> {
                let Long { value, nulls, option } = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(PropertySource { value, nulls, option })
            }
        }
        from.deserialize_any(OfEither)
    }
}
