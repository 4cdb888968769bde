//! Limits the number of requests in flight, to all of AWS and to each service.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Concurrency;

/// The permits of all requests.
pub(super) struct Permits {
    requests: Semaphore,
    services: Mutex<HashMap<String, Arc<Semaphore>>>,
    limit_per_service: usize,
}

/// The permits of one request in flight, held until dropped.
pub(super) struct RequestPermits<'p> {
    _service: SemaphorePermit<'p>,
    _request: SemaphorePermit<'p>,
}

impl Permits {
    pub(super) fn new(concurrency: Concurrency) -> Self {
        Self {
            requests: Semaphore::new(concurrency.requests.get()),
            services: Mutex::default(),
            limit_per_service: concurrency.requests_per_service.get(),
        }
    }

    /// Returns the permits of one service.
    pub(super) fn of_service(&self, service: &str) -> Arc<Semaphore> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(permits) = services.get(service) {
            return permits.clone();
        }
        let permits = Arc::new(Semaphore::new(self.limit_per_service));
        services.insert(service.to_owned(), permits.clone());
        permits
    }

    /// Waits until a request may be sent: first for its service, then for all of AWS. Never returns `None`,
    /// since no semaphore is ever closed.
    pub(super) async fn acquire<'p>(&'p self, service: &'p Semaphore) -> Option<RequestPermits<'p>> {
        let service = service.acquire().await.ok()?;
        let request = self.requests.acquire().await.ok()?;
        Some(RequestPermits { _service: service, _request: request })
    }
}
