//! Plugins in other languages, built with those languages' own tools and run by the real engine: the examples,
//! and the work of an author. Without the tools, a test reports that it is skipped; in CI it fails.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use berth_e2e::{World, left_out};
use serde_json::Value;

use crate::authors::widgets_arrive;

/// A language, and what an author meets in it.
struct Language {
    /// As `--lang` names it.
    name: &'static str,
    /// What its tools are found by.
    tools: &'static [&'static str],
    /// What is told of a missing tool, and where it comes from.
    missing: [&'static str; 2],
    mapping: &'static str,
    /// A line of a mapping that does not parse, and what the tools say of it.
    broken: [&'static str; 2],
    /// What a mapping says that meets an item of null.
    thrown: [&'static str; 2],
    /// A line of the mapping, and one behind it that prints `seen 7`.
    printing: [&'static str; 2],
    /// What a plugin imports that does not print.
    imports: &'static str,
}

const JAVASCRIPT: Language = Language {
    name: "js",
    tools: &["node", "npm"],
    missing: ["cannot start `node`", "install Node.js"],
    mapping: "mapping.js",
    broken: ["const broken = ;", "SyntaxError"],
    thrown: ["the mapping threw TypeError", "mapping.js:"],
    // With what a mapping must not depend on: it may call it.
    printing: [
        "function entities({ item }, context) {",
        "  console.log('seen', Math.random() < 1 && Date.now() > 0 && performance.now() > 0 ? 7 : 0);",
    ],
    imports: "wasi:cli: ",
};

const PYTHON: Language = Language {
    name: "python",
    tools: &["python3"],
    missing: ["cannot start `python3`", "install Python"],
    mapping: "mapping.py",
    broken: ["broken = = 1", "SyntaxError"],
    thrown: ["the mapping raised AttributeError", "mapping.py:"],
    printing: [
        "    item = resource.item",
        "    import random, time\n    print(\"seen\", 7 if random.random() < 1 and time.time() > 0 else 0)",
    ],
    imports: "wasi:cli: ",
};

const C: Language = Language {
    name: "c",
    tools: &["python3"],
    missing: ["cannot start `python3`", "install Python"],
    mapping: "mapping.c",
    broken: ["int broken = ;", "expected expression"],
    thrown: ["it has no identifier for the blueprint `acmeWidget`", "#0"],
    printing: [
        "  const berth_json item = resource->item;",
        "  extern int printf(const char *, ...);\n  printf(\"seen %d\\n\", 7);",
    ],
    imports: "imports    nothing\n",
};

const ZIG: Language = Language {
    name: "zig",
    tools: &["python3"],
    missing: ["cannot start `python3`", "install Python"],
    mapping: "mapping.zig",
    broken: ["const broken = ;", "expected expression"],
    thrown: ["it has no identifier for the blueprint `acmeWidget`", "#0"],
    printing: ["    const item = resource.item;", "    @import(\"std\").debug.print(\"seen {d}\\n\", .{7});"],
    imports: "berth:plugin/log@1.0.0\n",
};

impl Language {
    /// Whether the tools are there; says so when they are not.
    fn is_there(&self) -> bool {
        let starts = |tool: &&str| {
            let asked =
                Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        let missing: Vec<_> = self.tools.iter().filter(|tool| !starts(tool)).copied().collect();
        if !missing.is_empty() {
            left_out(&format!("no {} for plugins in {}", missing.join(", "), self.name));
        }
        missing.is_empty()
    }

    fn let_find_tools(&self, world: &mut World) {
        if [C.name, ZIG.name].contains(&self.name) { with_zig(world) } else { with_tools(world) }
    }

    fn example(&self) -> PathBuf {
        repository().join(format!("examples/plugins/{}-ec2-volume", self.name))
    }
}

fn repository() -> PathBuf {
    berth_e2e::repository().canonicalize().expect("the repository")
}

/// Lets the binary find the tools, and the tools their settings.
fn with_tools(world: &mut World) {
    for (name, value) in env::vars() {
        let of_tools = ["NODE_", "NPM_", "npm_", "PIP_"].iter().any(|prefix| name.starts_with(prefix));
        if of_tools || ["PATH", "HOME"].contains(&name.as_str()) {
            world.set(&name, &value);
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn read(path: &Path) -> Value {
    let bytes = fs::read(path).expect("a file that can be read");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// A folder with `zig` in it, which requirements.txt of the example in C has installed.
fn zig() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || {
        let mut world = World::with_accounts(0).build();
        with_tools(&mut world);
        world.plugin(&["build", text(&C.example())]).exits(0);
        let libraries = C.example().join("target/venv/lib");
        let python = fs::read_dir(libraries).expect("packages").next().expect("a version").expect("an entry");
        python.path().join("site-packages/ziglang")
    };
    FOLDER.get_or_init(|| C.is_there().then(install)).as_deref()
}

/// A world that finds `zig` on its path.
fn with_zig(world: &mut World) {
    with_tools(world);
    let path = env::var_os("PATH").expect("a path");
    let folders = zig().map(Path::to_owned).into_iter().chain(env::split_paths(&path));
    let path = env::join_paths(folders).expect("a path");
    world.set("PATH", path.to_str().expect("a UTF-8 path"));
}

/// The fixtures of a folder, and the entities and refused resources of each.
fn golden(folder: &Path) -> Vec<(String, Value, Vec<Value>)> {
    let mut found: Vec<_> = fs::read_dir(folder.join("golden"))
        .expect("golden files")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let report = read(&path);
            let refused =
                report["errors"].as_array().expect("a list").iter().map(|error| error["index"].clone());
            (
                path.file_name().expect("a name").display().to_string(),
                report["entities"].clone(),
                refused.collect(),
            )
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// The example passes its own test, conformance included, and its entities are those of the plugin in
/// Rust.
fn example_equals_rust(language: &Language) {
    if !language.is_there() {
        return;
    }
    let mut world = World::with_accounts(0).build();
    language.let_find_tools(&mut world);
    let example = language.example();
    world.plugin(&["test", text(&example)]).exits(0).says("5 passed, 0 failed");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let fixtures = folder.path().join("fixtures");
    fs::create_dir(&fixtures).expect("a folder");
    for entry in fs::read_dir(example.join("fixtures")).expect("fixtures") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), fixtures.join(entry.file_name())).expect("a copy");
    }
    let bundled = world.plugin(&["inspect", "ec2-volume", "--json"]);
    let bundled: Value = serde_json::from_str(&bundled.exits(0).stdout).expect("JSON");
    let component = bundled["plugin"]["file"].as_str().expect("a file");
    let blessed = world.plugin(&["test", "--bless", "--component", component, text(folder.path())]);
    let (ours, theirs) = (golden(&example), golden(folder.path()));
    assert_eq!(ours.len(), 5, "{blessed}");
    assert_eq!(ours, theirs);
}

#[test]
fn the_example_in_javascript_makes_the_entities_of_the_plugin_in_rust() {
    example_equals_rust(&JAVASCRIPT);
}

#[test]
fn the_example_in_python_makes_the_entities_of_the_plugin_in_rust() {
    example_equals_rust(&PYTHON);
}

/// A plugin is begun, its mapping is broken and mended, it is tested, looked at, and run against AWS.
fn authors_day(language: &Language) {
    if !language.is_there() {
        return;
    }
    let mut world = World::with_accounts(1).instances(1).build();
    language.let_find_tools(&mut world);
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Not every tool likes spaces.
    let dir = folder.path().join("my plugins/acme-widget");
    let there = text(&dir);
    let from = ["--from", "ec2:DescribeVolumes", "--dir", there];
    let new = [&["new", "--lang", language.name, "--kind", "Acme::Widget"], &from[..]].concat();
    world.plugin(&new).exits(0).says(language.mapping).says("berth plugin test --bless");

    let mapping = dir.join(language.mapping);
    let code = fs::read_to_string(&mapping).expect("the mapping was written");
    let [line, complaint] = language.broken;
    fs::write(&mapping, format!("{code}\n{line}\n")).expect("a file that can be written");
    world.plugin(&["build", there]).exits(2).says(complaint).says(language.mapping);
    fs::write(&mapping, &code).expect("a file that can be written");

    // What the mapping throws is told as that one resource's.
    fs::write(dir.join("fixtures/odd.json"), r#"[{"item": null}]"#).expect("a file that can be written");
    let first = world.plugin(&["test", there]);
    first.exits(3).says("accept it with `--bless`").says("acmeWidget");
    for words in language.thrown {
        first.says(words);
    }
    world.plugin(&["test", there, "--bless"]).exits(0).says("2 passed, 0 failed");

    world.plugin(&["check", there]).exits(0).says("Berth accepts the plugin").says("ec2:DescribeVolumes");
    world.plugin(&["inspect", there]).exits(0).says(language.imports);
    widgets_arrive(&world, there);

    // Last, since each change has an interpreter compiled anew, which takes 20 seconds.
    // What is thrown names its line, so that the golden files change with the mapping.
    let [line, print] = language.printing;
    let printing = code.replacen(line, &format!("{line}\n{print}"), 1);
    assert_ne!(printing, code);
    fs::write(&mapping, printing).expect("a file that can be written");
    let printed = world.plugin(&["test", there, "--bless", "--log-level", "info"]);
    printed.exits(0).says("2 passed, 0 failed").says("seen 7");
    world.plugin(&["inspect", there]).exits(0).says("wasi:cli: ");
}

#[test]
fn the_examples_in_c_and_zig_make_the_entities_of_the_plugin_in_rust() {
    example_equals_rust(&C);
    example_equals_rust(&ZIG);
}

#[test]
fn a_plugin_in_c_is_begun_tested_and_run() {
    authors_day(&C);
}

#[test]
fn a_plugin_in_zig_is_begun_tested_and_run() {
    authors_day(&ZIG);
}

#[test]
fn a_plugin_in_javascript_is_begun_tested_and_run() {
    authors_day(&JAVASCRIPT);
}

#[test]
fn a_plugin_in_python_is_begun_tested_and_run() {
    authors_day(&PYTHON);
}

#[test]
fn missing_tools_and_unknown_folders_are_explained() {
    let mut world = World::with_accounts(0).build();
    let empty = tempfile::tempdir().expect("a temporary folder");
    world.set("PATH", text(empty.path()));
    for language in [JAVASCRIPT, PYTHON, C, ZIG] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let there = text(folder.path());
        // The items of this list are texts.
        let new = [
            "new",
            "--lang",
            language.name,
            "--kind",
            "Acme::Queue",
            "--from",
            "sqs:ListQueues",
            "--dir",
            there,
        ];
        world.plugin(&new).exits(0);
        let [what, remedy] = language.missing;
        world.plugin(&["build", there]).exits(2).says(what).says(remedy);
    }
    let with_sdk =
        ["new", "--lang", "js", "--kind", "Acme::Widget", "--from", "ec2:DescribeVolumes", "--sdk", "1.0.0"];
    world.plugin(&with_sdk).exits(2).says("--sdk is for plugins in Rust");
    world.plugin(&["build", text(empty.path())]).exits(2).says("package.json (JavaScript)");
    // Without a requirements.txt it is Zig itself that is asked for.
    fs::write(empty.path().join("manifest.json"), r#"{"name": "acme"}"#).expect("a file that can be written");
    fs::write(empty.path().join("mapping.c"), "").expect("a file that can be written");
    world
        .plugin(&["build", text(empty.path())])
        .exits(2)
        .says("no `zig` of version 0.17")
        .says("install Zig 0.17");
    fs::remove_file(empty.path().join("mapping.c")).expect("a file that can be removed");
    fs::write(empty.path().join("pyproject.toml"), "").expect("a file that can be written");
    world.plugin(&["build", text(empty.path())]).exits(2).says("requirements.txt");
}
