//! What a resync may do with the catalog: a plan cannot write.

use std::sync::Arc;

use berth_core::{CatalogSession, CatalogView};

/// The catalog of a plan or of a resync.
#[derive(Clone)]
pub(crate) enum CatalogAccess {
    /// A plan reads.
    Read(Arc<dyn CatalogView>),
    /// A resync also writes.
    Write(Arc<dyn CatalogSession>),
}

impl CatalogAccess {
    /// Returns the read access.
    pub(crate) fn view(&self) -> &dyn CatalogView {
        match self {
            Self::Read(view) => &**view,
            Self::Write(session) => &**session,
        }
    }

    /// Returns the write access; `None` in a plan.
    pub(crate) fn session(&self) -> Option<&Arc<dyn CatalogSession>> {
        match self {
            Self::Read(_) => None,
            Self::Write(session) => Some(session),
        }
    }

    /// Returns whether this is a plan, which writes nothing.
    pub(crate) fn is_plan(&self) -> bool {
        matches!(self, Self::Read(_))
    }
}
