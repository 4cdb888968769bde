//! `AWS::SES::ConfigurationSet`.
//!
//! The list knows names only; all else comes from the `describe` step. Names are not unique over
//! accounts and regions, so entities are identified by all three.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::{Deserialize, de::IgnoredAny};

berth_plugin::export!(SesConfigurationSet, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::SES::ConfigurationSet`.
pub struct SesConfigurationSet;

/// The steps of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    describe: ConfigurationSet<'a>,
}

/// What an entity needs of a configuration set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigurationSet<'a> {
    #[serde(borrow)]
    configuration_set_name: Json<'a>,
    sending_options: Option<Sending<'a>>,
    delivery_options: Option<Delivery<'a>>,
    reputation_options: Option<Reputation<'a>>,
    tracking_options: Option<Tracking<'a>>,
    suppression_options: Option<Suppression<'a>>,
    tags: Json<'a>,
}

/// Whether mail is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Sending<'a> {
    #[serde(borrow)]
    sending_enabled: Json<'a>,
}

/// How mail is delivered.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Delivery<'a> {
    #[serde(borrow)]
    tls_policy: Json<'a>,
    sending_pool_name: Json<'a>,
}

/// What is kept on reputation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Reputation<'a> {
    #[serde(borrow)]
    reputation_metrics_enabled: Json<'a>,
}

/// How links are tracked.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Tracking<'a> {
    #[serde(borrow)]
    custom_redirect_domain: Json<'a>,
}

/// Which addresses get no more mail.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Suppression<'a> {
    #[serde(borrow)]
    suppressed_reasons: Json<'a>,
}

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("ConfigurationSetName").required(),
    Property::new("TrackingOptions"),
    Property::new("DeliveryOptions"),
    Property::new("ReputationOptions").times(&["LastFreshStart"]),
    Property::new("SendingOptions"),
    Property::new("Tags"),
    Property::new("SuppressionOptions"),
    Property::new("VdmOptions"),
    Property::new("ArchivingOptions"),
]);

impl Mapper for SesConfigurationSet {
    const KIND: &'static str = "AWS::SES::ConfigurationSet";
    type Resource<'a> = Resource<IgnoredAny, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let set = resource.steps.describe;
        let Some(name) = set.configuration_set_name.as_str() else {
            return Err("it has no `ConfigurationSetName`".into());
        };
        let (account, region) = (&context.account_id, context.region.as_deref().unwrap_or_default());
        let delivery = set.delivery_options.unwrap_or_default();
        let reputation = set.reputation_options.unwrap_or_default();
        out.entity("sesConfigurationSet", format_args!("{account}/{region}/{name}"))
            .title(set.configuration_set_name)
            .property("sendingEnabled", set.sending_options.unwrap_or_default().sending_enabled)
            .property("tlsPolicy", delivery.tls_policy)
            .property("sendingPool", delivery.sending_pool_name)
            .property("reputationMetricsEnabled", reputation.reputation_metrics_enabled)
            .property("redirectDomain", set.tracking_options.unwrap_or_default().custom_redirect_domain)
            .property("suppressedReasons", set.suppression_options.unwrap_or_default().suppressed_reasons)
            .property("region", region)
            .property("tags", set.tags)
            .relation("account", account);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let set = resource.steps.get("describe").unwrap_or_default();
        out.document(&PROPERTIES).merge(set).origin();
        Ok(())
    }
}
