//! Any CloudFormation type that has no plugin of its own, through the Cloud Control API.
//!
//! Cloud Control tells a resource's properties as a text that holds JSON, under the names that
//! CloudFormation gives them. They become the document's `Properties` as they are; the identifier
//! within type, account and region is `__ExtraContext.Identifier`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, RawResource, Refused, Resource, port_identifier,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

berth_plugin::export!(CloudControlResource, manifest = include_bytes!("../manifest.json"));

/// Maps every kind that no other plugin maps.
pub struct CloudControlResource;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Description<'a>,
}

/// What `GetResource` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Description<'a> {
    #[serde(borrow)]
    identifier: Json<'a>,
    properties: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[]);

impl Mapper for CloudControlResource {
    const KIND: &'static str = "AWS::CloudControl::Resource";
    const FALLBACK: bool = true;
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Description { identifier, properties } = resource.steps.describe;
        let properties = parsed(properties)?;
        // Composite identifiers are joined by `|`, which Port does not take.
        let name = named(identifier)?.replace('|', "/");
        let name = port_identifier(&name);
        let region = context.region.as_deref().unwrap_or_default();
        out.entity("cloudResource", format_args!("{}/{region}/{}/{name}", context.account_id, context.kind))
            .title(identifier)
            .property("type", &context.kind)
            .property("primaryIdentifier", identifier)
            .property("region", region)
            .property("properties", properties)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let described = resource.steps.get("describe").unwrap_or_default().fields()?;
        let identifier = described.get("Identifier").unwrap_or_default();
        let properties = parsed(described.get("Properties").unwrap_or_default())?;
        named(identifier)?;
        let mut document = out.document(&PROPERTIES);
        for (name, value) in properties {
            document.set(name, value);
        }
        document.context("Identifier", identifier).origin();
        Ok(())
    }
}

/// The properties out of the text that holds them.
fn parsed(properties: Json<'_>) -> Result<Map<String, Value>, Refused> {
    let text = properties.as_str().ok_or("its `Properties` are not a text")?;
    serde_json::from_str(&text)
        .map_err(|error| format!("its `Properties` are not a JSON object: {error}").into())
}

fn named(identifier: Json<'_>) -> Result<String, Refused> {
    let name = identifier.as_str().filter(|name| !name.is_empty());
    name.map(String::from).ok_or_else(|| "it has no `Identifier`".into())
}
