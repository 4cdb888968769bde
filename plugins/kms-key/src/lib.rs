//! `AWS::KMS::Key`.
//!
//! The list knows id and ARN only. All else may be denied by the policy of a single key, so identity
//! comes from the list and the rest from whichever steps there are.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(KmsKey, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::KMS::Key`.
pub struct KmsKey;

/// What an entity needs of a key's description.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Metadata<'a> {
    #[serde(borrow)]
    description: Json<'a>,
    enabled: Json<'a>,
    key_state: Json<'a>,
    key_usage: Json<'a>,
    key_spec: Json<'a>,
    key_manager: Json<'a>,
    origin: Json<'a>,
    multi_region: Json<'a>,
    creation_date: Timestamp<'a>,
    deletion_date: Timestamp<'a>,
}

/// A key as it is listed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Key<'a> {
    #[serde(borrow)]
    key_id: Json<'a>,
    key_arn: Json<'a>,
}

/// What an entity needs of a key's rotation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Rotation<'a> {
    #[serde(borrow)]
    key_rotation_enabled: Json<'a>,
}

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Option<Metadata<'a>>,
    aliases: Json<'a>,
    tags: Json<'a>,
    rotation: Option<Rotation<'a>>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("Arn").raw("KeyArn").required(),
    Property::new("CreationDate").time(),
    Property::new("DeletionDate").time(),
    Property::new("ValidTo").time(),
    Property::new("NextRotationDate").time(),
    Property::new("OnDemandRotationStartDate").time(),
]);

impl Mapper for KmsKey {
    const KIND: &'static str = "AWS::KMS::Key";
    type Resource<'a> = Resource<Key<'a>, Steps<'a>>;

    fn entities(context: &Context, key: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, .. } = key;
        let metadata = steps.describe.unwrap_or_default();
        let rotation = steps.rotation.unwrap_or_default();
        let alias = steps.aliases.elements().ok().and_then(|aliases| aliases.first().copied());
        out.entity("kmsKey", item.key_arn)
            .title(alias.filter(|alias| !alias.is_null()).unwrap_or(item.key_id))
            .property("arn", item.key_arn)
            .property("keyId", item.key_id)
            .property("aliases", steps.aliases)
            .property("description", metadata.description)
            .property("enabled", metadata.enabled)
            .property("keyState", metadata.key_state)
            .property("keyUsage", metadata.key_usage)
            .property("keySpec", metadata.key_spec)
            .property("keyManager", metadata.key_manager)
            .property("origin", metadata.origin)
            .property("multiRegion", metadata.multi_region)
            .property("keyRotationEnabled", rotation.key_rotation_enabled)
            .property("creationDate", metadata.creation_date)
            .property("deletionDate", metadata.deletion_date)
            .property("tags", steps.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, key: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let item = key.item.fields()?;
        let mut document = out.document(&PROPERTIES);
        // `KeyId` is in all three, and an ARN in some answers: the list's is the last word.
        for step in ["rotation", "describe"] {
            if let Some(result) = key.step(step) {
                document.merge(result);
            }
        }
        let (arn, id) = (item.get("KeyArn").unwrap_or_default(), item.get("KeyId").unwrap_or_default());
        document.merge_fields(item).set("Arn", arn).set("KeyId", id).origin();
        for (step, property) in [("aliases", "Aliases"), ("tags", "Tags")] {
            if let Some(result) = key.step(step) {
                document.set(property, result);
            }
        }
        Ok(())
    }
}
