//! `AWS::Redshift::Cluster`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(RedshiftCluster, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::Redshift::Cluster`.
pub struct RedshiftCluster;

/// What an entity needs of a cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Cluster<'a> {
    #[serde(borrow)]
    cluster_identifier: Json<'a>,
    kms_key_id: Json<'a>,
    cluster_status: Json<'a>,
    cluster_availability_status: Json<'a>,
    node_type: Json<'a>,
    number_of_nodes: Json<'a>,
    #[serde(rename = "DBName")]
    db_name: Json<'a>,
    endpoint: Option<Endpoint<'a>>,
    cluster_version: Json<'a>,
    encrypted: Json<'a>,
    publicly_accessible: Json<'a>,
    enhanced_vpc_routing: Json<'a>,
    vpc_id: Json<'a>,
    availability_zone: Json<'a>,
    cluster_create_time: Timestamp<'a>,
    tags: Json<'a>,
}

/// Where a cluster is reached.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Endpoint<'a> {
    #[serde(borrow)]
    address: Json<'a>,
    port: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("ClusterIdentifier").required(),
    Property::new("ClusterCreateTime").time(),
    Property::new("CustomDomainCertificateExpiryDate").time(),
    Property::new("DeferredMaintenanceWindows")
        .times(&["DeferMaintenanceStartTime", "DeferMaintenanceEndTime"]),
    Property::new("ExpectedNextSnapshotScheduleTime").time(),
    Property::new("NextMaintenanceWindowStartTime").time(),
    Property::new("ReservedNodeExchangeStatus").times(&["RequestTime"]),
]);

impl Mapper for RedshiftCluster {
    const KIND: &'static str = "AWS::Redshift::Cluster";
    type Resource<'a> = Resource<Cluster<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let cluster = resource.item;
        let arn = arn(context, cluster.cluster_identifier)?;
        let endpoint = cluster.endpoint.unwrap_or_default();
        out.entity("redshiftCluster", &arn)
            .title(cluster.cluster_identifier)
            .property("arn", &arn)
            .property("status", cluster.cluster_status)
            .property("availabilityStatus", cluster.cluster_availability_status)
            .property("nodeType", cluster.node_type)
            .property("numberOfNodes", cluster.number_of_nodes)
            .property("databaseName", cluster.db_name)
            .property("endpointAddress", endpoint.address)
            .property("endpointPort", endpoint.port)
            .property("version", cluster.cluster_version)
            .property("encrypted", cluster.encrypted)
            .property("publiclyAccessible", cluster.publicly_accessible)
            .property("enhancedVpcRouting", cluster.enhanced_vpc_routing)
            .property("vpcId", cluster.vpc_id)
            .property("availabilityZone", cluster.availability_zone)
            .property("createTime", cluster.cluster_create_time)
            .property("tags", cluster.tags)
            .relation("account", &context.account_id)
            .relation("kmsKey", cluster.kms_key_id);
        Ok(())
    }

    fn documents(context: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let cluster = resource.item.fields()?;
        let arn = arn(context, cluster.get("ClusterIdentifier").unwrap_or_default())?;
        out.document(&PROPERTIES).merge_fields(cluster).set("Arn", arn).origin();
        Ok(())
    }
}

/// The cluster's ARN, which AWS does not tell: `ClusterNamespaceArn` is that of its data.
fn arn(context: &Context, identifier: Json<'_>) -> Result<String, Refused> {
    let identifier =
        identifier.as_str().filter(|text| !text.is_empty()).ok_or("it has no `ClusterIdentifier`")?;
    let Context { partition, account_id, .. } = context;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{partition}:redshift:{region}:{account_id}:cluster:{identifier}"))
}
