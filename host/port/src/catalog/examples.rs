//! Examples of raw data, for Port's mapping editor: one request for each kind and resync.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use berth_common::redact;
use berth_core::{Document, Kind};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::{
    PortConfig,
    api::{
        batches::{BODY_LIMIT, batches},
        client::PortClient,
        error::PortError,
    },
};

/// How many documents of each kind are shown as examples.
pub(crate) const COUNT: usize = 5;

/// How long the end of a resync waits for the remaining examples.
const PATIENCE: Duration = Duration::from_secs(10);

/// Examples that were not sent yet.
type Gathered = BTreeMap<Kind, Vec<Value>>;

/// The examples of one resync.
pub(crate) struct ExampleCollector {
    client: Arc<PortClient>,
    config: Arc<PortConfig>,
    gathered: Mutex<Gathered>,
}

impl ExampleCollector {
    pub(crate) fn new(client: Arc<PortClient>, config: Arc<PortConfig>) -> Self {
        Self { client, config, gathered: Mutex::default() }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects documents of a kind, without their secrets, and sends them when there are enough.
    pub(crate) async fn add(&self, kind: &Kind, documents: &[Document]) -> Result<(), PortError> {
        let known = [self.config.client_secret.expose_secret()];
        let examples = documents.iter().filter_map(|document| {
            let mut example = serde_json::from_str(document.get()).ok()?;
            redact::example(&mut example, &known);
            Some(example)
        });
        let enough = {
            let mut all = self.gathered();
            let gathered = all.entry(kind.clone()).or_default();
            gathered.extend(examples);
            if gathered.len() < COUNT { None } else { all.remove(kind) }
        };
        match enough {
            Some(examples) => self.show(kind, &examples).await,
            None => Ok(()),
        }
    }

    /// Sends the rest.
    pub(crate) async fn finish(&self) {
        let left = std::mem::take(&mut *self.gathered());
        let shown = stream::iter(&left).for_each_concurrent(
            self.client.concurrency(),
            |(kind, examples)| async move {
                if let Err(error) = self.show(kind, examples).await {
                    tracing::warn!(%kind, %error, "the catalog rejected examples");
                }
            },
        );
        if tokio::time::timeout(PATIENCE, shown).await.is_err() {
            tracing::warn!("Port is too slow for examples; the rest is dropped");
        }
    }

    /// Sends examples of a kind. As many as fit are sent together, and one that is too large alone is
    /// dropped; if Port accepts less, half of them.
    fn show<'a>(&'a self, kind: &'a Kind, examples: &'a [Value]) -> BoxFuture<'a, Result<(), PortError>> {
        async move {
            let lengths: Vec<usize> = examples.iter().map(|example| example.to_string().len()).collect();
            let fitting = batches(&lengths, COUNT, BODY_LIMIT)
                .into_iter()
                .filter(|range| range.len() > 1 || lengths[range.start] < BODY_LIMIT)
                .max_by_key(ExactSizeIterator::len);
            let Some(range) = fitting else {
                tracing::debug!(%kind, "examples are too large to be shown");
                return Ok(());
            };
            let examples = &examples[range];
            let integration = &self.config.integration_identifier;
            match self.client.show_examples(integration, kind, examples).await {
                Err(error) if error.status() == Some(413) && examples.len() > 1 => {
                    self.show(kind, &examples[..examples.len() / 2]).await
                }
                outcome => outcome,
            }
        }
        .boxed()
    }
}
