//! The work of a plugin author: create a plugin, build and test it, run it against AWS.
#![expect(clippy::expect_used, clippy::panic, reason = "a helper that fails is a test that fails")]

use std::{env, fs, path::Path};

use berth_e2e::{World, repository};
use serde_json::{Value, json};

/// Lets the binary find cargo, and has it build where the bundled plugins were built: the macros of the SDK are
/// compiled there. Tests build at the same time, so each names its plugin differently: a component is written to the
/// folder that all of them build in.
fn with_toolchain(world: &mut World) {
    for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Ok(value) = env::var(name) {
            world.set(name, &value);
        }
    }
    let target = repository().join("plugins/target");
    world.set("CARGO_TARGET_DIR", target.to_str().expect("a UTF-8 path"));
}

/// Runs the plugin of a folder against AWS, where each of two instances has a volume.
pub(crate) fn widgets_arrive(world: &World, there: &str) {
    let run = world.plugin(&["run", there]);
    run.exits(0);
    assert!(!run.stderr.contains("Notes"), "other plugins are told of: {run}");
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
fn a_plugin_is_begun_tested_and_run_in_a_few_commands() {
    let mut world = World::with_accounts(1).instances(1).build();
    with_toolchain(&mut world);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join("acme-widget");
    let there = dir.to_str().expect("a UTF-8 path");
    let new = ["new", "--kind", "Acme::Widget", "--from", "ec2:DescribeVolumes", "--dir", there];
    world.plugin(&new).exits(0).says("berth plugin test --bless");
    world.plugin(&new).exits(2).says("exists and is not empty");

    // Nothing is right before somebody has looked at it.
    world.plugin(&["test", there]).exits(3).says("accept it with `--bless`").says("acmeWidget");
    world.plugin(&["test", there, "--bless"]).exits(0).says("1 passed, 0 failed");
    world.plugin(&["check", there]).exits(0).says("Berth accepts the plugin").says("ec2:DescribeVolumes");

    // A page with nothing on it is an answer as well.
    fs::write(dir.join("fixtures/empty.json"), r#"{"Volumes": []}"#).expect("a fixture");
    world.plugin(&["test", there, "--bless"]).exits(0).says("2 passed, 0 failed");

    // Programs are told the same; what cargo says goes elsewhere.
    for arguments in [["build", there, "--json"], ["test", there, "--json"], ["check", there, "--json"]] {
        let run = world.plugin(&arguments);
        run.exits(0);
        let said: Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert!(said.is_object(), "{run}");
    }

    // One line of the manifest is edited, and with it what is generated: the golden file says something else.
    let source = dir.join("manifest.json");
    let manifest = fs::read_to_string(&source).expect("the manifest was written");
    let edit = |path: &str| {
        let edited = manifest.replace("\"iops\": \".Properties.Iops\"", &format!("\"iops\": \"{path}\""));
        assert_ne!(edited, manifest);
        fs::write(&source, edited).expect("a manifest that can be written");
    };
    edit(".Properties.VolumeType");
    world.plugin(&["test", there]).exits(3).says("properties.iops").hides("the default mapping in JQ");
    // A name that AWS does not have would be null in every entity.
    edit(".Properties.Iobs");
    world.plugin(&["check", there]).exits(3).says("have no `Iobs`; did you mean `Iops`?");
    fs::write(&source, manifest).expect("a manifest that can be written");

    widgets_arrive(&world, there);
}

/// With the whole standard library, whose hash maps are seeded by WASI and whose output becomes the log.
#[test]
fn a_plugin_with_the_whole_standard_library_is_begun_and_tested() {
    let mut world = World::with_accounts(0).build();
    with_toolchain(&mut world);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join("acme-clock");
    let there = dir.to_str().expect("a UTF-8 path");
    let new = ["new", "--lang", "rust-wasi", "--kind", "Acme::Clock", "--from", "ec2:DescribeVolumes"];
    world.plugin(&[&new[..], &["--dir", there]].concat()).exits(0);

    let source = dir.join("src/lib.rs");
    let code = fs::read_to_string(&source).expect("the source was written");
    let edited = code.replace(
        "        let item = resource.item;\n",
        "        let item = resource.item;\n        let seen = std::collections::HashMap::from([(1, 2)]);\n        \
         eprintln!(\"{} of {:?}\", seen.len(), std::time::SystemTime::UNIX_EPOCH.elapsed().is_ok());\n",
    );
    assert_ne!(edited, code);
    fs::write(&source, edited).expect("a source that can be written");
    let tested = world.plugin(&["test", there, "--bless"]);
    tested.exits(0).says("1 passed, 0 failed").says("1 of true");
    world.plugin(&["inspect", there]).exits(0).says("imports    wasi:random: insecure-seed@0.2.");

    // One line is edited: the code says something else than the default mapping and the golden file.
    let edited = code.replace("\"iops\", item.iops", "\"iops\", item.throughput");
    assert_ne!(edited, code);
    fs::write(&source, edited).expect("a source that can be written");
    world.plugin(&["test", there]).exits(3).says("properties.iops").says("the default mapping in JQ");
    let manifest = dir.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("the manifest was written");
    fs::write(&manifest, text.replace("wasm32-wasip2", "wasm32-wasip1")).expect("a manifest");
    world.plugin(&["build", there]).exits(2).says("has the target `wasm32-wasip1`").says("wasm32-wasip2");
}

/// The commands of a section of the guide, each with what it is shown to print.
fn guide(section: &str) -> Vec<(String, Vec<String>)> {
    let path = repository().join("plugins/README.md");
    let text = fs::read_to_string(path).expect("the guide");
    let section = text.split("\n## ").find(|part| part.starts_with(section)).expect("the section");
    let block = section.split("```console\n").nth(1).and_then(|rest| rest.split("```").next());
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.expect("a console").lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            (None, Some((_, printed))) => printed.push(line.to_owned()),
            (None, None) => panic!("the guide begins with a command, not with {line}"),
        }
    }
    commands
}

/// A line without what differs from one run to the next: numbers, and names that AWS makes up.
fn lasting(line: &str) -> String {
    let digit = |c: char| c.is_ascii_digit() || c == '.' || ('a'..='f').contains(&c);
    let mut text = String::new();
    for word in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '.') {
        let number = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if number.contains(|c: char| c.is_ascii_digit()) && number.chars().all(digit) {
            text.push('#');
            text.push_str(&word[number.len()..]);
        } else {
            text.push_str(word);
        }
    }
    text.trim().to_owned()
}

/// Checks that a run printed what the guide shows, where `…` stands for anything.
fn prints_what_the_guide_shows(run: &berth_e2e::Run, shown: &[String]) {
    let printed: Vec<String> = run.stdout.lines().chain(run.stderr.lines()).map(lasting).collect();
    for line in shown {
        let parts: Vec<String> = line.split('…').map(lasting).collect();
        let alike = |printed: &String| {
            let mut rest = printed.as_str();
            parts.iter().all(|part| match rest.find(part.as_str()) {
                Some(at) => {
                    rest = &rest[at + part.len()..];
                    true
                }
                None => false,
            })
        };
        assert!(printed.iter().any(alike), "`{line}` of plugins/README.md is not printed: {run}");
    }
}

/// The report of a mistake in a mapping in code names the place.
fn crash_as_in_the_guide(world: &World, folder: &Path) {
    let coded = folder.join("in-code");
    let dir = coded.to_str().expect("a UTF-8 path");
    let new = ["new", "--lang", "rust-wasi", "--kind", "Acme::Volume", "--from", "ec2:DescribeVolumes"];
    world.plugin(&[&new[..], &["--dir", dir]].concat()).exits(0);
    let source = coded.join("src/lib.rs");
    let code = fs::read_to_string(&source).expect("the source");
    let broken =
        code.replace("let item = resource.item;", "let item = resource.item;\n        panic!(\"no owner\");");
    assert_ne!(broken, code);
    fs::write(&source, broken).expect("a source that can be written");
    let crash = guide("When a plugin crashes").remove(0).0;
    let run = world.shell(&coded, &crash);
    run.exits(3).says("panicked at src/lib.rs:").says("no owner");
    run.says("backtrace 0: ").says("mapper::Guest>::map_batch");
}

#[test]
fn the_guide_of_authors_leads_to_port() {
    let mut world = World::with_accounts(1).instances(1).build();
    with_toolchain(&mut world);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut there = folder.path().to_owned();
    let commands = guide("From nothing to Port");
    let of_berth = commands.iter().filter(|(command, _)| command.starts_with("berth")).count();
    assert_eq!(of_berth, 3, "it takes fewer than five commands");
    let mut last = None;
    for (command, shown) in commands {
        if let Some(below) = command.strip_prefix("cd ") {
            there.push(below);
            continue;
        }
        let run = world.shell(&there, &command);
        run.exits(0);
        // Which unit ends when is not certain, nor that anything is compiled once more.
        let shown: Vec<String> =
            shown.into_iter().filter(|line| !line.starts_with('[') && !line.contains("Compiling")).collect();
        prints_what_the_guide_shows(&run, &shown);
        last = Some(run);
    }
    let printed = last.expect("a command").stdout;
    let entities: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("an entity a line")).collect();
    assert_eq!(entities.len(), 2, "the instance in each region has a volume: {printed}");

    // To Port for a look, and then for good: directory and mapping.
    let manifest = fs::read(there.join("manifest.json")).expect("the manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let kind = &manifest["kinds"][0];
    world.berth(&["sync"]).exits(0);
    let to_port = "berth plugin run --port";
    let before = world.entities();
    let run = world.shell(&there, to_port);
    run.exits(0).says("Port: created blueprint acmeVolume.\nPort: 2 created, 0 updated, 0 refused.");
    assert_eq!(run.stdout, "", "the entities are at Port instead");
    let held = world.port().entities()["acmeVolume"].as_object().map_or(0, serde_json::Map::len);
    assert_eq!((held, world.entities().len()), (2, before.len() + 2), "nothing is deleted");
    let again = world.shell(&there, to_port);
    again.exits(0).says("Port: 0 created, 2 updated, 0 refused.");
    assert!(!again.stderr.contains("created blueprint"), "{again}");
    // What Port refuses is told, entity by entity.
    world.edit_blueprint("acmeVolume", |blueprint| {
        blueprint["schema"]["properties"]["volumeType"] = json!({"type": "number"});
    });
    world.shell(&there, to_port).exits(3).says("0 updated, 2 refused.").says("acmeVolume/vol-");
    world.edit_blueprint("acmeVolume", |blueprint| *blueprint = kind["blueprints"][0].clone());
    // The same settings as for `berth sync`.
    world
        .shell(&there, &format!("OCEAN__PORT__CLIENT_SECRET= {to_port}"))
        .exits(2)
        .says("OCEAN__PORT__CLIENT_SECRET");
    world.edit_mapping(|config| {
        config["resources"].as_array_mut().expect("a list").push(kind["mapping"].clone());
    });
    world.set("BERTH_PLUGIN_TRUST", "pinned");
    world.shell(&there, "berth plugin add . --to own --yes").exits(0).says("copied to own/acme-volume.wasm");
    let (own, lock) = (there.join("own"), there.join("plugins.lock"));
    let plugins =
        ["--plugins", own.to_str().expect("UTF-8"), "--plugins-lock", lock.to_str().expect("UTF-8")];
    world.berth(&[&["sync"], &plugins[..]].concat()).exits(0);
    let held = world.port().entities();
    for entity in &entities {
        let held = &held["acmeVolume"][entity["identifier"].as_str().expect("a text")];
        assert_eq!(held["properties"]["volumeType"], entity["properties"]["volumeType"], "{held}");
    }

    crash_as_in_the_guide(&world, folder.path());
}

#[test]
fn what_cannot_be_begun_is_explained() {
    let world = World::with_accounts(0).build();
    let new = |kind: &str, from: &str| world.plugin(&["new", "--kind", kind, "--from", from]);
    new("Widget", "ec2:DescribeVolumes").exits(2).says("--kind").says("Acme::Widget");
    new("Acme::Widget", "DescribeVolumes").exits(2).says("ec2:DescribeVolumes");
    new("Acme::Widget", "ec2:ListVolumes").exits(2).says("did you mean DescribeVolumes");
    new("Acme::Widget", "ec2:DeleteVolume").exits(2).says("did you mean");
    // What is begun cannot always read at once; that is told, too.
    new("Acme::Stage", "apigateway:GetStages").exits(0).says("GetStages needs `restApiId`").says("`input`");
    berth_e2e::copy_guest("bad-manifest", world.folder());
    let wrong = world.plugin(&["check", "bad-manifest.wasm"]);
    wrong
        .exits(2)
        .says("bad-manifest.wasm has an invalid manifest, at `kinds[0].plan.steps[1]`")
        .hides("WARN");
    world.plugin(&["check", "/etc/passwd"]).exits(2).says("/etc/passwd ").says("is not WebAssembly");
    let secret = new("Acme::Secret", "secretsmanager:GetSecretValue");
    secret.exits(0).says("returns secrets or bulk data").says("`granted_reads`");
}
