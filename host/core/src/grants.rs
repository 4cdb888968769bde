//! Grants: what plugins may do beyond being loaded. A grant lists the operations that a plugin's fetch
//! plans use, the kinds that it maps, and the blueprints that it writes. An operator grants all three, for
//! one digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::{KindManifest, KindReads, Manifest};

/// What a component requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The plugin's name; [`EVALUATOR`] for the component that evaluates users' own mappings.
    pub plugin: String,
    /// SHA-256 of its file, in lower-case hexadecimal.
    pub sha256: String,
    /// The kinds that it maps. `AWS::*` stands for every kind of that family that no other plugin maps.
    pub kinds: BTreeSet<String>,
    /// The AWS operations that it reads with, such as `ec2:DescribeVolumes`, including those for live
    /// events.
    pub operations: BTreeSet<String>,
    /// The blueprints that it ships, and those that its default mappings write.
    pub blueprints: BTreeSet<String>,
}

/// The name that grants use for the component that evaluates users' own mappings. It requests no kind, no
/// operation and no blueprint.
pub const EVALUATOR: &str = "jq";

/// The grant of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The version that was reviewed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of the file that was reviewed, in lower-case hexadecimal.
    pub sha256: String,
    /// The kinds that it may map; see [`Ask::kinds`].
    #[serde(default)]
    pub kinds: BTreeSet<String>,
    /// The operations that it may read with; see [`Ask::operations`].
    #[serde(default)]
    pub operations: BTreeSet<String>,
    /// The blueprints that it may write; see [`Ask::blueprints`].
    #[serde(default)]
    pub blueprints: BTreeSet<String>,
    /// The WASI interfaces that the file imports, for people. They grant no capability, so they do not
    /// affect the decision.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub wasi: BTreeSet<String>,
}

/// All grants, by the plugin's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// The grants.
    #[serde(default)]
    pub plugins: BTreeMap<String, Grant>,
}

/// Why a component may not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantMismatch {
    /// No plugin of this name is granted.
    Unknown,
    /// No file with this digest is granted, and the name is unknown until the file is run.
    UnknownFile,
    /// The grant differs from the request.
    Differs {
        /// The granted digest, if the file has a different one.
        sha256: Option<String>,
        /// Kinds that are not granted.
        kinds: BTreeSet<String>,
        /// Operations that are not granted.
        operations: BTreeSet<String>,
        /// Blueprints that are not granted.
        blueprints: BTreeSet<String>,
    },
}

impl Ask {
    /// Returns the request of a plugin.
    pub fn of(manifest: &Manifest, sha256: &str) -> Self {
        let kinds = manifest.kinds.iter().flat_map(|kind| {
            let family = kind.kind.as_str().split("::").next().unwrap_or_default();
            [Some(kind.kind.to_string()), kind.fallback.then(|| format!("{family}::*"))]
        });
        Self {
            plugin: manifest.name.clone(),
            sha256: sha256.to_owned(),
            kinds: kinds.flatten().collect(),
            operations: manifest.kinds.iter().flat_map(operations).collect(),
            blueprints: manifest
                .kinds
                .iter()
                .flat_map(KindManifest::declared_blueprints)
                .map(|blueprint| blueprint.to_string())
                .collect(),
        }
    }

    /// Returns the request of the component that evaluates users' own mappings.
    pub fn of_evaluator(sha256: &str) -> Self {
        Self {
            plugin: EVALUATOR.to_owned(),
            sha256: sha256.to_owned(),
            kinds: BTreeSet::new(),
            operations: BTreeSet::new(),
            blueprints: BTreeSet::new(),
        }
    }
}

/// Returns the operations of a kind's plan and of its steps for live events.
fn operations(kind: &KindManifest) -> BTreeSet<String> {
    let for_single_resource = kind.for_single_resource().ok();
    let plans = [Some(kind), for_single_resource.as_ref()];
    let steps = plans.into_iter().flatten().flat_map(|kind| &kind.plan.steps);
    steps.map(|step| format!("{}:{}", step.service, step.operation)).collect()
}

impl From<Ask> for Grant {
    /// Grants everything that is requested.
    fn from(ask: Ask) -> Self {
        let Ask { plugin: _, sha256, kinds, operations, blueprints } = ask;
        Self { version: None, sha256, kinds, operations, blueprints, wasi: BTreeSet::new() }
    }
}

impl Grants {
    /// Decides whether a component may be used.
    ///
    /// # Errors
    /// The [`GrantMismatch`] if it may not.
    pub fn judge(&self, ask: &Ask) -> Result<(), GrantMismatch> {
        let grant = self.plugins.get(&ask.plugin).ok_or(GrantMismatch::Unknown)?;
        let sha256 = (grant.sha256 != ask.sha256).then(|| grant.sha256.clone());
        let kinds: BTreeSet<String> = ask.kinds.difference(&grant.kinds).cloned().collect();
        let operations: BTreeSet<String> = ask.operations.difference(&grant.operations).cloned().collect();
        let blueprints: BTreeSet<String> = ask.blueprints.difference(&grant.blueprints).cloned().collect();
        if sha256.is_none() && kinds.is_empty() && operations.is_empty() && blueprints.is_empty() {
            Ok(())
        } else {
            Err(GrantMismatch::Differs { sha256, kinds, operations, blueprints })
        }
    }

    /// Returns whether anything is granted to a file with this digest.
    pub fn knows(&self, sha256: &str) -> bool {
        self.plugins.values().any(|grant| grant.sha256 == sha256)
    }
}

impl fmt::Display for GrantMismatch {
    /// Continues a sentence that begins with the name of the file: "it …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sha256, kinds, operations, blueprints) = match self {
            Self::Differs { sha256, kinds, operations, blueprints } => {
                (sha256, kinds, operations, blueprints)
            }
            Self::Unknown => return f.write_str("is not approved"),
            Self::UnknownFile => {
                return f.write_str("is not approved: no approved plugin has this file's sha256");
            }
        };
        let wider: Vec<String> = [("kinds", kinds), ("operations", operations), ("blueprints", blueprints)]
            .into_iter()
            .filter(|(_, asked)| !asked.is_empty())
            .map(|(what, asked)| format!("{what} {}", asked.iter().cloned().collect::<Vec<_>>().join(", ")))
            .collect();
        match (sha256, wider.is_empty()) {
            (None, _) => write!(f, "requests more than is approved: {}", wider.join("; ")),
            (Some(sha256), true) => {
                write!(f, "differs from the approved file (sha256 {sha256}), and requests the same")
            }
            (Some(sha256), false) => {
                let wider = wider.join("; ");
                write!(f, "differs from the approved file (sha256 {sha256}), and requests more: {wider}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_set, prelude::*, sample::select};
    use serde_json::json;

    use super::*;

    fn manifest(operation: &str, fallback: bool) -> Manifest {
        let manifest = json!({"name": "volumes", "version": "1.0.0", "kinds": [{
            "kind": "AWS::EC2::Volume", "scope": "regional", "fallback": fallback,
            "blueprints": [{"identifier": "volume"}], "plan": {"steps": [
                {"id": "x", "service": "ec2", "operation": operation, "items": "Volumes[]"}]},
            "events": {
                "on": [{"source": "aws.ec2", "upsert": ["CreateTags"], "resource": ["detail.id"]}],
                "read": {"x": {"operation": "DescribeVolumeStatus", "input": {"VolumeIds": ["{resource}"]}}}
            }
        }]});
        Manifest::parse(manifest.to_string().as_bytes()).unwrap()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_plugin_requests_the_operations_of_plans_and_events_and_generic_kinds() {
        let ask = Ask::of(&manifest("DescribeVolumes", true), "ab");
        assert_eq!(ask.operations, set(&["ec2:DescribeVolumes", "ec2:DescribeVolumeStatus"]));
        assert_eq!(ask.kinds, set(&["AWS::EC2::Volume", "AWS::*"]));
        assert_eq!(ask.blueprints, set(&["volume"]));
    }

    #[test]
    fn an_objection_lists_exactly_the_differences() {
        let approved = Ask::of(&manifest("DescribeVolumes", false), "ab");
        let mut grants = Grants::default();
        let reported =
            |grants: &Grants, ask: &Ask| grants.judge(ask).map_err(|mismatch| mismatch.to_string());
        assert_eq!(reported(&grants, &approved), Err("is not approved".into()));
        grants.plugins.insert("volumes".into(), approved.clone().into());
        assert_eq!(reported(&grants, &approved), Ok(()));
        for (ask, said) in [
            (
                Ask { sha256: "cd".into(), ..approved.clone() },
                "differs from the approved file (sha256 ab), and requests the same",
            ),
            (
                Ask::of(&manifest("DescribeInstances", false), "cd"),
                "differs from the approved file (sha256 ab), and requests more: operations ec2:DescribeInstances",
            ),
            (
                Ask { blueprints: set(&["volume", "service"]), ..approved.clone() },
                "requests more than is approved: blueprints service",
            ),
            (
                Ask::of(&manifest("DescribeInstances", true), "ab"),
                "requests more than is approved: kinds AWS::*; operations ec2:DescribeInstances",
            ),
        ] {
            assert_eq!(reported(&grants, &ask), Err(said.into()));
        }
    }

    fn names() -> impl Strategy<Value = BTreeSet<String>> {
        btree_set(select(vec!["a", "b", "c", "d"]).prop_map(ToOwned::to_owned), 0..4)
    }

    proptest! {
        #[test]
        fn only_the_same_digest_without_further_requests_is_admitted(
            granted in (names(), names(), names()),
            asked in (names(), names(), names()),
            same_file: bool,
            same_name: bool,
        ) {
            let grant = Grant {
                version: None,
                sha256: "ab".into(),
                kinds: granted.0.clone(),
                operations: granted.1.clone(),
                blueprints: granted.2.clone(),
                wasi: BTreeSet::new(),
            };
            let grants = Grants { plugins: BTreeMap::from([("p".to_owned(), grant)]) };
            let ask = Ask {
                plugin: if same_name { "p" } else { "q" }.into(),
                sha256: if same_file { "ab" } else { "cd" }.into(),
                kinds: asked.0.clone(),
                operations: asked.1.clone(),
                blueprints: asked.2.clone(),
            };
            let expected = same_name
                && same_file
                && asked.0.is_subset(&granted.0)
                && asked.1.is_subset(&granted.1)
                && asked.2.is_subset(&granted.2);
            prop_assert_eq!(grants.judge(&ask).is_ok(), expected);
            // A component with exactly this request is admitted.
            let approved = Grants { plugins: BTreeMap::from([(ask.plugin.clone(), ask.clone().into())]) };
            prop_assert_eq!(approved.judge(&ask), Ok(()));
        }
    }
}
