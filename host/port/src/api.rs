//! Port's API: one client, and one file for each group of routes. Input and output are typed; it knows no
//! session.
//!
//! Only these modules name a field of Port's JSON.

pub(crate) mod batches;
pub(crate) mod blueprints;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod data_sources;
pub(crate) mod entities;
pub(crate) mod error;
pub(crate) mod halving;
pub(crate) mod integrations;
pub(crate) mod kafka;
pub(crate) mod lifecycle;
pub(crate) mod organization;
pub(crate) mod rate_limit;
pub(crate) mod raw_data;
pub(crate) mod reporting;
pub(crate) mod search;
pub(crate) mod stop;
pub(crate) mod url;
pub(crate) mod values;
