//! Examples of raw data, for the editor of mappings in Port: one request for each kind and resync.

use std::{collections::BTreeMap, time::Duration};

use berth_common::redact;
use berth_core::{Document, Kind};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::{
    PortCatalog,
    client::Call,
    error::PortError,
    integration::EXAMPLES,
    upsert::{BODY_LIMIT, batches},
    wire,
};

/// How long the end of a resync waits for the examples that are left.
const PATIENCE: Duration = Duration::from_secs(10);

/// Examples that were not shown yet.
pub(crate) type Gathered = BTreeMap<Kind, Vec<Value>>;

/// Gathers documents of a kind, without their secrets, and shows them when there are enough.
pub(crate) async fn add(port: &PortCatalog, kind: &Kind, documents: &[Document]) -> Result<(), PortError> {
    let known = [port.config.client_secret.expose_secret()];
    let examples = documents.iter().filter_map(|document| {
        let mut example = serde_json::from_str(document.get()).ok()?;
        redact::example(&mut example, &known);
        Some(example)
    });
    let enough = {
        let mut session = port.session();
        let gathered = session.examples.entry(kind.clone()).or_default();
        gathered.extend(examples);
        if gathered.len() < EXAMPLES { None } else { session.examples.remove(kind) }
    };
    match enough {
        Some(examples) => show(port, kind, &examples).await,
        None => Ok(()),
    }
}

/// Shows what is left.
pub(crate) async fn finish(port: &PortCatalog) {
    let left = std::mem::take(&mut port.session().examples);
    let shown =
        stream::iter(&left).for_each_concurrent(port.config.concurrency, |(kind, examples)| async move {
            if let Err(error) = show(port, kind, examples).await {
                tracing::warn!(%kind, %error, "the catalog did not take examples");
            }
        });
    if tokio::time::timeout(PATIENCE, shown).await.is_err() {
        tracing::warn!("Port is too slow for examples; the rest is left out");
    }
}

/// Shows examples of a kind. As many as fit are sent together, and one that is too large alone is left out; where Port takes less, half of them.
fn show<'a>(
    port: &'a PortCatalog,
    kind: &'a Kind,
    examples: &'a [Value],
) -> BoxFuture<'a, Result<(), PortError>> {
    async move {
        let lengths: Vec<usize> = examples.iter().map(|example| example.to_string().len()).collect();
        let fitting = batches(&lengths, EXAMPLES, BODY_LIMIT)
            .into_iter()
            .filter(|range| range.len() > 1 || lengths[range.start] < BODY_LIMIT)
            .max_by_key(ExactSizeIterator::len);
        let Some(range) = fitting else {
            tracing::debug!(%kind, "examples are too large to be shown");
            return Ok(());
        };
        let examples = &examples[range];
        let segments =
            ["integration", &port.config.integration_identifier, "kinds", kind.as_str(), "examples"];
        let call = Call::new("show examples of", Method::POST, port.client.form_url(&segments)?)
            .subject(kind.as_str())
            .once()
            .json(&wire::raw::Examples { examples })?;
        match port.client.send(call).await {
            Err(error) if error.status() == Some(413) && examples.len() > 1 => {
                show(port, kind, &examples[..examples.len() / 2]).await
            }
            outcome => outcome.map(drop),
        }
    }
    .boxed()
}
