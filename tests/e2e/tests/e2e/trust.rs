//! Third-party plugins: only approved ones are used.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use berth_e2e::{World, copy_guest};
use minisign::KeyPair;
use serde_json::json;

/// A world with a plugin of somebody else, and its file.
fn world(trust: &str) -> (World, PathBuf) {
    let mut world = World::with_accounts(1).buckets(1).guest("honest").build();
    world.set("BERTH_PLUGIN_TRUST", trust);
    let file = world.folder().join("hostile/honest.wasm");
    (world, file)
}

/// The same component in other bytes: with a section that nobody reads.
fn rebuild(file: &Path) {
    let mut bytes = fs::read(file).expect("the plugin");
    bytes.extend([0, 5, 4, b'n', b'o', b't', b'e']);
    fs::write(file, bytes).expect("a file");
}

/// Whether the entity that only this plugin makes is at Port.
fn is_there(world: &World) -> bool {
    world.port().entities()["honest"][world.accounts()[0].as_str()].is_object()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

#[test]
fn a_plugin_of_others_is_used_when_it_is_approved_and_refused_when_it_changes() {
    let (mut world, file) = world("pinned");
    // Of its own: what is known of a component from earlier tells more.
    world.set("BERTH_CACHE_DIR", "cache");
    let add = ["add", text(&file)];
    let list = world.plugin(&["list"]);
    list.exits(0)
        .says("honest.wasm")
        .says("is not approved: ")
        .says("plugins.lock")
        .says("berth plugin add /");
    let asked = world.plugin(&add);
    asked
        .exits(2)
        .says("honest 1.0.0")
        .says("sha256")
        .says("kind       Guests::Honest")
        .says("lock       new");
    asked.says("signature  none").says("--yes");
    let lock = world.folder().join("plugins.lock");
    assert!(!lock.exists(), "nothing is approved by looking");

    world.plugin(&[&add[..], &["--yes"]].concat()).exits(0).says("approved honest in ");
    let written = fs::read_to_string(&lock).expect("the lock");
    assert!(written.contains("[plugins.honest]") && written.contains("Guests::Honest"), "{written}");
    world.plugin(&["list"]).exits(0).says("approved").says("bundled");
    world.sync().exits(0);
    assert!(is_there(&world));

    rebuild(&file);
    let run = world.sync();
    run.exits(3).says("is not approved: no approved plugin has this file's sha256");
    let refused = &run.report["refused_plugins"][0];
    assert_eq!(refused["plugin"], json!(file), "{run}");
    let remedy = refused["problem"]["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains(&format!("berth plugin add {}", file.display())), "{run}");
    assert!(is_there(&world), "what a refused plugin made is protected");
    world.plugin(&[&add[..], &["--yes"]].concat()).exits(0).says("a different file than approved (sha256 ");
    world.sync().exits(0);

    // A grant that is narrower than what is asked.
    let narrowed = fs::read_to_string(&lock).expect("the lock").replace("Guests::Honest", "Guests::Other");
    fs::write(&lock, narrowed).expect("a file");
    world.sync().exits(3).says("requests more than is approved: kinds Guests::Honest");
    assert!(is_there(&world));

    world.plugin(&["remove", "honest"]).exits(0).says("revoked the approval of honest");
    world.plugin(&["remove", "honest"]).exits(2).says("approves no `honest`");
    world.sync().exits(3).says("is not approved");
    assert!(is_there(&world));
    fs::write(&lock, "[plugins.honest]\nsha256 = 7\n").expect("a file");
    world.sync().exits(2).says("cannot parse").says("plugins.lock").says("sha256");
}

#[test]
fn a_plugin_is_copied_where_it_is_found_with_another_lock_of_ones_own() {
    let world = World::with_accounts(1).build();
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    copy_guest("honest", elsewhere.path());
    let (to, lock) = (world.folder().join("mine"), world.folder().join("team.lock"));
    let options = ["--plugins-lock", text(&lock), "--yes"];
    let add = [&["add", text(elsewhere.path()), "--to", text(&to)], &options[..]].concat();
    world.plugin(&add).exits(0).says("copied to ").says("pass ").says(" with --plugins (or BERTH_PLUGINS)");
    let mine = ["--plugins", text(&to)];
    let list = [&["list"], &mine[..], &["--plugins-lock", text(&lock)]].concat();
    assert!(world.plugin(&list).exits(0).stdout.contains("Guests::Honest"));
    // The default lock says nothing of it. The tests' own environment would let it pass.
    let mut world = world;
    world.set("BERTH_PLUGIN_TRUST", "pinned");
    let list = world.plugin(&[&["list"], &mine[..]].concat());
    list.exits(0).says("is not approved");
    let list = world.plugin(&[&["list", "--json"], &mine[..], &["--plugins-lock", text(&lock)]].concat());
    list.exits(0).says("\"trust\":\"approved\"");
}

#[test]
fn a_signature_is_demanded_where_the_settings_say_so() {
    let (mut world, file) = world("signed");
    let list = world.plugin(&["list"]);
    list.exits(2).says("OCEAN__PLUGIN_KEYS").says("`plugin_trust` is `signed`");
    let pair = KeyPair::generate_unencrypted_keypair().expect("a pair of keys");
    let key = world.file("vendor.pub", &pair.pk.to_box().expect("a key").to_string());
    world.set("BERTH_PLUGIN_KEYS", text(&key));
    let add = ["add", text(&file), "--yes"];
    world.plugin(&add).exits(2).says("there is no signature ");

    let bytes = fs::read(&file).expect("the plugin");
    let signature = minisign::sign(Some(&pair.pk), &pair.sk, &bytes[..], None, None).expect("a signature");
    world.file("hostile/honest.wasm.minisig", &signature.to_string());
    world.plugin(&add).exits(0).says("signature  valid, by ").says("vendor.pub");
    world.plugin(&["list"]).exits(0).says("approved, signed");
    world.sync().exits(0);
    assert!(is_there(&world));

    fs::remove_file(world.folder().join("hostile/honest.wasm.minisig")).expect("the signature");
    world.sync().exits(3).says("is not signed: there is no ");
    assert!(is_there(&world));
    world.file("hostile/honest.wasm.minisig", &signature.to_string());
    rebuild(&file);
    world.sync().exits(3).says("has no valid signature: ");
    world.plugin(&add).exits(2).says("NOT VALID");
    assert!(is_there(&world));
}
