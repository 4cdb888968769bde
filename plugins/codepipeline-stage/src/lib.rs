//! `AWS::CodePipeline::Stage`.
//!
//! A resource of the plan is a *pipeline*; it makes one entity for each of its stages.

use std::borrow::Cow;

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::Deserialize;

berth_plugin::export!(CodePipelineStage, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodePipeline::Stage`.
pub struct CodePipelineStage;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Description<'a>,
}

/// What `GetPipeline` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Description<'a> {
    #[serde(borrow)]
    pipeline: Option<Pipeline<'a>>,
    metadata: Option<Metadata<'a>>,
}

/// What the entities need of a pipeline. One without stages is refused: read as empty, it would
/// look as if its stages were gone.
#[derive(Debug, Deserialize)]
pub struct Pipeline<'a> {
    #[serde(borrow)]
    stages: Vec<Stage<'a>>,
}

/// What an entity needs of what is noted of a pipeline.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata<'a> {
    #[serde(borrow)]
    pipeline_arn: Json<'a>,
}
/// What an entity needs of a stage.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Stage<'a> {
    #[serde(borrow)]
    name: Json<'a>,
    actions: Option<Vec<Action<'a>>>,
    on_failure: Option<OnFailure<'a>>,
}

/// An action of a stage.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Action<'a> {
    #[serde(borrow)]
    name: Json<'a>,
}

/// What happens when a stage fails.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OnFailure<'a> {
    #[serde(borrow)]
    result: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("Actions"),
    Property::new("BeforeEntry"),
    Property::new("Blockers"),
    Property::new("Name").required(),
    Property::new("OnFailure"),
    Property::new("OnSuccess"),
    Property::new("PipelineArn").required(),
]);

impl Mapper for CodePipelineStage {
    const KIND: &'static str = "AWS::CodePipeline::Stage";
    type Resource<'a> = Resource<Named<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Description { pipeline, metadata } = resource.steps.describe;
        let arn = metadata.unwrap_or_default().pipeline_arn;
        for (stage, order) in pipeline.ok_or(UNDESCRIBED)?.stages.into_iter().zip(1_u32..) {
            let (Some(prefix), Some(name)) = (arn.as_str(), stage.name.as_str()) else {
                out.refuse(label(resource.item.name), "it has no ARN or a stage without a name");
                continue;
            };
            let actions =
                stage.actions.map(|actions| actions.iter().map(|action| action.name).collect::<Vec<_>>());
            out.entity("codepipelineStage", format_args!("{prefix}/{name}"))
                .title(stage.name)
                .property("order", order)
                .property("actions", actions)
                .property("onFailure", stage.on_failure.unwrap_or_default().result)
                .relation("pipeline", arn)
                .relation("account", &context.account_id);
        }
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let name = resource.item.fields()?.get("name").unwrap_or_default();
        let description = resource.steps.get("describe").ok_or(UNDESCRIBED)?.fields()?;
        let pipeline = description.get("pipeline").ok_or(UNDESCRIBED)?.fields()?;
        let arn = match description.get("metadata").filter(|metadata| !metadata.is_null()) {
            Some(metadata) => metadata.fields()?.get("pipelineArn").unwrap_or_default(),
            None => Json::NULL,
        };
        let stages = pipeline.get("stages").unwrap_or_default().elements()?;
        for (stage, order) in stages.into_iter().zip(1_u32..) {
            out.document(&PROPERTIES)
                .merge(stage)
                .set("PipelineName", name)
                .set("PipelineArn", arn)
                .set("Order", order)
                .origin();
        }
        Ok(())
    }
}

const UNDESCRIBED: &str = "it has no description";

/// What a refusal needs of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named<'a> {
    #[serde(borrow)]
    name: Json<'a>,
}

fn label(name: Json<'_>) -> Cow<'_, str> {
    name.as_str().unwrap_or(Cow::Borrowed("a pipeline"))
}
