//! Third-party plugins in separate processes.

use std::path::PathBuf;

use berth_e2e::World;

#[test]
#[cfg(target_os = "linux")]
fn a_resync_is_the_same_with_plugins_in_processes_of_their_own() {
    let mut world = World::with_accounts(1).buckets(2).guest("honest").guest("panic").build();
    let synced = |world: &World| {
        let run = world.sync();
        // The plugin that crashes fails its unit alone.
        run.exits(3).says("panicked at panic/src/lib.rs:");
        let entities = world.port().entities();
        assert!(entities["honest"][world.accounts()[0].as_str()].is_object(), "{run}");
        assert!(entities["s3Bucket"].is_object(), "{run}");
        entities
    };
    let here = synced(&world);
    world.set("OCEAN__PLUGIN_ISOLATION", "process");
    // With the times of their last changes: nothing was written.
    assert_eq!(here, synced(&world));
    let doctor = world.tool(&["doctor"]);
    doctor.says("third-party plugins").says("confined by a seccomp filter");
    let file: PathBuf = world.folder().join("hostile/honest.wasm");
    let inspected = world.plugin(&["inspect", file.to_str().unwrap_or_default()]);
    inspected.exits(0).says("runs       in separate processes");
}

#[test]
fn a_setting_that_is_misspelt_isolates_nothing_silently() {
    let mut world = World::with_accounts(1).build();
    world.set("OCEAN__PLUGIN_ISOLATION", "proces");
    world.sync().exits(2).says("PLUGIN_ISOLATION").says("use `none` or `process`");
}
