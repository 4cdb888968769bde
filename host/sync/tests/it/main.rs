//! Resyncs and live events against in-memory seams.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod live;
mod resync;
