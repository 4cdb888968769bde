//! Finds the resources that an event concerns. Pure.

use std::{collections::BTreeMap, sync::Arc};

use berth_core::{
    AccountId, Kind, KindEntry, KindReads, Partition, Region, Scope, Template, Trigger, partition_of,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The relevant parts of an EventBridge event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    account: AccountId,
    region: Option<Region>,
    what: What,
    detail: Arc<Value>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// An API call, from CloudTrail. If a rule left the source out, only the name counts.
    Call { source: Option<String>, name: String },
    /// Anything else, by its `detail-type`.
    Other { source: String, detail_type: String },
}

/// What an event says about a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReportedState {
    /// It exists now.
    Exists,
    /// It no longer exists.
    Gone,
    /// Something happened to it.
    Changed,
}

/// A resource to be read again.
#[derive(Debug, Clone)]
pub(super) struct RefreshTarget {
    pub(super) key: TargetKey,
    /// What the event says about it.
    pub(super) reported: ReportedState,
    /// The event's `detail`.
    pub(super) event: Arc<Value>,
    /// The approximate size of its text in bytes.
    pub(super) bytes: usize,
}

/// Identifies the resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct TargetKey {
    pub(super) kind: Kind,
    pub(super) account: AccountId,
    /// `None` for kinds that are not regional.
    pub(super) region: Option<Region>,
    pub(super) resource: String,
}

/// Why an event is unusable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not an EventBridge event.
    Malformed(String),
    /// It reports a call that failed and changed nothing.
    FailedCall,
}

impl Notice {
    /// Reads an envelope: account and region are in it or, for calls, in `detail`.
    pub(super) fn read(envelope: &Value) -> Result<Self, Unusable> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        let malformed = |reason: &str| Unusable::Malformed(reason.to_owned());
        let detail = &envelope["detail"];
        if !detail.is_object() {
            return Err(malformed("it has no `detail`"));
        }
        if !detail["errorCode"].is_null() {
            return Err(Unusable::FailedCall);
        }
        let what =
            match (text(&detail["eventName"]), text(&envelope["source"]), text(&envelope["detail-type"])) {
                (Some(name), _, _) => What::Call { source: text(&detail["eventSource"]), name },
                (None, Some(source), Some(detail_type)) => What::Other { source, detail_type },
                _ => {
                    return Err(malformed(
                        "it has neither `detail.eventName` nor `source` and `detail-type`",
                    ));
                }
            };
        let account = text(&envelope["account"])
            .or_else(|| text(&detail["recipientAccountId"]))
            .ok_or_else(|| malformed("it names no account"))?;
        let region = text(&envelope["region"]).or_else(|| text(&detail["awsRegion"]));
        let named = |error: berth_core::IdError| Unusable::Malformed(error.to_string());
        Ok(Self {
            account: AccountId::new(account).map_err(named)?,
            region: region.map(Region::new).transpose().map_err(named)?,
            what,
            detail: Arc::new(detail.clone()),
        })
    }

    /// Returns its name for the log.
    pub(super) fn name(&self) -> &str {
        match &self.what {
            What::Call { name, .. } => name,
            What::Other { detail_type, .. } => detail_type,
        }
    }

    /// Returns the resources that it concerns, of all kinds.
    pub(super) fn targets(&self, kinds: &BTreeMap<Kind, KindEntry>) -> Vec<RefreshTarget> {
        let mut targets: Vec<RefreshTarget> = Vec::new();
        let mut bytes = None;
        for KindEntry { manifest, .. } in kinds.values() {
            let regional = manifest.scope == Scope::Regional;
            let region = self.region.as_ref().filter(|_| regional);
            if regional && region.is_none() {
                continue;
            }
            for trigger in manifest.events().into_iter().flat_map(|rules| &rules.on) {
                let Some(reported) = self.what.concerns(trigger) else { continue };
                for resource in self.resources(trigger) {
                    let key = TargetKey {
                        kind: manifest.kind.clone(),
                        account: self.account.clone(),
                        region: region.cloned(),
                        resource,
                    };
                    if !targets.iter().any(|target| target.key == key) {
                        let bytes = *bytes.get_or_insert_with(|| text_length(&self.detail));
                        targets.push(RefreshTarget { key, reported, event: Arc::clone(&self.detail), bytes });
                    }
                }
            }
        }
        targets
    }

    fn resources(&self, trigger: &Trigger) -> Vec<String> {
        let texts = |path: &berth_core::Path| -> Vec<&str> {
            let values = path.all(&self.detail).into_iter().filter_map(Value::as_str);
            values.filter(|text| !text.is_empty()).collect()
        };
        let found = trigger.resource.iter().map(texts).find(|found| !found.is_empty()).unwrap_or_default();
        let prefix = self.prefix(trigger);
        found
            .into_iter()
            .filter(|text| text.starts_with(&prefix))
            .map(|text| trigger.name(text).to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    }

    fn prefix(&self, trigger: &Trigger) -> String {
        let Some(prefix) = &trigger.prefix else { return String::new() };
        let partition = self.region.as_ref().map_or(Partition::Aws, partition_of);
        let scope: Map<String, Value> = [
            ("account".to_owned(), json!(self.account)),
            ("region".to_owned(), json!(self.region)),
            ("partition".to_owned(), json!(partition.as_str())),
        ]
        .into_iter()
        .collect();
        let rendered = Template::parse(&Value::from(prefix.as_str())).ok().and_then(|t| t.render(&scope));
        match rendered {
            Some(Value::String(text)) => text,
            // No name begins with this; the manifest's check guarantees it.
            _ => "\0".to_owned(),
        }
    }
}

/// Returns the length of a value's text.
pub(super) fn text_length(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(0, |text| text.len())
}

impl What {
    /// Returns what it says about the resources of a trigger, if the trigger matches.
    fn concerns(&self, trigger: &Trigger) -> Option<ReportedState> {
        match self {
            Self::Call { source, name } => {
                if source.as_ref().is_some_and(|source| *source != trigger.source) {
                    return None;
                }
                if trigger.delete.contains(name) {
                    return Some(ReportedState::Gone);
                }
                trigger.upsert.contains(name).then_some(ReportedState::Exists)
            }
            Self::Other { source, detail_type } => {
                let same = trigger.detail_type.as_ref() == Some(detail_type) && trigger.source == *source;
                same.then_some(ReportedState::Changed)
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::plan::tests::kind;

    pub(in crate::live) fn target(resource: &str, gone: bool) -> RefreshTarget {
        RefreshTarget {
            key: TargetKey {
                kind: Kind::new("X::Thing").unwrap(),
                account: AccountId::new("111111111111").unwrap(),
                region: None,
                resource: resource.to_owned(),
            },
            reported: if gone { ReportedState::Gone } else { ReportedState::Exists },
            event: Arc::new(json!({})),
            bytes: 2,
        }
    }

    fn kinds() -> BTreeMap<Kind, KindEntry> {
        let events = |on: Value| json!({"events": {"on": on}});
        let entries = [
            kind(
                "X::Bucket",
                "global",
                &events(json!([
                {"source": "x.aws", "upsert": ["CreateBucket"], "delete": ["DeleteBucket"],
                 "resource": ["requestParameters.bucketName"]}])),
            ),
            kind(
                "X::Function",
                "regional",
                &events(json!([
                {"source": "x.aws", "upsert": ["CreateFunction"], "resource": ["requestParameters.functionName"],
                 "after": "function:", "before": ":"}])),
            ),
            kind(
                "X::Instance",
                "regional",
                &events(json!([
                {"source": "ec2.aws", "upsert": ["Run"], "resource": ["responseElements.set.items[].id", "requestParameters.id"]},
                {"source": "ec2.aws", "upsert": ["Tag"], "resource": ["requestParameters.set.items[].id"], "prefix": "i-"},
                {"source": "aws.ec2", "type": "State change", "resource": ["instance-id"]}])),
            ),
            kind(
                "X::Volume",
                "regional",
                &events(json!([
                {"source": "ec2.aws", "upsert": ["Tag"], "resource": ["requestParameters.set.items[].id"], "prefix": "vol-"},
                {"source": "ec2.aws", "upsert": ["TagArn"], "resource": ["requestParameters.arn"],
                 "prefix": "arn:{partition}:ec2:{region}:{account}:volume/", "after": "/"}])),
            ),
            kind("X::Quiet", "regional", &json!({})),
        ];
        entries.into_iter().map(|entry| (entry.manifest.kind.clone(), entry)).collect()
    }

    fn targets(envelope: &Value) -> Result<Vec<String>, Unusable> {
        let reported = |target: RefreshTarget| {
            let TargetKey { kind, account, region, resource } = target.key;
            let place = region.map_or_else(|| "global".to_owned(), |region| region.to_string());
            let gone = match target.reported {
                ReportedState::Gone => " gone",
                ReportedState::Exists => "",
                ReportedState::Changed => " changed",
            };
            format!("{kind} {} {place} {resource}{gone}", &account.as_str()[..1])
        };
        Ok(Notice::read(envelope)?.targets(&kinds()).into_iter().map(reported).collect())
    }

    fn call(name: &str, source: &str, detail: &Value) -> Value {
        let mut event = json!({"account": "111111111111", "region": "eu-west-1", "detail": {
            "eventName": name, "eventSource": source}});
        for (key, value) in detail.as_object().unwrap() {
            event["detail"][key] = value.clone();
        }
        event
    }

    #[test]
    fn events_find_their_resources() {
        let set = |ids: &[&str]| {
            let items: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
            json!({"set": {"items": items}})
        };
        let bucket = json!({"requestParameters": {"bucketName": "b"}});
        let function = |name: &str| json!({"requestParameters": {"functionName": name}});
        let mut elsewhere = call("CreateBucket", "x.aws", &bucket);
        elsewhere.as_object_mut().unwrap().remove("account");
        elsewhere.as_object_mut().unwrap().remove("region");
        elsewhere["detail"]["recipientAccountId"] = json!("222222222222");
        let mut lambda = call("CreateFunction", "x.aws", &function("f"));
        lambda["detail"].as_object_mut().unwrap().remove("eventSource");
        let mut nowhere = call("CreateFunction", "x.aws", &function("f"));
        nowhere.as_object_mut().unwrap().remove("region");
        let state = json!({"account": "111111111111", "region": "eu-west-1", "source": "aws.ec2",
            "detail-type": "State change", "detail": {"instance-id": "i-7", "state": "stopped"}});
        for (event, expected) in [
            (call("CreateBucket", "x.aws", &bucket), vec!["X::Bucket 1 global b"]),
            (call("DeleteBucket", "x.aws", &bucket), vec!["X::Bucket 1 global b gone"]),
            (elsewhere, vec!["X::Bucket 2 global b"]),
            (call("DeleteBucket", "y.aws", &bucket), vec![]),
            (call("ListBuckets", "x.aws", &bucket), vec![]),
            (call("DeleteBucket", "x.aws", &json!({"requestParameters": null})), vec![]),
            (call("DeleteBucket", "x.aws", &json!({"requestParameters": {"bucketName": ""}})), vec![]),
            (lambda, vec!["X::Function 1 eu-west-1 f"]),
            (nowhere, vec![]),
            (
                call(
                    "CreateFunction",
                    "x.aws",
                    &function("arn:aws:lambda:eu-west-1:111111111111:function:g:live"),
                ),
                vec!["X::Function 1 eu-west-1 g"],
            ),
            (
                call("Run", "ec2.aws", &json!({"responseElements": set(&["i-1", "i-2", "i-1"])})),
                vec!["X::Instance 1 eu-west-1 i-1", "X::Instance 1 eu-west-1 i-2"],
            ),
            (
                call(
                    "Run",
                    "ec2.aws",
                    &json!({"responseElements": null, "requestParameters": {"id": "i-3"}}),
                ),
                vec!["X::Instance 1 eu-west-1 i-3"],
            ),
            (
                call("Tag", "ec2.aws", &json!({"requestParameters": set(&["i-1", "vol-1", "eni-1"])})),
                vec!["X::Instance 1 eu-west-1 i-1", "X::Volume 1 eu-west-1 vol-1"],
            ),
            (
                call(
                    "TagArn",
                    "ec2.aws",
                    &json!({"requestParameters": {"arn": "arn:aws:ec2:eu-west-1:111111111111:volume/vol-2"}}),
                ),
                vec!["X::Volume 1 eu-west-1 vol-2"],
            ),
            (
                call(
                    "TagArn",
                    "ec2.aws",
                    &json!({"requestParameters": {"arn": "arn:aws:ec2:us-east-1:111111111111:volume/vol-2"}}),
                ),
                vec![],
            ),
            (state, vec!["X::Instance 1 eu-west-1 i-7 changed"]),
        ] {
            assert_eq!(targets(&event).unwrap(), expected, "{event}");
        }
    }

    #[test]
    fn what_is_no_event_says_why() {
        let good = call("CreateBucket", "x.aws", &json!({"requestParameters": {"bucketName": "b"}}));
        for (pointer, value, reason) in [
            ("/detail", Value::Null, "no `detail`"),
            ("/detail/eventName", Value::Null, "`detail.eventName`"),
            ("/account", Value::Null, "no account"),
            ("/account", json!("12"), "12"),
            ("/region", json!("Mars!"), "Mars!"),
        ] {
            let mut event = good.clone();
            *event.pointer_mut(pointer).unwrap() = value;
            let Err(Unusable::Malformed(reported)) = targets(&event) else { panic!("{event} was accepted") };
            assert!(reported.contains(reason), "{reported}");
        }
        let mut failed = good;
        failed["detail"]["errorCode"] = json!("AccessDenied");
        assert_eq!(targets(&failed), Err(Unusable::FailedCall));
    }
}
