//! `AWS::Lambda::Function`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::Deserialize;

berth_plugin::export!(LambdaFunction, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::Lambda::Function`.
pub struct LambdaFunction;

/// What an entity needs of a function.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Function<'a> {
    #[serde(borrow)]
    function_arn: Json<'a>,
    function_name: Json<'a>,
    description: Json<'a>,
    runtime: Json<'a>,
    handler: Json<'a>,
    package_type: Json<'a>,
    architectures: Json<'a>,
    memory_size: Json<'a>,
    timeout: Json<'a>,
    code_size: Json<'a>,
    role: Json<'a>,
    last_modified: Json<'a>,
    vpc_config: Option<VpcConfig<'a>>,
}

/// What an entity needs of a function's network.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VpcConfig<'a> {
    #[serde(borrow)]
    vpc_id: Json<'a>,
}

/// What an entity needs beside the function.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

/// `LastModified` is a text to AWS, not a time, and stays as it is (`2024-01-02T03:04:05.000+0000`).
const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("FunctionArn").required(),
    Property::new("FunctionName"),
    Property::new("Architectures"),
    Property::new("CodeSha256"),
    Property::new("CodeSize"),
    Property::new("DeadLetterConfig"),
    Property::new("Description"),
    Property::new("Environment"),
    Property::new("EphemeralStorage"),
    Property::new("FileSystemConfigs"),
    Property::new("Handler"),
    Property::new("ImageConfigResponse"),
    Property::new("KMSKeyArn"),
    Property::new("LastModified"),
    Property::new("LastUpdateStatus"),
    Property::new("LastUpdateStatusReason"),
    Property::new("LastUpdateStatusReasonCode"),
    Property::new("Layers"),
    Property::new("LoggingConfig"),
    Property::new("MasterArn"),
    Property::new("MemorySize"),
    Property::new("PackageType"),
    Property::new("RevisionId"),
    Property::new("Role"),
    Property::new("Runtime"),
    Property::new("RuntimeVersionConfig"),
    Property::new("SigningJobArn"),
    Property::new("SigningProfileVersionArn"),
    Property::new("SnapStart"),
    Property::new("State"),
    Property::new("StateReason"),
    Property::new("StateReasonCode"),
    Property::new("Tags"),
    Property::new("Timeout"),
    Property::new("TracingConfig"),
    Property::new("Version"),
    Property::new("VpcConfig"),
]);

impl Mapper for LambdaFunction {
    const KIND: &'static str = "AWS::Lambda::Function";
    type Resource<'a> = Resource<Function<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: function, steps, .. } = resource;
        out.entity("lambdaFunction", function.function_arn)
            .title(function.function_name)
            .property("description", function.description)
            .property("runtime", function.runtime)
            .property("handler", function.handler)
            .property("packageType", function.package_type)
            .property("architectures", function.architectures)
            .property("memorySize", function.memory_size)
            .property("timeout", function.timeout)
            .property("codeSize", function.code_size)
            .property("role", function.role)
            .property("vpcId", function.vpc_config.unwrap_or_default().vpc_id)
            .property("lastModified", function.last_modified)
            .property("arn", function.function_arn)
            .property("tags", steps.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, function: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(function.item).origin();
        if let Some(tags) = function.step("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}
