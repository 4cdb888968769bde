//! Port's app-config: the `resources[]`, which list the kinds to read and their mappings.
//!
//! The shapes and defaults are Port's own (`port-app-config.yml`), in its camelCase. Unknown keys are
//! ignored, as in Port.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::{Kind, Problem, ProblemCode, Region, problem::place};

/// The whole app-config of an integration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppConfig {
    /// Whether an upsert merges with what Port holds (`merge=true`) or replaces it.
    pub enable_merge_entity: bool,
    /// Whether deleting an entity also deletes those that require it.
    pub delete_dependent_entities: bool,
    /// Whether Port creates missing relation targets.
    pub create_missing_related_entities: bool,
    /// The largest share of owned entities that one resync may delete, 0 to 1.
    pub entity_deletion_threshold: f64,
    /// The entries to read and map, in order.
    pub resources: Vec<ResourceConfig>,
    /// Entries of `resources` that cannot be parsed, by position, with the reason. Their place in
    /// `resources` holds the parts that could be parsed: enough to know which entities they may own, never
    /// to be run.
    #[serde(skip)]
    pub broken: BTreeMap<usize, Problem>,
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            enable_merge_entity: true,
            delete_dependent_entities: true,
            create_missing_related_entities: true,
            entity_deletion_threshold: 0.9,
            resources: Vec::new(),
            broken: BTreeMap::new(),
        }
    }
}

impl AppConfig {
    /// Parses an app-config entry by entry, so that an invalid entry does not affect the others.
    ///
    /// # Errors
    /// The problem outside the entries, with its path.
    pub fn read(config: &Value) -> Result<Self, String> {
        let Value::Object(mut root) = config.clone() else {
            return Err(format!("expected an app-config, found {}", json_type(config)));
        };
        let entries = match root.remove("resources") {
            None => Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(other) => {
                return Err(format!("at `resources`: expected a list, found {}", json_type(&other)));
            }
        };
        let mut read: Self = serde_path_to_error::deserialize(Value::Object(root))
            .map_err(|error| format!("at `{}`: {}", place(error.path()), error.inner()))?;
        if !(0.0..=1.0).contains(&read.entity_deletion_threshold) {
            return Err(format!(
                "at `entityDeletionThreshold`: {} is not between 0 and 1",
                read.entity_deletion_threshold
            ));
        }
        for (position, entry) in entries.iter().enumerate() {
            let resource = serde_path_to_error::deserialize::<_, ResourceConfig>(entry);
            read.resources.push(resource.unwrap_or_else(|error| {
                let problem = Problem::new(
                    ProblemCode::MappingInvalid,
                    format!(
                        "the mapping is invalid at `resources[{position}].{}`: {}",
                        error.path(),
                        error.inner()
                    ),
                );
                let remedy = "correct it in Port, on the page of the data source; until then Berth does not \
                              read this entry, and keeps the entities that it may own";
                read.broken.insert(position, problem.remedy(remedy));
                ResourceConfig::salvaged(entry)
            }));
        }
        Ok(read)
    }
}

/// One entry of `resources[]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceConfig {
    /// The kind this entry reads.
    pub kind: Kind,
    /// Selects which resources of the kind are read, where, and with which options.
    pub selector: Selector,
    /// Maps a resource to an entity.
    pub port: PortMapping,
}

/// The `selector` of a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// A JQ filter over the resource document that must yield `true` or `false`.
    #[serde(deserialize_with = "read::query")]
    pub query: String,
    /// Which regions are read.
    #[serde(default, skip_serializing_if = "RegionPolicy::is_empty")]
    pub region_policy: RegionPolicy,
    /// Options of the kind that are switched on (at most 3). Names that the kind does not have are ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_actions: Vec<String>,
    /// The number of accounts that are read at once for this resource.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read::count")]
    pub max_concurrent_accounts: Option<u32>,
    /// All other members of the selector, kept so that the config survives a round trip.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
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
    /// Returns whether the policy is empty.
    fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Returns whether a region is read. Same truth table as Ocean's: deny wins; an empty `allow` allows
    /// every region that is not denied; a non-empty `allow` allows only the listed regions.
    pub fn allows(&self, region: &Region) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == region.as_str());
        !named(&self.deny) && (self.allow.is_empty() || named(&self.allow))
    }
}

/// `port` of a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Splits one resource into several items, if set.
    #[serde(flatten)]
    pub items: ItemsToParse,
    /// The entity mapping.
    pub entity: EntityField,
}

/// `itemsToParse` and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemsToParse {
    /// A JQ expression that returns the list to split by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_to_parse: Option<String>,
    /// The name of each element (default `item`).
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
///
/// Each value is the text of an expression (a scalar counts as its text) or a search query: `{"combinator":
/// …, "rules": […]}`, in which every leaf is an expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityMapping {
    /// A JQ expression, or a search query.
    #[serde(deserialize_with = "read::expression_or_query")]
    pub identifier: Value,
    /// A JQ expression for the title. Title, icon and team may be an explicit null, which is not an
    /// expression: the field is then null.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read::given_expression")]
    pub title: Option<Value>,
    /// A JQ expression for the icon.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read::given_expression")]
    pub icon: Option<Value>,
    /// A JQ expression for the team, or a search query.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read::given_team")]
    pub team: Option<Value>,
    /// A JQ expression for the blueprint, usually a quoted literal (`'"ec2Instance"'`).
    #[serde(deserialize_with = "read::expression")]
    pub blueprint: Value,
    /// JQ expressions by property.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "read::expressions")]
    pub properties: BTreeMap<String, Value>,
    /// JQ expressions, or search queries, by relation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "read::relations")]
    pub relations: BTreeMap<String, Value>,
}

impl EntityMapping {
    /// Returns the blueprint if the mapping names it literally (`"ec2Instance"` in quotes), else `None`.
    pub fn literal_blueprint(&self) -> Option<crate::BlueprintId> {
        let text = self.blueprint.as_str()?.trim();
        let inner = [('"', '"'), ('\'', '\'')]
            .iter()
            .find_map(|(open, close)| text.strip_prefix(*open)?.strip_suffix(*close))?;
        crate::BlueprintId::new(inner).ok()
    }
}

impl ResourceConfig {
    /// Parses as much as possible of an entry that is invalid as a whole.
    fn salvaged(entry: &Value) -> Self {
        let mappings = &entry["port"]["entity"]["mappings"];
        let kind = entry["kind"].as_str().and_then(|kind| Kind::new(kind).ok());
        Self {
            kind: kind.unwrap_or_else(Kind::unreadable),
            selector: Selector {
                query: String::new(),
                region_policy: RegionPolicy::default(),
                include_actions: Vec::new(),
                max_concurrent_accounts: None,
                other: BTreeMap::new(),
            },
            port: PortMapping {
                items: ItemsToParse::default(),
                entity: EntityField {
                    mappings: EntityMapping {
                        identifier: mappings["identifier"].clone(),
                        blueprint: mappings["blueprint"].clone(),
                        title: None,
                        icon: None,
                        team: None,
                        properties: BTreeMap::new(),
                        relations: BTreeMap::new(),
                    },
                },
            },
        }
    }
}

/// Describes a value in a message.
fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Parses values that users write in more than one form. Follows Ocean's rules.
mod read {
    use super::{BTreeMap, Deserialize, Deserializer, Map, Value, json, json_type};
    use serde::de::Error as _;

    /// A scalar counts as its text. The text of a YAML boolean is not valid JQ, so its field becomes null.
    struct Expression(Value);

    struct ExpressionOrQuery(Value);

    fn to_expression(value: Value) -> Result<Value, String> {
        match value {
            Value::String(_) => Ok(value),
            Value::Number(number) => Ok(Value::String(number.to_string())),
            Value::Bool(true) => Ok(json!("True")),
            Value::Bool(false) => Ok(json!("False")),
            other => Err(format!("expected a JQ expression, found {}", json_type(&other))),
        }
    }

    fn to_query(query: Map<String, Value>) -> Result<Value, String> {
        if query.contains_key("combinator") || query.contains_key("rules") {
            return to_rule(query);
        }
        Err("expected a JQ expression, or a search query with `combinator` and `rules`, found an object"
            .into())
    }

    /// Parses a rule, or a nested query. Keeps the members that either has; other members are ignored.
    fn to_rule(mut query: Map<String, Value>) -> Result<Value, String> {
        let nested = query.contains_key("combinator") || query.contains_key("rules");
        let rules = query.remove("rules");
        let mut leaf = |name: &str| {
            let value = query.remove(name).ok_or_else(|| format!("a search query needs `{name}`"))?;
            to_expression(value).map_err(|reason| format!("`{name}` of a search query: {reason}"))
        };
        if !nested {
            return Ok(json!({
                "property": leaf("property")?, "operator": leaf("operator")?, "value": leaf("value")?,
            }));
        }
        let combinator = leaf("combinator")?;
        let Some(Value::Array(rules)) = rules else { return Err("a search query needs `rules`".into()) };
        let rules = rules.into_iter().map(|rule| match rule {
            Value::Object(rule) => to_rule(rule),
            other => Err(format!("expected a rule of a search query, found {}", json_type(&other))),
        });
        Ok(json!({"combinator": combinator, "rules": rules.collect::<Result<Vec<_>, _>>()?}))
    }

    impl<'de> Deserialize<'de> for Expression {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            to_expression(Value::deserialize(from)?).map(Self).map_err(D::Error::custom)
        }
    }

    impl<'de> Deserialize<'de> for ExpressionOrQuery {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            match Value::deserialize(from)? {
                Value::Object(query) => to_query(query),
                other => to_expression(other),
            }
            .map(Self)
            .map_err(D::Error::custom)
        }
    }

    pub(super) fn expression<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        Expression::deserialize(from).map(|Expression(value)| value)
    }

    pub(super) fn expression_or_query<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        ExpressionOrQuery::deserialize(from).map(|ExpressionOrQuery(value)| value)
    }

    /// Distinguishes an explicit null from an absent field.
    pub(super) fn given_expression<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
        let given = Option::<Expression>::deserialize(from)?;
        Ok(Some(given.map_or(Value::Null, |Expression(value)| value)))
    }

    pub(super) fn given_team<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
        let given = Option::<ExpressionOrQuery>::deserialize(from)?;
        Ok(Some(given.map_or(Value::Null, |ExpressionOrQuery(value)| value)))
    }

    pub(super) fn expressions<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, Value>, D::Error> {
        let read = BTreeMap::<String, Expression>::deserialize(from)?;
        Ok(read.into_iter().map(|(name, Expression(value))| (name, value)).collect())
    }

    pub(super) fn relations<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Value>, D::Error> {
        let read = BTreeMap::<String, ExpressionOrQuery>::deserialize(from)?;
        Ok(read.into_iter().map(|(name, ExpressionOrQuery(value))| (name, value)).collect())
    }

    /// Parses a selector's query. YAML turns an unquoted `true` into a boolean, which JQ cannot evaluate.
    pub(super) fn query<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        match Value::deserialize(from)? {
            Value::String(query) => Ok(query),
            Value::Number(number) => Ok(number.to_string()),
            boolean @ Value::Bool(_) => Err(D::Error::custom(format!(
                "expected a JQ expression, found a boolean: put it in quotes (`query: '{boolean}'`)"
            ))),
            other => Err(D::Error::custom(format!("expected a JQ expression, found {}", json_type(&other)))),
        }
    }

    /// Parses a whole number, also from text or with a fraction, which is dropped.
    pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
        let value = Value::deserialize(from)?;
        let number = match &value {
            Value::Null => return Ok(None),
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse::<u32>().ok().map(f64::from),
            _ => None,
        };
        match number.map(f64::trunc) {
            Some(number) if (0.0..=f64::from(u32::MAX)).contains(&number) =>
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "the check above ensures that the value is whole and in range"
                )]
                Ok(Some(number as u32))
            }
            _ => Err(D::Error::custom(format!("`{value}` is not a number greater than or equal to 0"))),
        }
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
        assert_eq!(
            parsed.resources[0].selector.other,
            BTreeMap::from([("exportEnvVariables".into(), json!(["A"]))])
        );
    }

    fn entry(change: impl FnOnce(&mut Value)) -> Value {
        let mut entry = json!({"kind": "AWS::S3::Bucket", "selector": {"query": "true"}, "port": {"entity":
            {"mappings": {"identifier": ".Properties.Arn", "blueprint": "\"s3Bucket\""}}}});
        change(&mut entry);
        entry
    }

    fn mappings(entry: &mut Value) -> &mut Value {
        &mut entry["port"]["entity"]["mappings"]
    }

    #[test]
    fn an_invalid_entry_keeps_its_place_and_affects_no_other() {
        type Break = fn(&mut Value);
        let broken: [(Break, &str); 14] = [
            (
                |e| mappings(e)["properties"] = json!({"size": {"a": 1}}),
                "port.entity.mappings.properties.size`: expected a JQ expression, found an object",
            ),
            (
                |e| mappings(e)["properties"] = json!({"size": null}),
                "port.entity.mappings.properties.size`: expected a JQ expression, found null",
            ),
            (
                |e| mappings(e)["relations"] = json!({"account": ["x"]}),
                "port.entity.mappings.relations.account`: expected a JQ expression, found a list",
            ),
            (
                |e| mappings(e)["relations"] = json!({"account": {"a": "b"}}),
                "port.entity.mappings.relations.account`: expected a JQ expression, or a search query",
            ),
            (
                |e| mappings(e)["team"] = json!({"combinator": "'and'", "rules": [{"property": ".a"}]}),
                "port.entity.mappings.team`: a search query needs `operator`",
            ),
            (
                |e| mappings(e)["team"] = json!({"combinator": "'and'"}),
                "port.entity.mappings.team`: a search query needs `rules`",
            ),
            (
                |e| drop(mappings(e).as_object_mut().unwrap().remove("identifier")),
                "port.entity.mappings`: missing field `identifier`",
            ),
            (
                |e| mappings(e)["blueprint"] = json!({"combinator": "'and'", "rules": []}),
                "port.entity.mappings.blueprint`: expected a JQ expression, found an object",
            ),
            (
                |e| e["selector"]["query"] = json!(true),
                "selector.query`: expected a JQ expression, found a boolean: put",
            ),
            (|e| e["selector"] = json!({}), "selector`: missing field `query`"),
            (
                |e| e["selector"]["maxConcurrentAccounts"] = json!("x"),
                "selector.maxConcurrentAccounts`: `\"x\"`",
            ),
            (|e| e["selector"]["maxConcurrentAccounts"] = json!(-1), "selector.maxConcurrentAccounts`: `-1`"),
            (
                |e| e["selector"]["regionPolicy"] = json!({"allow": "eu-west-1"}),
                "selector.regionPolicy.allow`: ",
            ),
            (|e| e["kind"] = json!("bucket"), "kind`: `bucket` is not a kind"),
        ];
        for (breaking, expected) in broken {
            let config = json!({"resources": [entry(|_| {}), entry(breaking), entry(|_| {})]});
            let read = AppConfig::read(&config).unwrap();
            assert_eq!(read.resources.len(), 3);
            let (position, problem) = read.broken.iter().next().unwrap();
            assert_eq!((read.broken.len(), *position), (1, 1), "{expected}");
            let message = format!("the mapping is invalid at `resources[1].{expected}");
            assert!(problem.message.starts_with(&message), "{} is not {message}", problem.message);
        }
        // The rest of the entry is valid, so what it owns is known.
        let config = json!({"resources": [entry(|e| e["selector"] = json!(3))]});
        let read = AppConfig::read(&config).unwrap();
        assert_eq!(read.resources[0].kind.as_str(), "AWS::S3::Bucket");
        let blueprint = read.resources[0].port.entity.mappings.literal_blueprint();
        assert_eq!(blueprint.unwrap().as_str(), "s3Bucket");
        assert_eq!(AppConfig::read(&json!({"resources": [7]})).unwrap().broken.len(), 1);
    }

    #[test]
    fn an_error_outside_the_entries_has_a_path() {
        for (config, expected) in [
            (json!({"resources": "all"}), "at `resources`: expected a list, found a text"),
            (json!({"enableMergeEntity": "maybe"}), "at `enableMergeEntity`: invalid type"),
            (json!({"entityDeletionThreshold": 1.5}), "at `entityDeletionThreshold`: 1.5 is not between"),
            (json!([]), "expected an app-config, found a list"),
        ] {
            let error = AppConfig::read(&config).unwrap_err();
            assert!(error.starts_with(expected), "{error} is not {expected}");
        }
    }

    #[test]
    fn scalars_are_expressions_and_unknown_keys_are_ignored() {
        let config = json!({"colour": "red", "resources": [entry(|e| {
            e["colour"] = json!("red");
            e["selector"]["maxConcurrentAccounts"] = json!(2.7);
            e["selector"]["colour"] = json!("red");
            e["port"]["colour"] = json!("red");
            *mappings(e) = json!({"identifier": 5, "blueprint": "\"b\"", "title": null, "colour": "red",
                "properties": {"number": 1.5, "yes": true, "text": ".a"},
                "relations": {"searched": {"combinator": "'or'", "limit": 1, "rules": [
                    {"property": "'$title'", "operator": "'='", "value": 7, "colour": "red"},
                    {"combinator": "'and'", "rules": []}]}}});
        })]});
        let read = AppConfig::read(&config).unwrap();
        assert!(read.broken.is_empty(), "{:?}", read.broken);
        assert_eq!(read.resources[0].selector.max_concurrent_accounts, Some(2));
        let written = serde_json::to_value(&read.resources[0].port.entity.mappings).unwrap();
        assert_eq!(
            written,
            json!({"identifier": "5", "blueprint": "\"b\"", "title": null,
                "properties": {"number": "1.5", "yes": "True", "text": ".a"},
                "relations": {"searched": {"combinator": "'or'", "rules": [
                    {"property": "'$title'", "operator": "'='", "value": "7"},
                    {"combinator": "'and'", "rules": []}]}}})
        );
    }
}
