//! `AWS::EC2::InternetGateway`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    aws::{is_foreign, name_tag},
};
use serde::Deserialize;

berth_plugin::export!(Ec2InternetGateway, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::InternetGateway`.
pub struct Ec2InternetGateway;

/// What an entity needs of an internet gateway.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InternetGateway<'a> {
    #[serde(borrow)]
    internet_gateway_id: Json<'a>,
    owner_id: Json<'a>,
    attachments: Option<Vec<Attachment<'a>>>,
    tags: Json<'a>,
}

/// The VPC that a gateway is attached to.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Attachment<'a> {
    #[serde(borrow)]
    state: Json<'a>,
    vpc_id: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[Property::new("InternetGatewayId").required()]);

impl Mapper for Ec2InternetGateway {
    const KIND: &'static str = "AWS::EC2::InternetGateway";
    type Resource<'a> = Resource<InternetGateway<'a>>;

    fn entities(context: &Context, gateway: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = gateway.item;
        if is_foreign(context, item.owner_id) {
            return Ok(());
        }
        let arn = arn(context, item.internet_gateway_id)?;
        // A gateway is attached to one VPC at most.
        let attachment = item.attachments.unwrap_or_default().into_iter().next().unwrap_or_default();
        out.entity("ec2InternetGateway", item.internet_gateway_id)
            .title(name_tag(item.tags).unwrap_or(item.internet_gateway_id))
            .property("attachmentState", attachment.state)
            .property("tags", item.tags)
            .property("arn", arn)
            .relation("account", &context.account_id)
            .relation("vpc", attachment.vpc_id);
        Ok(())
    }

    fn documents(context: &Context, gateway: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = gateway.item.fields()?;
        if is_foreign(context, fields.get("OwnerId").unwrap_or_default()) {
            return Ok(());
        }
        let arn = arn(context, fields.get("InternetGatewayId").unwrap_or_default())?;
        out.document(&PROPERTIES).merge_fields(fields).set("Arn", arn).origin();
        Ok(())
    }
}

fn arn(context: &Context, id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `InternetGatewayId`")?;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{}:ec2:{region}:{}:internet-gateway/{id}", context.partition, context.account_id))
}
