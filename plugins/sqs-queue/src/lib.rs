//! `AWS::SQS::Queue`.
//!
//! The list knows URLs only; all else comes from the `attributes` step, where AWS writes every
//! value as text. A queue that is gone by then never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::{Deserialize, Serialize};

berth_plugin::export!(SqsQueue, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::SQS::Queue`.
pub struct SqsQueue;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    attributes: Attributes<'a>,
    tags: Option<TagsAnswer<'a>>,
}

/// What an entity needs of a queue's attributes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Attributes<'a> {
    #[serde(borrow)]
    queue_arn: Json<'a>,
    fifo_queue: Json<'a>,
    approximate_number_of_messages: Json<'a>,
    approximate_number_of_messages_not_visible: Json<'a>,
    visibility_timeout: Json<'a>,
    message_retention_period: Json<'a>,
    maximum_message_size: Json<'a>,
    delay_seconds: Json<'a>,
    kms_master_key_id: Json<'a>,
    sqs_managed_sse_enabled: Json<'a>,
    redrive_policy: Json<'a>,
}

/// The answer of `ListQueueTags`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TagsAnswer<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

/// A queue's tags. AWS leaves them out of its answer for a queue that has none.
#[derive(Serialize)]
#[serde(untagged)]
enum Tags<'a> {
    Tagged(Json<'a>),
    Untagged {},
}

impl<'a> From<Json<'a>> for Tags<'a> {
    fn from(tags: Json<'a>) -> Self {
        if tags.is_null() { Self::Untagged {} } else { Self::Tagged(tags) }
    }
}

/// `QueueName` is not among them: no answer has it. The times are texts in the integration that
/// Berth replaces, seconds since 1970 as AWS sends them.
const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("QueueUrl"),
    Property::new("QueueArn").required(),
    Property::new("ApproximateNumberOfMessages").int(),
    Property::new("ApproximateNumberOfMessagesNotVisible").int(),
    Property::new("ApproximateNumberOfMessagesDelayed").int(),
    Property::new("CreatedTimestamp"),
    Property::new("LastModifiedTimestamp"),
    Property::new("VisibilityTimeout").int(),
    Property::new("MaximumMessageSize").int(),
    Property::new("MessageRetentionPeriod").int(),
    Property::new("DelaySeconds").int(),
    Property::new("ReceiveMessageWaitTimeSeconds").int(),
    Property::new("Policy"),
    Property::new("RedrivePolicy"),
    Property::new("RedriveAllowPolicy"),
    Property::new("KmsMasterKeyId"),
    Property::new("KmsDataKeyReusePeriodSeconds").int(),
    Property::new("SqsManagedSseEnabled").bool(),
    Property::new("FifoQueue").bool(),
    Property::new("ContentBasedDeduplication").bool(),
    Property::new("DeduplicationScope"),
    Property::new("FifoThroughputLimit"),
    Property::new("Tags"),
]);

impl Mapper for SqsQueue {
    const KIND: &'static str = "AWS::SQS::Queue";
    type Resource<'a> = Resource<Json<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: url, steps: Steps { attributes: queue, tags }, .. } = resource;
        let arn = queue.queue_arn.as_str();
        let name = arn.as_deref().and_then(|arn| arn.rsplit(':').next());
        out.entity("sqsQueue", queue.queue_arn)
            .title(name)
            .property("queueUrl", url)
            .property("fifoQueue", queue.fifo_queue.typed::<bool>())
            .property("approximateNumberOfMessages", queue.approximate_number_of_messages.typed::<i64>())
            .property(
                "approximateNumberOfMessagesNotVisible",
                queue.approximate_number_of_messages_not_visible.typed::<i64>(),
            )
            .property("visibilityTimeout", queue.visibility_timeout.typed::<i64>())
            .property("messageRetentionPeriod", queue.message_retention_period.typed::<i64>())
            .property("maximumMessageSize", queue.maximum_message_size.typed::<i64>())
            .property("delaySeconds", queue.delay_seconds.typed::<i64>())
            .property("kmsMasterKeyId", queue.kms_master_key_id)
            .property("sqsManagedSseEnabled", queue.sqs_managed_sse_enabled.typed::<bool>())
            .property("redrivePolicy", queue.redrive_policy)
            .property("queueArn", queue.queue_arn)
            .property("tags", tags.map(|answer| Tags::from(answer.tags)))
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, queue: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let attributes = queue.step("attributes").unwrap_or_default();
        let tags = queue.step("tags").map(Json::fields).transpose()?;
        let mut document = out.document(&PROPERTIES);
        document.merge(attributes).set("QueueUrl", queue.item).origin();
        if let Some(answer) = tags {
            document.set("Tags", Tags::from(answer.get("Tags").unwrap_or_default()));
        }
        Ok(())
    }
}
