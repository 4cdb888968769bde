//! `AWS::SSM::ManagedInstance`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(SsmManagedInstance, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::SSM::ManagedInstance`.
pub struct SsmManagedInstance;

/// What an entity needs of a managed instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Instance<'a> {
    #[serde(borrow)]
    instance_id: Json<'a>,
    ping_status: Json<'a>,
    agent_version: Json<'a>,
    is_latest_version: Json<'a>,
    platform_type: Json<'a>,
    platform_name: Json<'a>,
    platform_version: Json<'a>,
    resource_type: Json<'a>,
    computer_name: Json<'a>,
    #[serde(rename = "IPAddress")]
    ip_address: Json<'a>,
    association_status: Json<'a>,
    registration_date: Timestamp<'a>,
}

/// What an entity needs beside the managed instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Steps<'a> {
    #[serde(borrow)]
    patch_state: Option<PatchState<'a>>,
    tags: Json<'a>,
}

/// What an entity needs of a patch state.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PatchState<'a> {
    #[serde(borrow)]
    missing_count: Json<'a>,
    failed_count: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("InstanceId").required(),
    Property::new("LastAssociationExecutionDate").time(),
    Property::new("LastPingDateTime").time(),
    Property::new("LastSuccessfulAssociationExecutionDate").time(),
    Property::new("RegistrationDate").time(),
    Property::new("LastNoRebootInstallOperationTime").time(),
    Property::new("OperationEndTime").time(),
    Property::new("OperationStartTime").time(),
]);

impl Mapper for SsmManagedInstance {
    const KIND: &'static str = "AWS::SSM::ManagedInstance";
    type Resource<'a> = Resource<Instance<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: instance, steps, .. } = resource;
        let arn = arn(context, instance.instance_id)?;
        let name = Some(instance.computer_name).filter(|name| !name.is_null());
        let in_ec2 = instance.resource_type.as_str().is_some_and(|kind| kind == "EC2Instance");
        let patches = steps.patch_state.unwrap_or_default();
        out.entity("ssmManagedInstance", &arn)
            .title(name.unwrap_or(instance.instance_id))
            .property("arn", &arn)
            .property("instanceId", instance.instance_id)
            .property("pingStatus", instance.ping_status)
            .property("agentVersion", instance.agent_version)
            .property("isLatestVersion", instance.is_latest_version)
            .property("platformType", instance.platform_type)
            .property("platformName", instance.platform_name)
            .property("platformVersion", instance.platform_version)
            .property("resourceType", instance.resource_type)
            .property("computerName", instance.computer_name)
            .property("ipAddress", instance.ip_address)
            .property("associationStatus", instance.association_status)
            .property("registrationDate", instance.registration_date)
            .property("missingPatchCount", patches.missing_count)
            .property("failedPatchCount", patches.failed_count)
            .property("tags", steps.tags)
            .relation("account", &context.account_id)
            .relation("ec2Instance", in_ec2.then_some(instance.instance_id));
        Ok(())
    }

    fn documents(context: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let instance = resource.item.fields()?;
        let arn = arn(context, instance.get("InstanceId").unwrap_or_default())?;
        let mut document = out.document(&PROPERTIES);
        if let Some(patches) = resource.step("patchState") {
            document.merge(patches);
        }
        document.merge_fields(instance).set("Arn", arn).origin();
        if let Some(tags) = resource.step("tags") {
            document.set("TagList", tags);
        }
        Ok(())
    }
}

/// The ARN of a managed instance, which AWS does not tell.
fn arn(context: &Context, id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `InstanceId`")?;
    let Context { partition, account_id, .. } = context;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{partition}:ssm:{region}:{account_id}:managed-instance/{id}"))
}
