//! The frequent forms of JQ expressions, evaluated on the text of a document.
//!
//! Most expressions of mappings are plain paths, literals, texts put together of these, defaults and guards.
//! [`Expression::parse`] knows them, and refuses all else, which is left to a whole JQ. What it knows is evaluated
//! on the text: [`PathTree`] finds what the expressions of a mapping read in one pass, and no value is built but those
//! that are put together.
//!
//! # Invariants
//! - What an expression gives is what JQ gives. Where that is not certain (errors, numbers that are no small
//!   integers, iterating over objects) the result is [`EvaluationResult::Deferred`], and a whole JQ must be asked.
//! - No text panics: what is no JSON is [`Broken`] or deferred.
//! - Time is bounded by the sizes of the expression and the document: no form repeats.
#![forbid(unsafe_code)]

pub mod document;
mod expression;
mod identifier;
mod letters;
mod parse;
mod paths;
pub mod scan;
mod text;
pub mod time;
mod value;

pub use expression::{EvaluationResult, Expression};
pub use identifier::{PORT_IDENTIFIER_JQ, port_identifier};
pub use parse::Parsed;
pub use paths::{DocumentReader, Found, PathTree, Slot, State};
pub use text::{Broken, append_bool, append_float, append_integer, append_str, split_list, split_object};
pub use value::Value;
