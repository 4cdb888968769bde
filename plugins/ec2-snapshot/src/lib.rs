//! `AWS::EC2::Snapshot`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
    aws::{is_foreign, name_tag},
};
use serde::Deserialize;

berth_plugin::export!(Ec2Snapshot, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::Snapshot`.
pub struct Ec2Snapshot;

/// What an entity needs of a snapshot.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Snapshot<'a> {
    #[serde(borrow)]
    snapshot_id: Json<'a>,
    owner_id: Json<'a>,
    state: Json<'a>,
    volume_id: Json<'a>,
    volume_size: Json<'a>,
    start_time: Timestamp<'a>,
    encrypted: Json<'a>,
    kms_key_id: Json<'a>,
    storage_tier: Json<'a>,
    description: Json<'a>,
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("SnapshotId").required(),
    Property::new("StartTime").time(),
    Property::new("CompletionTime").time(),
    Property::new("RestoreExpiryTime").time(),
]);

impl Mapper for Ec2Snapshot {
    const KIND: &'static str = "AWS::EC2::Snapshot";
    type Resource<'a> = Resource<Snapshot<'a>>;

    fn entities(context: &Context, snapshot: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = snapshot.item;
        if is_foreign(context, item.owner_id) {
            return Ok(());
        }
        let arn = arn(context, item.snapshot_id)?;
        out.entity("ec2Snapshot", item.snapshot_id)
            .title(name_tag(item.tags).unwrap_or(item.snapshot_id))
            .property("state", item.state)
            .property("volumeId", item.volume_id)
            .property("volumeSize", item.volume_size)
            .property("startTime", item.start_time)
            .property("encrypted", item.encrypted)
            .property("kmsKeyId", item.kms_key_id)
            .property("storageTier", item.storage_tier)
            .property("description", item.description)
            .property("tags", item.tags)
            .property("arn", arn)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(context: &Context, snapshot: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = snapshot.item.fields()?;
        if is_foreign(context, fields.get("OwnerId").unwrap_or_default()) {
            return Ok(());
        }
        let arn = arn(context, fields.get("SnapshotId").unwrap_or_default())?;
        out.document(&PROPERTIES).merge_fields(fields).set("Arn", arn).origin();
        Ok(())
    }
}

/// The ARN. It names no account.
fn arn(context: &Context, id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `SnapshotId`")?;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{}:ec2:{region}::snapshot/{id}", context.partition))
}
