//! Who carries requests: the network, or whatever stands in for it in the same process.

use std::{fmt::Debug, pin::Pin, sync::Arc};

use reqwest::{Request, Response};

use crate::TransportError;

/// An answer on its way.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response, TransportError>> + Send>>;

/// What carries requests to where they go. It keeps to the timeout that a request has.
pub trait Carrier: Debug + Send + Sync {
    /// Sends a request, and gives the answer once its headers are there.
    fn carry(&self, request: Request) -> Answer;
}

impl Carrier for reqwest::Client {
    fn carry(&self, request: Request) -> Answer {
        let answer = self.execute(request);
        Box::pin(async move { answer.await.map_err(TransportError::new) })
    }
}

/// The client that AWS and Port are asked with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(Arc<dyn Carrier>);

impl Client {
    /// A client whose requests something else than the network carries, as in a simulation.
    pub fn carried_by(carrier: Arc<dyn Carrier>) -> Self {
        Self(carrier)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`TransportError`] when there is no answer. That the body of an answer cannot be read is told by
    /// [`read_body`](crate::read_body).
    pub async fn execute(&self, request: Request) -> Result<Response, TransportError> {
        self.0.carry(request).await
    }
}

impl From<reqwest::Client> for Client {
    fn from(client: reqwest::Client) -> Self {
        Self(Arc::new(client))
    }
}
