//! `AWS::CloudWatch::Alarm`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(CloudWatchAlarm, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CloudWatch::Alarm`.
pub struct CloudWatchAlarm;

/// What an entity needs of an alarm.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Alarm<'a> {
    #[serde(borrow)]
    alarm_arn: Json<'a>,
    alarm_name: Json<'a>,
    state_value: Json<'a>,
    state_reason: Json<'a>,
    state_transitioned_timestamp: Timestamp<'a>,
    alarm_description: Json<'a>,
    namespace: Json<'a>,
    metric_name: Json<'a>,
    dimensions: Json<'a>,
    statistic: Json<'a>,
    comparison_operator: Json<'a>,
    threshold: Json<'a>,
    period: Json<'a>,
    evaluation_periods: Json<'a>,
    actions_enabled: Json<'a>,
    alarm_actions: Json<'a>,
}

/// What an entity needs beside the alarm.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("AlarmArn").required(),
    Property::new("AlarmConfigurationUpdatedTimestamp").time(),
    Property::new("StateUpdatedTimestamp").time(),
    Property::new("StateTransitionedTimestamp").time(),
]);

impl Mapper for CloudWatchAlarm {
    const KIND: &'static str = "AWS::CloudWatch::Alarm";
    type Resource<'a> = Resource<Alarm<'a>, Steps<'a>>;

    fn entities(context: &Context, alarm: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, .. } = alarm;
        out.entity("cloudWatchAlarm", item.alarm_arn.port_identifier())
            .title(item.alarm_name)
            .property("state", item.state_value)
            .property("stateReason", item.state_reason)
            .property("stateTransitioned", item.state_transitioned_timestamp)
            .property("description", item.alarm_description)
            .property("namespace", item.namespace)
            .property("metricName", item.metric_name)
            .property("dimensions", item.dimensions)
            .property("statistic", item.statistic)
            .property("comparisonOperator", item.comparison_operator)
            .property("threshold", item.threshold)
            .property("period", item.period)
            .property("evaluationPeriods", item.evaluation_periods)
            .property("actionsEnabled", item.actions_enabled)
            .property("alarmActions", item.alarm_actions)
            .property("tags", steps.tags)
            .property("arn", item.alarm_arn)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, alarm: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(alarm.item);
        if let Some(tags) = alarm.step("tags") {
            document.set("Tags", tags);
        }
        document.origin();
        Ok(())
    }
}
