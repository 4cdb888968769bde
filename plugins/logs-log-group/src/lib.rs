//! `AWS::Logs::LogGroup`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::Deserialize;

berth_plugin::export!(LogsLogGroup, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::Logs::LogGroup`.
pub struct LogsLogGroup;

/// What an entity needs of a log group.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LogGroup<'a> {
    #[serde(borrow)]
    log_group_arn: Json<'a>,
    log_group_name: Json<'a>,
    retention_in_days: Json<'a>,
    stored_bytes: Json<'a>,
    log_group_class: Json<'a>,
    metric_filter_count: Json<'a>,
    kms_key_id: Json<'a>,
    data_protection_status: Json<'a>,
    creation_time: Json<'a>,
}

/// What an entity needs beside the group.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("LogGroupName"),
    Property::new("LogGroupArn").required(),
    Property::new("Arn"),
    Property::new("CreationTime"),
    Property::new("RetentionInDays"),
    Property::new("MetricFilterCount"),
    Property::new("StoredBytes"),
    Property::new("KmsKeyId"),
    Property::new("DataProtectionStatus"),
    Property::new("InheritedProperties"),
    Property::new("LogGroupClass"),
    Property::new("DeletionProtectionEnabled"),
    Property::new("BearerTokenAuthenticationEnabled"),
    Property::new("RetentionPolicyName"),
]);

impl Mapper for LogsLogGroup {
    const KIND: &'static str = "AWS::Logs::LogGroup";
    type Resource<'a> = Resource<LogGroup<'a>, Steps<'a>>;

    fn entities(context: &Context, group: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, .. } = group;
        out.entity("logsLogGroup", item.log_group_arn.port_identifier())
            .title(item.log_group_name)
            .property("retentionInDays", item.retention_in_days)
            .property("storedBytes", item.stored_bytes)
            .property("logGroupClass", item.log_group_class)
            .property("metricFilterCount", item.metric_filter_count)
            .property("kmsKeyId", item.kms_key_id)
            .property("dataProtectionStatus", item.data_protection_status)
            .property("creationTime", date_time(item.creation_time))
            .property("tags", steps.tags)
            .property("arn", item.log_group_arn)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, group: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(group.item);
        if let Some(tags) = group.step("tags") {
            document.set("Tags", tags);
        }
        document.origin();
        Ok(())
    }
}

/// Milliseconds since 1970 as a time in UTC, to the second. `None` for what is no whole number, and
/// beyond the four-digit years.
fn date_time(milliseconds: Json<'_>) -> Option<String> {
    let seconds = milliseconds.text().parse::<i64>().ok()?.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that begin in March have their leap day at the end; 146,097 days make 400 years.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    (0..=9_999)
        .contains(&year)
        .then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}
