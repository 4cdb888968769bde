//! `berth plugin …`: looking at plugins, and writing one.

mod build;
mod scaffold;
mod sdk;

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::{Path, PathBuf},
};

use berth_embed::{
    CodeOrigin, Engine, Mapper, PluginInfo, Problem,
    core::{KindManifest, Scope, Step},
};
use comfy_table::{Table, presets};
use serde_json::json;

use crate::{
    args::{Global, NewPlugin, PluginCommand},
    exit::Exit,
    output::{err, hang, out, safe},
    settings::{Environment, Settings},
    summary,
};

/// Runs the command.
pub(crate) fn run(global: &Global, command: &PluginCommand, environment: &Environment) -> Exit {
    match command {
        PluginCommand::New(args) => return told(scaffold::write(args).map(|files| begun(args, &files))),
        PluginCommand::Build { dir } => return told(build::build(dir).map(|built| built.told())),
        PluginCommand::List { .. } | PluginCommand::Inspect { .. } => {}
    }
    let config = match Settings::engine_only(global, environment) {
        Ok(config) => config,
        Err(issues) => {
            err(&summary::issues(&issues));
            return Exit::Settings;
        }
    };
    let engine = match Engine::new(config) {
        Ok(engine) => engine,
        Err(error) => {
            err(&summary::problem("the plugin engine cannot start", &Problem::from_error(&error)));
            return Exit::Settings;
        }
    };
    match command {
        PluginCommand::List { json } => list(&engine, *json),
        PluginCommand::Inspect { plugin, json } => inspect(&engine, plugin, *json),
        PluginCommand::New(_) | PluginCommand::Build { .. } => Exit::Internal,
    }
}

/// Prints what was done, or why it was not.
fn told(done: Result<String, Problem>) -> Exit {
    match done {
        Ok(text) => {
            out(&safe(&text));
            Exit::Done
        }
        Err(problem) => {
            err(&summary::problem("the plugin is not there yet", &problem));
            Exit::Settings
        }
    }
}

fn begun(args: &NewPlugin, files: &[PathBuf]) -> String {
    let mut text = String::new();
    let sdk = |file: &&PathBuf| !file.components().any(|part| part.as_os_str() == "sdk");
    for file in files.iter().filter(sdk) {
        // Writing to a String cannot fail.
        _ = writeln!(text, "  {}", file.display());
    }
    let folder = files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."));
    _ = write!(
        text,
        "\nA plugin that maps {}. Next:\n  cd {}\n  berth plugin build\n  berth plugin test --bless",
        args.kind,
        folder.display()
    );
    text
}

fn list(engine: &Engine, as_json: bool) -> Exit {
    let (plugins, refused) = (engine.plugins(), engine.refused());
    if as_json {
        out(&json!({"plugins": plugins, "refused": refused}).to_string());
        return Exit::Done;
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["kind", "plugin", "version", "contract", "options", "IAM actions", "code"]);
    for plugin in &plugins {
        for kind in &plugin.manifest.kinds {
            let served = plugin.kinds.iter().find(|served| served.kind == kind.kind);
            if served.is_some_and(|served| served.replaced_by.is_some()) {
                continue;
            }
            let options: Vec<_> = kind.options.iter().map(|option| option.name.as_str()).collect();
            table.add_row([
                kind.kind.to_string(),
                plugin.name.clone(),
                plugin.version.clone(),
                plugin.contract.clone(),
                options.join("\n"),
                iam_actions(kind).into_iter().collect::<Vec<_>>().join("\n"),
                code(plugin).to_owned(),
            ]);
        }
    }
    let mut text = table.to_string();
    for plugin in &refused {
        _ = write!(text, "\n✗ {}\n  {}", plugin.plugin, hang(&plugin.problem.message, "  "));
        if let Some(remedy) = &plugin.problem.remedy {
            _ = write!(text, "\n  → {}", hang(remedy, "    "));
        }
    }
    out(&safe(&text));
    Exit::Done
}

fn code(plugin: &PluginInfo) -> &'static str {
    match plugin.code {
        CodeOrigin::Compiled => "compiled",
        CodeOrigin::Cached => "cached",
        CodeOrigin::Deferred => "when used",
    }
}

fn iam_actions(kind: &KindManifest) -> BTreeSet<String> {
    kind.plan.steps.iter().flat_map(Step::iam_actions).collect()
}

fn inspect(engine: &Engine, wanted: &str, as_json: bool) -> Exit {
    let named = |plugin: &PluginInfo| {
        plugin.name == wanted || plugin.kinds.iter().any(|served| served.kind.as_str() == wanted)
    };
    let found = engine.plugins().into_iter().rfind(named);
    let plugin = match found {
        Some(plugin) => plugin,
        None => match engine.inspect(Path::new(wanted)) {
            Ok(plugin) => plugin,
            Err(problem) => {
                err(&summary::problem(&format!("`{wanted}` is not a plugin that can be used"), &problem));
                return Exit::Settings;
            }
        },
    };
    if as_json {
        out(&json!({"plugin": plugin, "manifest": *plugin.manifest}).to_string());
    } else {
        out(&safe(&describe(&plugin)));
    }
    Exit::Done
}

fn describe(plugin: &PluginInfo) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    _ = write_description(plugin, &mut text);
    text
}

fn write_description(plugin: &PluginInfo, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{} {}", plugin.name, plugin.version)?;
    if let Some(description) = &plugin.manifest.description {
        writeln!(out, "  {description}")?;
    }
    writeln!(out, "  file       {}", plugin.file.display())?;
    writeln!(out, "  sha256     {}", plugin.sha256)?;
    writeln!(out, "  size       {} KiB, {}", plugin.size.div_ceil(1024), code(plugin))?;
    writeln!(out, "  contract   berth:plugin@{}", plugin.contract)?;
    let imports = if plugin.imports.is_empty() { "nothing".to_owned() } else { plugin.imports.join(", ") };
    writeln!(out, "  imports    {imports}")?;
    for kind in &plugin.manifest.kinds {
        let scope = match kind.scope {
            Scope::Regional => "regional",
            Scope::Global => "global",
            Scope::Organization => "once per organization",
            Scope::Account => "the account itself; no AWS call",
        };
        writeln!(out, "\n{} ({scope})", kind.kind)?;
        for step in &kind.plan.steps {
            let when = step.option.as_ref().map(|option| format!(", with {option}")).unwrap_or_default();
            let how = match (&step.each, &step.batch) {
                (Some(parent), _) => format!(", for each of `{parent}`"),
                (_, Some(batch)) => format!(", for {} of `{}` at once", batch.size, batch.of),
                _ => String::new(),
            };
            writeln!(out, "  reads      {}:{}{how}{when}", step.service, step.operation)?;
        }
        for option in &kind.options {
            writeln!(out, "  option     {}: {}", option.name, option.description)?;
        }
        for action in iam_actions(kind) {
            writeln!(out, "  IAM        {action}")?;
        }
        for blueprint in &kind.blueprints {
            writeln!(out, "  blueprint  {}", blueprint.identifier())?;
        }
        if let Some(mapping) = &kind.mapping {
            let entity = &mapping.port.entity.mappings;
            writeln!(out, "  identifier {}", entity.identifier.as_str().unwrap_or("a search query"))?;
            for (name, expression) in &entity.properties {
                writeln!(out, "  property   {name} = {}", expression.as_str().unwrap_or_default())?;
            }
            for (name, expression) in &entity.relations {
                writeln!(out, "  relation   {name} = {}", expression.as_str().unwrap_or("a search query"))?;
            }
        }
    }
    out.truncate(out.trim_end().len());
    Ok(())
}
