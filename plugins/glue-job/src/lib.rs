//! `AWS::Glue::Job`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp, port_identifier,
};
use serde::Deserialize;

berth_plugin::export!(GlueJob, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::Glue::Job`.
pub struct GlueJob;

/// What an entity needs of a job.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Job<'a> {
    #[serde(borrow)]
    name: Json<'a>,
    description: Json<'a>,
    role: Json<'a>,
    command: Option<Command<'a>>,
    glue_version: Json<'a>,
    worker_type: Json<'a>,
    number_of_workers: Json<'a>,
    max_capacity: Json<'a>,
    max_retries: Json<'a>,
    timeout: Json<'a>,
    execution_class: Json<'a>,
    created_on: Timestamp<'a>,
    last_modified_on: Timestamp<'a>,
}

/// What a job runs.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Command<'a> {
    #[serde(borrow)]
    name: Json<'a>,
    script_location: Json<'a>,
    python_version: Json<'a>,
}

/// What an entity needs beside the job.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("Name").required(),
    Property::new("CreatedOn").time(),
    Property::new("LastModifiedOn").time(),
    Property::new("CodeGenConfigurationNodes").times(&["StartingTimestamp"]),
]);

impl Mapper for GlueJob {
    const KIND: &'static str = "AWS::Glue::Job";
    type Resource<'a> = Resource<Job<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: job, steps, .. } = resource;
        let arn = arn(context, job.name)?;
        let command = job.command.unwrap_or_default();
        out.entity("glueJob", port_identifier(&arn))
            .title(job.name)
            .property("arn", &arn)
            .property("description", job.description)
            .property("role", job.role)
            .property("commandName", command.name)
            .property("scriptLocation", command.script_location)
            .property("pythonVersion", command.python_version)
            .property("glueVersion", job.glue_version)
            .property("workerType", job.worker_type)
            .property("numberOfWorkers", job.number_of_workers)
            .property("maxCapacity", job.max_capacity)
            .property("maxRetries", job.max_retries)
            .property("timeout", job.timeout)
            .property("executionClass", job.execution_class)
            .property("createdOn", job.created_on)
            .property("lastModifiedOn", job.last_modified_on)
            .property("tags", steps.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(context: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let job = resource.item.fields()?;
        let arn = arn(context, job.get("Name").unwrap_or_default())?;
        let mut document = out.document(&PROPERTIES);
        document.merge_fields(job).set("Arn", arn).origin();
        if let Some(tags) = resource.step("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}

/// The job's ARN, which AWS does not tell.
fn arn(context: &Context, name: Json<'_>) -> Result<String, Refused> {
    let name = name.as_str().filter(|name| !name.is_empty()).ok_or("it has no `Name`")?;
    let Context { partition, account_id, .. } = context;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{partition}:glue:{region}:{account_id}:job/{name}"))
}
