//! `AWS::ElasticLoadBalancingV2::TargetGroup`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::Deserialize;

berth_plugin::export!(ElasticLoadBalancingV2TargetGroup, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ElasticLoadBalancingV2::TargetGroup`.
pub struct ElasticLoadBalancingV2TargetGroup;

/// What an entity needs of a target group.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TargetGroup<'a> {
    #[serde(borrow)]
    target_group_arn: Json<'a>,
    target_group_name: Json<'a>,
    protocol: Json<'a>,
    port: Json<'a>,
    target_type: Json<'a>,
    protocol_version: Json<'a>,
    health_check_enabled: Json<'a>,
    health_check_protocol: Json<'a>,
    health_check_path: Json<'a>,
    vpc_id: Json<'a>,
    load_balancer_arns: Option<Vec<Json<'a>>>,
}

/// What an entity needs beside the target group.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

/// The property that each step's result becomes.
const STEPS: [(&str, &str); 3] =
    [("tags", "Tags"), ("attributes", "TargetGroupAttributes"), ("health", "TargetHealthDescriptions")];

const PROPERTIES: Properties = Properties::keeping_unknown(&[Property::new("TargetGroupArn").required()]);

impl Mapper for ElasticLoadBalancingV2TargetGroup {
    const KIND: &'static str = "AWS::ElasticLoadBalancingV2::TargetGroup";
    type Resource<'a> = Resource<TargetGroup<'a>, Steps<'a>>;

    fn entities(context: &Context, group: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, .. } = group;
        out.entity("elbv2TargetGroup", item.target_group_arn)
            .title(item.target_group_name)
            .property("protocol", item.protocol)
            .property("port", item.port)
            .property("targetType", item.target_type)
            .property("protocolVersion", item.protocol_version)
            .property("healthCheckEnabled", item.health_check_enabled)
            .property("healthCheckProtocol", item.health_check_protocol)
            .property("healthCheckPath", item.health_check_path)
            .property("tags", steps.tags)
            .property("arn", item.target_group_arn)
            .relation("account", &context.account_id)
            .relation("vpc", item.vpc_id)
            .relation("loadBalancers", item.load_balancer_arns.unwrap_or_default());
        Ok(())
    }

    fn documents(_: &Context, group: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(group.item);
        for (step, property) in STEPS {
            if let Some(result) = group.step(step) {
                document.set(property, result);
            }
        }
        document.origin();
        Ok(())
    }
}
