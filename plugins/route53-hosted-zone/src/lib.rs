//! `AWS::Route53::HostedZone`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::Deserialize;

berth_plugin::export!(Route53HostedZone, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::Route53::HostedZone`.
pub struct Route53HostedZone;

/// What an entity needs of a hosted zone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostedZone<'a> {
    #[serde(borrow)]
    id: Json<'a>,
    name: Json<'a>,
    config: Option<Config<'a>>,
    resource_record_set_count: Json<'a>,
    linked_service: Option<LinkedService<'a>>,
}

/// The settings of a zone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config<'a> {
    #[serde(borrow)]
    private_zone: Json<'a>,
    comment: Json<'a>,
}

/// Who created a zone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LinkedService<'a> {
    #[serde(borrow)]
    service_principal: Json<'a>,
}

/// What an entity needs beside what the list tells.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    zone: Option<Details<'a>>,
}

/// The answer of `GetHostedZone`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Details<'a> {
    #[serde(borrow)]
    delegation_set: Option<DelegationSet<'a>>,
}

/// The name servers of a public zone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DelegationSet<'a> {
    #[serde(borrow)]
    name_servers: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[Property::new("Id").required()]);

impl Mapper for Route53HostedZone {
    const KIND: &'static str = "AWS::Route53::HostedZone";
    type Resource<'a> = Resource<HostedZone<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: zone, steps, .. } = resource;
        let id = id(zone.id)?;
        let partition = &context.partition;
        let name = zone.name.as_str();
        let delegation_set = steps.zone.unwrap_or_default().delegation_set.unwrap_or_default();
        let config = zone.config.unwrap_or_default();
        let linked_service = zone.linked_service.unwrap_or_default();
        out.entity("route53HostedZone", format_args!("arn:{partition}:route53:::hostedzone/{id}"))
            .title(name.as_deref().map(|name| name.strip_suffix('.').unwrap_or(name)))
            .property("arn", format_args!("arn:{partition}:route53:::hostedzone/{id}"))
            .property("hostedZoneId", &id)
            .property("privateZone", config.private_zone)
            .property("comment", config.comment)
            .property("resourceRecordSetCount", zone.resource_record_set_count)
            .property("linkedService", linked_service.service_principal)
            .property("nameServers", delegation_set.name_servers)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(context: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = resource.item.fields()?;
        let id = id(fields.get("Id").unwrap_or_default())?;
        let mut document = out.document(&PROPERTIES);
        document
            .merge_fields(fields)
            .set("Arn", format_args!("arn:{}:route53:::hostedzone/{id}", context.partition))
            .set("HostedZoneId", &id)
            .origin();
        if let Some(zone) = resource.step("zone") {
            let zone = zone.fields()?;
            for property in ["DelegationSet", "VPCs"] {
                if let Some(value) = zone.get(property) {
                    document.set(property, value);
                }
            }
        }
        Ok(())
    }
}

/// The bare id of a zone: the list writes it as `/hostedzone/Z…`.
fn id(id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().unwrap_or_default();
    let bare = id.strip_prefix("/hostedzone/").unwrap_or(&id);
    if bare.is_empty() { Err("it has no `Id`".into()) } else { Ok(bare.to_owned()) }
}
