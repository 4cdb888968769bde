//! What the resource documents of a kind are made of, for plugins that declare it. The host only checks it: the
//! plugin makes the documents.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{KindManifest, ManifestError, OptionInfo, check::refuse};

/// What the documents of a kind are made of. A path names a member of the resource, as in the placeholders of a plan:
/// `item.Name`, `steps.tags`, `parents.cluster`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DocumentShape {
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
}

/// The source of a property that is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
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

impl DocumentShape {
    /// The sources of all values, each with its place.
    fn sources(&self) -> impl Iterator<Item = (String, &str, Option<&str>)> {
        let set = self.set.iter().map(|(name, source)| {
            let (value, option) = match source {
                PropertySource::Short(value) => (value, None),
                PropertySource::Long { value, option, .. } => (value, option.as_deref()),
            };
            (format!("set.{name}"), value.as_str(), option)
        });
        let context =
            self.context.iter().map(|(name, value)| (format!("context.{name}"), value.as_str(), None));
        set.chain(context)
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
                ("item" | "steps", None) | ("item", Some(_)) => Ok(()),
                ("account" | "region" | "partition", None | Some("")) => Ok(()),
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
        for (place, source, option) in document.sources() {
            if let Some(option) = option.filter(|option| !options.contains(option)) {
                return Err(refuse(format!("{at}.{place}"), format!("there is no option `{option}`")));
            }
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
