//! `AWS::CodePipeline::StageExecution`.
//!
//! AWS lists the executions of pipelines and of actions, and none of stages but the last one of each. A
//! resource of the plan is a *pipeline execution*; it makes one entity for each stage of which an action was
//! executed.

use std::{borrow::Cow, collections::BTreeSet};

use berth_plugin::{
    Context, Documents, Entities, Fields, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(CodePipelineStageExecution, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::CodePipeline::StageExecution`.
pub struct CodePipelineStageExecution;

/// What the entities need of a pipeline's execution.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Execution<'a> {
    #[serde(borrow)]
    pipeline_execution_id: Json<'a>,
}

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    actions: Json<'a>,
}

/// What an execution descends from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Parents<'a> {
    #[serde(borrow)]
    pipelines: Option<Pipeline<'a>>,
}

/// What the entities need of a pipeline.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pipeline<'a> {
    #[serde(borrow)]
    name: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("PipelineExecutionId").required(),
    Property::new("PipelineName"),
    Property::new("PipelineArn"),
    Property::new("PipelineVersion"),
    Property::new("StageName").required(),
    Property::new("Status"),
    Property::new("StartTime").time(),
    Property::new("LastUpdateTime").time(),
    Property::new("ActionExecutions"),
]);

impl Mapper for CodePipelineStageExecution {
    const KIND: &'static str = "AWS::CodePipeline::StageExecution";
    type Resource<'a> = Resource<Execution<'a>, Steps<'a>, Parents<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let execution = resource.item.pipeline_execution_id;
        let id = execution.as_str().ok_or(NAMELESS)?;
        let arn = arn(context, resource.parents.pipelines.unwrap_or_default().name);
        let (stages, nameless) = stages(resource.steps.actions)?;
        for stage in stages {
            let name = &stage.name;
            out.entity("codepipelineStageExecution", format_args!("{id}/{name}"))
                .title(name)
                .property("stageName", name)
                .property("status", stage.status())
                .property("pipelineVersion", stage.version())
                .property("actions", stage.names())
                .property("startTime", Timestamp::from(stage.start()))
                .property("lastUpdateTime", Timestamp::from(stage.last_update()))
                .relation("pipelineExecution", execution)
                .relation("stage", arn.as_ref().map(|arn| format!("{arn}/{name}")))
                .relation("account", &context.account_id);
        }
        if nameless {
            out.refuse(id, STAGELESS);
        }
        Ok(())
    }

    fn documents(context: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let execution = resource.item.fields()?.get("pipelineExecutionId").unwrap_or_default();
        let id = execution.as_str().ok_or(NAMELESS)?;
        let pipeline = resource.parents.get("pipelines").and_then(|pipeline| pipeline.fields().ok());
        let name = pipeline.and_then(|pipeline| pipeline.get("name")).unwrap_or_default();
        let (stages, nameless) = stages(resource.step("actions").unwrap_or_default())?;
        for stage in stages {
            let mut document = out.document(&PROPERTIES);
            document
                .set("PipelineExecutionId", execution)
                .set("PipelineName", name)
                .set("PipelineArn", arn(context, name))
                .set("PipelineVersion", stage.version())
                .set("StageName", &stage.name)
                .set("Status", stage.status())
                .set("StartTime", Timestamp::from(stage.start()))
                .set("LastUpdateTime", Timestamp::from(stage.last_update()))
                .set("ActionExecutions", stage.raw)
                .origin();
        }
        if nameless {
            out.refuse(id, STAGELESS);
        }
        Ok(())
    }
}

const NAMELESS: &str = "it has no `PipelineExecutionId`";
const STAGELESS: &str = "an action's execution has no `stageName`";

fn arn(context: &Context, pipeline: Json<'_>) -> Option<String> {
    let Context { account_id: account, partition, region, .. } = context;
    let region = region.as_deref().unwrap_or_default();
    pipeline.as_str().map(|name| format!("arn:{partition}:codepipeline:{region}:{account}:{name}"))
}

/// A stage, with the executions of its actions: the last one first, as AWS lists them.
struct Stage<'a> {
    name: Cow<'a, str>,
    actions: Vec<Fields<'a>>,
    raw: Vec<Json<'a>>,
}

impl<'a> Stage<'a> {
    fn all(&self, member: &str) -> impl Iterator<Item = Json<'a>> {
        self.actions.iter().filter_map(move |action| action.get(member)).filter(|value| !value.is_null())
    }

    fn version(&self) -> Json<'a> {
        self.all("pipelineVersion").next().unwrap_or_default()
    }

    /// The names of the actions, each once.
    fn names(&self) -> BTreeSet<Cow<'a, str>> {
        self.all("actionName").filter_map(Json::as_str).collect()
    }

    // Times of one answer have the same form, in which their order is that of the text.
    fn start(&self) -> Json<'a> {
        self.all("startTime").min_by_key(|time| time.text()).unwrap_or_default()
    }

    fn last_update(&self) -> Json<'a> {
        self.all("lastUpdateTime").max_by_key(|time| time.text()).unwrap_or_default()
    }

    /// By the last execution of each action: one that runs counts first, then one that failed.
    fn status(&self) -> Option<Cow<'a, str>> {
        let mut seen = BTreeSet::new();
        let last = self.actions.iter().filter(|action| {
            let name = action.get("actionName").unwrap_or_default();
            name.is_null() || seen.insert(name.text())
        });
        let status = |action: &Fields<'a>| action.get("status").and_then(Json::as_str);
        let rank = |status: &Cow<'_, str>| match &**status {
            "InProgress" => 4,
            "Failed" => 3,
            "Abandoned" => 2,
            "Succeeded" => 0,
            _ => 1,
        };
        last.filter_map(status).max_by_key(rank)
    }
}

/// The stages of an execution's actions, and whether one names none. An execution whose actions were not read
/// is refused: read as empty, it would look as if its stages were gone.
fn stages(actions: Json<'_>) -> Result<(Vec<Stage<'_>>, bool), Refused> {
    if actions.is_null() {
        return Err("its actions were not read".into());
    }
    let (mut stages, mut nameless): (Vec<Stage<'_>>, bool) = (Vec::new(), false);
    for raw in actions.elements()? {
        let action = raw.fields()?;
        let Some(name) = action.get("stageName").and_then(Json::as_str) else {
            nameless = true;
            continue;
        };
        match stages.iter_mut().find(|stage| stage.name == name) {
            Some(stage) => {
                stage.actions.push(action);
                stage.raw.push(raw);
            }
            None => stages.push(Stage { name, actions: vec![action], raw: vec![raw] }),
        }
    }
    Ok((stages, nameless))
}
