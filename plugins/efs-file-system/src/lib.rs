//! `AWS::EFS::FileSystem`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(EfsFileSystem, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EFS::FileSystem`.
pub struct EfsFileSystem;

/// What an entity needs of a file system.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct FileSystem<'a> {
    #[serde(borrow)]
    file_system_arn: Json<'a>,
    file_system_id: Json<'a>,
    name: Json<'a>,
    kms_key_id: Json<'a>,
    life_cycle_state: Json<'a>,
    performance_mode: Json<'a>,
    throughput_mode: Json<'a>,
    provisioned_throughput_in_mibps: Json<'a>,
    encrypted: Json<'a>,
    size_in_bytes: Option<Size<'a>>,
    number_of_mount_targets: Json<'a>,
    availability_zone_name: Json<'a>,
    creation_time: Timestamp<'a>,
    tags: Json<'a>,
}

/// How much data a file system holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Size<'a> {
    #[serde(borrow)]
    value: Json<'a>,
}

/// The property that each step's result becomes.
const STEPS: [(&str, &str); 3] =
    [("mountTargets", "MountTargets"), ("lifecycle", "LifecyclePolicies"), ("backup", "BackupPolicy")];

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("FileSystemArn").required(),
    Property::new("CreationTime").time(),
    Property::new("SizeInBytes").times(&["Timestamp"]),
]);

impl Mapper for EfsFileSystem {
    const KIND: &'static str = "AWS::EFS::FileSystem";
    type Resource<'a> = Resource<FileSystem<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let file_system = resource.item;
        let named = file_system.name.as_str().is_some_and(|name| !name.is_empty());
        let size_in_bytes = file_system.size_in_bytes.unwrap_or_default();
        out.entity("efsFileSystem", file_system.file_system_arn)
            .title(if named { file_system.name } else { file_system.file_system_id })
            .property("arn", file_system.file_system_arn)
            .property("fileSystemId", file_system.file_system_id)
            .property("lifeCycleState", file_system.life_cycle_state)
            .property("performanceMode", file_system.performance_mode)
            .property("throughputMode", file_system.throughput_mode)
            .property("provisionedThroughputInMibps", file_system.provisioned_throughput_in_mibps)
            .property("encrypted", file_system.encrypted)
            .property("sizeInBytes", size_in_bytes.value)
            .property("numberOfMountTargets", file_system.number_of_mount_targets)
            .property("availabilityZoneName", file_system.availability_zone_name)
            .property("creationTime", file_system.creation_time)
            .property("tags", file_system.tags)
            .relation("account", &context.account_id)
            .relation("kmsKey", file_system.kms_key_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.item).origin();
        for (step, property) in STEPS {
            if let Some(result) = resource.step(step) {
                document.set(property, result);
            }
        }
        Ok(())
    }
}
