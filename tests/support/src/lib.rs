//! Fakes of the four traits that a sync uses, for the tests of every crate.
//!
//! Each fake follows the rules of its trait. A test sets special behaviour in a field or a closure of the fake.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a fake that fails is a test that fails")]

mod catalog;
mod ledger;
mod mapper;
mod source;

pub use catalog::FakeCatalog;
pub use ledger::FakeLedger;
pub use mapper::{ExchangedMapper, FakeMapper};
pub use source::{FakeSource, Pages, account, page};
