//! `AWS::ECS::Service`.
//!
//! The lists know ARNs only; all else comes from the `describe` step. A service that it answered
//! nothing for is gone and never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(EcsService, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ECS::Service`.
pub struct EcsService;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Service<'a>,
}

/// What an entity needs of a service.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Service<'a> {
    #[serde(borrow)]
    service_arn: Json<'a>,
    service_name: Json<'a>,
    cluster_arn: Json<'a>,
    status: Json<'a>,
    desired_count: Json<'a>,
    running_count: Json<'a>,
    pending_count: Json<'a>,
    launch_type: Json<'a>,
    platform_version: Json<'a>,
    scheduling_strategy: Json<'a>,
    task_definition: Json<'a>,
    enable_execute_command: Json<'a>,
    created_at: Timestamp<'a>,
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("ServiceArn").required(),
    Property::new("ServiceName"),
    Property::new("ClusterArn"),
    Property::new("Status"),
    Property::new("AvailabilityZoneRebalancing"),
    Property::new("CapacityProviderStrategy"),
    Property::new("CreatedAt").time(),
    Property::new("CreatedBy"),
    Property::new("DeploymentConfiguration"),
    Property::new("DeploymentController"),
    Property::new("Deployments").times(&["createdAt", "updatedAt"]),
    Property::new("DesiredCount"),
    Property::new("EnableECSManagedTags"),
    Property::new("EnableExecuteCommand"),
    Property::new("Events").times(&["createdAt"]),
    Property::new("HealthCheckGracePeriodSeconds"),
    Property::new("LaunchType"),
    Property::new("LoadBalancers"),
    Property::new("NetworkConfiguration"),
    Property::new("PendingCount"),
    Property::new("PlacementConstraints"),
    Property::new("PlacementStrategy"),
    Property::new("PlatformFamily"),
    Property::new("PlatformVersion"),
    Property::new("PropagateTags"),
    Property::new("RoleArn"),
    Property::new("RunningCount"),
    Property::new("SchedulingStrategy"),
    Property::new("ServiceRegistries"),
    Property::new("Tags"),
    Property::new("TaskDefinition"),
    Property::new("TaskSets").times(&["createdAt", "updatedAt", "stabilityStatusAt"]),
    Property::new("UpdatedAt").time(),
]);

impl Mapper for EcsService {
    const KIND: &'static str = "AWS::ECS::Service";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let service = resource.steps.describe;
        out.entity("ecsService", service.service_arn)
            .title(service.service_name)
            .property("status", service.status)
            .property("desiredCount", service.desired_count)
            .property("runningCount", service.running_count)
            .property("pendingCount", service.pending_count)
            .property("launchType", service.launch_type)
            .property("platformVersion", service.platform_version)
            .property("schedulingStrategy", service.scheduling_strategy)
            .property("taskDefinition", service.task_definition)
            .property("enableExecuteCommand", service.enable_execute_command)
            .property("createdAt", service.created_at)
            .property("serviceArn", service.service_arn)
            .property("tags", service.tags)
            .relation("account", &context.account_id)
            .relation("cluster", service.cluster_arn);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let service = resource.step("describe").unwrap_or_default();
        let mut document = out.document(&PROPERTIES);
        document.merge(service).origin();
        if let Some(cluster) = resource.parents.get("clusters") {
            document.context("ClusterArn", cluster);
        }
        Ok(())
    }
}
