//! Keeps values in the catalog whose step could not be read.
//!
//! A resource whose tags are denied is not a resource without tags. The mapping does not know that: it sees
//! no tags, and would empty the catalog's values. So fields that depend on such a step are left out of the
//! write, and a merging upsert keeps them.

mod expression;

use std::collections::BTreeSet;

use berth_core::{Entity, FetchPlan, MapReport, Problem, ProblemCode, ResourceConfig, UnreadStep};
use serde_json::Value;

use self::expression::Uses;

/// The unknown fields of the resources of one page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    title: bool,
    icon: bool,
    team: bool,
    properties: BTreeSet<String>,
    relations: BTreeSet<String>,
    /// Whether an empty field is also unknown, because some step does not say what it fills.
    empty: bool,
}

impl Unknown {
    /// Returns what a resource mapping cannot know without these steps; `None` if it knows everything.
    ///
    /// # Errors
    /// A [`Problem`] if even the identifier, or whether the resource is selected, is unknown: then the
    /// resources have failed, and their entities stay unchanged.
    pub(crate) fn of(
        entry: &ResourceConfig,
        plan: &FetchPlan,
        unread: &[UnreadStep],
    ) -> Result<Option<Self>, Problem> {
        if unread.is_empty() {
            return Ok(None);
        }
        let mut members = BTreeSet::new();
        let mut empty = false;
        for step in unread {
            match plan.step(&step.step).and_then(|step| step.fills.as_ref()) {
                Some(fills) => members.extend(fills.iter().map(String::as_str)),
                None => empty = true,
            }
        }
        let mapping = &entry.port.entity.mappings;
        let uses = |value: &Value| uses(value, &Uses::Any(&members));
        // Then its dependencies are unknown.
        let must_be_known = |value: &Value| uses(value) || (empty && self::uses(value, &Uses::Everything));
        let decisive = [
            ("selector.query", Some(Value::from(entry.selector.query.as_str()))),
            ("itemsToParse", entry.port.items.items_to_parse.as_deref().map(Value::from)),
            ("blueprint", Some(mapping.blueprint.clone())),
        ];
        let undecided = decisive.iter().find(|(_, value)| value.as_ref().is_some_and(must_be_known));
        let undecided = undecided.map(|(name, _)| *name);
        if let Some(field) = undecided.or_else(|| uses(&mapping.identifier).then_some("identifier")) {
            let cause = unread.first().map(|step| step.problem.clone());
            let cause = cause.unwrap_or_else(|| Problem::new(ProblemCode::MappingFailed, ""));
            return Err(cause.map_message(|why| format!("`{field}` of the mapping is unknown: {why}")));
        }
        let given = |field: &Option<Value>| field.as_ref().is_some_and(uses);
        let among = |fields: &std::collections::BTreeMap<String, Value>| {
            fields.iter().filter(|(_, value)| uses(value)).map(|(name, _)| name.clone()).collect()
        };
        Ok(Some(Self {
            title: given(&mapping.title),
            icon: given(&mapping.icon),
            team: given(&mapping.team),
            properties: among(&mapping.properties),
            relations: among(&mapping.relations),
            empty,
        }))
    }

    /// Removes the unknown fields; returns whether there were any.
    pub(crate) fn leave_out(&self, entity: &mut Entity) -> bool {
        let mut left_out = false;
        for (is_unknown, field) in
            [(self.title, &mut entity.title), (self.icon, &mut entity.icon), (self.team, &mut entity.team)]
        {
            if field.as_ref().is_some_and(|value| is_unknown || (self.empty && is_empty(value))) {
                *field = None;
                left_out = true;
            }
        }
        for (names, fields) in
            [(&self.properties, &mut entity.properties), (&self.relations, &mut entity.relations)]
        {
            let before = fields.len();
            fields.retain(|name, value| !(names.contains(name) || (self.empty && is_empty(value))));
            left_out |= fields.len() < before;
        }
        left_out
    }

    /// Removes from a report what is unknown: from its entities, and from the fields that gave no value,
    /// which is then not a mistake in the mapping. Returns for each entity whether anything was removed.
    pub(crate) fn leave_out_of(&self, report: &mut MapReport) -> Vec<bool> {
        report.misconfigured.retain(|field| {
            let known = match field.field.split_once('.') {
                Some(("properties", name)) => !self.properties.contains(name),
                Some(("relations", name)) => !self.relations.contains(name),
                _ => match field.field.as_str() {
                    "title" => !self.title,
                    "icon" => !self.icon,
                    "team" => !self.team,
                    _ => return true,
                },
            };
            known && !self.empty
        });
        report.entities.iter_mut().map(|entity| self.leave_out(entity)).collect()
    }
}

/// Returns whether an expression, or any expression of a search query, uses something.
fn uses(value: &Value, what: &Uses<'_>) -> bool {
    match value {
        Value::String(expression) => what.is_used_by(expression),
        Value::Array(values) => values.iter().any(|value| uses(value, what)),
        Value::Object(members) => members.values().any(|value| uses(value, what)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "tests pass values from `json!`")]
mod tests {
    use berth_core::BlueprintId;
    use serde_json::json;

    use super::*;

    fn entry(mappings: Value) -> ResourceConfig {
        let mut all = json!({"identifier": ".Properties.Arn", "blueprint": "\"bucket\""});
        for (name, value) in mappings.as_object().unwrap() {
            all[name] = value.clone();
        }
        serde_json::from_value(json!({
            "kind": "AWS::S3::Bucket",
            "selector": {"query": "true"},
            "port": {"entity": {"mappings": all}},
        }))
        .unwrap()
    }

    fn plan(fills: Value) -> FetchPlan {
        let mut tags =
            json!({"id": "tags", "each": "buckets", "service": "s3", "operation": "GetBucketTagging"});
        if !fills.is_null() {
            tags["fills"] = fills;
        }
        serde_json::from_value(json!({"steps": [
            {"id": "buckets", "service": "s3", "operation": "ListBuckets", "items": "Buckets[]"}, tags]}))
        .unwrap()
    }

    fn denied() -> Vec<UnreadStep> {
        let problem = Problem::new(ProblemCode::Other, "denied").remedy("allow it");
        vec![UnreadStep {
            step: "tags".into(),
            call: "s3:GetBucketTagging".into(),
            denied: Vec::new(),
            problem,
        }]
    }

    fn entity(properties: Value, relations: Value) -> Entity {
        let mut entity = Entity::new(BlueprintId::new("bucket").unwrap(), "b");
        entity.title = Some(json!("b"));
        entity.properties = properties.as_object().unwrap().clone();
        entity.relations = relations.as_object().unwrap().clone();
        entity
    }

    #[test]
    fn what_a_denied_step_fills_is_left_out_whatever_it_came_out_as() {
        let entry = entry(json!({
            "title": ".Properties.BucketName",
            "properties": {
                "tags": ".Properties.Tags", "count": ".Properties.Tags | length",
                "team": "(.Properties.Tags // [])[] | select(.Key == \"team\").Value // \"nobody\"",
                "arn": ".Properties.Arn", "whole": ".Properties", "region": ".__Region",
            },
            "relations": {"owner": ".Properties.Tags[0].Value", "account": ".__AccountId"},
        }));
        let unknown = Unknown::of(&entry, &plan(json!(["Tags"])), &denied()).unwrap().unwrap();
        let mut entity = entity(
            json!({"tags": null, "count": 0, "team": "nobody", "arn": "a", "whole": {}, "region": null}),
            json!({"owner": null, "account": "111122223333"}),
        );
        assert!(unknown.leave_out(&mut entity));
        assert_eq!(json!(entity.properties), json!({"arn": "a", "region": null}));
        assert_eq!(json!(entity.relations), json!({"account": "111122223333"}));
        assert_eq!(entity.title, Some(json!("b")));
        assert_eq!(Unknown::of(&entry, &plan(json!(["Tags"])), &[]), Ok(None));
    }

    #[test]
    fn without_a_word_on_what_it_fills_what_came_out_empty_is_left_out() {
        let entry = entry(json!({"properties": {"tags": ".Properties.Tags", "n": ".Properties.N"}}));
        let unknown = Unknown::of(&entry, &plan(Value::Null), &denied()).unwrap().unwrap();
        let mut entity = entity(json!({"tags": [], "n": 0}), json!({"vpc": null}));
        assert!(unknown.leave_out(&mut entity));
        assert_eq!(json!(entity.properties), json!({"n": 0}));
        assert_eq!(json!(entity.relations), json!({}));
    }

    #[test]
    fn what_decides_whether_there_is_an_entity_must_be_known() {
        let by_tag = ".Properties.Tags[] | select(.Key == \"sync\")";
        let cases = [
            (json!({"identifier": by_tag}), None, "identifier"),
            (json!({"blueprint": format!("{by_tag} | .Value")}), None, "blueprint"),
            (json!({}), Some(by_tag), "selector.query"),
        ];
        for (mappings, query, field) in cases {
            let mut entry = entry(mappings);
            if let Some(query) = query {
                entry.selector.query = query.into();
            }
            let problem = Unknown::of(&entry, &plan(json!(["Tags"])), &denied()).unwrap_err();
            assert!(problem.message.contains(&format!("`{field}`")), "{problem}");
            assert_eq!(problem.remedy.as_deref(), Some("allow it"));
        }
        let mut entry = entry(json!({}));
        entry.selector.query = ".Properties.BucketName | test(\"^prod\")".into();
        assert!(Unknown::of(&entry, &plan(json!(["Tags"])), &denied()).is_ok());
        // A step that does not say what it fills may have filled the name.
        assert!(Unknown::of(&entry, &plan(Value::Null), &denied()).is_err());
    }
}
