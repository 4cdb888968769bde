//! The main job and its failures, end to end: the real binary reads three accounts of AWS (moto)
//! and fills Port (its stand-in).

mod ambient;
mod containment;
mod deletion;
mod doctor;
mod handmade;
mod kinds;
mod ledger;
mod recording;
mod service;
mod settings;
mod sync;
