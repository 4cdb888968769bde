//! The ledger in a file.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod format;
mod ledger;
mod producers;
