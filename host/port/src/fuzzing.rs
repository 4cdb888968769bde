//! Parses Port's responses without Port, for the fuzzer, which is a separate crate.

use serde::de::DeserializeOwned;

use crate::api::{
    blueprints,
    client::{self, from_body},
    data_sources, entities, error, integrations,
    kafka::{self, TopicMessage},
    organization, search, values,
};

/// Parses a body as the response to each request that has one. Returns the errors of those that do not accept
/// it.
pub fn violations(body: &[u8]) -> Vec<String> {
    fn read<T: DeserializeOwned>(body: &[u8], then: impl FnOnce(T)) -> Option<String> {
        from_body(body).map(then).err()
    }
    let refusal: error::ErrorReply = from_body(body).unwrap_or_default();
    _ = (refusal.is_stale(), values::words(&refusal.error), values::words(&refusal.message));
    if let Some(message) = TopicMessage::parse(body) {
        _ = (message.action(), message.addressee(), message.changed(), message.destination());
        _ = message.changed_at().and_then(values::iso_time);
        _ = message.resync_state_at().and_then(values::iso_time);
    }
    let violations = [
        read(body, drop::<client::TokenReply>),
        read(body, drop::<integrations::IntegrationReply>),
        read(body, drop::<integrations::IntegrationsReply>),
        read(body, drop::<integrations::ResyncRequestReply>),
        read(body, drop::<integrations::ProvisionEnabledReply>),
        read(body, drop::<organization::OrganizationReply>),
        read(body, drop::<kafka::KafkaCredentialsReply>),
        read(body, drop::<blueprints::BlueprintsReply>),
        read(body, drop::<blueprints::BlueprintReply>),
        read(body, drop::<entities::SingleReply>),
        read(body, drop::<search::SearchReply<search::FoundEntity>>),
        read(body, |page: search::PageReply<search::RelatedEntity>| {
            page.entities.iter().for_each(|entity| _ = entity.targets("account"));
        }),
        read(body, drop::<data_sources::DatasourceReply>),
        read(body, |bulk: entities::BulkReply| {
            bulk.done().for_each(drop);
            bulk.failed().for_each(drop);
        }),
        read(body, |reply: entities::DeleteReply| _ = reply.split("blueprint")),
    ];
    violations.into_iter().flatten().collect()
}
