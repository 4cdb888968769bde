//! Berth's long-running service as a library: what `berth run` is, for a program of your own.
//!
//! A [`Service`] runs the resyncs of a host as its listener, its schedule and its webhooks ask for them, follows
//! live events, and serves health, metrics and the status page over HTTP. [`ServiceConfig`] says how.
//!
//! ```no_run
//! # async fn example(host: berth_embed::SyncHost) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use berth_service::{HttpServer, Listener, Service};
//!
//! let service = Service::builder(host)
//!     .listener(Listener::Polling { interval: Duration::from_secs(60), resync_on_start: true })
//!     .http(HttpServer { port: 8000, status_page: true, ..HttpServer::default() })
//!     .build()?;
//! service.run(async { _ = tokio::signal::ctrl_c().await }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//! - Nothing here reads the environment or settings files, takes signals, installs a logger, prints, or exits.
//!   (The OpenTelemetry SDK reads its own variables, where a program starts [`telemetry::Otlp`].)
//! - Two resyncs never run at the same time.
//! - New settings are taken as a whole or not at all. A resync that runs ends as it began.
//! - Whoever may not ask for something is refused before anything else is looked at.

mod backlog;
pub mod config;
mod http;
mod listeners;
mod live_events;
pub mod metrics;
mod reload;
pub mod report;
mod resync;
mod service;
mod state;
pub mod status_page;
pub mod telemetry;

pub use berth_engine::{Engine, EngineConfig};
pub use config::{HttpServer, Listener, ServiceConfig};
pub use reload::{Reload, ReloadSource, Running, WrongSetting};
pub use resync::{GRACE, LAST_WORD, overdue, report_aborted};
pub use service::{Service, ServiceBuilder, ServiceError};
pub use state::{Plugins, ServiceHost, StartError};
