//! `AWS::ECS::Cluster`.
//!
//! The list knows ARNs only; all else comes from the `describe` step. A cluster that it answered
//! nothing for is gone and never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(EcsCluster, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ECS::Cluster`.
pub struct EcsCluster;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Cluster<'a>,
}

/// What an entity needs of a cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cluster<'a> {
    #[serde(borrow)]
    cluster_arn: Json<'a>,
    cluster_name: Json<'a>,
    status: Json<'a>,
    running_tasks_count: Json<'a>,
    active_services_count: Json<'a>,
    pending_tasks_count: Json<'a>,
    registered_container_instances_count: Json<'a>,
    capacity_providers: Json<'a>,
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("ClusterArn").required(),
    Property::new("ClusterName"),
    Property::new("ClusterSettings").raw("settings"),
    Property::new("CapacityProviders"),
    Property::new("Configuration"),
    Property::new("DefaultCapacityProviderStrategy"),
    Property::new("ServiceConnectDefaults"),
    Property::new("Tags"),
    Property::new("Attachments"),
    Property::new("AttachmentsStatus"),
    Property::new("Statistics"),
    Property::new("Status"),
    Property::new("RunningTasksCount"),
    Property::new("ActiveServicesCount"),
    Property::new("PendingTasksCount"),
    Property::new("RegisteredContainerInstancesCount"),
]);

impl Mapper for EcsCluster {
    const KIND: &'static str = "AWS::ECS::Cluster";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let cluster = resource.steps.describe;
        out.entity("ecsCluster", cluster.cluster_arn)
            .title(cluster.cluster_name)
            .property("status", cluster.status)
            .property("runningTasksCount", cluster.running_tasks_count)
            .property("activeServicesCount", cluster.active_services_count)
            .property("pendingTasksCount", cluster.pending_tasks_count)
            .property("registeredContainerInstancesCount", cluster.registered_container_instances_count)
            .property("capacityProviders", cluster.capacity_providers)
            .property("clusterArn", cluster.cluster_arn)
            .property("tags", cluster.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let cluster = resource.step("describe").unwrap_or_default();
        out.document(&PROPERTIES).merge(cluster).origin();
        Ok(())
    }
}
