//! `AWS::EC2::VPC`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    aws::{is_foreign, name_tag},
};
use serde::Deserialize;

berth_plugin::export!(Ec2Vpc, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::VPC`.
pub struct Ec2Vpc;

/// What an entity needs of a VPC.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Vpc<'a> {
    #[serde(borrow)]
    vpc_id: Json<'a>,
    owner_id: Json<'a>,
    cidr_block: Json<'a>,
    state: Json<'a>,
    is_default: Json<'a>,
    instance_tenancy: Json<'a>,
    dhcp_options_id: Json<'a>,
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[Property::new("VpcId").required()]);

impl Mapper for Ec2Vpc {
    const KIND: &'static str = "AWS::EC2::VPC";
    type Resource<'a> = Resource<Vpc<'a>>;

    fn entities(context: &Context, vpc: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = vpc.item;
        if is_foreign(context, item.owner_id) {
            return Ok(());
        }
        let arn = arn(context, item.vpc_id)?;
        out.entity("ec2Vpc", item.vpc_id)
            .title(name_tag(item.tags).unwrap_or(item.vpc_id))
            .property("cidrBlock", item.cidr_block)
            .property("state", item.state)
            .property("isDefault", item.is_default)
            .property("instanceTenancy", item.instance_tenancy)
            .property("dhcpOptionsId", item.dhcp_options_id)
            .property("tags", item.tags)
            .property("arn", arn)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(context: &Context, vpc: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = vpc.item.fields()?;
        if is_foreign(context, fields.get("OwnerId").unwrap_or_default()) {
            return Ok(());
        }
        let arn = arn(context, fields.get("VpcId").unwrap_or_default())?;
        out.document(&PROPERTIES).merge_fields(fields).set("Arn", arn).origin();
        Ok(())
    }
}

fn arn(context: &Context, id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `VpcId`")?;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{}:ec2:{region}:{}:vpc/{id}", context.partition, context.account_id))
}
