//! Port's API, the catalog, and what a service needs, against the stand-in.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod api;
mod common;
mod deletion;
mod installation;
mod lookups;
mod ownership;
mod raw;
mod reporting;
mod service;
mod stopping;
mod transport;
mod upserts;
