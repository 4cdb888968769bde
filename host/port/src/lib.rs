//! Port, as Berth uses it.
//!
//! - `api` is the client of Port's API: authentication, retries, limits, and one file for each group of
//!   routes. It knows no resync.
//! - `catalog` has [`PortCatalog`], which is Port as a [`Catalog`](berth_core::Catalog): the integration and
//!   its default resources, search, upsert, deletion, and the report of how a resync goes.
//! - [`service`] is what a long-running service needs beside its resyncs.
//!
//! Each uses only those above it.
//!
//! [`PortCatalog`] keeps to the contract of Port's Ocean framework: the same endpoints, the same order at
//! start-up and, above all, the same datasource
//! (`port-ocean/{type}/{version}/{identifier}/exporter` in the `User-Agent`), so that Berth is a drop-in
//! replacement for an existing catalog.
//!
//! # Invariants
//! - Only this crate writes and reads Port's JSON, and only its module `api` names a field of it.
//! - The client secret and the token appear in no log, error or `Debug`.
//! - Existing blueprints and a mapping that is not empty are never overwritten.
//! - Of what reads ([`Catalog::read`](berth_core::Catalog::read)), nothing is sent that changes Port.
//! - An entity is this integration's own only by its exact data source
//!   ([`CatalogView::current`](berth_core::CatalogView::current)).
//! - Times that decide something are by Port's clock.
//! - Nothing here reads the environment or keeps global state.

mod api;
mod catalog;
mod config;
#[doc(hidden)]
pub mod fuzzing;
pub mod service;

pub use api::client::PortStats;
pub use catalog::{PortCatalog, open, open_store};
pub use config::{
    DEFAULT_BASE_URL, EventType, PortConfig, ProcessingMode, RawDataConfig, ResourcesOrigin, ResyncSchedule,
    RetryPolicy,
};

/// The version of the Ocean core whose contract is spoken; every integration in Port has one.
pub const OCEAN_CORE_VERSION: &str = "0.48.12";
