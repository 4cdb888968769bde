//! `AWS::EC2::SecurityGroup`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    aws::is_foreign,
};
use serde::Deserialize;

berth_plugin::export!(Ec2SecurityGroup, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::SecurityGroup`.
pub struct Ec2SecurityGroup;

/// What an entity needs of a security group.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SecurityGroup<'a> {
    #[serde(borrow)]
    group_id: Json<'a>,
    security_group_arn: Json<'a>,
    owner_id: Json<'a>,
    vpc_id: Json<'a>,
    group_name: Json<'a>,
    description: Json<'a>,
    ip_permissions: Json<'a>,
    ip_permissions_egress: Json<'a>,
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[Property::new("GroupId").required()]);

impl Mapper for Ec2SecurityGroup {
    const KIND: &'static str = "AWS::EC2::SecurityGroup";
    type Resource<'a> = Resource<SecurityGroup<'a>>;

    fn entities(context: &Context, group: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = group.item;
        if is_foreign(context, item.owner_id) {
            return Ok(());
        }
        out.entity("ec2SecurityGroup", item.group_id)
            .title(item.group_name)
            .property("groupName", item.group_name)
            .property("description", item.description)
            .property("ingressRules", item.ip_permissions)
            .property("egressRules", item.ip_permissions_egress)
            .property("tags", item.tags)
            .property("arn", item.security_group_arn)
            .relation("account", &context.account_id)
            .relation("vpc", item.vpc_id);
        Ok(())
    }

    fn documents(context: &Context, group: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = group.item.fields()?;
        if is_foreign(context, fields.get("OwnerId").unwrap_or_default()) {
            return Ok(());
        }
        out.document(&PROPERTIES).merge_fields(fields).origin();
        Ok(())
    }
}
