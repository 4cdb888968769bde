//! What plugins may do beyond being loaded: the operations that their fetch plans read with, the kinds
//! that they serve, and the blueprints that they write. An operator grants all three, for one digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::{KindManifest, KindReads, Manifest};

/// What a component asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The plugin's name; [`EVALUATOR`] for the component that evaluates mappings of users' own.
    pub plugin: String,
    /// SHA-256 of its file, in lower-case hexadecimal.
    pub sha256: String,
    /// The kinds that it serves. `AWS::*` stands for every kind of that family that has no plugin of
    /// its own.
    pub kinds: BTreeSet<String>,
    /// The AWS operations that it reads with, as in `ec2:DescribeVolumes`, also after events.
    pub operations: BTreeSet<String>,
    /// The blueprints that it brings, and those that its default mappings write.
    pub blueprints: BTreeSet<String>,
}

/// The name under which the component that evaluates mappings of users' own is granted. It asks for
/// no kind, no operation and no blueprint.
pub const EVALUATOR: &str = "jq";

/// What is granted to one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The version that was looked at, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of the file that was looked at, in lower-case hexadecimal.
    pub sha256: String,
    /// The kinds that it may serve; see [`Ask::kinds`].
    #[serde(default)]
    pub kinds: BTreeSet<String>,
    /// The operations that it may read with; see [`Ask::operations`].
    #[serde(default)]
    pub operations: BTreeSet<String>,
    /// The blueprints that it may write; see [`Ask::blueprints`].
    #[serde(default)]
    pub blueprints: BTreeSet<String>,
    /// The interfaces of WASI that the file imports, for people. They give it nothing, so that nothing
    /// is decided by them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub wasi: BTreeSet<String>,
}

/// All grants, by the plugin's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// They.
    #[serde(default)]
    pub plugins: BTreeMap<String, Grant>,
}

/// Why a component may not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// Nothing is granted to a plugin of this name.
    Unknown,
    /// Nothing is granted to a file of this digest, and it does not tell its name without being run.
    UnknownFile,
    /// What is granted differs from what is asked.
    Differs {
        /// The digest that was granted, where the file has another.
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
    /// What a plugin asks for.
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

    /// What the component asks for that evaluates mappings of users' own.
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

/// The operations of a kind's plan, and of the steps that it is read by after events.
fn operations(kind: &KindManifest) -> BTreeSet<String> {
    let narrowed = kind.narrowed().ok();
    let plans = [Some(kind), narrowed.as_ref()];
    let steps = plans.into_iter().flatten().flat_map(|kind| &kind.plan.steps);
    steps.map(|step| format!("{}:{}", step.service, step.operation)).collect()
}

impl From<Ask> for Grant {
    /// All that is asked.
    fn from(ask: Ask) -> Self {
        let Ask { plugin: _, sha256, kinds, operations, blueprints } = ask;
        Self { version: None, sha256, kinds, operations, blueprints, wasi: BTreeSet::new() }
    }
}

impl Grants {
    /// Decides whether a component may be used.
    ///
    /// # Errors
    /// The [`Objection`].
    pub fn judge(&self, ask: &Ask) -> Result<(), Objection> {
        let grant = self.plugins.get(&ask.plugin).ok_or(Objection::Unknown)?;
        let sha256 = (grant.sha256 != ask.sha256).then(|| grant.sha256.clone());
        let kinds: BTreeSet<String> = ask.kinds.difference(&grant.kinds).cloned().collect();
        let operations: BTreeSet<String> = ask.operations.difference(&grant.operations).cloned().collect();
        let blueprints: BTreeSet<String> = ask.blueprints.difference(&grant.blueprints).cloned().collect();
        if sha256.is_none() && kinds.is_empty() && operations.is_empty() && blueprints.is_empty() {
            Ok(())
        } else {
            Err(Objection::Differs { sha256, kinds, operations, blueprints })
        }
    }

    /// Whether anything is granted to a file of this digest.
    pub fn knows(&self, sha256: &str) -> bool {
        self.plugins.values().any(|grant| grant.sha256 == sha256)
    }
}

impl fmt::Display for Objection {
    /// Goes on after the name of the file: "it …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sha256, kinds, operations, blueprints) = match self {
            Self::Differs { sha256, kinds, operations, blueprints } => {
                (sha256, kinds, operations, blueprints)
            }
            Self::Unknown => return f.write_str("is not approved"),
            Self::UnknownFile => {
                return f.write_str("is not approved: no plugin with this file's sha256 is");
            }
        };
        let wider: Vec<String> = [("kinds", kinds), ("operations", operations), ("blueprints", blueprints)]
            .into_iter()
            .filter(|(_, asked)| !asked.is_empty())
            .map(|(what, asked)| format!("{what} {}", asked.iter().cloned().collect::<Vec<_>>().join(", ")))
            .collect();
        match (sha256, wider.is_empty()) {
            (None, _) => write!(f, "asks for more than is granted: {}", wider.join("; ")),
            (Some(sha256), true) => {
                write!(f, "is another file than was approved (sha256 {sha256}), and asks for the same")
            }
            (Some(sha256), false) => {
                let wider = wider.join("; ");
                write!(f, "is another file than was approved (sha256 {sha256}), and asks for more: {wider}")
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
    fn a_plugin_asks_for_what_it_reads_with_also_after_events_and_for_all_it_stands_for() {
        let ask = Ask::of(&manifest("DescribeVolumes", true), "ab");
        assert_eq!(ask.operations, set(&["ec2:DescribeVolumes", "ec2:DescribeVolumeStatus"]));
        assert_eq!(ask.kinds, set(&["AWS::EC2::Volume", "AWS::*"]));
        assert_eq!(ask.blueprints, set(&["volume"]));
    }

    #[test]
    fn what_differs_is_said_exactly() {
        let approved = Ask::of(&manifest("DescribeVolumes", false), "ab");
        let mut grants = Grants::default();
        let told = |grants: &Grants, ask: &Ask| grants.judge(ask).map_err(|objection| objection.to_string());
        assert_eq!(told(&grants, &approved), Err("is not approved".into()));
        grants.plugins.insert("volumes".into(), approved.clone().into());
        assert_eq!(told(&grants, &approved), Ok(()));
        for (ask, said) in [
            (
                Ask { sha256: "cd".into(), ..approved.clone() },
                "is another file than was approved (sha256 ab), and asks for the same",
            ),
            (
                Ask::of(&manifest("DescribeInstances", false), "cd"),
                "is another file than was approved (sha256 ab), and asks for more: operations ec2:DescribeInstances",
            ),
            (
                Ask { blueprints: set(&["volume", "service"]), ..approved.clone() },
                "asks for more than is granted: blueprints service",
            ),
            (
                Ask::of(&manifest("DescribeInstances", true), "ab"),
                "asks for more than is granted: kinds AWS::*; operations ec2:DescribeInstances",
            ),
        ] {
            assert_eq!(told(&grants, &ask), Err(said.into()));
        }
    }

    fn names() -> impl Strategy<Value = BTreeSet<String>> {
        btree_set(select(vec!["a", "b", "c", "d"]).prop_map(ToOwned::to_owned), 0..4)
    }

    proptest! {
        #[test]
        fn only_the_same_digest_with_no_wider_ask_is_admitted(
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
            // What is approved as it is asked is admitted.
            let approved = Grants { plugins: BTreeMap::from([(ask.plugin.clone(), ask.clone().into())]) };
            prop_assert_eq!(approved.judge(&ask), Ok(()));
        }
    }
}
