//! Berth's client for Port.
//!
//! - `api` is the client of Port's API: authentication, retries, limits, and one file for each group of
//!   routes. It knows no resync.
//! - `catalog` has [`PortCatalog`], which is Port as a [`Catalog`](berth_core::Catalog): the integration and
//!   its default resources, search, upsert, deletion, and the progress reports of a resync.
//! - [`service`] is what a long-running service needs in addition to its resyncs.
//!
//! Each uses only those above it.
//!
//! [`PortCatalog`] follows the contract of Port's Ocean framework: the same endpoints, the same order at the
//! start and, above all, the same data source (`port-ocean/{type}/{version}/{identifier}/exporter` in the
//! `User-Agent`), so that Berth is a drop-in replacement for an existing catalog.
//!
//! # Invariants
//! - Only this crate writes and reads Port's JSON, and only its module `api` names a field of it.
//! - The client secret and the token appear in no log, error or `Debug`.
//! - Existing blueprints and a mapping that is not empty are never overwritten.
//! - Read access ([`Catalog::read`](berth_core::Catalog::read)) sends nothing that changes Port.
//! - Only its exact data source makes an entity this integration's own
//!   ([`CatalogView::current`](berth_core::CatalogView::current)).
//! - Times that decide something are from Port's clock.
//! - This crate does not read the environment or keep global state.

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

/// The version of the Ocean core whose contract this crate implements; every integration in Port has one.
pub const OCEAN_CORE_VERSION: &str = "0.48.12";
