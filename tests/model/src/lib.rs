//! A model of deletion: the real rules of [`berth_sync::deletion`] in a small world of two accounts, two
//! regions, two kinds and two resources, in which everything happens that may happen.
//!
//! - [`world`] is the small world: its states, what may happen in them, and what must never happen.
//! - [`rules`] asks the real [`DeletionPolicy`](berth_sync::deletion::DeletionPolicy), or one with a seeded mistake.
//! - [`scenario`] lists what is explored, and [`mutant`] the mistakes.
//! - [`explore`] visits every state, and finds shortest counterexamples.
//!
//! The explorer is written for this model. `stateright` 0.31 does not fit: its properties are about states,
//! while a deletion is a step (the state would have to remember it); it treats all steps alike, while here
//! the reading of a unit is free and what goes wrong is counted, so that a bound on faults still lets every
//! resync run to its end; its `eventually` does not see cycles, and resyncs are cycles; and it always brings
//! an HTTP server for its state browser, which no feature switches off.

pub mod explore;
pub mod mutant;
pub mod rules;
pub mod scenario;
pub mod world;
