//! The output of the binary: text with and without colours, pure JSON, completions and manual pages.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{fs, path::PathBuf, process::Command};

use berth_e2e::World;
use serde_json::Value;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// Standard output, which must be one JSON value and nothing else.
#[track_caller]
fn json(world: &World, arguments: &[&str], code: i32) -> Value {
    // Nothing that people like to have may find its way there.
    let arguments = [arguments, &["--color", "always", "--log-level", "debug"]].concat();
    let run = world.tool(&arguments);
    run.exits(code);
    let said = serde_json::from_str(&run.stdout);
    assert!(said.is_ok(), "{arguments:?} says more than JSON: {run}");
    said.expect("JSON")
}

#[test]
fn whatever_programs_may_read_is_pure_json() {
    let mut world = World::with_accounts(1).buckets(1).guest("bad-manifest").build();
    let components = std::env::var("BERTH_TEST_COMPONENTS")
        .map_or_else(|_| repository().join("target/components"), PathBuf::from);
    let bucket = components.join("plugins/s3-bucket.wasm");
    let bucket = bucket.to_str().expect("a UTF-8 path");
    let folder = repository().join("plugins/s3-bucket");
    let folder = folder.to_str().expect("a UTF-8 path");
    world.set("CLICOLOR_FORCE", "1");

    let plan = json(&world, &["plan", "--json"], 0);
    assert_eq!((&plan["dry_run"], plan["units"].is_array()), (&Value::Bool(true), true));
    let sync = json(&world, &["sync", "--json"], 0);
    assert_eq!(sync["outcome"], "done");
    let doctor = json(&world, &["doctor", "--json"], 3);
    assert!(doctor["checks"].as_array().is_some_and(|checks| checks.len() > 5), "{doctor}");
    let list = json(&world, &["plugin", "list", "--json"], 0);
    assert!(list["plugins"].is_array() && list["refused"][0]["problem"]["message"].is_string(), "{list}");
    let inspect = json(&world, &["plugin", "inspect", "AWS::S3::Bucket", "--json"], 0);
    assert!(inspect["manifest"]["kinds"].is_array(), "{inspect}");
    let check = json(&world, &["plugin", "check", bucket, "--json"], 0);
    assert_eq!(
        (&check["plugin"]["name"], &check["complaints"]),
        (&"s3-bucket".into(), &Value::Array(vec![]))
    );
    let test = json(&world, &["plugin", "test", folder, "--component", bucket, "--json"], 0);
    assert!(test["passed"].as_u64() > Some(0) && test["fixtures"][0]["complaints"].is_array(), "{test}");
    let new = ["plugin", "new", "--kind", "Acme::Widget", "--from", "ec2:DescribeVolumes", "--json"];
    let new = json(&world, &new, 0);
    assert_eq!(new["folder"], "acme-widget", "{new}");
    let policy = json(&world, &["policy", "--kind", "AWS::S3::Bucket"], 0);
    assert_eq!(policy["Version"], "2012-10-17");

    // What cannot begin says so elsewhere.
    let run = world.tool(&["plugin", "inspect", "Acme::Nothing", "--json"]);
    run.exits(2);
    assert_eq!(run.stdout, "", "{run}");
    assert!(run.stderr.contains("Acme::Nothing"), "{run}");
}

#[test]
fn colours_come_when_they_are_wanted_and_never_into_a_pipe_by_themselves() {
    let mut world = World::with_accounts(1).build();
    world.break_external_id(&world.accounts()[0].clone());
    let red = "\u{1b}[31m✗\u{1b}[0m";
    let plain = world.tool(&["sync"]);
    assert!(plain.stdout.contains('✗') && !format!("{plain}").contains('\u{1b}'), "{plain}");
    world.tool(&["sync", "--color", "always"]).says(red);
    world.set("CLICOLOR_FORCE", "1");
    world.tool(&["sync"]).says(red);
    let never = world.tool(&["sync", "--color=never"]);
    assert!(!format!("{never}").contains('\u{1b}'), "{never}");
    world.set("NO_COLOR", "1");
    let never = world.tool(&["sync", "--log-level", "info"]);
    assert!(!format!("{never}").contains('\u{1b}'), "{never}");
    world.tool(&["--color=always", "--help"]).exits(0).says("\u{1b}[");
}

#[test]
fn a_terminal_gets_colours_and_a_bar_with_totals_and_the_time_left() {
    let mut world = World::with_accounts(2).buckets(3).build();
    world.break_external_id(&world.accounts()[0].clone());
    let Some(drawn) = world.on_terminal(&["sync"]) else { return };
    for part in
        ["\u{1b}[31m✗\u{1b}[0m", "% ", " of ", " units, ", "about ", " left", "resources read", "created"]
    {
        assert!(drawn.contains(part), "`{part}` is not drawn: {drawn}");
    }
    world.set("NO_COLOR", "1");
    let drawn = world.on_terminal(&["sync"]).unwrap_or_default();
    assert!(drawn.contains('✗') && !drawn.contains("\u{1b}[31m"), "{drawn}");
}

#[test]
fn shells_complete_commands() {
    let world = World::with_accounts(0).build();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = world.tool(&["completions", shell]);
        run.exits(0).says("berth").says("state-dir").says("completions");
    }
    let script = world.file("berth.bash", &world.tool(&["completions", "bash"]).stdout);
    // What bash itself would offer after `berth pl`.
    let ask = format!(
        "source '{}'; COMP_WORDS=(berth pl); COMP_CWORD=1; _berth berth pl berth; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let offered = Command::new("bash").args(["-c", &ask]).output().expect("bash starts");
    assert_eq!(String::from_utf8_lossy(&offered.stdout).trim(), "plan plugin", "{offered:?}");
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let world = World::with_accounts(0).build();
    world.tool(&["man", "--to", "manual/man1"]).exits(0).says("berth.1");
    let page = |name: &str| fs::read_to_string(world.folder().join("manual/man1").join(name)).expect(name);
    assert!(page("berth.1").contains("into a Port catalog"));
    assert!(page("berth-sync.1").contains(r"\-\-state\-dir") && page("berth-sync.1").contains("Exit codes"));
    for name in ["berth-run.1", "berth-plan.1", "berth-doctor.1", "berth-plugin-test.1", "berth-man.1"] {
        assert!(page(name).starts_with(".ie"), "{name} is no page: {}", page(name));
    }
    world.file("taken", "");
    world.tool(&["man", "--to", "taken"]).exits(1).says("check the path given with --to");
}
