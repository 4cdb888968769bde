//! `AWS::ECS::TaskDefinition`: the active revisions of each family.
//!
//! The list knows ARNs only. The description has the tags beside the task definition; documents
//! have them in it.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(EcsTaskDefinition, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ECS::TaskDefinition`.
pub struct EcsTaskDefinition;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Description<'a>,
}

/// The answer of `DescribeTaskDefinition`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Description<'a> {
    #[serde(borrow)]
    task_definition: TaskDefinition<'a>,
    tags: Json<'a>,
}

/// What an entity needs of a task definition.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TaskDefinition<'a> {
    #[serde(borrow)]
    task_definition_arn: Json<'a>,
    family: Json<'a>,
    revision: Json<'a>,
    status: Json<'a>,
    cpu: Json<'a>,
    memory: Json<'a>,
    network_mode: Json<'a>,
    requires_compatibilities: Json<'a>,
    task_role_arn: Json<'a>,
    execution_role_arn: Json<'a>,
    registered_at: Timestamp<'a>,
    container_definitions: Option<Vec<Container<'a>>>,
}

/// What an entity needs of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Container<'a> {
    #[serde(borrow)]
    image: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("TaskDefinitionArn").required(),
    Property::new("Family"),
    Property::new("Revision"),
    Property::new("Status"),
    Property::new("ContainerDefinitions"),
    Property::new("Cpu"),
    Property::new("Memory"),
    Property::new("NetworkMode"),
    Property::new("RequiresCompatibilities"),
    Property::new("TaskRoleArn"),
    Property::new("ExecutionRoleArn"),
    Property::new("Volumes"),
    Property::new("PlacementConstraints"),
    Property::new("Tags"),
    Property::new("RegisteredAt").time(),
]);

impl Mapper for EcsTaskDefinition {
    const KIND: &'static str = "AWS::ECS::TaskDefinition";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Description { task_definition: definition, tags } = resource.steps.describe;
        let arn = definition.task_definition_arn.as_str();
        // `family:revision`, under which the ECS console knows it.
        let title = arn.as_deref().and_then(|arn| arn.rsplit('/').next());
        let containers = definition.container_definitions.unwrap_or_default();
        let images: Vec<Json<'_>> = containers.iter().map(|container| container.image).collect();
        out.entity("ecsTaskDefinition", definition.task_definition_arn)
            .title(title)
            .property("family", definition.family)
            .property("revision", definition.revision)
            .property("status", definition.status)
            .property("images", images)
            .property("cpu", definition.cpu)
            .property("memory", definition.memory)
            .property("networkMode", definition.network_mode)
            .property("requiresCompatibilities", definition.requires_compatibilities)
            .property("taskRoleArn", definition.task_role_arn)
            .property("executionRoleArn", definition.execution_role_arn)
            .property("registeredAt", definition.registered_at)
            .property("tags", tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let description = resource.step("describe").unwrap_or_default().fields()?;
        let mut document = out.document(&PROPERTIES);
        document.merge(description.get("taskDefinition").unwrap_or_default()).origin();
        if let Some(tags) = description.get("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}
