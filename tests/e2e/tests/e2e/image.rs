//! The container image: run as the documented `docker run` does, by buildah.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use berth_e2e::{Container, World, copy_guest};
use serde_json::{Value, json};

const STATE: &str = "/var/lib/berth";
const PLUGINS: &str = "/extra-plugins";

/// A folder that any user may write to, as the image's own volume is.
fn volume() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(folder.path(), open).expect("the folder is ours");
    folder
}

/// Plugins as the image finds them: file and where the code comes from.
fn plugins(world: &World, container: &Container, mounts: &[(&Path, &str)]) -> Vec<(String, String)> {
    let listed = world.run_image(container, mounts, &["plugin", "list", "--json"]);
    listed.exits(0);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("the list is JSON");
    assert_eq!(listed["refused"], json!([]));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let plugins = listed["plugins"].as_array().expect("a list of plugins");
    plugins.iter().map(|plugin| (text(&plugin["file"]), text(&plugin["code"]))).collect()
}

#[test]
#[ignore = "needs the image: `cargo xtask test --all`"]
fn the_documented_command_works_with_the_image() {
    let world = World::with_accounts(2).buckets(2).instances(1).clusters(1).build();
    let container = Container::create();
    assert_eq!(container.config()["User"], "1001:1001");
    assert_eq!(container.config()["Volumes"], json!({PLUGINS: {}, STATE: {}}));
    let state = volume();
    let mounts = [(state.path(), STATE)];

    let begun = Instant::now();
    let (run, first_request) = thread::scope(|scope| {
        let run = scope.spawn(|| world.run_image(&container, &mounts, &[]));
        while world.port().requests().is_empty() && !run.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        let first_request = begun.elapsed();
        (run.join().expect("the run does not panic"), first_request)
    });
    run.exits(0);
    println!(
        "image: {} ms from `buildah run` to the first request to Port, {} ms in all",
        first_request.as_millis(),
        begun.elapsed().as_millis()
    );
    assert_eq!(world.entities(), world.expected());
    for secret in world.secrets() {
        run.hides(&secret);
    }

    let cache = state.path().join("cache");
    let owner = fs::metadata(&cache).expect("the image keeps its state in the volume");
    assert_eq!((owner.uid(), owner.gid()), (1001, 1001));
    let compiled = fs::read_dir(&cache).expect("the cache can be listed").count();
    assert_eq!(compiled, 0, "the bundled plugins come with their code");
}

#[test]
#[ignore = "needs the image: `cargo xtask test --all`"]
fn a_plugin_of_ones_own_joins_the_bundled_ones() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let container = Container::create();
    let (state, own) = (volume(), volume());
    copy_guest("honest", own.path());
    let mounts = [(state.path(), STATE), (own.path(), PLUGINS)];
    world.set("BERTH_PLUGINS_LOCK", "/var/lib/berth/plugins.lock");

    let listed = world.run_image(&container, &mounts, &["plugin", "list"]);
    listed.exits(0).says("is not approved").says("/var/lib/berth/plugins.lock");
    let add = ["plugin", "add", "/extra-plugins/honest.wasm", "--yes"];
    world.run_image(&container, &mounts, &add).exits(0).says("approved honest");
    let found = plugins(&world, &container, &mounts);
    let (ours, bundled): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(file, _)| file.starts_with(PLUGINS));
    assert!(bundled.len() > 60, "{bundled:?}");
    for (file, code) in bundled {
        assert!(file.starts_with("/plugins/") && code == "cached", "{file}: {code}");
    }
    // Compiled when it was looked at, and kept in the volume.
    assert_eq!(ours, [(format!("{PLUGINS}/honest.wasm"), "cached".to_owned())]);

    world.run_image(&container, &mounts, &[]).exits(0);
    let mut entities = world.entities();
    let own = entities.remove(&format!("honest/{}", world.accounts()[0]));
    assert!(own.is_some(), "the plugin made no entity: {entities:?}");
    assert_eq!(entities, world.expected());
}
