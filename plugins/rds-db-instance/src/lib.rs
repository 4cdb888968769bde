//! `AWS::RDS::DBInstance`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(RdsDbInstance, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::RDS::DBInstance`.
pub struct RdsDbInstance;

/// The option that gives documents their `Tags`. The list has them already, so it costs no call,
/// unlike in the integration that Berth replaces.
const TAGS: &str = "ListTagsForResourceAction";

/// What an entity needs of an instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Instance<'a> {
    #[serde(borrow, rename = "DBInstanceArn")]
    arn: Json<'a>,
    #[serde(rename = "DBInstanceIdentifier")]
    identifier: Json<'a>,
    #[serde(rename = "DBInstanceStatus")]
    status: Json<'a>,
    #[serde(rename = "DBInstanceClass")]
    class: Json<'a>,
    engine: Json<'a>,
    engine_version: Json<'a>,
    endpoint: Option<Endpoint<'a>>,
    allocated_storage: Json<'a>,
    storage_type: Json<'a>,
    storage_encrypted: Json<'a>,
    #[serde(rename = "MultiAZ")]
    multi_az: Json<'a>,
    availability_zone: Json<'a>,
    publicly_accessible: Json<'a>,
    deletion_protection: Json<'a>,
    backup_retention_period: Json<'a>,
    instance_create_time: Timestamp<'a>,
    tag_list: Json<'a>,
}

/// Where an instance is reached. Absent while it is created.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Endpoint<'a> {
    #[serde(borrow)]
    address: Json<'a>,
    port: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("DBInstanceArn").required(),
    Property::new("DBInstanceIdentifier"),
    Property::new("AllocatedStorage"),
    Property::new("AutoMinorVersionUpgrade"),
    Property::new("AvailabilityZone"),
    Property::new("BackupRetentionPeriod"),
    Property::new("CACertificateIdentifier"),
    Property::new("CharacterSetName"),
    Property::new("CopyTagsToSnapshot"),
    Property::new("DBInstanceClass"),
    Property::new("Port").raw("DbInstancePort"),
    Property::new("DBInstanceStatus"),
    Property::new("DBName"),
    Property::new("DBParameterGroups"),
    Property::new("DBSecurityGroups"),
    Property::new("DBSubnetGroup"),
    Property::new("DbiResourceId"),
    Property::new("DomainMemberships"),
    Property::new("EnableIAMDatabaseAuthentication").raw("IAMDatabaseAuthenticationEnabled"),
    Property::new("EnablePerformanceInsights").raw("PerformanceInsightsEnabled"),
    Property::new("Endpoint"),
    Property::new("Engine"),
    Property::new("EngineVersion"),
    Property::new("EnhancedMonitoringResourceArn"),
    Property::new("InstanceCreateTime").time(),
    Property::new("Iops"),
    Property::new("KmsKeyId"),
    Property::new("LatestRestorableTime").time(),
    Property::new("LicenseModel"),
    Property::new("MasterUsername"),
    Property::new("MonitoringInterval"),
    Property::new("MonitoringRoleArn"),
    Property::new("MultiAZ"),
    Property::new("OptionGroupMemberships"),
    Property::new("PendingModifiedValues").times(&["ResumeFullAutomationModeTime"]),
    Property::new("PreferredBackupWindow"),
    Property::new("PreferredMaintenanceWindow"),
    Property::new("PubliclyAccessible"),
    Property::new("ReadReplicaDBInstanceIdentifiers"),
    Property::new("SecondaryAvailabilityZone"),
    Property::new("StorageEncrypted"),
    Property::new("StorageType"),
    Property::new("VPCSecurityGroups").raw("VpcSecurityGroups"),
    Property::new("DatabaseInsightsMode"),
    Property::new("DeletionProtection"),
    Property::new("AssociatedRoles"),
    Property::new("CustomerOwnedIpEnabled"),
    Property::new("ActivityStreamStatus"),
    Property::new("BackupTarget"),
    Property::new("NetworkType"),
    Property::new("StorageThroughput"),
    Property::new("CertificateDetails").times(&["ValidTill"]),
    Property::new("DedicatedLogVolume"),
    Property::new("IsStorageConfigUpgradeAvailable"),
    Property::new("EngineLifecycleSupport"),
]);

impl Mapper for RdsDbInstance {
    const KIND: &'static str = "AWS::RDS::DBInstance";
    type Resource<'a> = Resource<Instance<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let instance = resource.item;
        let endpoint = instance.endpoint.unwrap_or_default();
        let tags = if with_tags(context) { instance.tag_list } else { Json::NULL };
        out.entity("rdsDbInstance", instance.arn)
            .title(instance.identifier)
            .property("status", instance.status)
            .property("engine", instance.engine)
            .property("engineVersion", instance.engine_version)
            .property("instanceClass", instance.class)
            .property("endpoint", endpoint.address)
            .property("port", endpoint.port)
            .property("allocatedStorage", instance.allocated_storage)
            .property("storageType", instance.storage_type)
            .property("storageEncrypted", instance.storage_encrypted)
            .property("multiAz", instance.multi_az)
            .property("availabilityZone", instance.availability_zone)
            .property("publiclyAccessible", instance.publicly_accessible)
            .property("deletionProtection", instance.deletion_protection)
            .property("backupRetentionPeriod", instance.backup_retention_period)
            .property("createTime", instance.instance_create_time)
            .property("arn", instance.arn)
            .property("tags", tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(context: &Context, instance: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = instance.item.fields()?;
        let tags = fields.get("TagList").filter(|_| with_tags(context));
        let mut document = out.document(&PROPERTIES);
        document.merge_fields(fields).origin();
        if let Some(tags) = tags {
            document.set("Tags", tags);
        }
        Ok(())
    }
}

fn with_tags(context: &Context) -> bool {
    context.options.iter().any(|option| option == TAGS)
}
