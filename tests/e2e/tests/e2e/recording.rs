//! `--record` and `--replay`: a run, and the same run without AWS.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use berth_e2e::World;
use serde_json::{Value, json};

/// All files below a folder as one text.
fn everything(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        text += &if path.is_dir() { everything(&path) } else { fs::read_to_string(&path).expect("text") };
    }
    text
}

/// Whether nobody but its owner reads a file, or a folder and all that is in it.
fn is_private(path: &Path) -> bool {
    let inside =
        || fs::read_dir(path).expect("a folder").all(|entry| is_private(&entry.expect("an entry").path()));
    let found = fs::metadata(path).expect("it is there");
    found.permissions().mode() & 0o777 & !0o700 == 0 && (found.is_file() || inside())
}

#[test]
fn a_recording_gives_the_same_entities_without_aws() {
    let mut world = World::with_accounts(2).buckets(1).instances(1).clusters(1).build();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recording = folder.path().join("recording");
    let there = recording.to_str().expect("a UTF-8 path").to_owned();
    // A role that cannot be assumed, and a region that denies, are recorded as what they are.
    world.break_external_id(&world.accounts()[1].clone());
    let reports = ["report.html", "report.json"].map(|name| folder.path().join(name));
    let [page, data] = reports.each_ref().map(|report| report.to_str().expect("a UTF-8 path"));
    let run = world.berth(&["sync", "--record", &there, "--report", page, "--report", data]);
    run.exits(3).says("recorded AWS's responses");
    for written in reports.iter().chain([&recording]) {
        assert!(is_private(written), "{}", written.display());
    }
    let recorded = world.port().entities();

    let calls = world.gate().calls();
    let again = world.berth(&["plan", "--replay", &there]);
    again.exits(3).says("Unable to assume role");
    assert_eq!((again.count("created"), again.count("updated")), (0, 0), "{again}");
    assert_eq!(again.count("unchanged"), recorded_entities(&recorded), "{again}");

    // Into an empty Port, on a machine that has no AWS at all.
    world.port().load_state(json!({})).expect("an empty Port");
    world.set("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    world.berth(&["sync", "--replay", &there]).exits(3);
    assert_eq!(world.gate().calls(), calls, "AWS is not asked");
    assert_eq!(without_times(&world.port().entities()), without_times(&recorded));

    let text = everything(&recording);
    for secret in world.secrets() {
        assert!(!text.contains(&secret), "a secret is in the recording");
    }
    world.berth(&["sync", "--record", &there]).exits(2).says("holds a recording already");
}

#[test]
fn a_damaged_or_missing_recording_is_named() {
    let world = World::with_accounts(1).buckets(1).build();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let there = folder.path().join("recording");
    let path = there.to_str().expect("a UTF-8 path");
    world.berth(&["sync", "--replay", path]).exits(2).says("recording.json");
    world.berth(&["sync", "--record", path]).exits(0);

    // Cut off in the middle: its unit fails, and what it owns is protected.
    let file = there.join("units").join(&world.accounts()[0]).join("global/AWS-S3-Bucket.jsonl");
    let text = fs::read_to_string(&file).expect("the unit was recorded");
    fs::write(&file, &text[..text.len() / 2]).expect("a file that can be written");
    let run = world.berth(&["sync", "--replay", path]);
    run.exits(3).says("cannot parse ").says("AWS-S3-Bucket.jsonl: ").says("record again");
    assert_eq!(world.entities(), world.expected(), "nothing is deleted");
}

fn recorded_entities(entities: &Value) -> u64 {
    entities
        .as_object()
        .into_iter()
        .flat_map(|all| all.values())
        .map(|of| of.as_object().map_or(0, |of| of.len() as u64))
        .sum()
}

/// What differs between two writings of the same entity.
fn without_times(entities: &Value) -> Value {
    let mut entities = entities.clone();
    for of in entities.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        for entity in of.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
            for time in ["createdAt", "updatedAt"] {
                entity.as_object_mut().map(|entity| entity.remove(time));
            }
        }
    }
    entities
}
