//! `AWS::CodeBuild::Project`.
//!
//! The list knows names only; all else comes from the `describe` step. A project that it answered
//! nothing for is gone and never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(CodeBuildProject, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodeBuild::Project`.
pub struct CodeBuildProject;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Project<'a>,
}

/// What an entity needs of a project.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Project<'a> {
    #[serde(borrow)]
    name: Json<'a>,
    arn: Json<'a>,
    description: Json<'a>,
    source: Option<Source<'a>>,
    environment: Option<Environment<'a>>,
    service_role: Json<'a>,
    timeout_in_minutes: Json<'a>,
    encryption_key: Json<'a>,
    project_visibility: Json<'a>,
    created: Timestamp<'a>,
    last_modified: Timestamp<'a>,
    tags: Json<'a>,
}

/// Where the source of a project is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Source<'a> {
    #[serde(borrow)]
    r#type: Json<'a>,
    location: Json<'a>,
}

/// What the builds of a project run in.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Environment<'a> {
    #[serde(borrow)]
    r#type: Json<'a>,
    image: Json<'a>,
    compute_type: Json<'a>,
    privileged_mode: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("Arn").required(),
    Property::new("Artifacts"),
    Property::new("AutoRetryLimit"),
    Property::new("Badge"),
    Property::new("BuildBatchConfig"),
    Property::new("Cache"),
    Property::new("ConcurrentBuildLimit"),
    Property::new("Created").time(),
    Property::new("Description"),
    Property::new("EncryptionKey"),
    Property::new("Environment"),
    Property::new("FileSystemLocations"),
    Property::new("LastModified").time(),
    Property::new("LogsConfig"),
    Property::new("Name"),
    Property::new("ProjectVisibility"),
    Property::new("PublicProjectAlias"),
    Property::new("QueuedTimeoutInMinutes"),
    Property::new("ResourceAccessRole"),
    Property::new("SecondaryArtifacts"),
    Property::new("SecondarySources"),
    Property::new("SecondarySourceVersions"),
    Property::new("ServiceRole"),
    Property::new("Source"),
    Property::new("SourceVersion"),
    Property::new("Tags"),
    Property::new("TimeoutInMinutes"),
    Property::new("VpcConfig"),
    Property::new("Webhook").times(&["lastModifiedSecret"]),
]);

impl Mapper for CodeBuildProject {
    const KIND: &'static str = "AWS::CodeBuild::Project";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let project = resource.steps.describe;
        let source = project.source.unwrap_or_default();
        let environment = project.environment.unwrap_or_default();
        out.entity("codebuildProject", project.arn)
            .title(project.name)
            .property("arn", project.arn)
            .property("description", project.description)
            .property("sourceType", source.r#type)
            .property("sourceLocation", source.location)
            .property("environmentType", environment.r#type)
            .property("image", environment.image)
            .property("computeType", environment.compute_type)
            .property("privilegedMode", environment.privileged_mode)
            .property("serviceRole", project.service_role)
            .property("timeoutInMinutes", project.timeout_in_minutes)
            .property("encryptionKey", project.encryption_key)
            .property("visibility", project.project_visibility)
            .property("created", project.created)
            .property("lastModified", project.last_modified)
            .property("tags", project.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let project = resource.steps.get("describe").unwrap_or_default();
        out.document(&PROPERTIES).merge(project).origin();
        Ok(())
    }
}
