//! What crates of Berth share that has nothing to do with syncing. Knows no other crate of Berth.

pub mod redact;
