//! `AWS::SES::EmailIdentity`.
//!
//! The same domain may be an identity in several accounts and regions, so entities are identified by
//! all three. A document has what the list tells, and over it what `GetEmailIdentity` tells.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::{Deserialize, Deserializer};

berth_plugin::export!(SesEmailIdentity, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::SES::EmailIdentity`.
pub struct SesEmailIdentity;

/// What an entity needs of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Summary<'a> {
    #[serde(borrow)]
    identity_name: Json<'a>,
    identity_type: Json<'a>,
    sending_enabled: Json<'a>,
    verification_status: Json<'a>,
}

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: Option<Identity<'a>>,
}

/// What an entity needs of `GetEmailIdentity`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Identity<'a> {
    #[serde(borrow, deserialize_with = "present")]
    identity_type: Option<Json<'a>>,
    #[serde(borrow, deserialize_with = "present")]
    verification_status: Option<Json<'a>>,
    verified_for_sending_status: Json<'a>,
    feedback_forwarding_status: Json<'a>,
    dkim_attributes: Option<Dkim<'a>>,
    mail_from_attributes: Option<MailFrom<'a>>,
    configuration_set_name: Json<'a>,
    tags: Json<'a>,
}

/// How the mail of an identity is signed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Dkim<'a> {
    #[serde(borrow)]
    status: Json<'a>,
    signing_enabled: Json<'a>,
}

/// Where the mail of an identity is said to come from.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MailFrom<'a> {
    #[serde(borrow)]
    mail_from_domain: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("IdentityName").required(),
    Property::new("IdentityType"),
    Property::new("SendingEnabled"),
    Property::new("FeedbackForwardingStatus"),
    Property::new("VerifiedForSendingStatus"),
    Property::new("DkimAttributes").times(&["LastKeyGenerationTimestamp"]),
    Property::new("MailFromAttributes"),
    Property::new("Policies"),
    Property::new("Tags"),
    Property::new("ConfigurationSetName"),
    Property::new("VerificationStatus"),
    Property::new("VerificationInfo").times(&["LastCheckedTimestamp", "LastSuccessTimestamp"]),
]);

impl Mapper for SesEmailIdentity {
    const KIND: &'static str = "AWS::SES::EmailIdentity";
    type Resource<'a> = Resource<Summary<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item, steps, .. } = resource;
        let identity = steps.describe.unwrap_or_default();
        let Some(name) = item.identity_name.port_identifier() else {
            return Err("it has no `IdentityName`".into());
        };
        let (account, region) = (&context.account_id, context.region.as_deref().unwrap_or_default());
        let dkim = identity.dkim_attributes.unwrap_or_default();
        let configuration_set =
            identity.configuration_set_name.as_str().map(|name| format!("{account}/{region}/{name}"));
        out.entity("sesEmailIdentity", format_args!("{account}/{region}/{name}"))
            .title(item.identity_name)
            .property("identityType", identity.identity_type.unwrap_or(item.identity_type))
            .property("sendingEnabled", item.sending_enabled)
            .property("verificationStatus", identity.verification_status.unwrap_or(item.verification_status))
            .property("verifiedForSending", identity.verified_for_sending_status)
            .property("feedbackForwarding", identity.feedback_forwarding_status)
            .property("dkimStatus", dkim.status)
            .property("dkimSigningEnabled", dkim.signing_enabled)
            .property("mailFromDomain", identity.mail_from_attributes.unwrap_or_default().mail_from_domain)
            .property("region", region)
            .property("tags", identity.tags)
            .relation("configurationSet", configuration_set)
            .relation("account", account);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.item);
        if let Some(identity) = resource.steps.get("describe").filter(|identity| !identity.is_null()) {
            document.merge(identity);
        }
        document.origin();
        Ok(())
    }
}

/// A member that is there, be it null: unlike one that is missing, it hides what was merged before.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
