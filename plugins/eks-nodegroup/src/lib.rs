//! `AWS::EKS::Nodegroup`.
//!
//! The list knows names only; all else comes from the `describe` step. A node group that is gone by
//! then never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(EksNodegroup, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EKS::Nodegroup`.
pub struct EksNodegroup;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Nodegroup<'a>,
}

/// What an entity needs of a node group.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Nodegroup<'a> {
    #[serde(borrow)]
    nodegroup_arn: Json<'a>,
    nodegroup_name: Json<'a>,
    cluster_name: Json<'a>,
    status: Json<'a>,
    version: Json<'a>,
    release_version: Json<'a>,
    ami_type: Json<'a>,
    capacity_type: Json<'a>,
    instance_types: Json<'a>,
    scaling_config: Option<ScalingConfig<'a>>,
    disk_size: Json<'a>,
    node_role: Json<'a>,
    subnets: Json<'a>,
    created_at: Timestamp<'a>,
    modified_at: Timestamp<'a>,
    tags: Json<'a>,
}

/// How many nodes a group has.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ScalingConfig<'a> {
    #[serde(borrow)]
    desired_size: Json<'a>,
    min_size: Json<'a>,
    max_size: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("NodegroupArn").required(),
    Property::new("NodegroupName"),
    Property::new("ClusterName"),
    Property::new("Version"),
    Property::new("ReleaseVersion"),
    Property::new("CreatedAt").time(),
    Property::new("ModifiedAt").time(),
    Property::new("Status"),
    Property::new("CapacityType"),
    Property::new("ScalingConfig"),
    Property::new("InstanceTypes"),
    Property::new("Subnets"),
    Property::new("RemoteAccess"),
    Property::new("AmiType"),
    Property::new("NodeRole"),
    Property::new("Labels"),
    Property::new("Taints"),
    Property::new("Resources"),
    Property::new("DiskSize"),
    Property::new("Health"),
    Property::new("UpdateConfig"),
    Property::new("NodeRepairConfig"),
    Property::new("LaunchTemplate"),
    Property::new("Tags"),
    Property::new("WarmPoolConfig"),
]);

impl Mapper for EksNodegroup {
    const KIND: &'static str = "AWS::EKS::Nodegroup";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let nodegroup = resource.steps.describe;
        let scaling_config = nodegroup.scaling_config.unwrap_or_default();
        out.entity("eksNodegroup", nodegroup.nodegroup_arn)
            .title(nodegroup.nodegroup_name)
            .property("arn", nodegroup.nodegroup_arn)
            .property("clusterName", nodegroup.cluster_name)
            .property("status", nodegroup.status)
            .property("version", nodegroup.version)
            .property("releaseVersion", nodegroup.release_version)
            .property("amiType", nodegroup.ami_type)
            .property("capacityType", nodegroup.capacity_type)
            .property("instanceTypes", nodegroup.instance_types)
            .property("desiredSize", scaling_config.desired_size)
            .property("minSize", scaling_config.min_size)
            .property("maxSize", scaling_config.max_size)
            .property("diskSize", nodegroup.disk_size)
            .property("nodeRole", nodegroup.node_role)
            .property("subnets", nodegroup.subnets)
            .property("createdAt", nodegroup.created_at)
            .property("modifiedAt", nodegroup.modified_at)
            .property("tags", nodegroup.tags)
            .relation("account", &context.account_id)
            .relation("cluster", cluster_arn(context, nodegroup.cluster_name));
        Ok(())
    }

    fn documents(context: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let nodegroup = resource.step("describe").unwrap_or_default().fields()?;
        let cluster = cluster_arn(context, nodegroup.get("clusterName").unwrap_or_default());
        out.document(&PROPERTIES).merge_fields(nodegroup).origin().context("ClusterArn", cluster);
        Ok(())
    }
}

/// The ARN of a cluster, which is what identifies its entity.
fn cluster_arn(context: &Context, name: Json<'_>) -> Option<String> {
    let name = name.as_str()?;
    let Context { partition, account_id, .. } = context;
    let region = context.region.as_deref().unwrap_or_default();
    Some(format!("arn:{partition}:eks:{region}:{account_id}:cluster/{name}"))
}
