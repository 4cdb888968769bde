//! `AWS::EC2::Image`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(Ec2Image, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::Image`.
pub struct Ec2Image;

/// What an entity needs of an image.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Image<'a> {
    #[serde(borrow)]
    image_id: Json<'a>,
    name: Json<'a>,
    state: Json<'a>,
    architecture: Json<'a>,
    platform_details: Json<'a>,
    root_device_type: Json<'a>,
    virtualization_type: Json<'a>,
    public: Json<'a>,
    description: Json<'a>,
    creation_date: Timestamp<'a>,
    deprecation_time: Timestamp<'a>,
    tags: Json<'a>,
}

/// When a scan found something, and since when fixes are there for what it found.
const SCAN_TIMES: &[&str] = &[
    "FindingScanDate",
    "InformationalFixAvailableSince",
    "LowFixAvailableSince",
    "MediumFixAvailableSince",
    "HighFixAvailableSince",
    "CriticalFixAvailableSince",
];

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("ImageId").required(),
    Property::new("CreationDate").time(),
    Property::new("DeprecationTime").time(),
    Property::new("LastLaunchedTime").time(),
    Property::new("ImageWatermarks").times(&["SourceImageCreationTime", "WatermarkCreationTime"]),
    Property::new("ScanResults").times(SCAN_TIMES),
]);

impl Mapper for Ec2Image {
    const KIND: &'static str = "AWS::EC2::Image";
    type Resource<'a> = Resource<Image<'a>>;

    fn entities(context: &Context, image: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let item = image.item;
        let arn = arn(context, item.image_id)?;
        out.entity("ec2Image", item.image_id)
            .title(if item.name.is_null() { item.image_id } else { item.name })
            .property("state", item.state)
            .property("architecture", item.architecture)
            .property("platformDetails", item.platform_details)
            .property("rootDeviceType", item.root_device_type)
            .property("virtualizationType", item.virtualization_type)
            .property("public", item.public)
            .property("description", item.description)
            .property("creationDate", item.creation_date)
            .property("deprecationTime", item.deprecation_time)
            .property("tags", item.tags)
            .property("arn", arn)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(context: &Context, image: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = image.item.fields()?;
        let arn = arn(context, fields.get("ImageId").unwrap_or_default())?;
        out.document(&PROPERTIES).merge_fields(fields).set("Arn", arn).origin();
        Ok(())
    }
}

/// The ARN. It names no account.
fn arn(context: &Context, id: Json<'_>) -> Result<String, Refused> {
    let id = id.as_str().filter(|id| !id.is_empty()).ok_or("it has no `ImageId`")?;
    let region = context.region.as_deref().unwrap_or_default();
    Ok(format!("arn:{}:ec2:{region}::image/{id}", context.partition))
}
