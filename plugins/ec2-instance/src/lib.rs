//! `AWS::EC2::Instance`.
//!
//! A resource of the plan is a *reservation*, since documents carry its other members in
//! `__ExtraContext`; it makes one entity for each of its instances.

use std::borrow::Cow;

use berth_plugin::{
    Context, Documents, Entities, Fields, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::Deserialize;

berth_plugin::export!(Ec2Instance, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::EC2::Instance`.
pub struct Ec2Instance;

/// What the entities need of a reservation. One without `Instances` is refused: read as empty, it
/// would look as if its instances were gone.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reservation<'a> {
    #[serde(borrow, default)]
    reservation_id: Json<'a>,
    instances: Vec<Instance<'a>>,
}

/// What an entity needs of an instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Instance<'a> {
    #[serde(borrow)]
    instance_id: Json<'a>,
    instance_type: Json<'a>,
    state: Option<State<'a>>,
    public_ip_address: Json<'a>,
    private_ip_address: Json<'a>,
    tags: Json<'a>,
}

/// An instance's state.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct State<'a> {
    #[serde(borrow)]
    name: Json<'a>,
}

/// Members of a status that hold lists of checks, each with the time since when it fails.
const DETAILS: &[&str] = &["ImpairedSince"];

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("InstanceId").required(),
    Property::new("LaunchTime").time(),
    Property::new("UsageOperationUpdateTime").time(),
    Property::new("BlockDeviceMappings").times(&["AttachTime"]),
    Property::new("NetworkInterfaces").times(&["AttachTime"]),
    Property::new("ElasticInferenceAcceleratorAssociations")
        .times(&["ElasticInferenceAcceleratorAssociationTime"]),
    Property::new("Events").times(&["NotAfter", "NotBefore", "NotBeforeDeadline"]),
    Property::new("InstanceStatus").times(DETAILS),
    Property::new("SystemStatus").times(DETAILS),
    Property::new("AttachedEbsStatus").times(DETAILS),
]);

const NAMELESS: &str = "it has an instance without `InstanceId`";

impl Mapper for Ec2Instance {
    const KIND: &'static str = "AWS::EC2::Instance";
    type Resource<'a> = Resource<Reservation<'a>>;

    fn entities(
        context: &Context,
        reservation: Self::Resource<'_>,
        out: &mut Entities,
    ) -> Result<(), Refused> {
        let region = context.region.as_deref().unwrap_or_default();
        for instance in reservation.item.instances {
            let Some(id) = instance.instance_id.as_str() else {
                out.refuse(name(reservation.item.reservation_id), NAMELESS);
                continue;
            };
            out.entity("ec2Instance", instance.instance_id)
                .title(instance.instance_id)
                .property("instanceType", instance.instance_type)
                .property("state", instance.state.unwrap_or_default().name)
                .property("publicIpAddress", instance.public_ip_address)
                .property("privateIpAddress", instance.private_ip_address)
                .property("tags", instance.tags)
                // `aws` in every partition: the mapping that installations have stored says so.
                .property("arn", format_args!("arn:aws:ec2:{region}:{}:instance/{id}", context.account_id))
                .relation("account", &context.account_id);
        }
        Ok(())
    }

    fn documents(_: &Context, reservation: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let fields = reservation.item.fields()?;
        let statuses: Vec<Fields<'_>> = match reservation.step("status") {
            Some(statuses) => statuses.elements()?.into_iter().map(Json::fields).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        for instance in fields.get("Instances").unwrap_or_default().elements()? {
            let instance = instance.fields()?;
            let Some(id) = instance.get("InstanceId").and_then(Json::as_str) else {
                out.refuse(name(fields.get("ReservationId").unwrap_or_default()), NAMELESS);
                continue;
            };
            // By id, never by position: AWS leaves out what it has no status for.
            let status = statuses
                .iter()
                .find(|status| status.get("InstanceId").and_then(Json::as_str).as_ref() == Some(&id));
            let mut document = out.document(&PROPERTIES);
            document.merge_fields(instance).origin();
            if let Some(status) = status {
                document.merge_fields(status.clone());
            }
            for (name, value) in fields.iter().filter(|(name, _)| *name != "Instances") {
                document.context(name, value);
            }
        }
        Ok(())
    }
}

fn name(reservation_id: Json<'_>) -> Cow<'_, str> {
    reservation_id.as_str().unwrap_or(Cow::Borrowed("a reservation"))
}
