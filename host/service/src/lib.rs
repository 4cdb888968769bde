//! Berth's long-running service as a library: `berth run` for your own program.
//!
//! A [`Service`] runs the resyncs of a host when its listener, its schedule or its webhooks request them,
//! processes live events, and serves health, metrics and the status page over HTTP. [`ServiceConfig`]
//! configures it.
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
//! - This crate does not read the environment or settings files, handle signals, install a logger, print, or
//!   exit. (The OpenTelemetry SDK reads its own variables if a program starts [`telemetry::Otlp`].)
//! - Two resyncs never run at the same time.
//! - New settings are applied as a whole or not at all. A running resync keeps its settings.
//! - A request that is not allowed is refused before anything else is read.

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
pub use reload::{Reload, ReloadSource, RunningService, WrongSetting};
pub use resync::{GRACE, LAST_WORD, overdue, report_aborted};
pub use service::{Service, ServiceBuilder, ServiceError};
pub use state::{LoadedPlugins, ServiceHost, StartError};
