//! Which crate may depend on which.

use serde_json::Value;

/// The only arrows between the workspace's own crates: the middle, the wings and the leaf of
/// the design, and the two crates that wire them.
const ARROWS: &[(&str, &[&str])] = &[
    ("berth-common", &[]),
    // What a manifest declares of documents is read where it is evaluated.
    ("berth-core", &["berth-mapping"]),
    ("berth-sync", &["berth-core"]),
    ("berth-mapping", &[]),
    // It looks up in the models what a default mapping reads.
    ("berth-aws-protocol", &["berth-core", "berth-mapping"]),
    ("berth-http", &["berth-core"]),
    ("berth-aws", &["berth-core", "berth-aws-protocol", "berth-http"]),
    // It splits documents with the crate that the JQ component evaluates them with.
    ("berth-engine", &["berth-core", "berth-mapping"]),
    ("berth-port", &["berth-common", "berth-core", "berth-http"]),
    ("berth-ledger", &["berth-core"]),
    (
        "berth-embed",
        &[
            "berth-common",
            "berth-core",
            "berth-sync",
            "berth-aws",
            "berth-engine",
            "berth-http",
            "berth-port",
            "berth-ledger",
        ],
    ),
    ("berth-conformance", &["berth-core", "berth-sync", "berth-engine"]),
    // The service knows the host by `berth-embed`; of the others only what a service needs beside its resyncs.
    (
        "berth-service",
        &["berth-core", "berth-embed", "berth-engine", "berth-http", "berth-port", "berth-sync"],
    ),
    // The binary reads settings and hands them to these.
    (
        "berth",
        &[
            "berth-aws",
            "berth-conformance",
            "berth-core",
            "berth-embed",
            "berth-engine",
            "berth-http",
            "berth-ledger",
            "berth-port",
            "berth-service",
            "berth-sync",
        ],
    ),
    // The stand-in knows Port only from Port's contract, so that it can disagree with the host.
    ("port-stand-in", &[]),
    // The simulator takes plans and models from where the host takes them, and nothing of what the host makes
    // of them; moto keeps it honest.
    ("aws-simulator", &["berth-core", "berth-aws-protocol"]),
    // Single steps are measured where they are made.
    ("berth-bench", &["berth-core", "berth-aws-protocol", "berth-embed", "berth-engine", "berth-ledger"]),
    ("berth-differential", &["berth-core", "berth-aws-protocol"]),
    // Feeds every crate that reads bytes from outside; the binary's settings are among them.
    (
        "berth-fuzz",
        &[
            "berth",
            "berth-aws-protocol",
            "berth-core",
            "berth-plugin",
            "berth-port",
            "berth-sync",
            "berth-test-support",
            "jq",
        ],
    ),
    ("berth-model", &["berth-core", "berth-sync"]),
    ("berth-test-support", &["berth-core"]),
    (
        "berth-simulation",
        &[
            "berth-aws",
            "berth-core",
            "berth-http",
            "berth-ledger",
            "berth-port",
            "berth-sync",
            "port-stand-in",
        ],
    ),
    ("berth-e2e", &["aws-simulator", "berth-aws-protocol", "berth-core", "port-stand-in"]),
    ("xtask", &[]),
];

/// What a host crate's tests may use besides.
const TEST_ONLY: &[&str] = &["berth-test-support", "port-stand-in"];

/// Dependencies between the workspace's own crates that the design does not have.
pub(super) fn arrows(metadata: &Value) -> Vec<String> {
    let mut offences = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            offences.push(format!(
                "the crate `{name}` is not in the design: place it in tests/xtask/src/tidy.rs"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            // The bundled plugins are a workspace of their own: only the benchmark compares with them.
            let plugin = name == "berth-bench"
                && dependency["path"].as_str().is_some_and(|path| path.contains("/plugins/"));
            let ours = !dependency["path"].is_null() && !plugin;
            let test_only = dependency["kind"] == "dev" && TEST_ONLY.contains(&target);
            // A crate may use itself in its tests, to switch on a feature.
            if ours && !allowed.contains(&target) && !test_only && target != name {
                offences.push(format!("`{name}` must not depend on `{target}`"));
            }
        }
    }
    offences
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workspace(packages: &[(&str, &[(&str, Value)])]) -> Value {
        let packages: Vec<Value> = packages
            .iter()
            .map(|(name, dependencies)| {
                let dependencies: Vec<Value> = dependencies
                    .iter()
                    .map(|(name, kind)| json!({"name": name, "kind": kind, "path": "/somewhere"}))
                    .chain([json!({"name": "serde", "kind": null, "path": null})])
                    .collect();
                json!({"name": name, "dependencies": dependencies})
            })
            .collect();
        json!({"packages": packages})
    }

    #[test]
    fn arrows_of_the_design_pass() {
        let metadata = workspace(&[
            ("berth-core", &[]),
            ("berth-aws", &[("berth-core", Value::Null), ("berth-aws-protocol", Value::Null)]),
            ("berth-port", &[("berth-core", Value::Null), ("port-stand-in", json!("dev"))]),
            ("berth", &[("berth-embed", Value::Null)]),
        ]);
        assert_eq!(arrows(&metadata), Vec::<String>::new());
    }

    #[test]
    fn every_other_arrow_is_named() {
        let metadata = workspace(&[
            ("berth-core", &[("berth-sync", Value::Null)]),
            ("berth-aws", &[("berth-port", json!("dev"))]),
            ("berth-port", &[("port-stand-in", Value::Null)]),
            ("berth-new", &[]),
        ]);
        assert_eq!(
            arrows(&metadata),
            [
                "`berth-core` must not depend on `berth-sync`",
                "`berth-aws` must not depend on `berth-port`",
                "`berth-port` must not depend on `port-stand-in`",
                "the crate `berth-new` is not in the design: place it in tests/xtask/src/tidy.rs",
            ]
        );
    }
}
