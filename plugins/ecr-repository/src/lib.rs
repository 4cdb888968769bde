//! `AWS::ECR::Repository`.

use berth_plugin::{
    Context, Documents, Entities, Fields, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{
    Deserialize, Serialize, Serializer,
    ser::{Error, SerializeMap},
};

berth_plugin::export!(EcrRepository, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ECR::Repository`.
pub struct EcrRepository;

/// What an entity needs of a repository.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Repository<'a> {
    #[serde(borrow)]
    repository_arn: Json<'a>,
    repository_name: Json<'a>,
    repository_uri: Json<'a>,
    image_tag_mutability: Json<'a>,
    image_scanning_configuration: Option<Scanning<'a>>,
    encryption_configuration: Option<Encryption<'a>>,
    created_at: Timestamp<'a>,
}

/// How a repository's images are scanned.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Scanning<'a> {
    #[serde(borrow)]
    scan_on_push: Json<'a>,
}

/// How a repository's images are encrypted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Encryption<'a> {
    #[serde(borrow)]
    encryption_type: Json<'a>,
}

/// What an entity needs beside the repository.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("RepositoryArn").required(),
    Property::new("RepositoryName"),
    Property::new("RepositoryUri"),
    Property::new("RegistryId"),
    Property::new("CreatedAt").time(),
    Property::new("ImageTagMutability"),
    Property::new("ImageScanningConfiguration"),
    Property::new("EncryptionConfiguration"),
]);

/// The answer of `GetLifecyclePolicy` as it is, its time in the form that documents have.
struct LifecyclePolicy<'a>(Fields<'a>);

impl Serialize for LifecyclePolicy<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut members = to.serialize_map(None)?;
        for (name, value) in self.0.iter() {
            if name == "lastEvaluatedAt" {
                let time: Timestamp<'_> = serde_json::from_str(value.text()).map_err(S::Error::custom)?;
                members.serialize_entry(name, &time)?;
            } else {
                members.serialize_entry(name, &value)?;
            }
        }
        members.end()
    }
}

impl Mapper for EcrRepository {
    const KIND: &'static str = "AWS::ECR::Repository";
    type Resource<'a> = Resource<Repository<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: repository, steps, .. } = resource;
        out.entity("ecrRepository", repository.repository_arn)
            .title(repository.repository_name)
            .property("repositoryUri", repository.repository_uri)
            .property("imageTagMutability", repository.image_tag_mutability)
            .property("scanOnPush", repository.image_scanning_configuration.unwrap_or_default().scan_on_push)
            .property(
                "encryptionType",
                repository.encryption_configuration.unwrap_or_default().encryption_type,
            )
            .property("createdAt", repository.created_at)
            .property("arn", repository.repository_arn)
            .property("tags", steps.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, repository: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let lifecycle = repository.step("lifecyclePolicy").map(Json::fields).transpose()?;
        let mut document = out.document(&PROPERTIES);
        document.merge(repository.item).origin();
        if let Some(policy) = repository.step("repositoryPolicy") {
            document.set("RepositoryPolicyText", policy);
        }
        if let Some(policy) = lifecycle {
            document.set("LifecyclePolicy", LifecyclePolicy(policy));
        }
        if let Some(tags) = repository.step("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}
