//! `AWS::EC2::NatGateway`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp, aws::name_tag,
};
use serde::Deserialize;

berth_plugin::export!(Ec2NatGateway, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::NatGateway`.
pub struct Ec2NatGateway;

/// What an entity needs of a NAT gateway.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NatGateway<'a> {
    #[serde(borrow)]
    nat_gateway_id: Json<'a>,
    state: Json<'a>,
    connectivity_type: Json<'a>,
    nat_gateway_addresses: Option<Vec<Address<'a>>>,
    create_time: Timestamp<'a>,
    failure_message: Json<'a>,
    vpc_id: Json<'a>,
    subnet_id: Json<'a>,
    tags: Json<'a>,
}

/// An address of a gateway.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Address<'a> {
    #[serde(borrow)]
    public_ip: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("NatGatewayId").required(),
    Property::new("CreateTime").time(),
    Property::new("DeleteTime").time(),
    Property::new("ProvisionedBandwidth").times(&["ProvisionTime", "RequestTime"]),
]);

impl Mapper for Ec2NatGateway {
    const KIND: &'static str = "AWS::EC2::NatGateway";
    type Resource<'a> = Resource<NatGateway<'a>>;

    fn entities(context: &Context, gateway: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = gateway.item;
        let arn = arn(context, item.nat_gateway_id)?;
        let addresses: Vec<Json<'_>> = item
            .nat_gateway_addresses
            .unwrap_or_default()
            .into_iter()
            .map(|address| address.public_ip)
            .filter(|address| !address.is_null())
            .collect();
        out.entity("ec2NatGateway", item.nat_gateway_id)
            .title(name_tag(item.tags).unwrap_or(item.nat_gateway_id))
            .property("state", item.state)
            .property("connectivityType", item.connectivity_type)
            .property("publicIpAddresses", addresses)
            .property("createTime", item.create_time)
            .property("failureMessage", item.failure_message)
            .property("tags", item.tags)
            .property("arn", arn)
            .relation("account", &context.account_id)
            .relation("vpc", item.vpc_id)
            .relation("subnet", item.subnet_id);
        Ok(())
    }

    fn documents(context: &Context, gateway: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = gateway.item.fields()?;
        let arn = arn(context, fields.get("NatGatewayId").unwrap_or_default())?;
        out.document(&PROPERTIES).merge_fields(fields).set("Arn", arn).origin();
        Ok(())
    }
}

fn arn(context: &Context, id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `NatGatewayId`")?;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{}:ec2:{region}:{}:natgateway/{id}", context.partition, context.account_id))
}
