//! The harness of the end-to-end tests: AWS (moto) behind a gate, the fake Port server, and the real `berth`
//! binary as a process between them.
//!
//! `cargo xtask test` builds everything and sets where it is (`BERTH_TEST_BIN`, `BERTH_TEST_PYTHON`,
//! `BERTH_TEST_COMPONENTS`, `BERTH_TEST_CACHE`).
#![expect(clippy::expect_used, reason = "a test harness: a panic is how a test fails")]

mod answers;
mod aws;
mod berth;
mod browser;
mod collector;
mod gate;
mod guide;
mod image;
mod kafka;
mod kinds;
mod network;
mod registry;
mod scripted;
mod simulated;
mod tools;
mod wire;
mod world;

pub use answers::Answers;
pub use aws_simulator::{AwsSimulator, Latency, Options as Simulated, Throttle};
pub use berth::Run;
pub use browser::Browser;
pub use collector::{Collector, Span};
pub use gate::{Denial, Gate};
pub use guide::{Shell, Step, repository, steps};
pub use image::Container;
pub use kafka::Kafka;
pub use kinds::Kinds;
pub use network::ForwardProxy;
pub use registry::{DebianRegistry, Registry};
pub use scripted::{AwsCall, Reply, Resource, ScriptedAws, VOLUME_SIZE};
pub use tools::left_out;
pub use wire::{Answer, Wire};
pub use world::{EXTERNAL_ID, Entities, REGIONS, World, WorldBuilder, copy_guest};
