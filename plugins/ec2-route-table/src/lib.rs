//! `AWS::EC2::RouteTable`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::Deserialize;

berth_plugin::export!(Ec2RouteTable, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::RouteTable`.
pub struct Ec2RouteTable;

/// What an entity needs of a route table.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RouteTable<'a> {
    #[serde(borrow)]
    route_table_id: Json<'a>,
    owner_id: Json<'a>,
    vpc_id: Json<'a>,
    associations: Option<Vec<Association<'a>>>,
    routes: Json<'a>,
    tags: Json<'a>,
}

/// What a table is used by.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Association<'a> {
    main: Option<bool>,
    #[serde(borrow)]
    subnet_id: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[Property::new("RouteTableId").required()]);

impl Mapper for Ec2RouteTable {
    const KIND: &'static str = "AWS::EC2::RouteTable";
    type Resource<'a> = Resource<RouteTable<'a>>;

    fn entities(context: &Context, table: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = table.item;
        if is_foreign(context, item.owner_id) {
            return Ok(());
        }
        let arn = arn(context, item.route_table_id)?;
        let associations = item.associations.unwrap_or_default();
        let main = associations.iter().any(|association| association.main == Some(true));
        let subnets: Vec<Json<'_>> = associations
            .iter()
            .map(|association| association.subnet_id)
            .filter(|subnet| !subnet.is_null())
            .collect();
        out.entity("ec2RouteTable", item.route_table_id)
            .title(name(item.tags).unwrap_or(item.route_table_id))
            .property("main", main)
            .property("routes", item.routes)
            .property("tags", item.tags)
            .property("arn", arn)
            .relation("account", &context.account_id)
            .relation("vpc", item.vpc_id)
            .relation("subnets", subnets);
        Ok(())
    }

    fn documents(context: &Context, table: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = table.item.fields()?;
        if is_foreign(context, fields.get("OwnerId").unwrap_or_default()) {
            return Ok(());
        }
        let arn = arn(context, fields.get("RouteTableId").unwrap_or_default())?;
        out.document(&PROPERTIES).merge_fields(fields).set("Arn", arn).origin();
        Ok(())
    }
}

/// Whether another account owns it and only shares it with this one. It is an entity of its owner.
fn is_foreign(context: &Context, owner: Json<'_>) -> bool {
    owner.as_str().is_some_and(|owner| owner != context.account_id)
}

/// The value of the tag `Name`, which AWS's console shows as the resource's name.
fn name(tags: Json<'_>) -> Option<Json<'_>> {
    tags.elements().ok()?.into_iter().find_map(|tag| {
        let tag = tag.fields().ok()?;
        if tag.get("Key")?.as_str()? != "Name" {
            return None;
        }
        tag.get("Value").filter(|value| !value.is_null() && value.text() != "\"\"")
    })
}

fn arn(context: &Context, id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `RouteTableId`")?;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{}:ec2:{region}:{}:route-table/{id}", context.partition, context.account_id))
}
