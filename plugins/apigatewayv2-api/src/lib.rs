//! `AWS::ApiGatewayV2::Api`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(ApiGatewayV2Api, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ApiGatewayV2::Api`.
pub struct ApiGatewayV2Api;

/// What an entity needs of an API.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Api<'a> {
    #[serde(borrow)]
    api_id: Json<'a>,
    name: Json<'a>,
    protocol_type: Json<'a>,
    api_endpoint: Json<'a>,
    description: Json<'a>,
    version: Json<'a>,
    disable_execute_api_endpoint: Json<'a>,
    route_selection_expression: Json<'a>,
    ip_address_type: Json<'a>,
    created_date: Timestamp<'a>,
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("ApiId").required(),
    Property::new("CreatedDate").time(),
    Property::new("Stages").raw("Items").times(&["CreatedDate", "LastUpdatedDate"]),
]);

impl Mapper for ApiGatewayV2Api {
    const KIND: &'static str = "AWS::ApiGatewayV2::Api";
    type Resource<'a> = Resource<Api<'a>>;

    fn entities(context: &Context, api: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = api.item;
        let arn = arn(context, item.api_id)?;
        out.entity("apigatewayV2Api", &arn)
            .title(item.name)
            .property("arn", &arn)
            .property("apiId", item.api_id)
            .property("protocolType", item.protocol_type)
            .property("apiEndpoint", item.api_endpoint)
            .property("description", item.description)
            .property("version", item.version)
            .property("disableExecuteApiEndpoint", item.disable_execute_api_endpoint)
            .property("routeSelectionExpression", item.route_selection_expression)
            .property("ipAddressType", item.ip_address_type)
            .property("createdDate", item.created_date)
            .property("tags", item.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(context: &Context, api: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let item = api.item.fields()?;
        let arn = arn(context, item.get("ApiId").unwrap_or_default())?;
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
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `ApiId`")?;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{}:apigateway:{region}::/apis/{id}", context.partition))
}
