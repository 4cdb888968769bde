//! `AWS::CodeDeploy::DeploymentGroup`.
//!
//! AWS gives deployment groups no ARN in its answers, so entities are identified by account, region,
//! application and name.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(CodeDeployDeploymentGroup, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodeDeploy::DeploymentGroup`.
pub struct CodeDeployDeploymentGroup;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: DeploymentGroup<'a>,
    tags: Json<'a>,
}

/// What an entity needs of a deployment group.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentGroup<'a> {
    #[serde(borrow)]
    application_name: Json<'a>,
    deployment_group_name: Json<'a>,
    deployment_group_id: Json<'a>,
    compute_platform: Json<'a>,
    deployment_config_name: Json<'a>,
    deployment_style: Option<DeploymentStyle<'a>>,
    auto_rollback_configuration: Option<AutoRollback<'a>>,
    service_role_arn: Json<'a>,
    last_attempted_deployment: Option<LastDeployment<'a>>,
}

/// How a group deploys.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentStyle<'a> {
    #[serde(borrow)]
    deployment_type: Json<'a>,
    deployment_option: Json<'a>,
}

/// When a group rolls back.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AutoRollback<'a> {
    #[serde(borrow)]
    enabled: Json<'a>,
}

/// A group's last deployment.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LastDeployment<'a> {
    #[serde(borrow)]
    status: Json<'a>,
    create_time: Timestamp<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("AlarmConfiguration"),
    Property::new("ApplicationName").required(),
    Property::new("AutoRollbackConfiguration"),
    Property::new("AutoScalingGroups"),
    Property::new("BlueGreenDeploymentConfiguration"),
    Property::new("ComputePlatform"),
    Property::new("DeploymentConfigName"),
    Property::new("DeploymentGroupId"),
    Property::new("DeploymentGroupName").required(),
    Property::new("DeploymentStyle"),
    Property::new("Ec2TagFilters"),
    Property::new("Ec2TagSet"),
    Property::new("EcsServices"),
    Property::new("LastAttemptedDeployment").times(&["endTime", "createTime"]),
    Property::new("LastSuccessfulDeployment").times(&["endTime", "createTime"]),
    Property::new("LoadBalancerInfo"),
    Property::new("OnPremisesInstanceTagFilters"),
    Property::new("OnPremisesTagSet"),
    Property::new("OutdatedInstancesStrategy"),
    Property::new("ServiceRoleArn"),
    Property::new("TargetRevision"),
    Property::new("TerminationHookEnabled"),
    Property::new("TriggerConfigurations"),
]);

impl Mapper for CodeDeployDeploymentGroup {
    const KIND: &'static str = "AWS::CodeDeploy::DeploymentGroup";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Steps { describe: group, tags } = resource.steps;
        let (Some(application), Some(name)) =
            (group.application_name.port_identifier(), group.deployment_group_name.port_identifier())
        else {
            return Err("it has no `applicationName` or no `deploymentGroupName`".into());
        };
        let (account, region) = (&context.account_id, context.region.as_deref().unwrap_or_default());
        let style = group.deployment_style.unwrap_or_default();
        let last = group.last_attempted_deployment.unwrap_or_default();
        out.entity("codedeployDeploymentGroup", format_args!("{account}/{region}/{application}/{name}"))
            .title(group.deployment_group_name)
            .property("deploymentGroupId", group.deployment_group_id)
            .property("computePlatform", group.compute_platform)
            .property("deploymentConfigName", group.deployment_config_name)
            .property("deploymentType", style.deployment_type)
            .property("deploymentOption", style.deployment_option)
            .property("autoRollback", group.auto_rollback_configuration.unwrap_or_default().enabled)
            .property("serviceRoleArn", group.service_role_arn)
            .property("lastDeploymentStatus", last.status)
            .property("lastDeploymentTime", last.create_time)
            .property("region", region)
            .property("tags", tags)
            .relation("application", format_args!("{account}/{region}/{application}"))
            .relation("account", account);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let group = resource.steps.get("describe").unwrap_or_default();
        let mut document = out.document(&PROPERTIES);
        document.merge(group).origin();
        if let Some(tags) = resource.steps.get("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}
