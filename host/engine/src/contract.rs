//! The host's side of the plugin contract: the supported versions, with one file for each.
//!
//! A later minor version adds a file `since_v1_N.rs` with its own bindings and a line in [`bind`]; other
//! modules know only [`Program`]. The contract with the JQ component, which ships with the host, is in
//! [`jq_v1_0`].

pub(crate) mod jq_v1_0;
mod since_v1_0;

use std::{fmt, str::FromStr, sync::Arc};

use berth_core::{Kind, MapContext};
use wasmtime::{
    Store,
    component::{Component, Linker},
};

use crate::sandbox::Guest;

/// The interface that a plugin exports.
pub(crate) const MAPPER: &str = "berth:plugin/mapper";
/// The interface that the JQ component exports.
pub(crate) const EVALUATOR: &str = "berth:jq/evaluator";
/// The newest contract that this host knows.
pub(crate) const NEWEST: ContractVersion = ContractVersion { major: 1, minor: 0, patch: 0 };

/// The oldest contract that this host supports.
pub(crate) const OLDEST: ContractVersion = ContractVersion { major: 1, minor: 0, patch: 0 };

/// A version of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContractVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl ContractVersion {
    /// Returns whether this host supports plugins of this version: all published minors of the major.
    pub(crate) fn is_supported(self) -> bool {
        self.major == NEWEST.major && (OLDEST.minor..=NEWEST.minor).contains(&self.minor)
    }

    /// Returns the relevant part: a patch changes no interface.
    pub(crate) fn minor(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for ContractVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for ContractVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.').map(|part| part.parse().map_err(|_| ()));
        let mut next = || parts.next().ok_or(())?;
        Ok(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

/// Lists the versions that this host supports, for people.
pub(crate) fn supported() -> String {
    let (oldest, newest) = (OLDEST.minor(), NEWEST.minor());
    let versions = if oldest == newest { newest } else { format!("{oldest} to {newest}") };
    format!("this host (Berth {}) supports {versions}", env!("CARGO_PKG_VERSION"))
}

/// A batch as the contract passes it to a plugin.
#[derive(Clone, Copy)]
pub(crate) struct MapBatch<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) context: &'a MapContext,
    pub(crate) output: OutputForm,
    /// A JSON array of resources.
    pub(crate) resources: &'a [u8],
}

/// The requested output of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputForm {
    Entities,
    Documents,
}

/// A component that is bound to a version of the contract. Each call has a new instance, created in the
/// given store.
pub(crate) trait Program: Send + Sync {
    /// Returns the manifest, as the plugin returns it.
    fn manifest(&self, store: &mut Store<Guest>) -> wasmtime::Result<Vec<u8>>;

    /// Maps a batch. The inner error is the plugin's own rejection of the whole batch.
    fn map_batch(
        &self,
        store: &mut Store<Guest>,
        batch: MapBatch<'_>,
    ) -> wasmtime::Result<Result<Vec<u8>, String>>;
}

/// Binds a component to the contract. The linker contains its imports other than the contract's own.
pub(crate) fn bind(component: &Component, linker: Linker<Guest>) -> wasmtime::Result<Arc<dyn Program>> {
    Ok(Arc::new(since_v1_0::bind(component, linker)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_distinguished() {
        let version = |text: &str| text.parse::<ContractVersion>();
        assert!(version("1.0.0").unwrap().is_supported());
        assert!(version("1.0.7").unwrap().is_supported(), "a patch changes no interface");
        for newer in ["1.1.0", "2.0.0", "0.9.0"] {
            assert!(!version(newer).unwrap().is_supported(), "{newer}");
        }
        for bad in ["", "1", "1.0", "1.0.x", "1.0.0-rc.1"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }
}
