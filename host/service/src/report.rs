//! The report of a resync, for people: the model that every form of it shows, and the form as a page.

pub mod html;
pub mod kept;
pub mod model;
