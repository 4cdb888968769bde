//! `AWS::Events::Rule`.

use std::collections::BTreeSet;

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    port_identifier,
};
use serde::Deserialize;

berth_plugin::export!(EventsRule, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::Events::Rule`.
pub struct EventsRule;

/// What an entity needs of a rule.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Rule<'a> {
    #[serde(borrow)]
    arn: Json<'a>,
    name: Json<'a>,
    state: Json<'a>,
    description: Json<'a>,
    event_bus_name: Json<'a>,
    event_pattern: Json<'a>,
    schedule_expression: Json<'a>,
    role_arn: Json<'a>,
    managed_by: Json<'a>,
}

/// What an entity needs beside the rule.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    targets: Option<Vec<Target<'a>>>,
    tags: Json<'a>,
}

/// What an entity needs of a target.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Target<'a> {
    #[serde(borrow)]
    arn: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[Property::new("Arn").required()]);

impl Mapper for EventsRule {
    const KIND: &'static str = "AWS::Events::Rule";
    type Resource<'a> = Resource<Rule<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: rule, steps, .. } = resource;
        let arns = steps.targets.map(|targets| targets.iter().map(|target| target.arn).collect::<Vec<_>>());
        let state_machines =
            arns.as_ref().map(|arns| arns.iter().copied().filter_map(state_machine).collect::<BTreeSet<_>>());
        out.entity("eventsRule", rule.arn)
            .title(rule.name)
            .property("arn", rule.arn)
            .property("state", rule.state)
            .property("description", rule.description)
            .property("eventBusName", rule.event_bus_name)
            .property("eventPattern", rule.event_pattern)
            .property("scheduleExpression", rule.schedule_expression)
            .property("roleArn", rule.role_arn)
            .property("managedBy", rule.managed_by)
            .property("targetArns", arns)
            .property("tags", steps.tags)
            .relation("account", &context.account_id)
            .relation("stateMachines", state_machines);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.item).origin();
        for (step, property) in [("targets", "Targets"), ("tags", "Tags")] {
            if let Some(result) = resource.step(step) {
                document.set(property, result);
            }
        }
        let bus = resource.parents.get("buses").and_then(|bus| bus.fields().ok());
        if let Some(arn) = bus.and_then(|bus| bus.get("Arn")) {
            document.context("EventBusArn", arn);
        }
        Ok(())
    }
}

/// The state machine that a target is, without the version or alias that the target's ARN may name.
fn state_machine(target: Json<'_>) -> Option<String> {
    let target = target.as_str()?;
    let parts: Vec<&str> = target.split(':').take(7).collect();
    (parts.get(2) == Some(&"states") && parts.get(5) == Some(&"stateMachine"))
        .then(|| port_identifier(&parts.join(":")).into_owned())
}
