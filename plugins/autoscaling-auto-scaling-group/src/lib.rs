//! `AWS::AutoScaling::AutoScalingGroup`.

use std::borrow::Cow;

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(AutoScalingAutoScalingGroup, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::AutoScaling::AutoScalingGroup`.
pub struct AutoScalingAutoScalingGroup;

/// What an entity needs of a group.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Group<'a> {
    #[serde(borrow, rename = "AutoScalingGroupARN")]
    auto_scaling_group_arn: Json<'a>,
    auto_scaling_group_name: Json<'a>,
    min_size: Json<'a>,
    max_size: Json<'a>,
    desired_capacity: Json<'a>,
    instances: Option<Vec<Instance<'a>>>,
    health_check_type: Json<'a>,
    availability_zones: Json<'a>,
    launch_template: Option<LaunchTemplate<'a>>,
    mixed_instances_policy: Option<MixedInstancesPolicy<'a>>,
    launch_configuration_name: Json<'a>,
    status: Json<'a>,
    created_time: Timestamp<'a>,
    #[serde(rename = "VPCZoneIdentifier")]
    vpc_zone_identifier: Json<'a>,
    #[serde(rename = "TargetGroupARNs")]
    target_group_arns: Option<Vec<Json<'a>>>,
    tags: Json<'a>,
}

/// An instance of a group.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Instance<'a> {
    #[serde(borrow)]
    instance_id: Json<'a>,
}

/// What instances are started from.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LaunchTemplate<'a> {
    #[serde(borrow)]
    launch_template_name: Json<'a>,
}

/// How a group mixes types of instances.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MixedInstancesPolicy<'a> {
    #[serde(borrow)]
    launch_template: Option<MixedTemplate<'a>>,
}

/// The launch template of a mix, before what it overrides.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MixedTemplate<'a> {
    #[serde(borrow)]
    launch_template_specification: Option<LaunchTemplate<'a>>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("AutoScalingGroupARN").required(),
    Property::new("CreatedTime").time(),
]);

impl Mapper for AutoScalingAutoScalingGroup {
    const KIND: &'static str = "AWS::AutoScaling::AutoScalingGroup";
    type Resource<'a> = Resource<Group<'a>>;

    fn entities(context: &Context, group: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = group.item;
        let mixed = item
            .mixed_instances_policy
            .and_then(|policy| policy.launch_template)
            .and_then(|template| template.launch_template_specification)
            .unwrap_or_default();
        let launch_template = item
            .launch_template
            .map(|template| template.launch_template_name)
            .filter(|name| !name.is_null())
            .unwrap_or(mixed.launch_template_name);
        let zones = item.vpc_zone_identifier;
        let given = if zones.is_null() { Some(Cow::default()) } else { zones.as_str() };
        let subnets: Option<Vec<&str>> =
            given.as_ref().map(|zones| zones.split(',').filter(|subnet| !subnet.is_empty()).collect());
        let instances = item.instances.unwrap_or_default();
        let ids: Vec<Json<'_>> =
            instances.iter().map(|instance| instance.instance_id).filter(|id| !id.is_null()).collect();
        out.entity("autoScalingGroup", item.auto_scaling_group_arn.port_identifier())
            .title(item.auto_scaling_group_name)
            .property("minSize", item.min_size)
            .property("maxSize", item.max_size)
            .property("desiredCapacity", item.desired_capacity)
            .property("instanceCount", instances.len())
            .property("healthCheckType", item.health_check_type)
            .property("availabilityZones", item.availability_zones)
            .property("launchTemplate", launch_template)
            .property("launchConfiguration", item.launch_configuration_name)
            .property("status", item.status)
            .property("createdTime", item.created_time)
            .property("tags", item.tags)
            .property("arn", item.auto_scaling_group_arn)
            .relation("account", &context.account_id)
            .relation("subnets", subnets)
            .relation("targetGroups", item.target_group_arns.unwrap_or_default())
            .relation("instances", ids);
        Ok(())
    }

    fn documents(_: &Context, group: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        out.document(&PROPERTIES).merge(group.item).origin();
        Ok(())
    }
}
