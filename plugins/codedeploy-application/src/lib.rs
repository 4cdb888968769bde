//! `AWS::CodeDeploy::Application`.
//!
//! AWS gives applications no ARN in its answers, so entities are identified by account, region and
//! name.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(CodeDeployApplication, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodeDeploy::Application`.
pub struct CodeDeployApplication;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Application<'a>,
    tags: Json<'a>,
}

/// What an entity needs of an application.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Application<'a> {
    #[serde(borrow)]
    application_id: Json<'a>,
    application_name: Json<'a>,
    create_time: Timestamp<'a>,
    linked_to_git_hub: Json<'a>,
    git_hub_account_name: Json<'a>,
    compute_platform: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("ApplicationName").required(),
    Property::new("ApplicationId"),
    Property::new("ComputePlatform"),
    Property::new("CreateTime").time(),
    Property::new("GitHubAccountName"),
    Property::new("LinkedToGitHub"),
]);

impl Mapper for CodeDeployApplication {
    const KIND: &'static str = "AWS::CodeDeploy::Application";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Steps { describe: application, tags } = resource.steps;
        let Some(name) = application.application_name.port_identifier() else {
            return Err("it has no `applicationName`".into());
        };
        let (account, region) = (&context.account_id, context.region.as_deref().unwrap_or_default());
        out.entity("codedeployApplication", format_args!("{account}/{region}/{name}"))
            .title(application.application_name)
            .property("applicationId", application.application_id)
            .property("computePlatform", application.compute_platform)
            .property("createTime", application.create_time)
            .property("linkedToGitHub", application.linked_to_git_hub)
            .property("gitHubAccountName", application.git_hub_account_name)
            .property("region", region)
            .property("tags", tags)
            .relation("account", account);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let application = resource.steps.get("describe").unwrap_or_default();
        let mut document = out.document(&PROPERTIES);
        document.merge(application).origin();
        if let Some(tags) = resource.steps.get("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}
