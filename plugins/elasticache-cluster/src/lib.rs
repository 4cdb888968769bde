//! `AWS::ElastiCache::Cluster`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(ElasticacheCluster, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ElastiCache::Cluster`.
pub struct ElasticacheCluster;

/// What an entity needs of a cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Cluster<'a> {
    #[serde(borrow, rename = "ARN")]
    arn: Json<'a>,
    cache_cluster_id: Json<'a>,
    cache_cluster_status: Json<'a>,
    engine: Json<'a>,
    engine_version: Json<'a>,
    cache_node_type: Json<'a>,
    num_cache_nodes: Json<'a>,
    replication_group_id: Json<'a>,
    preferred_availability_zone: Json<'a>,
    at_rest_encryption_enabled: Json<'a>,
    transit_encryption_enabled: Json<'a>,
    auto_minor_version_upgrade: Json<'a>,
    snapshot_retention_limit: Json<'a>,
    cache_cluster_create_time: Timestamp<'a>,
}

/// What an entity needs beside the cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("ARN").required(),
    Property::new("CacheClusterCreateTime").time(),
    Property::new("CacheNodes").times(&["CacheNodeCreateTime"]),
    Property::new("AuthTokenLastModifiedDate").time(),
]);

impl Mapper for ElasticacheCluster {
    const KIND: &'static str = "AWS::ElastiCache::Cluster";
    type Resource<'a> = Resource<Cluster<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: cluster, steps, .. } = resource;
        out.entity("elasticacheCluster", cluster.arn)
            .title(cluster.cache_cluster_id)
            .property("status", cluster.cache_cluster_status)
            .property("engine", cluster.engine)
            .property("engineVersion", cluster.engine_version)
            .property("nodeType", cluster.cache_node_type)
            .property("numNodes", cluster.num_cache_nodes)
            .property("replicationGroupId", cluster.replication_group_id)
            .property("availabilityZone", cluster.preferred_availability_zone)
            .property("atRestEncryptionEnabled", cluster.at_rest_encryption_enabled)
            .property("transitEncryptionEnabled", cluster.transit_encryption_enabled)
            .property("autoMinorVersionUpgrade", cluster.auto_minor_version_upgrade)
            .property("snapshotRetentionLimit", cluster.snapshot_retention_limit)
            .property("createTime", cluster.cache_cluster_create_time)
            .property("arn", cluster.arn)
            .property("tags", steps.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, cluster: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(cluster.item).origin();
        if let Some(tags) = cluster.step("tags") {
            document.set("TagList", tags);
        }
        Ok(())
    }
}
