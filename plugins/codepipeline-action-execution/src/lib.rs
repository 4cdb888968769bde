//! `AWS::CodePipeline::ActionExecution`.
//!
//! Documents do not name the pipeline, as those of the integration Berth replaces do not; an action's
//! execution belongs to its pipeline's execution.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(CodePipelineActionExecution, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodePipeline::ActionExecution`.
pub struct CodePipelineActionExecution;

/// What an entity needs of an execution.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Execution<'a> {
    #[serde(borrow)]
    action_execution_id: Json<'a>,
    pipeline_execution_id: Json<'a>,
    pipeline_version: Json<'a>,
    stage_name: Json<'a>,
    action_name: Json<'a>,
    status: Json<'a>,
    updated_by: Json<'a>,
    start_time: Timestamp<'a>,
    last_update_time: Timestamp<'a>,
    input: Option<Input<'a>>,
    output: Option<Output<'a>>,
}

/// What an action was given.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Input<'a> {
    #[serde(borrow)]
    action_type_id: Option<ActionType<'a>>,
}

/// What an action does.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ActionType<'a> {
    #[serde(borrow)]
    category: Json<'a>,
    provider: Json<'a>,
}

/// What became of an action.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Output<'a> {
    #[serde(borrow)]
    execution_result: Option<ExecutionResult<'a>>,
}

/// What the service says that an action called.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExecutionResult<'a> {
    #[serde(borrow)]
    external_execution_url: Json<'a>,
    external_execution_summary: Json<'a>,
    error_details: Option<ErrorDetails<'a>>,
}

/// Why an action failed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ErrorDetails<'a> {
    #[serde(borrow)]
    message: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("ActionExecutionId").required(),
    Property::new("ActionName"),
    Property::new("Input"),
    Property::new("LastUpdateTime").time(),
    Property::new("Output"),
    Property::new("PipelineExecutionId"),
    Property::new("PipelineVersion"),
    Property::new("StageName"),
    Property::new("StartTime").time(),
    Property::new("Status"),
    Property::new("UpdatedBy"),
]);

impl Mapper for CodePipelineActionExecution {
    const KIND: &'static str = "AWS::CodePipeline::ActionExecution";
    type Resource<'a> = Resource<Execution<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let execution = resource.item;
        let kind = execution.input.unwrap_or_default().action_type_id.unwrap_or_default();
        let result = execution.output.unwrap_or_default().execution_result.unwrap_or_default();
        out.entity("codepipelineActionExecution", execution.action_execution_id)
            .title(execution.action_name)
            .property("status", execution.status)
            .property("stageName", execution.stage_name)
            .property("actionName", execution.action_name)
            .property("category", kind.category)
            .property("provider", kind.provider)
            .property("pipelineVersion", execution.pipeline_version)
            .property("updatedBy", execution.updated_by)
            .property("externalExecutionUrl", result.external_execution_url)
            .property("summary", result.external_execution_summary)
            .property("errorMessage", result.error_details.unwrap_or_default().message)
            .property("startTime", execution.start_time)
            .property("lastUpdateTime", execution.last_update_time)
            .relation("pipelineExecution", execution.pipeline_execution_id)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        out.document(&PROPERTIES).merge(resource.item).origin();
        Ok(())
    }
}
