//! `AWS::Organizations::Account`.
//!
//! Documents have no `__ExtraContext`: an account is not of the account that lists it.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(OrganizationsAccount, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::Organizations::Account`.
pub struct OrganizationsAccount;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    parents: Option<Vec<Parent<'a>>>,
    tags: Json<'a>,
}

/// What holds an account.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Parent<'a> {
    #[serde(borrow)]
    id: Json<'a>,
}

/// What an entity needs of an account.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Account<'a> {
    #[serde(borrow)]
    id: Json<'a>,
    arn: Json<'a>,
    name: Json<'a>,
    email: Json<'a>,
    status: Json<'a>,
    state: Json<'a>,
    joined_method: Json<'a>,
    joined_timestamp: Timestamp<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("Id").required(),
    Property::new("Arn"),
    Property::new("Name"),
    Property::new("Email"),
    Property::new("Status"),
    Property::new("State"),
    Property::new("JoinedTimestamp").time(),
    Property::new("JoinedMethod"),
]);

/// The property that each step's result becomes.
const STEPS: [(&str, &str); 2] = [("parents", "Parents"), ("tags", "Tags")];

impl Mapper for OrganizationsAccount {
    const KIND: &'static str = "AWS::Organizations::Account";
    type Resource<'a> = Resource<Account<'a>, Steps<'a>>;

    fn entities(_: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: account, steps, .. } = resource;
        let parent = steps.parents.and_then(|parents| parents.into_iter().next());
        out.entity("organizationsAccount", account.id)
            .title(account.name)
            .property("arn", account.arn)
            .property("email", account.email)
            .property("status", account.status)
            .property("state", account.state)
            .property("joinedMethod", account.joined_method)
            .property("joinedTimestamp", account.joined_timestamp)
            .property("parentId", parent.unwrap_or_default().id)
            .property("tags", steps.tags)
            .relation("account", account.id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.item);
        for (step, property) in STEPS {
            if let Some(result) = resource.steps.get(step) {
                document.set(property, result);
            }
        }
        Ok(())
    }
}
