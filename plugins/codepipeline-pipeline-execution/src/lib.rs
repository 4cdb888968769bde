//! `AWS::CodePipeline::PipelineExecution`.
//!
//! A document has what the list tells of an execution, and over it what `GetPipelineExecution` tells.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, Deserializer};

berth_plugin::export!(CodePipelinePipelineExecution, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodePipeline::PipelineExecution`.
pub struct CodePipelinePipelineExecution;

/// What an execution descends from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Parents<'a> {
    #[serde(borrow)]
    pipelines: Option<Pipeline<'a>>,
}

/// What an entity needs of the pipeline.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pipeline<'a> {
    #[serde(borrow)]
    name: Json<'a>,
}

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Option<Execution<'a>>,
}

/// What an entity needs of an execution, from the list or from `GetPipelineExecution`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Execution<'a> {
    #[serde(borrow, deserialize_with = "present")]
    pipeline_execution_id: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    pipeline_version: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    status: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    status_summary: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    execution_mode: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    execution_type: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    trigger: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    start_time: Option<Timestamp<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    last_update_time: Option<Timestamp<'a>>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("ArtifactRevisions").times(&["created"]),
    Property::new("ExecutionMode"),
    Property::new("ExecutionType"),
    Property::new("LastUpdateTime").time(),
    Property::new("PipelineExecutionId").required(),
    Property::new("PipelineName"),
    Property::new("PipelineVersion"),
    Property::new("RollbackMetadata"),
    Property::new("SourceRevisions"),
    Property::new("StartTime").time(),
    Property::new("Status"),
    Property::new("StatusSummary"),
    Property::new("StopTrigger"),
    Property::new("Trigger"),
    Property::new("Variables"),
]);

impl Mapper for CodePipelinePipelineExecution {
    const KIND: &'static str = "AWS::CodePipeline::PipelineExecution";
    type Resource<'a> = Resource<Execution<'a>, Steps<'a>, Parents<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, parents } = resource;
        let described = steps.describe.unwrap_or_default();
        let Context { account_id: account, partition, region, .. } = context;
        let region = region.as_deref().unwrap_or_default();
        let pipeline = parents.pipelines.unwrap_or_default().name;
        let pipeline =
            pipeline.as_str().map(|name| format!("arn:{partition}:codepipeline:{region}:{account}:{name}"));
        let id = described.pipeline_execution_id.or(item.pipeline_execution_id);
        let trigger = described.trigger.or(item.trigger).and_then(|trigger| trigger.fields().ok());
        let trigger = trigger.unwrap_or_default();
        out.entity("codepipelinePipelineExecution", id)
            .title(id)
            .property("status", described.status.or(item.status))
            .property("statusSummary", described.status_summary.or(item.status_summary))
            .property("pipelineVersion", described.pipeline_version.or(item.pipeline_version))
            .property("executionMode", described.execution_mode.or(item.execution_mode))
            .property("executionType", described.execution_type.or(item.execution_type))
            .property("triggerType", trigger.get("triggerType"))
            .property("triggerDetail", trigger.get("triggerDetail"))
            .property("startTime", described.start_time.or(item.start_time))
            .property("lastUpdateTime", described.last_update_time.or(item.last_update_time))
            .relation("pipeline", pipeline)
            .relation("account", account);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let pipeline = resource.parents.get("pipelines").and_then(|pipeline| pipeline.fields().ok());
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.item);
        if let Some(described) = resource.steps.get("describe").filter(|described| !described.is_null()) {
            document.merge(described);
        }
        // From the parent, so that it is there where `GetPipelineExecution` is denied.
        let name = pipeline.and_then(|pipeline| pipeline.get("name"));
        document.set("PipelineName", name).origin();
        Ok(())
    }
}

/// A member that is there, be it null: unlike one that is missing, it hides what was merged before.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
