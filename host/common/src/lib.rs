//! Helpers that several crates of Berth share and that have nothing to do with syncing. Depends on no other
//! crate of Berth.

pub mod redact;
