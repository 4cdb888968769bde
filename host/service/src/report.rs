//! The report of a resync for people: the model that every format shows, and the HTML page.

pub mod html;
pub mod kept;
pub mod model;
