//! What became of a live event.

/// The result for a resource that an event named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refreshed {
    /// Its entity was written.
    Upserted,
    /// Its entity was deleted.
    Deleted,
    /// There was nothing to write or delete.
    Unchanged,
    /// It is not mapped, its account does not belong to the integration, or live events are off.
    Ignored,
    /// Access is denied: nothing was changed.
    Denied,
    /// It will be retried.
    Retried,
    /// It could not be read or written: the next resync reads it.
    Failed,
}

impl Refreshed {
    /// Returns the name for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upserted => "upserted",
            Self::Deleted => "deleted",
            Self::Unchanged => "unchanged",
            Self::Ignored => "ignored",
            Self::Denied => "denied",
            Self::Retried => "retried",
            Self::Failed => "failed",
        }
    }
}
