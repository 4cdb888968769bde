//! Port's answers as they are read, without Port: for the fuzzer, which is a crate of its own.

use serde::de::DeserializeOwned;

use crate::{
    client::from_body,
    wire::{self, TopicMessage},
};

/// Takes a body for the answer to each request that has one. Gives what is wrong with it for those to which
/// it is no answer.
pub fn complaints(body: &[u8]) -> Vec<String> {
    fn read<T: DeserializeOwned>(body: &[u8], then: impl FnOnce(T)) -> Option<String> {
        from_body(body).map(then).err()
    }
    let error: wire::ErrorReply = from_body(body).unwrap_or_default();
    _ = (error.is_stale(), wire::words(&error.error), wire::words(&error.message));
    if let Some(message) = TopicMessage::parse(body) {
        _ = (message.action(), message.addressee(), message.changed(), message.destination());
        _ = message.changed_at().and_then(wire::iso_time);
        _ = message.resync_state_at().and_then(wire::iso_time);
    }
    let complaints = [
        read(body, drop::<wire::TokenReply>),
        read(body, drop::<wire::IntegrationReply>),
        read(body, drop::<wire::IntegrationsReply>),
        read(body, drop::<wire::ResyncRequestReply>),
        read(body, drop::<wire::ProvisionEnabledReply>),
        read(body, drop::<wire::OrganizationReply>),
        read(body, drop::<wire::KafkaCredentialsReply>),
        read(body, drop::<wire::BlueprintsReply>),
        read(body, drop::<wire::BlueprintReply>),
        read(body, drop::<wire::UpsertReply>),
        read(body, drop::<wire::SearchReply<wire::FoundEntity>>),
        read(body, |page: wire::PageReply<wire::RelatedEntity>| {
            page.entities.iter().for_each(|entity| _ = entity.targets("account"));
        }),
        read(body, drop::<wire::DatasourceReply>),
        read(body, |bulk: wire::BulkReply| {
            bulk.done().for_each(drop);
            bulk.failed().for_each(drop);
        }),
        read(body, |reply: wire::DeleteReply| _ = reply.split("blueprint")),
    ];
    complaints.into_iter().flatten().collect()
}
