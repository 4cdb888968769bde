//! `AWS::CodeBuild::BuildRun`.
//!
//! The list knows ids only; all else comes from the `describe` step. A build that it answered nothing
//! for is past its retention and never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(CodeBuildBuildRun, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodeBuild::BuildRun`.
pub struct CodeBuildBuildRun;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Build<'a>,
}

/// What an entity needs of a build.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Build<'a> {
    #[serde(borrow)]
    id: Json<'a>,
    arn: Json<'a>,
    build_number: Json<'a>,
    build_status: Json<'a>,
    current_phase: Json<'a>,
    build_complete: Json<'a>,
    project_name: Json<'a>,
    initiator: Json<'a>,
    source_version: Json<'a>,
    resolved_source_version: Json<'a>,
    start_time: Timestamp<'a>,
    end_time: Timestamp<'a>,
    logs: Option<Logs<'a>>,
}

/// Where the logs of a build are.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Logs<'a> {
    #[serde(borrow)]
    deep_link: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("Arn").required(),
    Property::new("Artifacts"),
    Property::new("AutoRetryConfig"),
    Property::new("BuildBatchArn"),
    Property::new("BuildComplete"),
    Property::new("BuildNumber"),
    Property::new("BuildStatus"),
    Property::new("Cache"),
    Property::new("CurrentPhase"),
    Property::new("DebugSession"),
    Property::new("EncryptionKey"),
    Property::new("EndTime").time(),
    Property::new("Environment"),
    Property::new("ExportedEnvironmentVariables"),
    Property::new("FileSystemLocations"),
    Property::new("Id"),
    Property::new("Initiator"),
    Property::new("Logs"),
    Property::new("NetworkInterface"),
    Property::new("Phases").times(&["startTime", "endTime"]),
    Property::new("ProjectName"),
    Property::new("QueuedTimeoutInMinutes"),
    Property::new("ReportArns"),
    Property::new("ResolvedSourceVersion"),
    Property::new("SecondaryArtifacts"),
    Property::new("SecondarySources"),
    Property::new("SecondarySourceVersions"),
    Property::new("ServiceRole"),
    Property::new("Source"),
    Property::new("SourceVersion"),
    Property::new("StartTime").time(),
    Property::new("TimeoutInMinutes"),
    Property::new("VpcConfig"),
]);

impl Mapper for CodeBuildBuildRun {
    const KIND: &'static str = "AWS::CodeBuild::BuildRun";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let build = resource.steps.describe;
        let Some(arn) = build.arn.as_str() else {
            return Err("it has no `arn`".into());
        };
        let prefix = arn.split_once(":build/").map_or(&*arn, |(prefix, _)| prefix);
        let project = build.project_name.as_str().map(|project| format!("{prefix}:project/{project}"));
        out.entity("codebuildBuildRun", build.arn)
            .title(build.id)
            .property("arn", build.arn)
            .property("buildNumber", build.build_number)
            .property("status", build.build_status)
            .property("currentPhase", build.current_phase)
            .property("complete", build.build_complete)
            .property("initiator", build.initiator)
            .property("sourceVersion", build.source_version)
            .property("resolvedSourceVersion", build.resolved_source_version)
            .property("startTime", build.start_time)
            .property("endTime", build.end_time)
            .property("logs", build.logs.unwrap_or_default().deep_link)
            .relation("project", project)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let build = resource.steps.get("describe").unwrap_or_default();
        out.document(&PROPERTIES).merge(build).origin();
        Ok(())
    }
}
