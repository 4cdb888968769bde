//! `AWS::CodePipeline::Pipeline`.
//!
//! A document has what `GetPipeline` tells of the pipeline, and over it what the list tells.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, Deserializer};

berth_plugin::export!(CodePipelinePipeline, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodePipeline::Pipeline`.
pub struct CodePipelinePipeline;

/// What an entity needs of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Summary<'a> {
    #[serde(borrow, deserialize_with = "present")]
    name: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    version: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    pipeline_type: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    execution_mode: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    created: Option<Timestamp<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    updated: Option<Timestamp<'a>>,
}

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Description<'a>,
    tags: Json<'a>,
}

/// What `GetPipeline` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Description<'a> {
    #[serde(borrow)]
    pipeline: Option<Pipeline<'a>>,
    metadata: Option<Metadata<'a>>,
}

/// What an entity needs of a pipeline.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pipeline<'a> {
    #[serde(borrow)]
    name: Json<'a>,
    version: Json<'a>,
    pipeline_type: Json<'a>,
    execution_mode: Json<'a>,
    role_arn: Json<'a>,
    stages: Option<Vec<Stage<'a>>>,
}

/// A stage of a pipeline.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Stage<'a> {
    #[serde(borrow)]
    name: Json<'a>,
}

/// What an entity needs of what is noted of a pipeline.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata<'a> {
    #[serde(borrow)]
    pipeline_arn: Json<'a>,
    created: Timestamp<'a>,
    updated: Timestamp<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("ArtifactStore"),
    Property::new("ArtifactStores"),
    Property::new("Created").time(),
    Property::new("ExecutionMode"),
    Property::new("Name"),
    Property::new("PipelineArn").required(),
    Property::new("PipelineType"),
    Property::new("PollingDisabledAt").time(),
    Property::new("RoleArn"),
    Property::new("Stages"),
    Property::new("Triggers"),
    Property::new("Updated").time(),
    Property::new("Variables"),
    Property::new("Version"),
]);

impl Mapper for CodePipelinePipeline {
    const KIND: &'static str = "AWS::CodePipeline::Pipeline";
    type Resource<'a> = Resource<Summary<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps: Steps { describe, tags }, .. } = resource;
        let Some(pipeline) = describe.pipeline else {
            return Err(UNDESCRIBED.into());
        };
        let metadata = describe.metadata.unwrap_or_default();
        let name = item.name.unwrap_or(pipeline.name);
        let stages = pipeline.stages.map(|stages| stages.iter().map(|stage| stage.name).collect::<Vec<_>>());
        out.entity("codepipelinePipeline", metadata.pipeline_arn)
            .title(name)
            .property("arn", metadata.pipeline_arn)
            .property("version", item.version.unwrap_or(pipeline.version))
            .property("pipelineType", item.pipeline_type.unwrap_or(pipeline.pipeline_type))
            .property("executionMode", item.execution_mode.unwrap_or(pipeline.execution_mode))
            .property("roleArn", pipeline.role_arn)
            .property("stages", stages)
            .property("created", item.created.unwrap_or(metadata.created))
            .property("updated", item.updated.unwrap_or(metadata.updated))
            .property("tags", tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let description = resource.steps.get("describe").ok_or(UNDESCRIBED)?.fields()?;
        let mut document = out.document(&PROPERTIES);
        if let Some(metadata) = description.get("metadata").filter(|metadata| !metadata.is_null()) {
            document.merge(metadata);
        }
        document.merge(description.get("pipeline").unwrap_or_default());
        if let Some(tags) = resource.steps.get("tags") {
            document.set("Tags", tags);
        }
        document.merge(resource.item).origin();
        Ok(())
    }
}

const UNDESCRIBED: &str = "it has no description";

/// A member that is there, be it null: unlike one that is missing, it hides what was merged before.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
