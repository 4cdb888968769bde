//! Resync requests over Kafka: where Port sends them, and which messages are requests.

use std::{fmt, time::SystemTime};

use berth_core::{Problem, ProblemCode};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    PortConfig,
    api::{
        client::PortClient,
        error::PortError,
        kafka::{BrokerCredentials, TopicMessage},
        values::iso_time,
    },
};

/// The flag of organizations that have a topic only for resync requests.
const REQUESTS_TOPIC: &str = "OCEAN_KAFKA_INTEGRATION_RESYNC_REQUESTS_TOPIC_ENABLED";

/// The group for brokers without authentication.
const OPEN_GROUP: &str = "no-security";

/// The source of resync requests.
#[derive(Debug)]
pub struct RequestFeed {
    /// The topic to subscribe to.
    pub topic: String,
    /// The consumer group of this integration: each request goes to one of its members.
    pub group: String,
    /// The credentials for the brokers; `None` if they need none.
    pub credentials: Option<KafkaCredentials>,
    /// Whether the topic carries every change in the organization, not only requests.
    legacy: bool,
    integration: String,
}

/// A user name and password for Port's brokers.
pub struct KafkaCredentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

impl PartialEq for KafkaCredentials {
    fn eq(&self, other: &Self) -> bool {
        // Both come from Port: the time of the comparison reveals nothing.
        self.username == other.username && self.password.expose_secret() == other.password.expose_secret()
    }
}

impl fmt::Debug for KafkaCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaCredentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A message that requests a resync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResyncRequest {
    /// When it was made, by Port's clock, if the message says so: every resync that Port saw start later
    /// serves it.
    pub at: Option<SystemTime>,
}

/// Why there is no feed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FeedError {
    /// The organization has no Kafka: a retry does not help.
    #[error("{0}")]
    NotProvided(Problem),
    /// Port is unavailable.
    #[error("{0}")]
    Unavailable(Problem),
}

impl From<PortError> for FeedError {
    fn from(error: PortError) -> Self {
        Self::Unavailable(error.into_problem())
    }
}

/// See [`PortService::request_feed`](super::PortService::request_feed).
pub(crate) async fn feed(
    client: &PortClient,
    config: &PortConfig,
    secured: bool,
) -> Result<RequestFeed, FeedError> {
    let organization = client.organization().await?;
    let Some(id) = organization.id else {
        return Err(FeedError::Unavailable(
            Problem::new(
                ProblemCode::PortKafka,
                "Port does not return the organization's id, which names its Kafka topics",
            )
            .remedy("Use the POLLING listener, or tell Port's support."),
        ));
    };
    let flags = organization.feature_flags.unwrap_or_default();
    let credentials = if secured { Some(credentials(client).await?) } else { None };
    Ok(RequestFeed::new(config, &id, &flags, credentials))
}

async fn credentials(client: &PortClient) -> Result<KafkaCredentials, FeedError> {
    let Some(BrokerCredentials { username, password }) = client.kafka_credentials().await? else {
        return Err(FeedError::NotProvided(
            Problem::new(ProblemCode::PortKafka, "Port has no Kafka credentials for this organization")
                .remedy("Use the POLLING listener, which needs none, or ask Port's support to set up Kafka."),
        ));
    };
    Ok(KafkaCredentials { username, password: password.into() })
}

impl RequestFeed {
    fn new(
        config: &PortConfig,
        organization: &str,
        flags: &[String],
        credentials: Option<KafkaCredentials>,
    ) -> Self {
        let legacy = !flags.iter().any(|flag| flag == REQUESTS_TOPIC);
        Self {
            topic: if legacy {
                format!("{organization}.change.log")
            } else {
                format!("{organization}.integration.resync.requests")
            },
            group: match credentials {
                Some(_) => {
                    let (kind, identifier) = (&config.integration_type, &config.integration_identifier);
                    format!("{organization}.{kind}.{identifier}")
                }
                None => OPEN_GROUP.to_owned(),
            },
            credentials,
            legacy,
            integration: config.integration_identifier.clone(),
        }
    }

    /// Returns the request, if a message of the topic asks this integration for a resync. Ignores messages
    /// that it does not understand.
    pub fn request(&self, message: &[u8]) -> Option<ResyncRequest> {
        let message = TopicMessage::parse(message)?;
        let ours = |integration: Option<&str>| integration == Some(self.integration.as_str());
        if ours(message.addressee()) && (!self.legacy || message.action() == Some("RESYNC")) {
            return Some(ResyncRequest { at: None });
        }
        // A change of the integration, such as a new mapping. A change of its resync state is one, too, and
        // must not trigger a resync.
        let changed = self.legacy
            && ours(message.changed())
            && message.changed_at() != message.resync_state_at()
            && message.destination() == Some("KAFKA");
        let at = message.changed_at().and_then(iso_time).map(SystemTime::from);
        changed.then_some(ResyncRequest { at })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn feed(legacy: bool) -> RequestFeed {
        let (topic, group) = (String::new(), String::new());
        RequestFeed { topic, group, credentials: None, legacy, integration: "my-aws".into() }
    }

    fn change(identifier: &str, updated: &Value, noted: &Value, destination: &str) -> Value {
        json!({
            "action": "UPDATE",
            "diff": {"before": null, "after": {
                "identifier": identifier, "updatedAt": updated, "resyncState": {"updatedAt": noted},
            }},
            "changelogDestination": {"type": destination},
        })
    }

    #[test]
    fn a_request_is_distinguished_from_all_else() {
        let (early, late) = (json!("2026-11-23T10:00:00.000Z"), json!("2026-11-23T10:00:01.500Z"));
        let resync = |action: &str, integration: &str| json!({"action": action, "context": {"integrationId": integration}});
        let mut inner = change("my-aws", &late, &early, "KAFKA");
        inner["diff"]["after"]["changelogDestination"] = json!({"type": "KAFKA"});
        inner.as_object_mut().unwrap().remove("changelogDestination");
        let mut moved = inner.clone();
        moved["changelogDestination"] = json!({"type": "WEBHOOK"});
        let mut first = change("my-aws", &late, &early, "KAFKA");
        first["diff"]["after"].as_object_mut().unwrap().remove("resyncState");
        for (message, legacy, dedicated) in [
            // Addressed to an integration.
            (resync("RESYNC", "my-aws"), true, true),
            (resync("UPDATE", "my-aws"), false, true),
            (resync("RESYNC", "my-AWS"), false, false),
            (resync("RESYNC", "other"), false, false),
            (json!({"action": "RESYNC"}), false, false),
            // A changed integration.
            (change("my-aws", &late, &early, "KAFKA"), true, false),
            (change("other", &late, &early, "KAFKA"), false, false),
            (change("my-aws", &late, &late, "KAFKA"), false, false),
            (change("my-aws", &late, &early, "WEBHOOK"), false, false),
            (change("my-aws", &late, &Value::Null, "KAFKA"), true, false),
            (first, true, false),
            (inner, true, false),
            (moved, false, false),
            // Other content of a topic.
            (json!({"diff": {"after": null}}), false, false),
            (json!({"context": "my-aws", "diff": ["after"], "action": 3}), false, false),
            (json!([]), false, false),
            (Value::Null, false, false),
        ] {
            let text = message.to_string();
            assert_eq!(feed(true).request(text.as_bytes()).is_some(), legacy, "legacy: {text}");
            assert_eq!(feed(false).request(text.as_bytes()).is_some(), dedicated, "dedicated: {text}");
        }
        for text in [&b""[..], b"{", b"\xff"] {
            assert_eq!((feed(true).request(text), feed(false).request(text)), (None, None));
        }
    }

    #[test]
    fn a_change_shows_when_it_was_made() {
        let at = |updated: Value| {
            feed(true).request(change("my-aws", &updated, &Value::Null, "KAFKA").to_string().as_bytes())
        };
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(at(json!("1970-01-01T00:00:01.500Z")), Some(ResyncRequest { at: Some(time) }));
        assert_eq!(at(json!("yesterday")), Some(ResyncRequest { at: None }));
    }
}
