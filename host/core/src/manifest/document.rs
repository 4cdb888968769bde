//! What the resource documents of a kind are made of, for plugins that declare it. The host only checks it: the
//! plugin makes the documents.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{KindManifest, ManifestError, OptionInfo, check::refuse};

/// What the documents of a kind are made of. A path names a member of the resource, as in the placeholders of a plan:
/// `item.Name`, `steps.tags`, `parents.cluster`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DocumentShape {
    /// The paths of objects whose members a document takes over (default `item`). A path that ends in `?` may be
    /// missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merge: Option<Vec<String>>,
    /// Properties that are set: a placeholder, or a text with placeholders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    set: BTreeMap<String, PropertySource>,
    /// The path of the ID of the account that owns the resource. What another account owns is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// What `__ExtraContext` says of the place of a resource.
    #[serde(default, skip_serializing_if = "DocumentOrigin::is_region")]
    origin: DocumentOrigin,
    /// Further members of `__ExtraContext`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    context: BTreeMap<String, String>,
    /// Whether members that are not listed below are kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    keep_unknown: bool,
    /// Properties that a document must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    required: Vec<String>,
    /// Properties that a document takes over as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    properties: Vec<String>,
    /// The members of properties with another name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    members: BTreeMap<String, String>,
    /// Properties that are times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    times: Vec<String>,
    /// The members of properties, at any depth, that are times.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    nested_times: BTreeMap<String, Vec<String>>,
    /// Properties that AWS writes as text and that are whole numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<String>,
    /// Properties that AWS writes as text and that are true or false.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    booleans: Vec<String>,
    /// What the documents or the default mapping read although AWS's models do not have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unmodeled: Vec<String>,
}

/// The source of a property that is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a text, or an object with `value` and perhaps `nulls` (skip, keep or write) and `option`"
)]
enum PropertySource {
    Short(String),
    #[serde(rename_all = "camelCase")]
    Long {
        value: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nulls: Option<NullPolicy>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        option: Option<String>,
    },
}

/// What happens to a property whose value is null or missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NullPolicy {
    /// The property stays as it was merged. The default.
    Skip,
    /// Null is written; a missing value is not.
    Keep,
    /// Null is written in both cases.
    Write,
}

/// What `__ExtraContext` says of the place of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DocumentOrigin {
    /// `AccountId`, and `Region` for a kind that is regional.
    #[default]
    Region,
    /// `AccountId`.
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

impl PropertySource {
    fn value(&self) -> &str {
        match self {
            Self::Short(value) | Self::Long { value, .. } => value,
        }
    }

    fn option(&self) -> Option<&str> {
        match self {
            Self::Short(_) => None,
            Self::Long { option, .. } => option.as_deref(),
        }
    }
}

impl DocumentShape {
    /// The paths of the objects whose members a document takes over.
    pub fn merges(&self) -> impl Iterator<Item = &str> {
        let given = self.merge.iter().flatten().map(String::as_str);
        let default = self.merge.is_none().then_some("item");
        given.chain(default).map(|path| path.trim_end_matches('?'))
    }

    /// The path of the ID of the account that owns the resource.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The sources of all values, each with its place.
    pub fn sources(&self) -> impl Iterator<Item = (String, &str)> {
        let set = self.set.iter().map(|(name, source)| (format!("set.{name}"), source.value()));
        let context = self.context.iter().map(|(name, value)| (format!("context.{name}"), value.as_str()));
        set.chain(context)
    }

    /// The source of a property, if it is set.
    pub fn source_of(&self, property: &str) -> Option<&str> {
        self.set.get(property).map(PropertySource::value)
    }

    /// The names of the properties that are set.
    pub fn set_properties(&self) -> impl Iterator<Item = &str> {
        self.set.keys().map(String::as_str)
    }

    /// Whether `__ExtraContext` has a member.
    pub fn has_context(&self, name: &str) -> bool {
        let by_origin: &[&str] = match self.origin {
            DocumentOrigin::Region => &["AccountId", "Region"],
            DocumentOrigin::Account => &["AccountId"],
            DocumentOrigin::None => &[],
        };
        by_origin.contains(&name) || self.context.contains_key(name)
    }

    /// The properties that are listed, each with the list.
    pub fn listed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        fn of<'n>(
            list: &'static str,
            names: impl Iterator<Item = &'n String>,
        ) -> impl Iterator<Item = (&'static str, &'n str)> {
            names.map(move |name| (list, name.as_str()))
        }
        of("required", self.required.iter())
            .chain(of("properties", self.properties.iter()))
            .chain(of("members", self.members.keys()))
            .chain(of("times", self.times.iter()))
            .chain(of("nestedTimes", self.nested_times.keys()))
            .chain(of("numbers", self.numbers.iter()))
            .chain(of("booleans", self.booleans.iter()))
    }

    /// The member that a property with another name comes from.
    pub fn member_of(&self, property: &str) -> Option<&str> {
        self.members.get(property).map(String::as_str)
    }

    /// The names of the times inside a property.
    pub fn times_in(&self, property: &str) -> &[String] {
        self.nested_times.get(property).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether members that are not listed are kept.
    pub fn keeps_unknown(&self) -> bool {
        self.keep_unknown
    }

    /// What is read although AWS's models do not have it.
    pub fn unmodeled(&self) -> &[String] {
        &self.unmodeled
    }
}

impl KindManifest {
    /// Checks that the declared documents read only what the plan reads.
    pub(super) fn check_document(&self, at: &str) -> Result<(), ManifestError> {
        let Some(document) = &self.document else { return Ok(()) };
        let at = format!("{at}.document");
        let steps: BTreeSet<&str> = self.plan.steps.iter().map(|step| step.id.as_str()).collect();
        let options: BTreeSet<&str> =
            self.options.iter().map(|OptionInfo { name, .. }| name.as_str()).collect();
        let path = |at: String, path: &str| {
            let mut names = path.trim_end_matches('?').split(['.', ' ', '[']);
            match (names.next().unwrap_or_default(), names.next()) {
                ("item" | "steps", None)
                | ("item", Some(_))
                | ("account" | "region" | "partition", None | Some("")) => Ok(()),
                ("steps" | "parents", Some(step)) if steps.contains(step) => Ok(()),
                ("steps" | "parents", Some(step)) => Err(refuse(at, format!("there is no step `{step}`"))),
                (root, _) => Err(refuse(
                    at,
                    format!("`{root}` is not one of item, steps, parents, account, region, partition"),
                )),
            }
        };
        for (index, text) in document.merge.iter().flatten().enumerate() {
            path(format!("{at}.merge[{index}]"), text)?;
        }
        if let Some(owner) = &document.owner {
            path(format!("{at}.owner"), owner)?;
        }
        for (name, source) in &document.set {
            if let Some(option) = source.option().filter(|option| !options.contains(option)) {
                return Err(refuse(format!("{at}.set.{name}"), format!("there is no option `{option}`")));
            }
        }
        for (place, source) in document.sources() {
            for hole in source.split('{').skip(1) {
                let (code, _) = hole
                    .split_once('}')
                    .ok_or_else(|| refuse(format!("{at}.{place}"), "a placeholder has no closing brace"))?;
                path(format!("{at}.{place}"), code)?;
            }
        }
        Ok(())
    }
}
