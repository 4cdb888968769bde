//! `AWS::S3::Bucket`.

use std::borrow::Cow;

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(S3Bucket, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::S3::Bucket`.
pub struct S3Bucket;

/// What an entity needs of a bucket.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Bucket<'a> {
    #[serde(borrow)]
    name: Json<'a>,
    creation_date: Timestamp<'a>,
}

/// What an entity needs beside the bucket.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

/// What documents take from `ListBuckets`. `BucketRegion` is left out: the integration Berth
/// replaces tells the region as `LocationConstraint` only.
const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("BucketName").raw("Name").required(),
    Property::new("CreationDate").time(),
]);

/// The property that each step's result becomes.
const STEPS: [(&str, &str); 4] = [
    ("tags", "Tags"),
    ("publicAccessBlock", "PublicAccessBlockConfiguration"),
    ("ownershipControls", "OwnershipControls"),
    ("encryption", "BucketEncryption"),
];

impl Mapper for S3Bucket {
    const KIND: &'static str = "AWS::S3::Bucket";
    type Resource<'a> = Resource<Bucket<'a>, Steps<'a>>;

    fn entities(context: &Context, bucket: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, .. } = bucket;
        let name = name(item.name)?;
        let partition = &context.partition;
        out.entity("s3Bucket", format_args!("arn:{partition}:s3:::{name}"))
            .title(item.name)
            .property("arn", format_args!("arn:{partition}:s3:::{name}"))
            .property("creationDate", item.creation_date)
            .property("tags", steps.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(context: &Context, bucket: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let name = name(bucket.item.fields()?.get("Name").unwrap_or_default())?;
        let mut document = out.document(&PROPERTIES);
        document
            .merge(bucket.item)
            .set("Arn", format_args!("arn:{}:s3:::{name}", context.partition))
            // A bucket is not of the region that lists it, so documents name the account alone.
            .context("AccountId", &context.account_id);
        for (step, property) in STEPS {
            if let Some(result) = bucket.step(step) {
                document.set(property, result);
            }
        }
        if let Some(location) = bucket.step("location") {
            document
                .set("LocationConstraint", location.fields()?.get("LocationConstraint").unwrap_or_default());
        }
        Ok(())
    }
}

fn name(name: Json<'_>) -> Result<Cow<'_, str>, Refused> {
    name.as_str().filter(|name| !name.is_empty()).ok_or_else(|| "it has no `Name`".into())
}
