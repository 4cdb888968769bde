//! `AWS::CodePipeline::Action`.
//!
//! A resource of the plan is a *pipeline*; it makes one entity for each action of its stages.

use std::borrow::Cow;

use berth_plugin::{
    Context, Documents, Entities, Fields, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::{Deserialize, Serialize, Serializer};

berth_plugin::export!(CodePipelineAction, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodePipeline::Action`.
pub struct CodePipelineAction;

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
/// look as if its actions were gone.
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

/// What the entities need of a stage.
#[derive(Debug, Deserialize)]
pub struct Stage<'a> {
    #[serde(borrow, default)]
    name: Json<'a>,
    actions: Vec<Action<'a>>,
}

/// What an entity needs of an action.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Action<'a> {
    #[serde(borrow)]
    name: Json<'a>,
    action_type_id: Option<ActionType<'a>>,
    run_order: Json<'a>,
    region: Json<'a>,
    namespace: Json<'a>,
    role_arn: Json<'a>,
    timeout_in_minutes: Json<'a>,
}

/// What an action does.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ActionType<'a> {
    #[serde(borrow)]
    category: Json<'a>,
    owner: Json<'a>,
    provider: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("Commands"),
    Property::new("Configuration"),
    Property::new("EnvironmentVariables"),
    Property::new("InputArtifacts"),
    Property::new("Name").required(),
    Property::new("Namespace"),
    Property::new("OutputArtifacts"),
    Property::new("OutputVariables"),
    Property::new("PipelineArn").required(),
    Property::new("Region"),
    Property::new("RoleArn"),
    Property::new("RunOrder"),
    Property::new("StageName").required(),
    Property::new("TimeoutInMinutes"),
]);

/// The only members below the first level that documents rename.
const ACTION_TYPE: [(&str, &str); 4] =
    [("category", "Category"), ("owner", "Owner"), ("provider", "Provider"), ("version", "Version")];

impl Mapper for CodePipelineAction {
    const KIND: &'static str = "AWS::CodePipeline::Action";
    type Resource<'a> = Resource<Named<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Description { pipeline, metadata } = resource.steps.describe;
        let pipeline_arn = metadata.unwrap_or_default().pipeline_arn;
        for stage in pipeline.ok_or(UNDESCRIBED)?.stages {
            for action in stage.actions {
                let (Some(arn), Some(stage), Some(name)) =
                    (pipeline_arn.as_str(), stage.name.as_str(), action.name.as_str())
                else {
                    out.refuse(
                        label(resource.item.name),
                        "it has no ARN, or a stage or an action without a name",
                    );
                    continue;
                };
                let kind = action.action_type_id.unwrap_or_default();
                out.entity("codepipelineAction", format_args!("{arn}/{stage}/{name}"))
                    .title(action.name)
                    .property("category", kind.category)
                    .property("owner", kind.owner)
                    .property("provider", kind.provider)
                    .property("runOrder", action.run_order)
                    .property("region", action.region)
                    .property("namespace", action.namespace)
                    .property("roleArn", action.role_arn)
                    .property("timeoutInMinutes", action.timeout_in_minutes)
                    .relation("stage", format_args!("{arn}/{stage}"))
                    .relation("pipeline", pipeline_arn)
                    .relation("account", &context.account_id);
            }
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
        for stage in pipeline.get("stages").unwrap_or_default().elements()? {
            let stage = stage.fields()?;
            for action in stage.get("actions").unwrap_or_default().elements()? {
                let action = action.fields()?;
                let kind = action.get("actionTypeId");
                let mut document = out.document(&PROPERTIES);
                document.merge_fields(action);
                match kind {
                    Some(kind) if kind.is_null() => _ = document.set("ActionTypeId", kind),
                    Some(kind) => _ = document.set("ActionTypeId", ActionTypeId(kind.fields()?)),
                    None => {}
                }
                document
                    .set("PipelineName", name)
                    .set("PipelineArn", arn)
                    .set("StageName", stage.get("name").unwrap_or_default())
                    .origin();
                if let Some(version) = pipeline.get("version") {
                    document.set("PipelineVersion", version);
                }
            }
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

/// The type of an action as documents have it.
struct ActionTypeId<'a>(Fields<'a>);

impl Serialize for ActionTypeId<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(ACTION_TYPE.into_iter().filter_map(|(member, name)| Some((name, self.0.get(member)?))))
    }
}

fn label(name: Json<'_>) -> Cow<'_, str> {
    name.as_str().unwrap_or(Cow::Borrowed("a pipeline"))
}
