//! `AWS::EKS::Cluster`.
//!
//! The list knows names only; all else comes from the `describe` step. A cluster that is gone by
//! then never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(EksCluster, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EKS::Cluster`.
pub struct EksCluster;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Cluster<'a>,
}

/// What an entity needs of a cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cluster<'a> {
    #[serde(borrow)]
    arn: Json<'a>,
    name: Json<'a>,
    status: Json<'a>,
    version: Json<'a>,
    platform_version: Json<'a>,
    endpoint: Json<'a>,
    role_arn: Json<'a>,
    resources_vpc_config: Option<VpcConfig<'a>>,
    created_at: Timestamp<'a>,
    tags: Json<'a>,
}

/// What an entity needs of a cluster's network.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VpcConfig<'a> {
    #[serde(borrow)]
    vpc_id: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("Arn").required(),
    Property::new("Name"),
    Property::new("Status"),
    Property::new("Version"),
    Property::new("AccessConfig"),
    Property::new("CertificateAuthority"),
    Property::new("ComputeConfig"),
    Property::new("CreatedAt").time(),
    Property::new("Endpoint"),
    Property::new("Identity"),
    Property::new("KubernetesNetworkConfig"),
    Property::new("Logging"),
    Property::new("PlatformVersion"),
    Property::new("ResourcesVpcConfig"),
    Property::new("RoleArn"),
    Property::new("StorageConfig"),
    Property::new("Tags"),
    Property::new("UpgradePolicy"),
    Property::new("ZonalShiftConfig"),
]);

impl Mapper for EksCluster {
    const KIND: &'static str = "AWS::EKS::Cluster";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let cluster = resource.steps.describe;
        out.entity("eksCluster", cluster.arn)
            .title(cluster.name)
            .property("status", cluster.status)
            .property("version", cluster.version)
            .property("platformVersion", cluster.platform_version)
            .property("endpoint", cluster.endpoint)
            .property("roleArn", cluster.role_arn)
            .property("vpcId", cluster.resources_vpc_config.unwrap_or_default().vpc_id)
            .property("createdAt", cluster.created_at)
            .property("arn", cluster.arn)
            .property("tags", cluster.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let cluster = resource.step("describe").unwrap_or_default();
        out.document(&PROPERTIES).merge(cluster).origin();
        Ok(())
    }
}
