//! `AWS::ApiGateway::RestApi`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(ApiGatewayRestApi, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ApiGateway::RestApi`.
pub struct ApiGatewayRestApi;

/// What an entity needs of an API.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Api<'a> {
    #[serde(borrow)]
    id: Json<'a>,
    name: Json<'a>,
    description: Json<'a>,
    version: Json<'a>,
    endpoint_configuration: Option<EndpointConfiguration<'a>>,
    api_key_source: Json<'a>,
    disable_execute_api_endpoint: Json<'a>,
    created_date: Timestamp<'a>,
    tags: Json<'a>,
}

/// How an API is reached.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointConfiguration<'a> {
    #[serde(borrow)]
    types: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("Id").required(),
    Property::new("Name"),
    Property::new("Description"),
    Property::new("CreatedDate").time(),
    Property::new("Version"),
    Property::new("Warnings"),
    Property::new("BinaryMediaTypes"),
    Property::new("MinimumCompressionSize"),
    Property::new("ApiKeySource"),
    Property::new("EndpointConfiguration"),
    Property::new("Policy"),
    Property::new("Tags"),
    Property::new("DisableExecuteApiEndpoint"),
    Property::new("RootResourceId"),
    Property::new("SecurityPolicy"),
    Property::new("EndpointAccessMode"),
    Property::new("ApiStatus"),
    Property::new("ApiStatusMessage"),
    Property::new("Stages").raw("item").times(&["createdDate", "lastUpdatedDate"]),
]);

impl Mapper for ApiGatewayRestApi {
    const KIND: &'static str = "AWS::ApiGateway::RestApi";
    type Resource<'a> = Resource<Api<'a>>;

    fn entities(context: &Context, api: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = api.item;
        let arn = arn(context, item.id)?;
        let endpoint_configuration = item.endpoint_configuration.unwrap_or_default();
        out.entity("apigatewayRestApi", &arn)
            .title(item.name)
            .property("arn", &arn)
            .property("apiId", item.id)
            .property("description", item.description)
            .property("version", item.version)
            .property("endpointTypes", endpoint_configuration.types)
            .property("apiKeySource", item.api_key_source)
            .property("disableExecuteApiEndpoint", item.disable_execute_api_endpoint)
            .property("createdDate", item.created_date)
            .property("tags", item.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(context: &Context, api: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let item = api.item.fields()?;
        let arn = arn(context, item.get("id").unwrap_or_default())?;
        let mut document = out.document(&PROPERTIES);
        document.merge_fields(item).set("Arn", arn).origin();
        if let Some(stages) = api.step("stages") {
            document.merge(stages);
        }
        Ok(())
    }
}

/// The API's ARN, which AWS does not tell. It names no account, yet is unique: the id is part of a
/// host name in the region.
fn arn(context: &Context, id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `id`")?;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{}:apigateway:{region}::/restapis/{id}", context.partition))
}
