//! `AWS::CloudFormation::Stack`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(CloudFormationStack, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CloudFormation::Stack`.
pub struct CloudFormationStack;

/// What an entity needs of a stack.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Stack<'a> {
    #[serde(borrow)]
    stack_id: Json<'a>,
    stack_name: Json<'a>,
    stack_status: Json<'a>,
    stack_status_reason: Json<'a>,
    description: Json<'a>,
    creation_time: Timestamp<'a>,
    last_updated_time: Timestamp<'a>,
    drift_information: Option<Drift<'a>>,
    enable_termination_protection: Json<'a>,
    #[serde(rename = "RoleARN")]
    role_arn: Json<'a>,
    capabilities: Json<'a>,
    outputs: Json<'a>,
    parent_id: Json<'a>,
    tags: Json<'a>,
}

/// Whether a stack has drifted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Drift<'a> {
    #[serde(borrow)]
    stack_drift_status: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("StackId").required(),
    Property::new("CreationTime").time(),
    Property::new("LastUpdatedTime").time(),
    Property::new("DeletionTime").time(),
    Property::new("DriftInformation").times(&["LastCheckTimestamp"]),
]);

impl Mapper for CloudFormationStack {
    const KIND: &'static str = "AWS::CloudFormation::Stack";
    type Resource<'a> = Resource<Stack<'a>>;

    fn entities(context: &Context, stack: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = stack.item;
        out.entity("cloudFormationStack", item.stack_id)
            .title(item.stack_name)
            .property("status", item.stack_status)
            .property("statusReason", item.stack_status_reason)
            .property("description", item.description)
            .property("creationTime", item.creation_time)
            .property("lastUpdatedTime", item.last_updated_time)
            .property("driftStatus", item.drift_information.unwrap_or_default().stack_drift_status)
            .property("terminationProtection", item.enable_termination_protection)
            .property("roleArn", item.role_arn)
            .property("capabilities", item.capabilities)
            .property("outputs", item.outputs)
            .property("tags", item.tags)
            .property("arn", item.stack_id)
            .relation("account", &context.account_id)
            .relation("parent", item.parent_id);
        Ok(())
    }

    fn documents(_: &Context, stack: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        out.document(&PROPERTIES).merge(stack.item).origin();
        Ok(())
    }
}
