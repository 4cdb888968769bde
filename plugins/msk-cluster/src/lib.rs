//! `AWS::MSK::Cluster`: provisioned clusters. Serverless ones are a kind of their own.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(MskCluster, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::MSK::Cluster`.
pub struct MskCluster;

/// What an entity needs of a cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Cluster<'a> {
    #[serde(borrow)]
    cluster_arn: Json<'a>,
    cluster_name: Json<'a>,
    state: Json<'a>,
    current_broker_software_info: Option<SoftwareInfo<'a>>,
    number_of_broker_nodes: Json<'a>,
    broker_node_group_info: Option<BrokerNodes<'a>>,
    encryption_info: Option<Encryption<'a>>,
    enhanced_monitoring: Json<'a>,
    storage_mode: Json<'a>,
    creation_time: Timestamp<'a>,
    tags: Json<'a>,
}

/// What the brokers run.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SoftwareInfo<'a> {
    #[serde(borrow)]
    kafka_version: Json<'a>,
}

/// The brokers of a cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BrokerNodes<'a> {
    #[serde(borrow)]
    instance_type: Json<'a>,
    client_subnets: Json<'a>,
    security_groups: Json<'a>,
}

/// How data is encrypted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Encryption<'a> {
    #[serde(borrow)]
    encryption_in_transit: Option<InTransit<'a>>,
    encryption_at_rest: Option<AtRest<'a>>,
}

/// How traffic is encrypted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InTransit<'a> {
    #[serde(borrow)]
    client_broker: Json<'a>,
}

/// How stored data is encrypted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AtRest<'a> {
    #[serde(borrow)]
    #[serde(rename = "DataVolumeKMSKeyId")]
    data_volume_kms_key_id: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("ClusterArn").required(),
    Property::new("ClusterName"),
    Property::new("State"),
    Property::new("CreationTime").time(),
    Property::new("CurrentVersion"),
    Property::new("BrokerNodeGroupInfo"),
    Property::new("ClientAuthentication"),
    Property::new("EncryptionInfo"),
    Property::new("CurrentBrokerSoftwareInfo"),
    Property::new("LoggingInfo"),
    Property::new("OpenMonitoring"),
    Property::new("NumberOfBrokerNodes"),
    Property::new("EnhancedMonitoring"),
    Property::new("StorageMode"),
    Property::new("ZookeeperConnectString"),
    Property::new("ZookeeperConnectStringTls"),
    Property::new("Tags"),
]);

impl Mapper for MskCluster {
    const KIND: &'static str = "AWS::MSK::Cluster";
    type Resource<'a> = Resource<Cluster<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let cluster = resource.item;
        let brokers = cluster.broker_node_group_info.unwrap_or_default();
        let encryption = cluster.encryption_info.unwrap_or_default();
        out.entity("mskCluster", cluster.cluster_arn)
            .title(cluster.cluster_name)
            .property("arn", cluster.cluster_arn)
            .property("state", cluster.state)
            .property("kafkaVersion", cluster.current_broker_software_info.unwrap_or_default().kafka_version)
            .property("numberOfBrokerNodes", cluster.number_of_broker_nodes)
            .property("instanceType", brokers.instance_type)
            .property("subnets", brokers.client_subnets)
            .property("securityGroups", brokers.security_groups)
            .property("clientEncryption", encryption.encryption_in_transit.unwrap_or_default().client_broker)
            .property("kmsKeyId", encryption.encryption_at_rest.unwrap_or_default().data_volume_kms_key_id)
            .property("enhancedMonitoring", cluster.enhanced_monitoring)
            .property("storageMode", cluster.storage_mode)
            .property("creationTime", cluster.creation_time)
            .property("tags", cluster.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        out.document(&PROPERTIES).merge(resource.item).origin();
        Ok(())
    }
}
