//! `AWS::SecretsManager::Secret`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(SecretsManagerSecret, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::SecretsManager::Secret`.
pub struct SecretsManagerSecret;

/// What an entity needs of a secret.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Secret<'a> {
    #[serde(borrow, rename = "ARN")]
    arn: Json<'a>,
    name: Json<'a>,
    description: Json<'a>,
    kms_key_id: Json<'a>,
    rotation_enabled: Json<'a>,
    rotation_rules: Option<RotationRules<'a>>,
    last_rotated_date: Timestamp<'a>,
    next_rotation_date: Timestamp<'a>,
    last_changed_date: Timestamp<'a>,
    last_accessed_date: Timestamp<'a>,
    created_date: Timestamp<'a>,
    owning_service: Json<'a>,
    primary_region: Json<'a>,
    tags: Json<'a>,
}

/// When a secret is rotated.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RotationRules<'a> {
    #[serde(borrow)]
    automatically_after_days: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("ARN").required(),
    Property::new("CreatedDate").time(),
    Property::new("DeletedDate").time(),
    Property::new("LastAccessedDate").time(),
    Property::new("LastChangedDate").time(),
    Property::new("LastRotatedDate").time(),
    Property::new("NextRotationDate").time(),
]);

impl Mapper for SecretsManagerSecret {
    const KIND: &'static str = "AWS::SecretsManager::Secret";
    type Resource<'a> = Resource<Secret<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let secret = resource.item;
        let rotation_rules = secret.rotation_rules.unwrap_or_default();
        out.entity("secretsmanagerSecret", secret.arn.port_identifier())
            .title(secret.name)
            .property("arn", secret.arn)
            .property("description", secret.description)
            .property("kmsKeyId", secret.kms_key_id)
            .property("rotationEnabled", secret.rotation_enabled)
            .property("rotationDays", rotation_rules.automatically_after_days)
            .property("lastRotatedDate", secret.last_rotated_date)
            .property("nextRotationDate", secret.next_rotation_date)
            .property("lastChangedDate", secret.last_changed_date)
            .property("lastAccessedDate", secret.last_accessed_date)
            .property("createdDate", secret.created_date)
            .property("owningService", secret.owning_service)
            .property("primaryRegion", secret.primary_region)
            .property("tags", secret.tags)
            .relation("account", &context.account_id)
            .relation("kmsKey", key_arn(secret.kms_key_id));
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        out.document(&PROPERTIES).merge(resource.item).origin();
        Ok(())
    }
}

/// A key's ARN, which is what identifies its entity; null for an alias or an id.
fn key_arn(key: Json<'_>) -> Json<'_> {
    if key.as_str().is_some_and(|key| key.contains(":key/")) { key } else { Json::NULL }
}
