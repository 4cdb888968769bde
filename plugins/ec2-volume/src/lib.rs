//! `AWS::EC2::Volume`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(Ec2Volume, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::Volume`.
pub struct Ec2Volume;

/// What an entity needs of a volume.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Volume<'a> {
    #[serde(borrow)]
    volume_id: Json<'a>,
    volume_type: Json<'a>,
    size: Json<'a>,
    iops: Json<'a>,
    throughput: Json<'a>,
    state: Json<'a>,
    encrypted: Json<'a>,
    kms_key_id: Json<'a>,
    availability_zone: Json<'a>,
    snapshot_id: Json<'a>,
    multi_attach_enabled: Json<'a>,
    create_time: Timestamp<'a>,
    tags: Json<'a>,
    attachments: Option<Vec<Attachment<'a>>>,
}

/// What an entity needs of an attachment. One to something that AWS runs itself names no instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Attachment<'a> {
    #[serde(borrow)]
    instance_id: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("VolumeId").required(),
    Property::new("CreateTime").time(),
    Property::new("Attachments").times(&["AttachTime"]),
]);

impl Mapper for Ec2Volume {
    const KIND: &'static str = "AWS::EC2::Volume";
    type Resource<'a> = Resource<Volume<'a>>;

    fn entities(context: &Context, volume: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let volume = volume.item;
        let attachments = volume.attachments.unwrap_or_default();
        let instances: Vec<Json<'_>> = attachments
            .into_iter()
            .map(|attachment| attachment.instance_id)
            .filter(|instance| instance.as_str().is_some())
            .collect();
        out.entity("ec2Volume", volume.volume_id)
            .title(volume.volume_id)
            .property("volumeType", volume.volume_type)
            .property("size", volume.size)
            .property("iops", volume.iops)
            .property("throughput", volume.throughput)
            .property("state", volume.state)
            .property("encrypted", volume.encrypted)
            .property("kmsKeyId", volume.kms_key_id)
            .property("availabilityZone", volume.availability_zone)
            .property("snapshotId", volume.snapshot_id)
            .property("multiAttachEnabled", volume.multi_attach_enabled)
            .property("createTime", volume.create_time)
            .property("tags", volume.tags)
            .relation("account", &context.account_id)
            .relation("instances", instances);
        Ok(())
    }

    fn documents(_: &Context, volume: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(volume.item).origin();
        if let Some(enabled) = volume.step("autoEnableIO") {
            document.set("AutoEnableIO", enabled);
        }
        Ok(())
    }
}
