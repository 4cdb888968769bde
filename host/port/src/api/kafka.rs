//! Kafka: credentials for Port's brokers (`/kafka-credentials`), and the messages of its topics.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    client::{Call, PortClient},
    error::PortError,
};

#[derive(Deserialize)]
pub(crate) struct KafkaCredentialsReply {
    #[serde(default)]
    pub(crate) credentials: Option<BrokerCredentials>,
}

/// Has no `Debug`, because it holds the password.
#[derive(Deserialize)]
pub(crate) struct BrokerCredentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

/// A message of one of the Kafka topics that may be a resync request. The form of other messages is unknown,
/// so anything missing or unexpected is null.
pub(crate) struct TopicMessage(Value);

impl TopicMessage {
    /// Parses a message; `None` if it is not JSON.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        serde_json::from_slice(message).ok().map(Self)
    }

    pub(crate) fn action(&self) -> Option<&str> {
        self.text("/action")
    }

    /// Returns the integration that the message is for.
    pub(crate) fn addressee(&self) -> Option<&str> {
        self.text("/context/integrationId")
    }

    /// Returns the integration that was changed.
    pub(crate) fn changed(&self) -> Option<&str> {
        self.text("/diff/after/identifier")
    }

    /// Returns when the integration was changed.
    pub(crate) fn changed_at(&self) -> Option<&Value> {
        self.0.pointer("/diff/after/updatedAt")
    }

    /// Returns when its resync state was changed.
    pub(crate) fn resync_state_at(&self) -> Option<&Value> {
        self.0.pointer("/diff/after/resyncState/updatedAt")
    }

    /// Returns where the integration's changes are sent: from beside the change, else from the change.
    pub(crate) fn destination(&self) -> Option<&str> {
        self.text("/changelogDestination/type").or_else(|| self.text("/diff/after/changelogDestination/type"))
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }
}

impl PortClient {
    /// Gets the organization's credentials; `None` if it has no Kafka.
    pub(crate) async fn kafka_credentials(&self) -> Result<Option<BrokerCredentials>, PortError> {
        let call = Call::new("get the Kafka credentials", Method::GET, self.url(&["kafka-credentials"])?);
        let Some(reply) = self.find(call).await? else { return Ok(None) };
        let found = reply.json::<KafkaCredentialsReply>()?.credentials;
        Ok(found.filter(|found| !found.username.is_empty() && !found.password.is_empty()))
    }
}
