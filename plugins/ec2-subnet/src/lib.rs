//! `AWS::EC2::Subnet`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    aws::{is_foreign, name_tag},
};
use serde::Deserialize;

berth_plugin::export!(Ec2Subnet, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::Subnet`.
pub struct Ec2Subnet;

/// What an entity needs of a subnet.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Subnet<'a> {
    #[serde(borrow)]
    subnet_id: Json<'a>,
    subnet_arn: Json<'a>,
    owner_id: Json<'a>,
    vpc_id: Json<'a>,
    cidr_block: Json<'a>,
    availability_zone: Json<'a>,
    state: Json<'a>,
    available_ip_address_count: Json<'a>,
    map_public_ip_on_launch: Json<'a>,
    default_for_az: Json<'a>,
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[Property::new("SubnetId").required()]);

impl Mapper for Ec2Subnet {
    const KIND: &'static str = "AWS::EC2::Subnet";
    type Resource<'a> = Resource<Subnet<'a>>;

    fn entities(context: &Context, subnet: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = subnet.item;
        if is_foreign(context, item.owner_id) {
            return Ok(());
        }
        out.entity("ec2Subnet", item.subnet_id)
            .title(name_tag(item.tags).unwrap_or(item.subnet_id))
            .property("cidrBlock", item.cidr_block)
            .property("availabilityZone", item.availability_zone)
            .property("state", item.state)
            .property("availableIpAddressCount", item.available_ip_address_count)
            .property("mapPublicIpOnLaunch", item.map_public_ip_on_launch)
            .property("defaultForAz", item.default_for_az)
            .property("tags", item.tags)
            .property("arn", item.subnet_arn)
            .relation("account", &context.account_id)
            .relation("vpc", item.vpc_id);
        Ok(())
    }

    fn documents(context: &Context, subnet: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = subnet.item.fields()?;
        if is_foreign(context, fields.get("OwnerId").unwrap_or_default()) {
            return Ok(());
        }
        out.document(&PROPERTIES).merge_fields(fields).origin();
        Ok(())
    }
}
