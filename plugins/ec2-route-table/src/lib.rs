//! `AWS::EC2::RouteTable`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    aws::{is_foreign, name_tag},
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
            .title(name_tag(item.tags).unwrap_or(item.route_table_id))
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

fn arn(context: &Context, id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `RouteTableId`")?;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{}:ec2:{region}:{}:route-table/{id}", context.partition, context.account_id))
}
