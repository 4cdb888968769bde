//! The four traits of a sync: [`Source`](source::Source) reads resources, [`Mapper`](mapper::Mapper) turns
//! them into entities, [`Catalog`](catalog::Catalog) stores the entities, and [`Ledger`](ledger::Ledger)
//! remembers what the catalog confirmed. An embedder can replace each of them; they do not know each other.
//!
//! Each trait returns an object for one piece of work: a session or a snapshot. An operation that this
//! object lacks cannot be called.

pub(crate) mod catalog;
pub(crate) mod ledger;
pub(crate) mod mapper;
pub(crate) mod source;
