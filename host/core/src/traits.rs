//! The four traits that a sync runs through: where resources come from ([`Source`](source::Source)), what
//! turns them into entities ([`Mapper`](mapper::Mapper)), where those go ([`Catalog`](catalog::Catalog)),
//! and what is remembered of that ([`Ledger`](ledger::Ledger)). Each can be replaced by an embedder; none
//! knows another.
//!
//! Each gives an object for one piece of work: a session or a snapshot. What that object does not have
//! cannot be called.

pub(crate) mod catalog;
pub(crate) mod ledger;
pub(crate) mod mapper;
pub(crate) mod source;
