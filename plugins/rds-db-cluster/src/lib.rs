//! `AWS::RDS::DBCluster`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(RdsDbCluster, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::RDS::DBCluster`.
pub struct RdsDbCluster;

/// What an entity needs of a cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Cluster<'a> {
    #[serde(borrow, rename = "DBClusterArn")]
    arn: Json<'a>,
    #[serde(rename = "DBClusterIdentifier")]
    identifier: Json<'a>,
    status: Json<'a>,
    engine: Json<'a>,
    engine_version: Json<'a>,
    engine_mode: Json<'a>,
    database_name: Json<'a>,
    endpoint: Json<'a>,
    reader_endpoint: Json<'a>,
    port: Json<'a>,
    #[serde(rename = "MultiAZ")]
    multi_az: Json<'a>,
    storage_encrypted: Json<'a>,
    deletion_protection: Json<'a>,
    backup_retention_period: Json<'a>,
    cluster_create_time: Timestamp<'a>,
    tag_list: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("DBClusterArn").required(),
    Property::new("ClusterCreateTime").time(),
    Property::new("EarliestRestorableTime").time(),
    Property::new("LatestRestorableTime").time(),
    Property::new("EarliestBacktrackTime").time(),
    Property::new("AutomaticRestartTime").time(),
    Property::new("IOOptimizedNextAllowedModificationTime").time(),
    Property::new("CertificateDetails").times(&["ValidTill"]),
    Property::new("PendingModifiedValues").times(&["ValidTill"]),
]);

impl Mapper for RdsDbCluster {
    const KIND: &'static str = "AWS::RDS::DBCluster";
    type Resource<'a> = Resource<Cluster<'a>>;

    fn entities(context: &Context, cluster: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let cluster = cluster.item;
        out.entity("rdsDbCluster", cluster.arn)
            .title(cluster.identifier)
            .property("status", cluster.status)
            .property("engine", cluster.engine)
            .property("engineVersion", cluster.engine_version)
            .property("engineMode", cluster.engine_mode)
            .property("databaseName", cluster.database_name)
            .property("endpoint", cluster.endpoint)
            .property("readerEndpoint", cluster.reader_endpoint)
            .property("port", cluster.port)
            .property("multiAz", cluster.multi_az)
            .property("storageEncrypted", cluster.storage_encrypted)
            .property("deletionProtection", cluster.deletion_protection)
            .property("backupRetentionPeriod", cluster.backup_retention_period)
            .property("createTime", cluster.cluster_create_time)
            .property("arn", cluster.arn)
            .property("tags", cluster.tag_list)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, cluster: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        // `TagList` is the list's own, so the option that adds it has nothing left to do.
        out.document(&PROPERTIES).merge(cluster.item).origin();
        Ok(())
    }
}
