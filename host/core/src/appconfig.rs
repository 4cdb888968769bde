//! Port's app-config: the `resources[]` that say which kinds are read and how they map.
//!
//! The shapes and defaults are Port's own (`port-app-config.yml`), in its camelCase. Unknown keys
//! are ignored on reading, as Port ignores them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Kind, Region};

/// The whole app-config of an integration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppConfig {
    /// Whether an upsert merges into what Port holds (`merge=true`) or replaces it.
    pub enable_merge_entity: bool,
    /// Whether deleting an entity also deletes those that require it.
    pub delete_dependent_entities: bool,
    /// Whether Port creates missing relation targets.
    pub create_missing_related_entities: bool,
    /// The largest share of owned entities that one resync may delete, 0 to 1.
    pub entity_deletion_threshold: f64,
    /// What is read and how it maps, in order.
    pub resources: Vec<ResourceConfig>,
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            enable_merge_entity: true,
            delete_dependent_entities: true,
            create_missing_related_entities: true,
            entity_deletion_threshold: 0.9,
            resources: Vec::new(),
        }
    }
}

/// One entry of `resources[]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceConfig {
    /// The kind this entry reads.
    pub kind: Kind,
    /// Which resources of the kind, where, and with which options.
    pub selector: Selector,
    /// How a resource becomes an entity.
    pub port: PortMapping,
}

/// The `selector` of a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// A JQ filter over the resource document that must yield `true` or `false`.
    pub query: String,
    /// Which regions are read.
    #[serde(default, skip_serializing_if = "RegionPolicy::is_empty")]
    pub region_policy: RegionPolicy,
    /// Options of the kind that are switched on (at most 3). Names that the kind does not have
    /// change nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_actions: Vec<String>,
    /// How many accounts are read at once for this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_accounts: Option<u32>,
    /// Everything else that the selector holds, kept so that the config survives a round trip.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Selector {
    /// `selector.exportEnvVariables`: the variables of the environment that the catalog's mapping
    /// wants to know.
    pub fn export_env_variables(&self) -> impl Iterator<Item = &str> {
        let names = self.other.get("exportEnvVariables").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str)
    }
}

/// `selector.regionPolicy`. Exact names, no wildcards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegionPolicy {
    /// When not empty, only these regions are read.
    pub allow: Vec<String>,
    /// These regions are never read, even when allowed.
    pub deny: Vec<String>,
}

impl RegionPolicy {
    /// Whether the policy says nothing.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// The truth table of the integration Berth replaces: deny wins; an empty `allow` allows what
    /// is not denied; a set `allow` allows only what it names.
    pub fn allows(&self, region: &Region) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == region.as_str());
        !named(&self.deny) && (self.allow.is_empty() || named(&self.allow))
    }
}

/// `port` of a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Splitting one resource into several items, if asked for.
    #[serde(flatten)]
    pub items: ItemsToParse,
    /// The entity mapping.
    pub entity: EntityField,
}

/// `itemsToParse` and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemsToParse {
    /// A JQ expression that yields the list to split by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_to_parse: Option<String>,
    /// The name each element gets (default `item`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_to_parse_name: Option<String>,
    /// Whether the list is removed from the item before the element is added (default true).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_to_parse_top_level_transform: Option<bool>,
}

/// The level between `port` and `mappings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityField {
    /// The mapping itself: one object.
    pub mappings: EntityMapping,
}

/// `port.entity.mappings`: JQ expressions, one per field of the entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityMapping {
    /// A JQ expression, or a search query whose leaves are JQ expressions.
    pub identifier: Value,
    /// A JQ expression for the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Value>,
    /// A JQ expression for the icon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<Value>,
    /// A JQ expression for the team, or a search query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<Value>,
    /// A JQ expression for the blueprint, most often a quoted literal (`'"ec2Instance"'`).
    pub blueprint: Value,
    /// JQ expressions by property.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Value>,
    /// JQ expressions, or search queries, by relation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub relations: BTreeMap<String, Value>,
}

impl EntityMapping {
    /// The blueprint when the mapping names it literally (`"ec2Instance"` in quotes), else `None`.
    pub fn literal_blueprint(&self) -> Option<crate::BlueprintId> {
        let text = self.blueprint.as_str()?.trim();
        let inner = [('"', '"'), ('\'', '\'')]
            .iter()
            .find_map(|(open, close)| text.strip_prefix(*open)?.strip_suffix(*close))?;
        crate::BlueprintId::new(inner).ok()
    }
}

impl ResourceConfig {
    /// Whether this entry maps exactly as another does: the same fields by the same expressions,
    /// every resource selected, nothing split. Regions and options may differ.
    pub fn maps_like(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.selector.query.trim() == other.selector.query.trim()
            && self.port == other.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_policy_follows_the_truth_table() {
        let region = Region::new("eu-west-1").unwrap();
        let policy = |allow: &[&str], deny: &[&str]| RegionPolicy {
            allow: allow.iter().map(ToString::to_string).collect(),
            deny: deny.iter().map(ToString::to_string).collect(),
        };
        let (here, other) = ("eu-west-1", "us-east-1");
        for (allow, deny, allowed) in [
            (&[][..], &[][..], true),
            (&[here], &[], true),
            (&[other], &[], false),
            (&[], &[here], false),
            (&[], &[other], true),
            (&[here], &[other], true),
            (&[here], &[here], false),
            (&[other], &[here], false),
            (&[other], &["sa-east-1"], false),
        ] {
            assert_eq!(policy(allow, deny).allows(&region), allowed, "{allow:?} {deny:?}");
        }
    }

    #[test]
    fn a_config_survives_a_round_trip() {
        let config = serde_json::json!({
            "enableMergeEntity": true, "deleteDependentEntities": false,
            "createMissingRelatedEntities": true, "entityDeletionThreshold": 0.5,
            "resources": [{
                "kind": "AWS::S3::Bucket",
                "selector": {"query": "true", "includeActions": ["X"], "exportEnvVariables": ["A"],
                             "regionPolicy": {"allow": ["eu-west-1"], "deny": []}},
                "port": {"itemsToParse": ".Properties.Tags", "entity": {"mappings": {
                    "identifier": ".Properties.Arn", "blueprint": "\"s3Bucket\"",
                    "relations": {"account": {"combinator": "'and'", "rules": []}}}}}
            }]
        });
        let parsed: AppConfig = serde_json::from_value(config.clone()).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), config);
        let mapping = &parsed.resources[0].port.entity.mappings;
        assert_eq!(mapping.literal_blueprint().unwrap().as_str(), "s3Bucket");
        let exported: Vec<_> = parsed.resources[0].selector.export_env_variables().collect();
        assert_eq!(exported, ["A"]);
    }
}
