//! JavaScript: bundles `mapping.js` with a JavaScript engine, using `componentize-js` from npm.

use std::{fs, path::Path};

use berth_embed::{Problem, ProblemCode};

use super::{Project, Tool, put};

const NODE: Tool = Tool { remedy: "install Node.js 20 or later, which npm comes with (https://nodejs.org)" };
/// On Windows npm is a script, which starts only by its full name.
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
/// Path of the tool once it is installed.
const COMPONENTIZE: &str = "node_modules/@bytecodealliance/componentize-js/package.json";
/// Calls the tool's library: its own command line shows where in the tool an error arose, which helps nobody.
/// Disables `http` and what needs it, because the host rejects a plugin that imports it. The source has a
/// relative path, because the tool splits longer ones at spaces.
const CALL: &str = "
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { componentize } from '@bytecodealliance/componentize-js';
try {
  const { component } = await componentize({
    sourcePath: 'mapping.js',
    witPath: resolve('sdk/wit'),
    worldName: 'plugin',
    disableFeatures: ['http', 'fetch-event'],
  });
  await writeFile(process.argv[1], component);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}";

/// Writes the component to `into`.
pub(super) fn build(plugin: &Project, into: &Path) -> Result<(), Problem> {
    NODE.require(plugin.command("node").arg("--version"), "node", (20, 0))?;
    install(plugin)?;
    // The engine cannot read a JSON file in another way.
    let text = serde_json::to_string(&plugin.manifest)
        .map_err(|error| Problem::from_error(ProblemCode::PluginBuild, &error))?;
    let module = format!("// Written by `berth plugin build`.\nexport default {text};\n");
    let file = plugin.dir.join("sdk/manifest.js");
    if fs::read_to_string(&file).ok().as_ref() != Some(&module) {
        put(&file, module.as_bytes())?;
    }
    // The tool reports only the number of syntax errors.
    NODE.run("node --check mapping.js", plugin.command("node").args(["--check", "mapping.js"]))?;
    let mut componentize = plugin.command("node");
    componentize.args(["--input-type=module", "--eval", CALL, "--"]).arg(into);
    NODE.run("componentize-js mapping.js", &mut componentize)
}

/// Installs what package.json asks for, unless that was done since package.json changed.
fn install(plugin: &Project) -> Result<(), Problem> {
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
    Err(Problem::new(
        ProblemCode::PluginBuild,
        "package.json does not install `@bytecodealliance/componentize-js`",
    )
    .remedy("add it to its `devDependencies`, as `berth plugin new --lang js` does"))
}
