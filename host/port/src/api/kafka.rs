//! Kafka: credentials for Port's brokers (`/kafka-credentials`), and the messages of its topics.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    client::{Call, Client},
    error::PortError,
};

#[derive(Deserialize)]
pub(crate) struct KafkaCredentialsReply {
    #[serde(default)]
    pub(crate) credentials: Option<BrokerCredentials>,
}

/// Has no `Debug`: it holds the password.
#[derive(Deserialize)]
pub(crate) struct BrokerCredentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

/// A message of one of the Kafka topics, as far as it may be a resync request. The shape of
/// other messages is not known, so anything that is missing or has another shape is null.
pub(crate) struct TopicMessage(Value);

impl TopicMessage {
    /// `None` when it is no JSON.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        serde_json::from_slice(message).ok().map(Self)
    }

    pub(crate) fn action(&self) -> Option<&str> {
        self.text("/action")
    }

    /// The integration that the message is for.
    pub(crate) fn addressee(&self) -> Option<&str> {
        self.text("/context/integrationId")
    }

    /// The integration that was changed.
    pub(crate) fn changed(&self) -> Option<&str> {
        self.text("/diff/after/identifier")
    }

    /// When the integration was changed.
    pub(crate) fn changed_at(&self) -> Option<&Value> {
        self.0.pointer("/diff/after/updatedAt")
    }

    /// When the state of its resync was.
    pub(crate) fn resync_state_at(&self) -> Option<&Value> {
        self.0.pointer("/diff/after/resyncState/updatedAt")
    }

    /// Where the integration has its changes sent: named beside the change, else in it.
    pub(crate) fn destination(&self) -> Option<&str> {
        self.text("/changelogDestination/type").or_else(|| self.text("/diff/after/changelogDestination/type"))
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }
}

impl Client {
    /// Gets the organization's credentials, `None` when it has no Kafka.
    pub(crate) async fn kafka_credentials(&self) -> Result<Option<BrokerCredentials>, PortError> {
        let call = Call::new("get the Kafka credentials", Method::GET, self.url(&["kafka-credentials"])?);
        let Some(reply) = self.find(call).await? else { return Ok(None) };
        let found = reply.json::<KafkaCredentialsReply>()?.credentials;
        Ok(found.filter(|found| !found.username.is_empty() && !found.password.is_empty()))
    }
}
