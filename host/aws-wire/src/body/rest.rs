//! What the REST protocols share: members bound to path, query, headers and status, and a body.

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Xml,
}
