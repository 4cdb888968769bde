//! Tests the AWS source through its public API: against moto, a third-party emulator of AWS, and against a
//! test server for what moto does not support (faults, denials, throttling).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod moto;
mod stand_in;
mod support;
