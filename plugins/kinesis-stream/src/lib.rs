//! `AWS::Kinesis::Stream`.
//!
//! The list knows names only; all else comes from the `describe` step. A stream that is gone by then
//! never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(KinesisStream, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::Kinesis::Stream`.
pub struct KinesisStream;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Stream<'a>,
    tags: Json<'a>,
}

/// What an entity needs of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Stream<'a> {
    #[serde(borrow)]
    stream_name: Json<'a>,
    #[serde(rename = "StreamARN")]
    stream_arn: Json<'a>,
    stream_status: Json<'a>,
    stream_mode_details: Option<StreamMode<'a>>,
    open_shard_count: Json<'a>,
    consumer_count: Json<'a>,
    retention_period_hours: Json<'a>,
    encryption_type: Json<'a>,
    key_id: Json<'a>,
    stream_creation_timestamp: Timestamp<'a>,
}

/// How the capacity of a stream is managed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct StreamMode<'a> {
    #[serde(borrow)]
    stream_mode: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("StreamARN").required(),
    Property::new("StreamCreationTimestamp").time(),
]);

impl Mapper for KinesisStream {
    const KIND: &'static str = "AWS::Kinesis::Stream";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let stream = resource.steps.describe;
        let stream_mode_details = stream.stream_mode_details.unwrap_or_default();
        out.entity("kinesisStream", stream.stream_arn)
            .title(stream.stream_name)
            .property("arn", stream.stream_arn)
            .property("status", stream.stream_status)
            .property("streamMode", stream_mode_details.stream_mode)
            .property("openShardCount", stream.open_shard_count)
            .property("consumerCount", stream.consumer_count)
            .property("retentionPeriodHours", stream.retention_period_hours)
            .property("encryptionType", stream.encryption_type)
            .property("kmsKeyId", stream.key_id)
            .property("creationTimestamp", stream.stream_creation_timestamp)
            .property("tags", resource.steps.tags)
            .relation("account", &context.account_id)
            .relation("kmsKey", key_arn(stream.key_id));
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.step("describe").unwrap_or_default()).origin();
        if let Some(tags) = resource.step("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}

/// A key's ARN, which is what identifies its entity; null for an alias or an id.
fn key_arn(key: Json<'_>) -> Json<'_> {
    if key.as_str().is_some_and(|key| key.contains(":key/")) { key } else { Json::NULL }
}
