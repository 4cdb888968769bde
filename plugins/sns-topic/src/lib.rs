//! `AWS::SNS::Topic`.
//!
//! The list knows ARNs only; all else comes from the `attributes` step, where AWS writes every
//! value as text. A topic that is gone by then never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::Deserialize;

berth_plugin::export!(SnsTopic, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::SNS::Topic`.
pub struct SnsTopic;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    attributes: Option<Attributes<'a>>,
    tags: Json<'a>,
}

/// What an entity needs of a topic's attributes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Attributes<'a> {
    #[serde(borrow)]
    display_name: Json<'a>,
    fifo_topic: Json<'a>,
    subscriptions_confirmed: Json<'a>,
    subscriptions_pending: Json<'a>,
    kms_master_key_id: Json<'a>,
    tracing_config: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("TopicArn").required(),
    Property::new("Owner"),
    Property::new("DisplayName"),
    Property::new("Policy"),
    Property::new("DeliveryPolicy"),
    Property::new("EffectiveDeliveryPolicy"),
    Property::new("SubscriptionsConfirmed").int(),
    Property::new("SubscriptionsDeleted").int(),
    Property::new("SubscriptionsPending").int(),
    Property::new("SignatureVersion"),
    Property::new("TracingConfig"),
    Property::new("KmsMasterKeyId"),
    Property::new("FifoTopic").bool(),
    Property::new("ContentBasedDeduplication").bool(),
    Property::new("ArchivePolicy"),
    Property::new("BeginningArchiveTime"),
    Property::new("FifoThroughputScope"),
    Property::new("HTTPSuccessFeedbackRoleArn"),
    Property::new("HTTPSuccessFeedbackSampleRate").int(),
    Property::new("HTTPFailureFeedbackRoleArn"),
    Property::new("FirehoseSuccessFeedbackRoleArn"),
    Property::new("FirehoseSuccessFeedbackSampleRate").int(),
    Property::new("FirehoseFailureFeedbackRoleArn"),
    Property::new("LambdaSuccessFeedbackRoleArn"),
    Property::new("LambdaSuccessFeedbackSampleRate").int(),
    Property::new("LambdaFailureFeedbackRoleArn"),
    Property::new("ApplicationSuccessFeedbackRoleArn"),
    Property::new("ApplicationSuccessFeedbackSampleRate").int(),
    Property::new("ApplicationFailureFeedbackRoleArn"),
    Property::new("SQSSuccessFeedbackRoleArn"),
    Property::new("SQSSuccessFeedbackSampleRate").int(),
    Property::new("SQSFailureFeedbackRoleArn"),
    Property::new("Tags"),
]);

impl Mapper for SnsTopic {
    const KIND: &'static str = "AWS::SNS::Topic";
    type Resource<'a> = Resource<Json<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: arn, steps, .. } = resource;
        let topic = steps.attributes.ok_or("its attributes were not read")?;
        let text = arn.as_str();
        let name = text.as_deref().and_then(|arn| arn.rsplit(':').next());
        out.entity("snsTopic", arn)
            .title(name)
            .property("topicArn", arn)
            .property("displayName", topic.display_name)
            .property("fifoTopic", topic.fifo_topic.typed::<bool>())
            .property("subscriptionsConfirmed", topic.subscriptions_confirmed.typed::<i64>())
            .property("subscriptionsPending", topic.subscriptions_pending.typed::<i64>())
            .property("kmsMasterKeyId", topic.kms_master_key_id)
            .property("tracingConfig", topic.tracing_config)
            .property("region", &context.region)
            .property("tags", steps.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, topic: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let attributes = topic.step("attributes").unwrap_or_default();
        let mut document = out.document(&PROPERTIES);
        document.merge(attributes).set("TopicArn", topic.item).origin();
        if let Some(tags) = topic.step("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}
