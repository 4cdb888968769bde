//! A model of deletion: the real rules of [`berth_sync::deletion`] in a small world of two accounts, two
//! regions, two kinds and two resources, in which anything may happen.
//!
//! - [`world`] is the small world: its states, its steps, and the properties that must hold.
//! - [`rules`] calls the real [`DeletionPolicy`](berth_sync::deletion::DeletionPolicy), or one with a seeded mistake.
//! - [`scenario`] lists the scenarios, and [`mutant`] the mistakes.
//! - [`explore`] visits every state, and finds the shortest counterexamples.
//!
//! The explorer is written for this model. `stateright` 0.31 does not fit: its properties are about states, but a
//! deletion is a step, so the state would have to remember it. It treats all steps alike, but here reading a unit
//! is free and faults count, so that a limit on faults still lets every resync run to its end. Its `eventually`
//! does not see cycles, and resyncs are cycles. It always includes an HTTP server for its state browser, which no
//! feature disables.

pub mod explore;
pub mod mutant;
pub mod rules;
pub mod scenario;
pub mod world;
