//! Examples of raw data, for the editor of mappings in Port.

use berth_core::{Document, Kind};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::{PortCatalog, client::Call, error::PortError, mask::mask, wire};

/// Shows documents of a kind, without their secrets.
pub(crate) async fn show(port: &PortCatalog, kind: &Kind, documents: &[Document]) -> Result<(), PortError> {
    let known = [port.config.client_secret.expose_secret()];
    let examples: Vec<Value> = documents
        .iter()
        .filter_map(|document| {
            let mut example = serde_json::from_str(document.get()).ok()?;
            mask(&mut example, &known);
            Some(example)
        })
        .collect();
    let segments = ["integration", &port.config.integration_identifier, "kinds", kind.as_str(), "examples"];
    let call = Call::new("show examples of", Method::POST, port.client.form_url(&segments)?)
        .subject(kind.as_str())
        .once()
        .json(&wire::raw::Examples { examples: &examples })?;
    port.client.send(call).await.map(drop)
}
