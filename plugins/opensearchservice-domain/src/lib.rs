//! `AWS::OpenSearchService::Domain`.
//!
//! The list knows names only; all else comes from the `describe` step. A domain that it answered
//! nothing for is gone and never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(OpenSearchServiceDomain, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::OpenSearchService::Domain`.
pub struct OpenSearchServiceDomain;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Domain<'a>,
    tags: Json<'a>,
}

/// What an entity needs of a domain.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Domain<'a> {
    #[serde(borrow, rename = "ARN")]
    arn: Json<'a>,
    domain_name: Json<'a>,
    endpoint: Json<'a>,
    endpoints: Option<Endpoints<'a>>,
    encryption_at_rest_options: Option<EncryptionAtRest<'a>>,
    engine_version: Json<'a>,
    domain_processing_status: Json<'a>,
    cluster_config: Option<ClusterConfig<'a>>,
    node_to_node_encryption_options: Option<Switch<'a>>,
    domain_endpoint_options: Option<EndpointOptions<'a>>,
    advanced_security_options: Option<Switch<'a>>,
    #[serde(rename = "VPCOptions")]
    vpc_options: Option<VpcOptions<'a>>,
}

/// The host names of a domain in a VPC.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Endpoints<'a> {
    #[serde(borrow, rename = "vpc")]
    vpc: Json<'a>,
}

/// How data is encrypted at rest.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EncryptionAtRest<'a> {
    #[serde(borrow)]
    kms_key_id: Json<'a>,
    enabled: Json<'a>,
}

/// The nodes of a domain.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ClusterConfig<'a> {
    #[serde(borrow)]
    instance_type: Json<'a>,
    instance_count: Json<'a>,
    dedicated_master_enabled: Json<'a>,
    zone_awareness_enabled: Json<'a>,
}

/// Something that is on or off.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Switch<'a> {
    #[serde(borrow)]
    enabled: Json<'a>,
}

/// How clients connect.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointOptions<'a> {
    #[serde(borrow, rename = "EnforceHTTPS")]
    enforce_https: Json<'a>,
}

/// The network of a domain.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VpcOptions<'a> {
    #[serde(borrow, rename = "VPCId")]
    vpc_id: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("ARN").required(),
    Property::new("ServiceSoftwareOptions").times(&["AutomatedUpdateDate"]),
    Property::new("AdvancedSecurityOptions").times(&["AnonymousAuthDisableDate"]),
    Property::new("ChangeProgressDetails").times(&["StartTime", "LastUpdatedTime"]),
    Property::new("AutomatedSnapshotPauseOptions").times(&["StartTime", "EndTime"]),
]);

impl Mapper for OpenSearchServiceDomain {
    const KIND: &'static str = "AWS::OpenSearchService::Domain";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let domain = resource.steps.describe;
        let endpoint = Some(domain.endpoint)
            .filter(|endpoint| !endpoint.is_null())
            .unwrap_or(domain.endpoints.unwrap_or_default().vpc);
        let cluster_config = domain.cluster_config.unwrap_or_default();
        let encryption_at_rest_options = domain.encryption_at_rest_options.unwrap_or_default();
        let node_to_node_encryption_options = domain.node_to_node_encryption_options.unwrap_or_default();
        let domain_endpoint_options = domain.domain_endpoint_options.unwrap_or_default();
        let advanced_security_options = domain.advanced_security_options.unwrap_or_default();
        let vpc_options = domain.vpc_options.unwrap_or_default();
        out.entity("opensearchDomain", domain.arn)
            .title(domain.domain_name)
            .property("arn", domain.arn)
            .property("engineVersion", domain.engine_version)
            .property("processingStatus", domain.domain_processing_status)
            .property("endpoint", endpoint)
            .property("instanceType", cluster_config.instance_type)
            .property("instanceCount", cluster_config.instance_count)
            .property("dedicatedMasterEnabled", cluster_config.dedicated_master_enabled)
            .property("zoneAwarenessEnabled", cluster_config.zone_awareness_enabled)
            .property("encryptedAtRest", encryption_at_rest_options.enabled)
            .property("nodeToNodeEncryption", node_to_node_encryption_options.enabled)
            .property("enforceHttps", domain_endpoint_options.enforce_https)
            .property("fineGrainedAccessControl", advanced_security_options.enabled)
            .property("vpcId", vpc_options.vpc_id)
            .property("tags", resource.steps.tags)
            .relation("account", &context.account_id)
            .relation("kmsKey", encryption_at_rest_options.kms_key_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.step("describe").unwrap_or_default()).origin();
        if let Some(tags) = resource.step("tags") {
            document.set("TagList", tags);
        }
        Ok(())
    }
}
