//! The AWS source through its public API: against moto, a third party's emulator of AWS, and
//! against a stand-in where moto has no answer (faults, refusals, throttling).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod moto;
mod stand_in;
mod support;
