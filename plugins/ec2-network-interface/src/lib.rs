//! `AWS::EC2::NetworkInterface`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    aws::{is_foreign, name_tag},
};
use serde::Deserialize;

berth_plugin::export!(Ec2NetworkInterface, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::NetworkInterface`.
pub struct Ec2NetworkInterface;

/// What an entity needs of a network interface.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkInterface<'a> {
    #[serde(borrow)]
    network_interface_id: Json<'a>,
    owner_id: Json<'a>,
    status: Json<'a>,
    interface_type: Json<'a>,
    description: Json<'a>,
    private_ip_address: Json<'a>,
    association: Option<Association<'a>>,
    mac_address: Json<'a>,
    availability_zone: Json<'a>,
    requester_managed: Json<'a>,
    vpc_id: Json<'a>,
    subnet_id: Json<'a>,
    groups: Option<Vec<Group<'a>>>,
    attachment: Option<Attachment<'a>>,
    tag_set: Json<'a>,
}

/// The public address of an interface.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Association<'a> {
    #[serde(borrow)]
    public_ip: Json<'a>,
}

/// A security group of an interface.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Group<'a> {
    #[serde(borrow)]
    group_id: Json<'a>,
}

/// What an interface is attached to.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Attachment<'a> {
    #[serde(borrow)]
    instance_id: Json<'a>,
    instance_owner_id: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("NetworkInterfaceId").required(),
    Property::new("Attachment").times(&["AttachTime"]),
]);

impl Mapper for Ec2NetworkInterface {
    const KIND: &'static str = "AWS::EC2::NetworkInterface";
    type Resource<'a> = Resource<NetworkInterface<'a>>;

    fn entities(context: &Context, interface: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = interface.item;
        if is_foreign(context, item.owner_id) {
            return Ok(());
        }
        let arn = arn(context, item.network_interface_id)?;
        let groups: Vec<Json<'_>> = item
            .groups
            .unwrap_or_default()
            .into_iter()
            .map(|group| group.group_id)
            .filter(|group| !group.is_null())
            .collect();
        // Services attach interfaces to instances of their own accounts, which are no entities here.
        let instance = item
            .attachment
            .filter(|attachment| {
                attachment.instance_owner_id.as_str().as_deref() == Some(&*context.account_id)
            })
            .unwrap_or_default()
            .instance_id;
        out.entity("ec2NetworkInterface", item.network_interface_id)
            .title(name_tag(item.tag_set).unwrap_or(item.network_interface_id))
            .property("status", item.status)
            .property("interfaceType", item.interface_type)
            .property("description", item.description)
            .property("privateIpAddress", item.private_ip_address)
            .property("publicIpAddress", item.association.unwrap_or_default().public_ip)
            .property("macAddress", item.mac_address)
            .property("availabilityZone", item.availability_zone)
            .property("requesterManaged", item.requester_managed)
            .property("tags", item.tag_set)
            .property("arn", arn)
            .relation("account", &context.account_id)
            .relation("vpc", item.vpc_id)
            .relation("subnet", item.subnet_id)
            .relation("securityGroups", groups)
            .relation("instance", instance);
        Ok(())
    }

    fn documents(context: &Context, interface: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = interface.item.fields()?;
        if is_foreign(context, fields.get("OwnerId").unwrap_or_default()) {
            return Ok(());
        }
        let arn = arn(context, fields.get("NetworkInterfaceId").unwrap_or_default())?;
        out.document(&PROPERTIES).merge_fields(fields).set("Arn", arn).origin();
        Ok(())
    }
}

fn arn(context: &Context, id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `NetworkInterfaceId`")?;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{}:ec2:{region}:{}:network-interface/{id}", context.partition, context.account_id))
}
