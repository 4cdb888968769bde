//! `AWS::ElasticLoadBalancingV2::LoadBalancer`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(ElasticLoadBalancingV2LoadBalancer, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ElasticLoadBalancingV2::LoadBalancer`.
pub struct ElasticLoadBalancingV2LoadBalancer;

/// What an entity needs of a load balancer.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LoadBalancer<'a> {
    #[serde(borrow)]
    load_balancer_arn: Json<'a>,
    load_balancer_name: Json<'a>,
    r#type: Json<'a>,
    scheme: Json<'a>,
    state: Option<State<'a>>,
    #[serde(rename = "DNSName")]
    dns_name: Json<'a>,
    ip_address_type: Json<'a>,
    created_time: Timestamp<'a>,
    availability_zones: Option<Vec<Zone<'a>>>,
    vpc_id: Json<'a>,
    security_groups: Option<Vec<Json<'a>>>,
}

/// The state of a load balancer.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct State<'a> {
    #[serde(borrow)]
    code: Json<'a>,
}

/// An availability zone of a load balancer.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Zone<'a> {
    #[serde(borrow)]
    zone_name: Json<'a>,
    subnet_id: Json<'a>,
}

/// What an entity needs beside the load balancer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

/// The property that each step's result becomes.
const STEPS: [(&str, &str); 3] =
    [("tags", "Tags"), ("attributes", "LoadBalancerAttributes"), ("listeners", "Listeners")];

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("LoadBalancerArn").required(),
    Property::new("CreatedTime").time(),
]);

impl Mapper for ElasticLoadBalancingV2LoadBalancer {
    const KIND: &'static str = "AWS::ElasticLoadBalancingV2::LoadBalancer";
    type Resource<'a> = Resource<LoadBalancer<'a>, Steps<'a>>;

    fn entities(context: &Context, balancer: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, .. } = balancer;
        let zones = item.availability_zones.unwrap_or_default();
        let present = |value: &Json<'_>| !value.is_null();
        let names: Vec<Json<'_>> = zones.iter().map(|zone| zone.zone_name).filter(present).collect();
        let subnets: Vec<Json<'_>> = zones.iter().map(|zone| zone.subnet_id).filter(present).collect();
        out.entity("elbv2LoadBalancer", item.load_balancer_arn)
            .title(item.load_balancer_name)
            .property("type", item.r#type)
            .property("scheme", item.scheme)
            .property("state", item.state.unwrap_or_default().code)
            .property("dnsName", item.dns_name)
            .property("ipAddressType", item.ip_address_type)
            .property("createdTime", item.created_time)
            .property("availabilityZones", names)
            .property("tags", steps.tags)
            .property("arn", item.load_balancer_arn)
            .relation("account", &context.account_id)
            .relation("vpc", item.vpc_id)
            .relation("subnets", subnets)
            .relation("securityGroups", item.security_groups.unwrap_or_default());
        Ok(())
    }

    fn documents(_: &Context, balancer: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(balancer.item);
        for (step, property) in STEPS {
            if let Some(result) = balancer.step(step) {
                document.set(property, result);
            }
        }
        document.origin();
        Ok(())
    }
}
