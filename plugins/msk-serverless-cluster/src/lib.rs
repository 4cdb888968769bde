//! `AWS::MSK::ServerlessCluster`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(MskServerlessCluster, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::MSK::ServerlessCluster`.
pub struct MskServerlessCluster;

/// What an entity needs of a cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Cluster<'a> {
    #[serde(borrow)]
    cluster_arn: Json<'a>,
    cluster_name: Json<'a>,
    state: Json<'a>,
    state_info: Option<StateInfo<'a>>,
    current_version: Json<'a>,
    serverless: Option<Serverless<'a>>,
    creation_time: Timestamp<'a>,
    tags: Json<'a>,
}

/// Why a cluster is in its state.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct StateInfo<'a> {
    #[serde(borrow)]
    message: Json<'a>,
}

/// What only serverless clusters have.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Serverless<'a> {
    #[serde(borrow)]
    vpc_configs: Option<Vec<VpcConfig<'a>>>,
}

/// Where clients connect to.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VpcConfig<'a> {
    #[serde(borrow)]
    subnet_ids: Option<Vec<Json<'a>>>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("ActiveOperationArn"),
    Property::new("ClusterArn").required(),
    Property::new("ClusterName"),
    Property::new("ClusterType"),
    Property::new("CreationTime").time(),
    Property::new("CurrentVersion"),
    Property::new("State"),
    Property::new("StateInfo"),
    Property::new("Tags"),
    Property::new("Serverless"),
]);

impl Mapper for MskServerlessCluster {
    const KIND: &'static str = "AWS::MSK::ServerlessCluster";
    type Resource<'a> = Resource<Cluster<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let cluster = resource.item;
        let subnets = cluster.serverless.unwrap_or_default().vpc_configs.and_then(|configs| {
            // None where one has no list, as in the mapping.
            let lists: Option<Vec<_>> = configs.into_iter().map(|config| config.subnet_ids).collect();
            lists.map(|lists| lists.concat())
        });
        out.entity("mskServerlessCluster", cluster.cluster_arn)
            .title(cluster.cluster_name)
            .property("arn", cluster.cluster_arn)
            .property("state", cluster.state)
            .property("stateMessage", cluster.state_info.unwrap_or_default().message)
            .property("currentVersion", cluster.current_version)
            .property("subnets", subnets)
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
