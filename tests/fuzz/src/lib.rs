//! Every reader of bytes from outside, as a target for a fuzzer, with rules for its result.
//!
//! `cargo xtask fuzz` runs the targets under libFuzzer. `cargo test -p berth-fuzz` replays the corpora and random
//! variations of them, without instrumentation. See the README.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a target says that a rule is broken")]

mod aws;
mod config;
mod events;
mod mapping;
mod sdk;
mod settings;

pub use settings::ReadSettings;

/// Something that reads bytes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder of the corpus.
    pub name: &'static str,
    /// Reads an input, and panics where a rule is broken.
    pub run: fn(&[u8]),
}

/// All targets but the settings, which need all of Berth: [`read_settings`] is theirs.
pub const TARGETS: &[Target] = &[
    Target { name: "aws-xml", run: aws::xml },
    Target { name: "aws-json", run: aws::json },
    Target { name: "aws-cbor", run: aws::cbor },
    Target { name: "aws-requests", run: aws::requests },
    Target { name: "json", run: config::json },
    Target { name: "app-config", run: config::app_config },
    Target { name: "manifest", run: config::manifest },
    Target { name: "plugins-lock", run: config::lock },
    Target { name: "plan", run: config::plan },
    Target { name: "live-events", run: events::envelopes },
    Target { name: "port-answers", run: config::port_answers },
    Target { name: "jq-expressions", run: mapping::expressions },
    Target { name: "jq-mappings", run: mapping::mappings },
    Target { name: "sdk", run: sdk::batches },
];

/// The target `settings`, with what reads them.
///
/// # Panics
/// Where a rule is broken.
pub fn read_settings(read: ReadSettings, input: &[u8]) {
    settings::sources(read, input);
}
