//! `AWS::StepFunctions::StateMachine`.
//!
//! The list knows names and ARNs only; all else comes from the `describe` step. A state machine that is
//! gone by then never gets here.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(StepFunctionsStateMachine, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::StepFunctions::StateMachine`.
pub struct StepFunctionsStateMachine;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: StateMachine<'a>,
    tags: Json<'a>,
}

/// What an entity needs of a state machine.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StateMachine<'a> {
    #[serde(borrow)]
    state_machine_arn: Json<'a>,
    name: Json<'a>,
    status: Json<'a>,
    r#type: Json<'a>,
    description: Json<'a>,
    role_arn: Json<'a>,
    logging_configuration: Option<Logging<'a>>,
    tracing_configuration: Option<Tracing<'a>>,
    encryption_configuration: Option<Encryption<'a>>,
    creation_date: Timestamp<'a>,
}

/// What is logged of executions.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Logging<'a> {
    #[serde(borrow)]
    level: Json<'a>,
}

/// Whether executions are traced.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tracing<'a> {
    #[serde(borrow)]
    enabled: Json<'a>,
}

/// How a state machine is encrypted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Encryption<'a> {
    #[serde(borrow)]
    r#type: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("StateMachineArn").required(),
    Property::new("Name"),
    Property::new("Status"),
    Property::new("Definition"),
    Property::new("RoleArn"),
    Property::new("Type"),
    Property::new("CreationDate").time(),
    Property::new("LoggingConfiguration"),
    Property::new("TracingConfiguration"),
    Property::new("Label"),
    Property::new("RevisionId"),
    Property::new("Description"),
    Property::new("EncryptionConfiguration"),
    Property::new("VariableReferences"),
]);

impl Mapper for StepFunctionsStateMachine {
    const KIND: &'static str = "AWS::StepFunctions::StateMachine";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let state_machine = resource.steps.describe;
        let logging_configuration = state_machine.logging_configuration.unwrap_or_default();
        let tracing_configuration = state_machine.tracing_configuration.unwrap_or_default();
        let encryption_configuration = state_machine.encryption_configuration.unwrap_or_default();
        out.entity("stepfunctionsStateMachine", state_machine.state_machine_arn.port_identifier())
            .title(state_machine.name)
            .property("arn", state_machine.state_machine_arn)
            .property("status", state_machine.status)
            .property("type", state_machine.r#type)
            .property("description", state_machine.description)
            .property("roleArn", state_machine.role_arn)
            .property("loggingLevel", logging_configuration.level)
            .property("tracingEnabled", tracing_configuration.enabled)
            .property("encryptionType", encryption_configuration.r#type)
            .property("creationDate", state_machine.creation_date)
            .property("tags", resource.steps.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document
            .merge(resource.step("describe").unwrap_or_default())
            // Without the definition AWS sends `{}` in its place, which must not pass for one.
            .set("Definition", resource.step("definition"))
            .origin();
        if let Some(tags) = resource.step("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}
