//! `AWS::ECR::Image`.
//!
//! An image has no ARN of its own: its identifier is the repository's, and its digest.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(EcrImage, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ECR::Image`.
pub struct EcrImage;

/// What an entity needs of an image.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Image<'a> {
    #[serde(borrow)]
    image_digest: Json<'a>,
    image_tags: Option<Vec<Json<'a>>>,
    image_size_in_bytes: Json<'a>,
    image_pushed_at: Timestamp<'a>,
    last_recorded_pull_time: Timestamp<'a>,
    image_manifest_media_type: Json<'a>,
    image_scan_status: Option<ScanStatus<'a>>,
    image_scan_findings_summary: Option<FindingsSummary<'a>>,
}

/// How far the scan of an image is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ScanStatus<'a> {
    #[serde(borrow)]
    status: Json<'a>,
}

/// What the last scan of an image found.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FindingsSummary<'a> {
    #[serde(borrow)]
    image_scan_completed_at: Timestamp<'a>,
    finding_severity_counts: Json<'a>,
}

/// What an image descends from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Parents<'a> {
    #[serde(borrow)]
    repositories: Repository<'a>,
}

/// What an entity needs of a repository.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Repository<'a> {
    #[serde(borrow)]
    repository_arn: Json<'a>,
    repository_uri: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("RepositoryArn").required(),
    Property::new("RepositoryUri"),
    Property::new("RepositoryName"),
    Property::new("RegistryId"),
    Property::new("ImageDigest").required(),
    Property::new("ImageTags"),
    Property::new("ImageSizeInBytes"),
    Property::new("ImagePushedAt").time(),
    Property::new("ImageManifestMediaType"),
    Property::new("ArtifactMediaType"),
    Property::new("ImageScanStatus"),
    Property::new("ImageScanFindingsSummary")
        .times(&["imageScanCompletedAt", "vulnerabilitySourceUpdatedAt"]),
    Property::new("ImageStatus"),
    Property::new("LastRecordedPullTime").time(),
    Property::new("LastArchivedAt").time(),
    Property::new("LastActivatedAt").time(),
    Property::new("SubjectManifestDigest"),
]);

impl Mapper for EcrImage {
    const KIND: &'static str = "AWS::ECR::Image";
    type Resource<'a> = Resource<Image<'a>, IgnoredAny, Parents<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: image, parents: Parents { repositories: repository }, .. } = resource;
        let arn = repository.repository_arn.as_str().ok_or("it has no `RepositoryArn`")?;
        let digest = image.image_digest.as_str().ok_or("it has no `ImageDigest`")?;
        let tags = image.image_tags;
        // As in JQ, false is no tag.
        let first = tags
            .as_ref()
            .and_then(|tags| tags.first())
            .filter(|tag| !["null", "false"].contains(&tag.text()));
        let scan = image.image_scan_findings_summary.unwrap_or_default();
        out.entity("ecrImage", format_args!("{arn}@{digest}"))
            .title(first.copied().unwrap_or(image.image_digest))
            .property("digest", image.image_digest)
            .property("tags", tags)
            .property("uri", repository.repository_uri.as_str().map(|uri| format!("{uri}@{digest}")))
            .property("sizeInBytes", image.image_size_in_bytes)
            .property("pushedAt", image.image_pushed_at)
            .property("lastPulledAt", image.last_recorded_pull_time)
            .property("mediaType", image.image_manifest_media_type)
            .property("scanStatus", image.image_scan_status.unwrap_or_default().status)
            .property("scanCompletedAt", scan.image_scan_completed_at)
            .property("findingCounts", scan.finding_severity_counts)
            .relation("repository", repository.repository_arn)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, image: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let repository = image.parents.get("repositories").unwrap_or_default().fields()?;
        let mut document = out.document(&PROPERTIES);
        document.merge(image.item).origin();
        for (name, member) in [("RepositoryArn", "repositoryArn"), ("RepositoryUri", "repositoryUri")] {
            document.set(name, repository.get(member).unwrap_or_default());
        }
        for (name, step) in [("ScanFindings", "findings"), ("EnhancedScanFindings", "enhancedFindings")] {
            if let Some(findings) = image.step(step) {
                document.set(name, findings);
            }
        }
        Ok(())
    }
}
