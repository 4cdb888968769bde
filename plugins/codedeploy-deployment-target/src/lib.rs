//! `AWS::CodeDeploy::DeploymentTarget`.
//!
//! The same target takes part in many deployments, so entities are identified by account, region,
//! deployment and target.

use std::borrow::Cow;

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp, port_identifier,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(CodeDeployDeploymentTarget, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodeDeploy::DeploymentTarget`.
pub struct CodeDeployDeploymentTarget;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: DeploymentTarget<'a>,
}

/// What a target descends from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Parents<'a> {
    #[serde(borrow)]
    deployments: Json<'a>,
}

/// What an entity needs of a deployment target: one of the four has a value.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentTarget<'a> {
    #[serde(borrow)]
    deployment_target_type: Json<'a>,
    instance_target: Option<Target<'a>>,
    lambda_target: Option<Target<'a>>,
    ecs_target: Option<Target<'a>>,
    cloud_formation_target: Option<Target<'a>>,
}

/// What all types of target have.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Target<'a> {
    #[serde(borrow)]
    target_id: Json<'a>,
    target_arn: Json<'a>,
    status: Json<'a>,
    last_updated_at: Timestamp<'a>,
}

const TIMES: &[&str] = &["lastUpdatedAt", "startTime", "endTime"];

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("DeploymentTargetType"),
    Property::new("InstanceTarget").times(TIMES),
    Property::new("LambdaTarget").times(TIMES),
    Property::new("EcsTarget").times(TIMES),
    Property::new("CloudFormationTarget").times(TIMES),
]);

/// In the order in which the mapping looks for the one that has a value.
const TARGETS: [&str; 4] = ["instanceTarget", "lambdaTarget", "ecsTarget", "cloudFormationTarget"];

impl Mapper for CodeDeployDeploymentTarget {
    const KIND: &'static str = "AWS::CodeDeploy::DeploymentTarget";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>, Parents<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { steps: Steps { describe }, parents, .. } = resource;
        let deployment = deployment(parents.deployments)?;
        let target = describe
            .instance_target
            .or(describe.lambda_target)
            .or(describe.ecs_target)
            .or(describe.cloud_formation_target)
            .unwrap_or_default();
        let id = target.target_id.port_identifier().ok_or(NAMELESS)?;
        let of = port_identifier(&deployment);
        let (account, region) = (&context.account_id, context.region.as_deref().unwrap_or_default());
        out.entity("codedeployDeploymentTarget", format_args!("{account}/{region}/{of}/{id}"))
            .title(target.target_id)
            .property("targetType", describe.deployment_target_type)
            .property("targetArn", target.target_arn)
            .property("status", target.status)
            .property("lastUpdatedAt", target.last_updated_at)
            .property("region", region)
            .relation("deployment", format_args!("{account}/{region}/{deployment}"))
            .relation("account", account);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let deployment = deployment(resource.parents.get("deployments").unwrap_or_default())?;
        let fields = resource.steps.get("describe").unwrap_or_default().fields()?;
        let target = TARGETS.iter().filter_map(|name| fields.get(name)).find(|target| !target.is_null());
        let id = target.ok_or(NAMELESS)?.fields()?.get("targetId").and_then(Json::as_str);
        id.ok_or(NAMELESS)?;
        out.document(&PROPERTIES).merge_fields(fields).set("DeploymentId", deployment).origin();
        Ok(())
    }
}

/// Also said of a type of target that AWS adds: left out silently, it would look as if it were gone.
const NAMELESS: &str = "it has no target with a `targetId`";

fn deployment(id: Json<'_>) -> Result<Cow<'_, str>, Refused> {
    id.as_str().ok_or_else(|| "it has no deployment".into())
}
