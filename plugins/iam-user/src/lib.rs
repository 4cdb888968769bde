//! `AWS::IAM::User`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(IamUser, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::IAM::User`.
pub struct IamUser;

/// What an entity needs of a user.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct User<'a> {
    #[serde(borrow)]
    arn: Json<'a>,
    user_name: Json<'a>,
    path: Json<'a>,
    user_id: Json<'a>,
    create_date: Timestamp<'a>,
    password_last_used: Timestamp<'a>,
}

/// A managed policy that is attached.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Policy<'a> {
    #[serde(borrow)]
    policy_arn: Json<'a>,
}

/// A group that a user is in.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Group<'a> {
    #[serde(borrow)]
    group_name: Json<'a>,
}

/// What an entity needs beside the user.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
    policies: Option<Vec<Policy<'a>>>,
    groups: Option<Vec<Group<'a>>>,
    mfa_devices: Option<Vec<IgnoredAny>>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("Arn").required(),
    Property::new("CreateDate").time(),
    Property::new("PasswordLastUsed").time(),
    Property::new("AttachedManagedPolicies").raw("policies"),
    Property::new("Groups").times(&["CreateDate"]),
    Property::new("MFADevices").raw("mfaDevices").times(&["EnableDate"]),
    Property::new("AccessKeys").times(&["CreateDate"]),
    Property::new("Tags"),
]);

impl Mapper for IamUser {
    const KIND: &'static str = "AWS::IAM::User";
    type Resource<'a> = Resource<User<'a>, Steps<'a>>;

    fn entities(context: &Context, user: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, .. } = user;
        let policies = steps
            .policies
            .map(|policies| policies.into_iter().map(|policy| policy.policy_arn).collect::<Vec<_>>());
        let groups =
            steps.groups.map(|groups| groups.into_iter().map(|group| group.group_name).collect::<Vec<_>>());
        let mfa_enabled = steps.mfa_devices.map(|devices| !devices.is_empty());
        out.entity("iamUser", item.arn.port_identifier())
            .title(item.user_name)
            .property("path", item.path)
            .property("userId", item.user_id)
            .property("createDate", item.create_date)
            .property("passwordLastUsed", item.password_last_used)
            .property("attachedPolicies", policies)
            .property("groups", groups)
            .property("mfaEnabled", mfa_enabled)
            .property("tags", steps.tags)
            .property("arn", item.arn)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, user: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        // The results of the steps are properties by their own names, or by those given above.
        out.document(&PROPERTIES).merge(user.item).merge_fields(user.steps).origin();
        Ok(())
    }
}
