//! `AWS::EC2::VolumeAttachment`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(Ec2VolumeAttachment, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::VolumeAttachment`.
pub struct Ec2VolumeAttachment;

/// What an entity needs of an attachment. One to something that AWS runs itself names no instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Attachment<'a> {
    #[serde(borrow)]
    volume_id: Json<'a>,
    instance_id: Json<'a>,
    associated_resource: Json<'a>,
    instance_owning_service: Json<'a>,
    state: Json<'a>,
    device: Json<'a>,
    attach_time: Timestamp<'a>,
    delete_on_termination: Json<'a>,
}

const PROPERTIES: Properties =
    Properties::keeping_unknown(&[Property::new("VolumeId").required(), Property::new("AttachTime").time()]);

impl Mapper for Ec2VolumeAttachment {
    const KIND: &'static str = "AWS::EC2::VolumeAttachment";
    type Resource<'a> = Resource<Attachment<'a>>;

    fn entities(
        context: &Context,
        attachment: Self::Resource<'_>,
        out: &mut Entities,
    ) -> Result<(), Refused> {
        let attachment = attachment.item;
        let volume = attachment.volume_id.as_str().ok_or("it has no `VolumeId`")?;
        let instance = attachment.instance_id.as_str().or(attachment.associated_resource.as_str());
        let id = format!("{volume}/{}", instance.ok_or(UNATTACHED)?);
        out.entity("ec2VolumeAttachment", &id)
            .title(&id)
            .property("state", attachment.state)
            .property("device", attachment.device)
            .property("attachTime", attachment.attach_time)
            .property("deleteOnTermination", attachment.delete_on_termination)
            .property("associatedResource", attachment.associated_resource)
            .property("instanceOwningService", attachment.instance_owning_service)
            .relation("volume", attachment.volume_id)
            .relation("instance", attachment.instance_id)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, attachment: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = attachment.item.fields()?;
        let is_there = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
        if !["InstanceId", "AssociatedResource"].into_iter().any(is_there) {
            return Err(UNATTACHED.into());
        }
        out.document(&PROPERTIES).merge_fields(fields).origin();
        Ok(())
    }
}

const UNATTACHED: &str = "it has no `InstanceId` and no `AssociatedResource`";
