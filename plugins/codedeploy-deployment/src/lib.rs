//! `AWS::CodeDeploy::Deployment`.
//!
//! The list knows ids only; all else comes from the `describe` step. Ids of deployments are not unique
//! over accounts and regions, so entities are identified by all three.

use std::borrow::Cow;

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(CodeDeployDeployment, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodeDeploy::Deployment`.
pub struct CodeDeployDeployment;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Option<Deployment<'a>>,
}

/// What an entity needs of a deployment.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Deployment<'a> {
    #[serde(borrow)]
    application_name: Json<'a>,
    deployment_group_name: Json<'a>,
    status: Json<'a>,
    description: Json<'a>,
    creator: Json<'a>,
    compute_platform: Json<'a>,
    deployment_config_name: Json<'a>,
    deployment_style: Option<DeploymentStyle<'a>>,
    revision: Option<Revision<'a>>,
    error_information: Option<ErrorInformation<'a>>,
    create_time: Timestamp<'a>,
    start_time: Timestamp<'a>,
    complete_time: Timestamp<'a>,
}

/// How a deployment proceeds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentStyle<'a> {
    #[serde(borrow)]
    deployment_type: Json<'a>,
}

/// What is deployed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Revision<'a> {
    #[serde(borrow)]
    revision_type: Json<'a>,
}

/// Why a deployment failed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ErrorInformation<'a> {
    #[serde(borrow)]
    code: Json<'a>,
    message: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("AdditionalDeploymentStatusInfo"),
    Property::new("ApplicationName"),
    Property::new("AutoRollbackConfiguration"),
    Property::new("BlueGreenDeploymentConfiguration"),
    Property::new("CompleteTime").time(),
    Property::new("ComputePlatform"),
    Property::new("CreateTime").time(),
    Property::new("Creator"),
    Property::new("DeploymentConfigName"),
    Property::new("DeploymentGroupName"),
    Property::new("DeploymentId").required(),
    Property::new("DeploymentOverview"),
    Property::new("DeploymentStatusMessages"),
    Property::new("DeploymentStyle"),
    Property::new("Description"),
    Property::new("ErrorInformation"),
    Property::new("ExternalId"),
    Property::new("FileExistsBehavior"),
    Property::new("IgnoreApplicationStopFailures"),
    Property::new("InstanceTerminationWaitTimeStarted"),
    Property::new("LoadBalancerInfo"),
    Property::new("OverrideAlarmConfiguration"),
    Property::new("PreviousRevision"),
    Property::new("RelatedDeployments"),
    Property::new("Revision"),
    Property::new("RollbackInfo"),
    Property::new("StartTime").time(),
    Property::new("Status"),
    Property::new("TargetInstances"),
    Property::new("UpdateOutdatedInstancesOnly"),
]);

impl Mapper for CodeDeployDeployment {
    const KIND: &'static str = "AWS::CodeDeploy::Deployment";
    type Resource<'a> = Resource<Json<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, .. } = resource;
        let id = id(item)?;
        let Some(deployment) = steps.describe else {
            return Err("it has no description".into());
        };
        let (account, region) = (&context.account_id, context.region.as_deref().unwrap_or_default());
        let application =
            deployment.application_name.port_identifier().map(|name| format!("{account}/{region}/{name}"));
        let group = application
            .as_ref()
            .zip(deployment.deployment_group_name.port_identifier())
            .map(|(application, name)| format!("{application}/{name}"));
        let error = deployment.error_information.unwrap_or_default();
        out.entity("codedeployDeployment", format_args!("{account}/{region}/{id}"))
            .title(item)
            .property("status", deployment.status)
            .property("description", deployment.description)
            .property("creator", deployment.creator)
            .property("computePlatform", deployment.compute_platform)
            .property("deploymentConfigName", deployment.deployment_config_name)
            .property("deploymentType", deployment.deployment_style.unwrap_or_default().deployment_type)
            .property("revisionType", deployment.revision.unwrap_or_default().revision_type)
            .property("errorCode", error.code)
            .property("errorMessage", error.message)
            .property("createTime", deployment.create_time)
            .property("startTime", deployment.start_time)
            .property("completeTime", deployment.complete_time)
            .property("region", region)
            .relation("application", application)
            .relation("deploymentGroup", group)
            .relation("account", account);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let id = id(resource.item)?;
        let deployment = resource.steps.get("describe").unwrap_or_default();
        out.document(&PROPERTIES).merge(deployment).set("DeploymentId", id).origin();
        Ok(())
    }
}

fn id(item: Json<'_>) -> Result<Cow<'_, str>, Refused> {
    item.as_str().ok_or_else(|| "it has no id".into())
}
