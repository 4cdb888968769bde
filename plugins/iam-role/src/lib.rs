//! `AWS::IAM::Role`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(IamRole, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::IAM::Role`.
pub struct IamRole;

/// What an entity needs of a role.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Role<'a> {
    #[serde(borrow)]
    arn: Json<'a>,
    role_name: Json<'a>,
    path: Json<'a>,
    role_id: Json<'a>,
    description: Json<'a>,
    create_date: Timestamp<'a>,
    max_session_duration: Json<'a>,
    assume_role_policy_document: Json<'a>,
    role_last_used: Option<LastUsed<'a>>,
    permissions_boundary: Option<Boundary<'a>>,
    tags: Json<'a>,
}

/// When a role was last used.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LastUsed<'a> {
    #[serde(borrow)]
    last_used_date: Timestamp<'a>,
}

/// What bounds the permissions of a role.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Boundary<'a> {
    #[serde(borrow)]
    permissions_boundary_arn: Json<'a>,
}

/// A managed policy that is attached.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Policy<'a> {
    #[serde(borrow)]
    policy_arn: Json<'a>,
}

/// What an entity needs beside the role.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    details: Option<Role<'a>>,
    tags: Json<'a>,
    policies: Option<Vec<Policy<'a>>>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("Arn").required(),
    Property::new("CreateDate").time(),
    Property::new("RoleLastUsed").times(&["LastUsedDate"]),
]);

impl Mapper for IamRole {
    const KIND: &'static str = "AWS::IAM::Role";
    type Resource<'a> = Resource<Role<'a>, Steps<'a>>;

    fn entities(context: &Context, role: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, .. } = role;
        // `GetRole` tells all that the list does, and more.
        let role = steps.details.unwrap_or(item);
        let tags = if steps.tags.is_null() { role.tags } else { steps.tags };
        let policies = steps
            .policies
            .map(|policies| policies.into_iter().map(|policy| policy.policy_arn).collect::<Vec<_>>());
        out.entity("iamRole", role.arn.port_identifier())
            .title(role.role_name)
            .property("path", role.path)
            .property("roleId", role.role_id)
            .property("description", role.description)
            .property("createDate", role.create_date)
            .property("maxSessionDuration", role.max_session_duration)
            .property("assumeRolePolicyDocument", role.assume_role_policy_document)
            .property("lastUsedDate", role.role_last_used.unwrap_or_default().last_used_date)
            .property(
                "permissionsBoundary",
                role.permissions_boundary.unwrap_or_default().permissions_boundary_arn,
            )
            .property("attachedPolicies", policies)
            .property("tags", tags)
            .property("arn", role.arn)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, role: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(role.step("details").unwrap_or(role.item));
        if let Some(tags) = role.step("tags") {
            document.set("Tags", tags);
        }
        if let Some(policies) = role.step("policies") {
            document.set("AttachedManagedPolicies", policies);
        }
        document.origin();
        Ok(())
    }
}
