//! `AWS::DynamoDB::Table`.
//!
//! The list knows names only; all else comes from the `describe` step. A table that is gone by
//! then never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(DynamodbTable, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::DynamoDB::Table`.
pub struct DynamodbTable;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Table<'a>,
    tags: Json<'a>,
}

/// What an entity needs of a table.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Table<'a> {
    #[serde(borrow)]
    table_arn: Json<'a>,
    table_name: Json<'a>,
    table_status: Json<'a>,
    billing_mode_summary: Option<BillingModeSummary<'a>>,
    table_class_summary: Option<TableClassSummary<'a>>,
    item_count: Json<'a>,
    table_size_bytes: Json<'a>,
    key_schema: Json<'a>,
    deletion_protection_enabled: Json<'a>,
    creation_date_time: Timestamp<'a>,
}

/// How a table is billed. Absent for one that has always been provisioned.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BillingModeSummary<'a> {
    #[serde(borrow)]
    billing_mode: Json<'a>,
}

/// A table's storage class. Absent for one that has always been of the standard class.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TableClassSummary<'a> {
    #[serde(borrow)]
    table_class: Json<'a>,
}

const THROUGHPUT_TIMES: &[&str] = &["LastIncreaseDateTime", "LastDecreaseDateTime"];

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("TableArn").required(),
    Property::new("CreationDateTime").time(),
    Property::new("ProvisionedThroughput").times(THROUGHPUT_TIMES),
    Property::new("GlobalSecondaryIndexes").times(THROUGHPUT_TIMES),
    Property::new("BillingModeSummary").times(&["LastUpdateToPayPerRequestDateTime"]),
    Property::new("Replicas").times(&["ReplicaInaccessibleDateTime", "LastUpdateDateTime"]),
    Property::new("RestoreSummary").times(&["RestoreDateTime"]),
    Property::new("SSEDescription").times(&["InaccessibleEncryptionDateTime"]),
    Property::new("ArchivalSummary").times(&["ArchivalDateTime"]),
    Property::new("TableClassSummary").times(&["LastUpdateDateTime"]),
    Property::new("ContinuousBackupsDescription")
        .times(&["EarliestRestorableDateTime", "LatestRestorableDateTime"]),
]);

impl Mapper for DynamodbTable {
    const KIND: &'static str = "AWS::DynamoDB::Table";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Steps { describe: table, tags } = resource.steps;
        out.entity("dynamodbTable", table.table_arn)
            .title(table.table_name)
            .property("status", table.table_status)
            .property("billingMode", table.billing_mode_summary.unwrap_or_default().billing_mode)
            .property("tableClass", table.table_class_summary.unwrap_or_default().table_class)
            .property("itemCount", table.item_count)
            .property("sizeBytes", table.table_size_bytes)
            .property("keySchema", table.key_schema)
            .property("deletionProtectionEnabled", table.deletion_protection_enabled)
            .property("creationDateTime", table.creation_date_time)
            .property("arn", table.table_arn)
            .property("tags", tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, table: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let description = table.step("describe").unwrap_or_default();
        let mut document = out.document(&PROPERTIES);
        document.merge(description).origin();
        if let Some(tags) = table.step("tags") {
            document.set("Tags", tags);
        }
        // The answer as a whole, `{"ContinuousBackupsDescription": …}`.
        if let Some(backups) = table.step("continuousBackups") {
            document.merge(backups);
        }
        Ok(())
    }
}
