//! Runs the guides as they are written.
#![expect(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use berth_e2e::{EXTERNAL_ID, World, repository, steps};
use serde_json::{Value, json};

/// What the guides count: two accounts with nine resources each.
fn world() -> World {
    World::with_accounts(2).buckets(2).instances(1).clusters(1).own_aws().build()
}

#[test]
fn accounts_are_named_as_the_guide_says() {
    let world = world();
    let expected = world.expected();
    world.reader().follow("examples/guides/accounts.md");
    assert_eq!(world.entities(), expected);
}

#[test]
fn the_front_page_says_what_is() {
    let world = world();
    let expected = world.expected();
    let mut reader = world.reader();
    reader.follow("README.md");
    assert_eq!(world.entities(), expected);
    reader.follow("examples/guides/operators.md");
    reader.follow("examples/guides/status-page.md");
    let report = fs::read_to_string(world.folder().join("run.html")).expect("a report");
    assert!(report.starts_with("<!doctype html>"), "{report:.100}");
    reader.follow("examples/guides/live-events.md");
}

#[test]
fn accounts_are_found_as_the_guide_says() {
    let world = World::with_accounts(0).own_aws().build();
    let management = "999999999999";
    let organizations = |method: &str, parameters: Value| {
        world.call(management, "us-east-1", "organizations", method, &parameters)
    };
    organizations("create_organization", json!({}));
    let member = |name: &str| {
        let email = format!("{name}@example.com");
        let made = organizations("create_account", json!({"AccountName": name, "Email": email}));
        made["CreateAccountStatus"]["AccountId"].as_str().expect("an account's id").to_owned()
    };
    let mut members = ["payments", "search"].map(|name| (member(name), name));
    members.sort();
    let mut shell = world.reader();
    // The page has the first one first.
    for (place, (account, name)) in ["111111111111", "222222222222"].into_iter().zip(members) {
        let role = format!("arn:aws:iam::{account}:role/PortOceanReadRole");
        world.gate().require_external_id(&role, EXTERNAL_ID);
        shell.replace(place, &account);
        shell.replace(if place.starts_with('1') { "payments" } else { "search" }, name);
    }
    for (variable, value) in [("CLIENT_ID", "<client id>"), ("CLIENT_SECRET", "<client secret>")] {
        shell.run(&format!("export OCEAN__PORT__{variable}='{value}'"));
    }
    shell.run("export OCEAN__PORT__BASE_URL=https://api.getport.io OCEAN__INTEGRATION__IDENTIFIER=aws");
    shell.run("export OCEAN__INITIALIZE_PORT_RESOURCES=true");
    shell.follow("examples/guides/organization.md");
}

#[test]
fn a_single_account_is_read_as_the_guide_says() {
    let world = world();
    world.reader().follow("examples/guides/single-account.md");
    let entities = world.entities();
    assert_eq!(entities.len(), 9, "{entities:?}");
    assert!(
        world
            .expected()
            .keys()
            .filter(|key| key.contains(&world.accounts()[0]))
            .all(|key| entities.contains_key(key))
    );
}

#[test]
fn an_installation_is_taken_over_as_the_guide_says() {
    let world = world();
    world.sync().exits(0);
    let before = world.port().entities();
    world.reader().follow("examples/guides/migration.md");
    assert_eq!(world.port().entities(), before);
}

#[test]
fn the_pages_of_image_chart_and_templates_say_what_is() {
    let world = world();
    let expected = world.expected();
    let mut reader = world.reader();
    reader.follow("examples/deploy/docker/README.md");
    assert_eq!(world.entities(), expected);
    reader.follow("examples/deploy/helm/berth/README.md");
    reader.follow("examples/deploy/cloudformation/README.md");
}

#[test]
fn plugins_of_others_are_approved_as_the_guide_says() {
    let world = World::with_accounts(0).build();
    let registry = world.start_registry("ada", "hush-registry");
    fs::create_dir(world.folder().join("incoming")).expect("a folder");
    let mut reader = world.reader();
    reader.replace("registry.example.com", &registry.address());
    let config = json!({"auths": {registry.address(): {"auth": "YWRhOmh1c2gtcmVnaXN0cnk="}}});
    world.file("config.json", &config.to_string());
    // As an operator has it: the plugins of others are none of those beside the binary.
    let (_, code) = reader.run(
        "cp \"$BERTH_PLUGINS\"/sns-topic.wasm incoming; unset BERTH_PLUGINS BERTH_PLUGIN_TRUST; export DOCKER_CONFIG=$PWD",
    );
    assert_eq!(code, 0);
    reader.follow("examples/guides/plugin-trust.md");
}

#[test]
fn what_goes_wrong_is_reported_as_the_guides_say() {
    let world = world();
    world.reader().follow("examples/guides/port-regions.md");
    world.reader().follow("examples/guides/troubleshooting.md");
}

/// No command stands in a page that nothing runs. (`shell` blocks are for what needs another machine: a
/// build of a release, a container engine, a browser.)
#[test]
fn every_page_with_commands_is_followed() {
    let root = repository();
    let tests = include_str!("guides.rs").to_owned() + include_str!("authors.rs");
    let mut followed = 0;
    for page in files(&root, "md") {
        if steps(&fs::read_to_string(&page).expect("a page")).is_empty() {
            continue;
        }
        let name = page.strip_prefix(&root).expect("a page of the repository").display().to_string();
        assert!(tests.contains(&name), "nothing follows the commands of {name}");
        followed += 1;
    }
    assert!(followed > 10, "only {followed} pages have commands");
}

/// All files of ours below a folder that end so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().expect("a name").to_string_lossy().into_owned();
        if entry.is_dir() && !["target", "node_modules", ".git"].contains(&name.as_str()) {
            found.extend(files(&entry, ending));
        } else if entry.extension().is_some_and(|extension| extension == ending) {
            found.push(entry);
        }
    }
    found
}

/// What people search for: each heading of the page is a text that Berth has, or one that the page
/// of the integration which it replaces has.
#[test]
fn the_headings_of_the_troubleshooting_page_are_what_people_see() {
    let of_the_integration = ["No resources discovered", "Docker container exits immediately"];
    let root = repository();
    let sources = files(&root.join("host"), "rs");
    let code: String = sources.iter().map(|file| fs::read_to_string(file).expect("a source")).collect();
    let page = fs::read_to_string(root.join("examples/guides/troubleshooting.md")).expect("the page exists");
    let headings: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`')).collect();
    assert!(headings.len() > 6, "{headings:?}");
    for heading in headings {
        assert!(of_the_integration.contains(&heading) || code.contains(heading), "nothing says `{heading}`");
    }
}
