//! The client, with its transport: the network, or a replacement in the same process.

use std::{fmt::Debug, pin::Pin, sync::Arc};

use reqwest::{Request, Response};

use crate::TransportError;

/// A pending response.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, TransportError>> + Send>>;

/// Transports requests. An implementation must respect the timeout of each request.
pub trait Carrier: Debug + Send + Sync {
    /// Sends a request, and returns the response once its headers have arrived.
    fn carry(&self, request: Request) -> ResponseFuture;
}

impl Carrier for reqwest::Client {
    fn carry(&self, request: Request) -> ResponseFuture {
        let answer = self.execute(request);
        Box::pin(async move { answer.await.map_err(TransportError::new) })
    }
}

/// The client for AWS and Port. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient(Arc<dyn Carrier>);

impl HttpClient {
    /// Creates a client whose requests use another transport than the network, as in a simulation.
    pub fn carried_by(carrier: Arc<dyn Carrier>) -> Self {
        Self(carrier)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`TransportError`] if there is no response. An unreadable body is an error of
    /// [`read_body`](crate::read_body).
    pub async fn execute(&self, request: Request) -> Result<Response, TransportError> {
        self.0.carry(request).await
    }
}

impl From<reqwest::Client> for HttpClient {
    fn from(client: reqwest::Client) -> Self {
        Self(Arc::new(client))
    }
}
