//! `AWS::MemoryDB::User`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::Deserialize;

berth_plugin::export!(MemoryDbUser, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::MemoryDB::User`.
pub struct MemoryDbUser;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

/// What an entity needs of a user.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct User<'a> {
    #[serde(borrow)]
    #[serde(rename = "ARN")]
    arn: Json<'a>,
    name: Json<'a>,
    status: Json<'a>,
    access_string: Json<'a>,
    #[serde(rename = "ACLNames")]
    acl_names: Json<'a>,
    minimum_engine_version: Json<'a>,
    authentication: Option<Authentication<'a>>,
}

/// How a user authenticates.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Authentication<'a> {
    #[serde(borrow)]
    r#type: Json<'a>,
    password_count: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("Name"),
    Property::new("Status"),
    Property::new("AccessString"),
    Property::new("ACLNames"),
    Property::new("MinimumEngineVersion"),
    Property::new("ARN").required(),
    Property::new("Authentication"),
]);

impl Mapper for MemoryDbUser {
    const KIND: &'static str = "AWS::MemoryDB::User";
    type Resource<'a> = Resource<User<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: user, steps, .. } = resource;
        let authentication = user.authentication.unwrap_or_default();
        out.entity("memorydbUser", user.arn)
            .title(user.name)
            .property("arn", user.arn)
            .property("status", user.status)
            .property("accessString", user.access_string)
            .property("aclNames", user.acl_names)
            .property("minimumEngineVersion", user.minimum_engine_version)
            .property("authenticationType", authentication.r#type)
            .property("passwordCount", authentication.password_count)
            .property("tags", steps.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.item).origin();
        if let Some(tags) = resource.steps.get("tags") {
            document.set("TagList", tags);
        }
        Ok(())
    }
}
