//! The regions of an account that a resync reads.

use std::collections::BTreeSet;

use crate::{Region, ResourceConfig};

/// The regions that the mapping asks for, collected before the enabled regions are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionHints {
    /// The regions that entries of `resources[]` allow by name (`regionPolicy.allow`), without those that
    /// the same entry denies.
    pub allowed: BTreeSet<Region>,
    /// Whether every entry allows regions by name, so that no other region is read.
    pub complete: bool,
}

impl RegionHints {
    /// Collects the hints of the entries that read regions.
    pub fn of<'c>(entries: impl IntoIterator<Item = &'c ResourceConfig>) -> Self {
        let mut hints = Self { allowed: BTreeSet::new(), complete: true };
        for entry in entries {
            let policy = &entry.selector.region_policy;
            hints.complete &= !policy.allow.is_empty();
            // An invalid region name allows nothing.
            let names = policy.allow.iter().filter_map(|name| Region::new(name).ok());
            hints.allowed.extend(names.filter(|region| policy.allows(region)));
        }
        hints
    }
}

/// The regions of an account that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnabledRegions {
    /// The enabled regions, as AWS lists them.
    Listed(Vec<Region>),
    /// The regions that the entries of `resources[]` allow by name, because AWS denies access to the list.
    /// Some may not be enabled. A region that is not among them may still exist.
    Assumed(Vec<Region>),
}

impl EnabledRegions {
    /// Returns the regions, independent of their origin.
    pub fn regions(&self) -> &[Region] {
        match self {
            Self::Listed(regions) | Self::Assumed(regions) => regions,
        }
    }

    /// Returns whether AWS did not list the regions.
    pub fn is_assumed(&self) -> bool {
        matches!(self, Self::Assumed(_))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(policy: &serde_json::Value) -> ResourceConfig {
        serde_json::from_value(json!({"kind": "AWS::A::B",
            "selector": {"query": "true", "regionPolicy": policy},
            "port": {"entity": {"mappings": {"identifier": ".Id", "blueprint": "\"b\""}}}}))
        .unwrap()
    }

    #[test]
    fn hints_are_complete_if_every_entry_names_its_regions() {
        let eu = entry(&json!({"allow": ["eu-central-1", "eu-west-1", "nowhere"], "deny": ["eu-west-1"]}));
        let us = entry(&json!({"allow": ["us-east-1"], "deny": []}));
        let all = entry(&json!({"allow": [], "deny": ["us-west-2"]}));
        let told = |entries: &[&ResourceConfig]| {
            let hints = RegionHints::of(entries.iter().copied());
            let names: Vec<String> = hints.allowed.iter().map(ToString::to_string).collect();
            (names.join(" "), hints.complete)
        };
        assert_eq!(told(&[&eu, &us]), ("eu-central-1 us-east-1".into(), true));
        assert_eq!(told(&[&eu, &all]), ("eu-central-1".into(), false));
    }
}
