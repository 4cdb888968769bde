//! `AWS::Backup::BackupVault`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(BackupBackupVault, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::Backup::BackupVault`.
pub struct BackupBackupVault;

/// What an entity needs of a vault.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BackupVault<'a> {
    #[serde(borrow)]
    backup_vault_arn: Json<'a>,
    backup_vault_name: Json<'a>,
    encryption_key_arn: Json<'a>,
    vault_type: Json<'a>,
    vault_state: Json<'a>,
    number_of_recovery_points: Json<'a>,
    locked: Json<'a>,
    lock_date: Timestamp<'a>,
    min_retention_days: Json<'a>,
    max_retention_days: Json<'a>,
    creation_date: Timestamp<'a>,
}

/// What an entity needs beside the vault.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("BackupVaultArn").required(),
    Property::new("CreationDate").time(),
    Property::new("LockDate").time(),
]);

impl Mapper for BackupBackupVault {
    const KIND: &'static str = "AWS::Backup::BackupVault";
    type Resource<'a> = Resource<BackupVault<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: vault, steps, .. } = resource;
        out.entity("backupVault", vault.backup_vault_arn)
            .title(vault.backup_vault_name)
            .property("arn", vault.backup_vault_arn)
            .property("vaultType", vault.vault_type)
            .property("vaultState", vault.vault_state)
            .property("numberOfRecoveryPoints", vault.number_of_recovery_points)
            .property("locked", vault.locked)
            .property("lockDate", vault.lock_date)
            .property("minRetentionDays", vault.min_retention_days)
            .property("maxRetentionDays", vault.max_retention_days)
            .property("creationDate", vault.creation_date)
            .property("tags", steps.tags)
            .relation("account", &context.account_id)
            .relation("kmsKey", vault.encryption_key_arn);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.item).origin();
        for (step, property) in [("tags", "Tags"), ("accessPolicy", "AccessPolicy")] {
            if let Some(result) = resource.step(step) {
                document.set(property, result);
            }
        }
        if let Some(notifications) = resource.step("notifications") {
            let notifications = notifications.fields()?;
            for property in ["BackupVaultEvents", "SNSTopicArn"] {
                if let Some(value) = notifications.get(property) {
                    document.set(property, value);
                }
            }
        }
        Ok(())
    }
}
