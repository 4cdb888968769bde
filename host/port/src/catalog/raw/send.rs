//! Sends raw data: batches of documents, of a resync or of a live event.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use berth_core::{Document, EventDocuments, Kind, Problem, ProblemCode, ResourceConfig};
use futures::{FutureExt, future::BoxFuture};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

use crate::{
    PortConfig,
    api::{
        batches::{BODY_LIMIT, batches},
        client::{Call, PortClient},
        error::PortError,
        raw_data::{
            Nothing, RawBatch, RawData, RawMetadata, RawRoute, WrittenBatch, WrittenData, raw_data_call,
        },
        values::iso,
    },
};

/// Sends raw data of this integration.
#[derive(Clone)]
pub(crate) struct RawSender {
    pub(super) client: Arc<PortClient>,
    pub(super) config: Arc<PortConfig>,
}

/// What a write of raw data belongs to.
pub(super) struct Write<'a> {
    /// Port's address for raw data.
    pub(super) address: &'a Url,
    /// The resync or, for a live event, the event.
    pub(super) sync: Uuid,
    /// The event; in a resync, each request is one.
    pub(super) event: Option<Uuid>,
    /// When the resync started.
    pub(super) started: Option<SystemTime>,
    pub(super) kind: &'a str,
}

impl RawSender {
    pub(crate) fn new(client: Arc<PortClient>, config: Arc<PortConfig>) -> Self {
        Self { client, config }
    }

    /// Returns one batch in Port's form.
    pub(super) fn entry(
        &self,
        config: &ResourceConfig,
        resource: usize,
        documents: &[Document],
        operation: &'static str,
    ) -> Result<Box<RawValue>, Problem> {
        let selector = &config.selector;
        // The variables of the environment that the catalog's mapping wants to know.
        let exported = selector.other.get("exportEnvVariables").and_then(Value::as_array);
        let environment: BTreeMap<&str, Option<&str>> = exported
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|name| (name, self.config.exported_variables.get(name).map(SecretString::expose_secret)))
            .collect();
        let query = selector.query.trim();
        let entry = RawBatch {
            request: Nothing {},
            response: Nothing {},
            items: documents,
            metadata: RawMetadata {
                operation,
                extraction_timestamp: self.now(),
                resource_index: resource,
                selector_hash: (!query.is_empty()).then(|| format!("{:x}", Sha256::digest(query))),
            },
            environment_data: (!environment.is_empty()).then_some(environment),
        };
        serde_json::value::to_raw_value(&entry).map_err(|error| {
            Problem::new(ProblemCode::Internal, format!("cannot be written as JSON: {error}"))
        })
    }

    /// Sends batches in one request, or in halves if that is too large for Port.
    pub(super) fn send<'a>(
        &'a self,
        write: &'a Write<'_>,
        batches: Vec<Box<RawValue>>,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        async move {
            let call = self.call(write, &batches)?;
            // The body contains everything now.
            drop(batches);
            let body = call.sent();
            let error = match self.client.send(call).await {
                Ok(_) => return Ok(()),
                Err(error) if error.status() == Some(413) => error,
                Err(error) => return Err(error),
            };
            let halves = halves(&body);
            drop(body);
            let Some([first, second]) = halves else { return Err(error) };
            tracing::debug!(kind = write.kind, "raw data was too large for Port; sent in halves");
            self.send(write, first).await?;
            self.send(write, second).await
        }
        .boxed()
    }

    /// Sends documents of resources that live events named, in few requests.
    pub(crate) async fn send_event(
        &self,
        address: &Url,
        kind: &Kind,
        documents: &[EventDocuments],
    ) -> Result<(), PortError> {
        let entries = documents.iter().map(|of_resource| {
            let EventDocuments { resource, config, gone, documents } = of_resource;
            self.entry(config, *resource, documents, if *gone { "delete" } else { "upsert" })
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(PortError::Other)?;
        let lengths: Vec<usize> = entries.iter().map(|entry| entry.get().len()).collect();
        let mut entries = entries.into_iter();
        for range in batches(&lengths, self.config.raw_data.flush_batches, BODY_LIMIT) {
            let event = Uuid::new_v4();
            let kind = kind.as_str();
            let write = Write { address, sync: event, event: Some(event), started: None, kind };
            self.send(&write, entries.by_ref().take(range.len()).collect()).await?;
        }
        Ok(())
    }

    fn call(&self, write: &Write<'_>, batches: &[Box<RawValue>]) -> Result<Call, PortError> {
        let config = &self.config;
        let route = RawRoute {
            address: write.address,
            integration_type: &config.integration_type,
            integration: &config.integration_identifier,
            sync: write.sync,
        };
        let body = RawData {
            kind: write.kind,
            event_type: config.event_type.as_raw(),
            extraction_timestamp: self.now(),
            resync_start_time: write.started.map(iso),
            // Created once: a retried request is the same event.
            event_id: write.event.unwrap_or_else(Uuid::new_v4).to_string(),
            data: batches,
        };
        raw_data_call(route, &body)
    }

    /// Returns milliseconds since 1970, by the clock of the resync's start.
    fn now(&self) -> u64 {
        let since = self.client.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Splits the content of a body in two; `None` if it is one document.
fn halves(body: &[u8]) -> Option<[Vec<Box<RawValue>>; 2]> {
    let WrittenData { mut data } = serde_json::from_slice(body).ok()?;
    let second = data.split_off(data.len().div_ceil(2));
    if !second.is_empty() {
        return Some([data, second]);
    }
    let batch: WrittenBatch = serde_json::from_str(data.first()?.get()).ok()?;
    let [first, second] = batch.halves()?;
    let text = |batch: &WrittenBatch| Some(vec![serde_json::value::to_raw_value(batch).ok()?]);
    Some([text(&first)?, text(&second)?])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_too_large_is_halved_down_to_one_document() {
        let batch = |items: &[u32]| json!({"items": items, "metadata": {"resourceIndex": 3}, "request": {}});
        let mut left = vec![json!({"kind": "k", "data": [batch(&[1, 2, 3]), batch(&[]), batch(&[4])]})];
        let mut alone = Vec::new();
        while let Some(body) = left.pop() {
            match halves(body.to_string().as_bytes()) {
                Some(halves) => left.extend(halves.map(|data| json!({"data": data}))),
                None => alone.push(body["data"][0].clone()),
            }
        }
        alone.sort_by_key(Value::to_string);
        assert_eq!(alone, [batch(&[1]), batch(&[2]), batch(&[3]), batch(&[4]), batch(&[])]);
    }
}
