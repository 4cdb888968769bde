//! Syncs and their failures, end to end: the real binary reads three accounts of AWS (moto) and fills the fake
//! Port server.

mod alike;
mod ambient;
mod authors;
mod containment;
mod contract;
mod deletion;
mod denied;
mod deploy;
mod doctor;
mod guides;
mod handmade;
#[cfg(target_os = "linux")]
mod image;
mod isolation;
mod kafka;
#[cfg(feature = "mock-kafka")]
mod kafka_mock;
mod kill;
mod kinds;
mod languages;
mod ledger;
mod live;
mod logs;
mod mapping;
mod metrics;
mod network;
mod otlp;
mod raw;
mod recording;
mod regions;
mod registry;
mod reload;
mod reporting;
mod service;
mod settings;
mod simulated;
mod status;
mod sync;
mod terminal;
mod trust;
mod wasi;
