//! What a resync may do with the catalog: a plan has nothing that writes.

use std::sync::Arc;

use berth_core::{CatalogSession, CatalogView};

/// The catalog, as a plan or as a resync has it.
#[derive(Clone)]
pub(crate) enum CatalogAccess {
    /// A plan reads.
    Read(Arc<dyn CatalogView>),
    /// A resync writes as well.
    Write(Arc<dyn CatalogSession>),
}

impl CatalogAccess {
    /// What it holds.
    pub(crate) fn view(&self) -> &dyn CatalogView {
        match self {
            Self::Read(view) => &**view,
            Self::Write(session) => &**session,
        }
    }

    /// What writes; `None` in a plan.
    pub(crate) fn session(&self) -> Option<&Arc<dyn CatalogSession>> {
        match self {
            Self::Read(_) => None,
            Self::Write(session) => Some(session),
        }
    }

    /// Whether nothing is written.
    pub(crate) fn is_plan(&self) -> bool {
        matches!(self, Self::Read(_))
    }
}
