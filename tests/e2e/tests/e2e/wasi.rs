//! Plugins that import WASI: what an operator and an author see.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{fs, path::Path};

use berth_e2e::{World, copy_guest};

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// A folder with the component `wasi-caller` and a fixture that has it attempt something.
fn attempt(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy_guest("wasi-caller", folder.path());
    let fixtures = folder.path().join("fixtures");
    fs::create_dir(&fixtures).expect("a folder");
    let fixture = format!(r#"[{{"item": {{"Id": "a", "Name": "{name}"}}, "steps": {{}}, "parents": {{}}}}]"#);
    fs::write(fixtures.join("one.json"), fixture).expect("a file");
    folder
}

#[test]
fn what_depends_on_random_numbers_or_clocks_fails_its_test() {
    let mut world = World::with_accounts(0).build();
    for (name, differs) in [("random", true), ("time", true), ("sleep", false)] {
        let folder = attempt(name);
        let component = folder.path().join("wasi-caller.wasm");
        let arguments = ["test", "--bless", "--component", text(&component), text(folder.path())];
        let tested = world.plugin(&arguments);
        let complaint = "other random numbers and clocks give other entities: entities[0].title";
        assert_eq!(tested.stdout.contains(complaint), differs, "{name}: {tested}");
    }
    // Where it has neither, nothing can depend on them.
    world.set("OCEAN__WASI", "deny");
    let folder = attempt("random");
    let component = folder.path().join("wasi-caller.wasm");
    world
        .plugin(&["test", "--bless", "--component", text(&component), text(folder.path())])
        .exits(3)
        .says("called `wasi:random/insecure-seed@")
        .says("but WASI is denied");
}

#[test]
fn imports_of_wasi_are_shown_and_kept_in_the_lock() {
    let mut world = World::with_accounts(0).guest("wasi-caller").build();
    world.set("BERTH_PLUGIN_TRUST", "pinned");
    let file = world.folder().join("hostile/wasi-caller.wasm");
    world.plugin(&["inspect", text(&file)]).exits(0).says("imports    wasi:cli: environment@0.2.");
    let added = world.plugin(&["add", text(&file), "--yes"]);
    added.exits(0).says("imports    wasi:random: insecure-seed@0.2.").says("lock       new");
    let lock = fs::read_to_string(world.folder().join("plugins.lock")).expect("the lock");
    assert!(lock.contains("wasi = [") && lock.contains("\"wasi:cli/stdout@0.2."), "{lock}");
    world.plugin(&["add", text(&file), "--yes"]).exits(0).says("as approved before");
    world.plugin(&["list"]).exits(0).says("approved");
}
