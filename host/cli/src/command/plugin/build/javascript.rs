//! JavaScript: `mapping.js` with the engine StarlingMonkey, by componentize-js from npm.

use std::{fs, path::Path};

use berth_embed::Problem;

use super::{Scripted, Tool, put};

const NODE: Tool = Tool { remedy: "install Node.js 20 or later, which npm comes with (https://nodejs.org)" };
/// On Windows npm is a script, which is found by its whole name only.
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
const COMPONENTIZE: &str = "node_modules/@bytecodealliance/componentize-js/src/cli.js";
/// Without these the engine asks no system for anything.
const FEATURES: [&str; 5] = ["stdio", "random", "clocks", "http", "fetch-event"];

/// Writes the component to `into`.
pub(super) fn build(plugin: &Scripted, into: &Path) -> Result<(), Problem> {
    NODE.require(plugin.command("node").arg("--version"), "node", (20, 0))?;
    install(plugin)?;
    // The engine has no other way to a JSON file.
    let text = serde_json::to_string(&plugin.manifest).map_err(|error| Problem::from_error(&error))?;
    let module = format!("// Written by `berth plugin build`.\nexport default {text};\n");
    let file = plugin.dir.join("sdk/manifest.js");
    if fs::read_to_string(&file).ok().as_ref() != Some(&module) {
        put(&file, module.as_bytes())?;
    }
    let mut componentize = plugin.command("node");
    // A relative path: the tool splits longer ones at spaces.
    componentize.args([COMPONENTIZE, "mapping.js", "--wit", "sdk/wit", "--world-name", "plugin", "--disable"]);
    componentize.args(FEATURES).arg("--out").arg(into);
    NODE.run("node componentize-js mapping.js", &mut componentize)
}

/// Installs what package.json asks for, unless that was done since it changed.
fn install(plugin: &Scripted) -> Result<(), Problem> {
    let modified = |name: &str| fs::metadata(plugin.dir.join(name)).and_then(|file| file.modified()).ok();
    let installed = modified("node_modules/.package-lock.json");
    let is_new = |name: &str| modified(name) > installed;
    if modified(COMPONENTIZE).is_some() && !is_new("package.json") && !is_new("package-lock.json") {
        return Ok(());
    }
    let how = if modified("package-lock.json").is_some() { "ci" } else { "install" };
    let mut npm = plugin.command(NPM);
    npm.args([how, "--ignore-scripts", "--no-audit", "--no-fund"]);
    NODE.run(&format!("npm {how}"), &mut npm)?;
    if modified(COMPONENTIZE).is_some() {
        return Ok(());
    }
    Err(Problem::new("package.json does not install `@bytecodealliance/componentize-js`")
        .remedy("add it to its `devDependencies`, as `berth plugin new --lang js` does"))
}
