//! Plugins from OCI registries.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{fs, path::Path};

use berth_e2e::{DebianRegistry, ForwardProxy, World, copy_guest};
use minisign::KeyPair;
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Pushes a plugin to a registry, and gets it back in both ways.
fn round_trip(world: &World, reference: &str) {
    let file = world.folder().join("mine/honest.wasm");
    fs::create_dir(world.folder().join("mine")).expect("a folder");
    copy_guest("honest", &world.folder().join("mine"));
    let pair = KeyPair::generate_unencrypted_keypair().expect("a pair of keys");
    let component = fs::read(&file).expect("the guest");
    let signature =
        minisign::sign(Some(&pair.pk), &pair.sk, &component[..], None, None).expect("a signature");
    let signature = signature.to_string();
    world.file("mine/honest.wasm.minisig", &signature);

    let pushed = world.plugin(&["push", text(&file), reference]);
    pushed.exits(0).says("pushed honest 1.0.0, with its signature: sha256:");
    let digest = pushed.stdout.trim().rsplit_once(": ").expect("a digest").1.to_owned();

    let pulled = world.folder().join("pulled");
    let run = world.plugin(&["pull", reference, "--to", text(&pulled)]);
    run.exits(0).says(&digest).says("to use it, approve it: berth plugin add ");
    assert_eq!(fs::read(pulled.join("widget.wasm")).expect("the component"), component);
    let came = fs::read_to_string(pulled.join("widget.wasm.minisig")).expect("the signature");
    assert_eq!(came, signature);
    // By its digest, too.
    let (repository, _) = reference.rsplit_once(':').expect("a tag");
    let by_digest = format!("{repository}@{digest}");
    world.plugin(&["pull", &by_digest, "--to", text(&pulled)]).exits(0).says(&digest);

    let (to, named) = (world.folder().join("plugins"), format!("oci://{reference}"));
    world.plugin(&["add", &named, "--yes"]).exits(2).says("--to");
    world.plugin(&["add", &named, "--to", text(&to)]).exits(2).says("honest 1.0.0").says("--yes");
    assert!(!to.exists(), "nothing is put there that is not approved");
    world.plugin(&["add", &named, "--to", text(&to), "--yes"]).exits(0).says("approved honest in ");
    assert!(to.join("widget.wasm").is_file() && to.join("widget.wasm.minisig").is_file());
}

#[test]
fn a_plugin_goes_through_a_registry_in_the_form_of_wasm_artifacts() {
    let mut world = World::with_accounts(0).build();
    let registry = world.start_registry("ada", "hush-registry");
    let reference = format!("{}/plugins/widget:1.0.0", registry.address());
    let denied = world.plugin(&["pull", &reference]);
    denied.exits(2).says("docker login").says("BERTH_REGISTRY_PASSWORD");
    // As `docker login` writes it.
    let config = json!({"auths": {registry.address(): {"auth": "YWRhOmh1c2gtcmVnaXN0cnk="}}});
    fs::create_dir(world.folder().join("docker")).expect("a folder");
    world.file("docker/config.json", &config.to_string());
    world.set("DOCKER_CONFIG", text(&world.folder().join("docker")).to_owned().as_str());
    round_trip(&world, &reference);

    let manifest = registry.manifest("plugins/widget", "1.0.0");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let layers = manifest["layers"].as_array().expect("layers");
    assert_eq!((layers.len(), &layers[0]["mediaType"]), (1, &json!("application/wasm")));
    let blob = registry.blob(manifest["config"]["digest"].as_str().expect("a digest"));
    let config: Value = serde_json::from_slice(&blob).expect("the config is JSON");
    assert_eq!(config["architecture"], "wasm");
    assert_eq!(config["os"], "wasip2");
    assert_eq!(config["layerDigests"], json!([layers[0]["digest"]]));
    assert_eq!(config["component"]["imports"], json!(["berth:plugin/log@1.0.0"]));
    assert_eq!(config["component"]["exports"], json!(["berth:plugin/mapper@1.0.0"]));

    let mut other = manifest.clone();
    other["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    registry.plant("plugins/widget", "other", &other);
    let pull = |tag: &str| {
        world.plugin(&["pull", &format!("{}/plugins/widget:{tag}", registry.address()), "--to", "late"])
    };
    pull("other").exits(2).says("is not a WebAssembly component: its config is ");
    let mut two = manifest;
    two["layers"] = json!([two["layers"][0], two["layers"][0]]);
    registry.plant("plugins/widget", "two", &two);
    pull("two").exits(2).says("it has 2 layers, not one");
    pull("none").exits(2).says("cannot pull the plugin");
    registry.damage();
    pull("1.0.0").exits(2).says("does not match the manifest").hides("hush-registry");
    assert!(!world.folder().join("late").exists(), "nothing is left of what failed");
}

#[test]
fn a_registry_is_reached_through_a_proxy_and_by_a_certificate_authority_of_ones_own() {
    let mut world = World::with_accounts(0).build();
    let registry = world.start_registry("ada", "hush-registry");
    let (port, authority) = world.serve_far_away(&registry.address());
    let proxy = world.start_proxy();
    let reference = format!("berth.test:{port}/plugins/widget:1.0.0");
    let pull = ["pull", &reference, "--username", "ada"];
    world.set("BERTH_REGISTRY_PASSWORD", "hush-registry");
    world.set("HTTPS_PROXY", &proxy.url());
    // The authority is one that nobody knows.
    let denied = world.plugin(&pull);
    denied.exits(2).says("certificate").says("SSL_CERT_FILE").hides(ForwardProxy::LOGIN.1);
    world.set("SSL_CERT_FILE", text(&authority));
    world.plugin(&pull).exits(2).says("cannot pull the plugin").says("the registry returned 404");
    let asked: Vec<String> = proxy.passed().into_keys().collect();
    assert_eq!(asked, [format!("CONNECT berth.test:{port}")]);

    // What is excepted is not found, since only the proxy knows its name.
    world.set("NO_PROXY", "*.test");
    world.plugin(&pull).exits(2).says("HTTPS_PROXY");
    world.set("SSL_CERT_FILE", "/nowhere.pem");
    world.plugin(&pull).exits(2).says("SSL_CERT_FILE").says("/nowhere.pem");
}

#[test]
fn a_plugin_goes_through_debians_registry() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(registry) = DebianRegistry::start(folder.path()) else { return };
    let world = World::with_accounts(0).build();
    round_trip(&world, &format!("{}/plugins/widget:1.0.0", registry.address()));
}
