//! `AWS::CloudFront::Distribution`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(CloudFrontDistribution, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CloudFront::Distribution`.
pub struct CloudFrontDistribution;

/// What an entity needs of a distribution.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Distribution<'a> {
    #[serde(borrow, rename = "ARN")]
    arn: Json<'a>,
    id: Json<'a>,
    aliases: Option<Aliases<'a>>,
    origins: Option<Origins<'a>>,
    viewer_certificate: Option<ViewerCertificate<'a>>,
    status: Json<'a>,
    enabled: Json<'a>,
    domain_name: Json<'a>,
    comment: Json<'a>,
    price_class: Json<'a>,
    http_version: Json<'a>,
    #[serde(rename = "IsIPV6Enabled")]
    is_ipv6_enabled: Json<'a>,
    #[serde(rename = "WebACLId")]
    web_acl_id: Json<'a>,
    staging: Json<'a>,
    last_modified_time: Timestamp<'a>,
}

/// The domain names of a distribution.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Aliases<'a> {
    #[serde(borrow)]
    items: Json<'a>,
}

/// Where content comes from.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Origins<'a> {
    #[serde(borrow)]
    items: Option<Vec<Origin<'a>>>,
}

/// How viewers connect.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ViewerCertificate<'a> {
    #[serde(borrow, rename = "ACMCertificateArn")]
    acm_certificate_arn: Json<'a>,
    minimum_protocol_version: Json<'a>,
}

/// Where content comes from, one of several.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Origin<'a> {
    #[serde(borrow)]
    domain_name: Json<'a>,
}

/// What an entity needs beside the distribution.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

const PROPERTIES: Properties =
    Properties::keeping_unknown(&[Property::new("ARN").required(), Property::new("LastModifiedTime").time()]);

impl Mapper for CloudFrontDistribution {
    const KIND: &'static str = "AWS::CloudFront::Distribution";
    type Resource<'a> = Resource<Distribution<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let distribution = resource.item;
        let aliases = distribution.aliases.unwrap_or_default().items;
        let alias = aliases.elements().ok().and_then(|aliases| aliases.first().copied());
        let origins = distribution.origins.unwrap_or_default().items.unwrap_or_default();
        let origins: Vec<Json<'_>> = origins.iter().map(|origin| origin.domain_name).collect();
        let viewer_certificate = distribution.viewer_certificate.unwrap_or_default();
        out.entity("cloudfrontDistribution", distribution.arn)
            .title(alias.filter(|alias| !alias.is_null()).unwrap_or(distribution.domain_name))
            .property("arn", distribution.arn)
            .property("distributionId", distribution.id)
            .property("status", distribution.status)
            .property("enabled", distribution.enabled)
            .property("domainName", distribution.domain_name)
            .property("aliases", aliases)
            .property("originDomainNames", origins)
            .property("comment", distribution.comment)
            .property("priceClass", distribution.price_class)
            .property("httpVersion", distribution.http_version)
            .property("ipv6Enabled", distribution.is_ipv6_enabled)
            .property("minimumProtocolVersion", viewer_certificate.minimum_protocol_version)
            .property("webAclId", distribution.web_acl_id)
            .property("staging", distribution.staging)
            .property("lastModifiedTime", distribution.last_modified_time)
            .property("tags", resource.steps.tags)
            .relation("account", &context.account_id)
            .relation("certificate", viewer_certificate.acm_certificate_arn);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.item).origin();
        if let Some(tags) = resource.step("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}
