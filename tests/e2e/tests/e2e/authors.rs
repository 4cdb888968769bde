//! A plugin author's day: begin a plugin, build and test it, run it against AWS.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{env, fs, path::PathBuf};

use berth_e2e::World;
use serde_json::{Value, json};

/// Lets the binary find cargo, and keeps what cargo builds from one run of the tests to the next.
fn with_toolchain(world: &mut World) {
    for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Ok(value) = env::var(name) {
            world.set(name, &value);
        }
    }
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/authors");
    world.set("CARGO_TARGET_DIR", target.to_str().expect("a UTF-8 path"));
}

#[test]
fn a_plugin_is_begun_tested_and_run_in_a_few_commands() {
    let mut world = World::with_accounts(1).instances(1).build();
    with_toolchain(&mut world);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join("acme-widget");
    let there = dir.to_str().expect("a UTF-8 path");
    let new = ["new", "--kind", "Acme::Widget", "--from", "ec2:DescribeVolumes", "--dir", there];
    world.plugin(&new).exits(0).says("berth plugin test --bless");
    world.plugin(&new).exits(2).says("is there already and not empty");

    // Nothing is right before somebody has looked at it.
    world.plugin(&["test", there]).exits(3).says("accept it with `--bless`").says("acmeWidget");
    world.plugin(&["test", there, "--bless"]).exits(0).says("1 passed, 0 failed");
    world.plugin(&["check", there]).exits(0).says("a host takes it").says("ec2:DescribeVolumes");

    // Programs are told the same; what cargo says goes elsewhere.
    for arguments in [["build", there, "--json"], ["test", there, "--json"], ["check", there, "--json"]] {
        let run = world.plugin(&arguments);
        run.exits(0);
        let said: Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert!(said.is_object(), "{run}");
    }

    // One line is edited: the code says something else than the default mapping and the golden file.
    let source = dir.join("src/lib.rs");
    let code = fs::read_to_string(&source).expect("the source was written");
    let edited = code.replace("\"iops\", item.iops", "\"iops\", item.throughput");
    assert_ne!(edited, code);
    fs::write(&source, edited).expect("a source that can be written");
    world.plugin(&["test", there]).exits(3).says("properties.iops").says("the default mapping in JQ");
    fs::write(&source, code).expect("a source that can be written");

    // moto gives each instance a volume.
    let run = world.plugin(&["run", there]);
    run.exits(0);
    let entities: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("an entity a line")).collect();
    assert_eq!(entities.len(), 2, "{run}");
    for entity in &entities {
        assert_eq!(entity["blueprint"], "acmeWidget");
        assert_eq!(entity["relations"], json!({"account": world.accounts()[0]}));
        assert!(entity["identifier"].as_str().is_some_and(|id| id.starts_with("vol-")), "{entity}");
    }
}

#[test]
fn what_cannot_be_begun_is_explained() {
    let world = World::with_accounts(0).build();
    let new = |kind: &str, from: &str| world.plugin(&["new", "--kind", kind, "--from", from]);
    new("Widget", "ec2:DescribeVolumes").exits(2).says("--kind").says("Acme::Widget");
    new("Acme::Widget", "DescribeVolumes").exits(2).says("ec2:DescribeVolumes");
    new("Acme::Widget", "ec2:ListVolumes").exits(2).says("did you mean DescribeVolumes");
    new("Acme::Widget", "ec2:DeleteVolume").exits(2).says("did you mean");
}
