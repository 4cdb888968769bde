//! `berth plugin …`: creates, builds, tests and manages plugins.

mod approve;
mod build;
#[cfg(feature = "oci")]
mod exchange;
mod run;
mod scaffold;
mod test;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::{Path, PathBuf},
};

use berth_aws::{check_read, validate_plan};
use berth_core::{KindReads, Step};
use berth_embed::{
    Problem, ProblemCode,
    core::{KindManifest, Scope},
};
use berth_engine::{CodeOrigin, Engine, EngineConfig, PluginInfo};
use comfy_table::{Table, presets};
use serde_json::json;

#[cfg(feature = "oci")]
use crate::{
    args::RegistryArgs,
    registry::{Registry, is_reference},
    settings::ThirdParty,
};
use crate::{
    args::{Global, NewPlugin, PluginCommand},
    exit::Exit,
    output::{CommandOutput, err, hang, safe},
    settings::{Environment, FoundPlugins, GrantedReads, Issue, PluginSettings, SettingsInputs},
    summary,
    trust::{PluginTrust, TrustLevel},
};

/// Runs the command.
pub(crate) fn run(global: &Global, command: &PluginCommand, environment: &Environment) -> Exit {
    match command {
        PluginCommand::New(args) => finish("cannot create the plugin", begin(args)),
        PluginCommand::Build { dir, json } => finish(
            "cannot build the plugin",
            build::build(dir).map(|built| (built.output(*json), Exit::Done)),
        ),
        PluginCommand::Check { plugin, json } => {
            let settings = SettingsInputs::read(global, environment).section();
            with(settings, |(PluginSettings { engine: config, trust }, GrantedReads(granted))| {
                let config = trust.applied_to(config)?;
                let (_, info, _folder) = test::engine(config, &component(plugin)?)?;
                Ok(check(&info, &granted, *json))
            })
        }
        PluginCommand::Test { dir, component: file, bless, json } => {
            with_engine(global, environment, |config, trust| {
                run_tests(trust.applied_to(config)?, dir, file.as_deref(), *bless, *json)
            })
        }
        PluginCommand::Run { plugin, replay, to, port } => {
            let source = SettingsInputs::read(global, environment);
            let settings = if *port {
                source.section().map(|(sources, destination)| (sources, Some(destination)))
            } else {
                source.section().map(|sources| (sources, None))
            };
            match settings {
                Ok((sources, destination)) => {
                    let (replay, to) = (replay.as_deref(), to.as_deref());
                    run_alone(plugin, run::Run { sources, destination, replay, to })
                }
                Err(issues) => {
                    err(&summary::issues(&issues));
                    Exit::Settings
                }
            }
        }
        #[cfg(feature = "oci")]
        PluginCommand::Push { plugin, reference, registry } => {
            with_registry(global, environment, reference, registry, |config, _, registry| {
                exchange::push(config, plugin, registry)
            })
        }
        #[cfg(feature = "oci")]
        PluginCommand::Pull { reference, to, registry } => {
            with_registry(global, environment, reference, registry, |_, trust, registry| {
                exchange::pull(registry, to, &trust)
            })
        }
        #[cfg(feature = "oci")]
        PluginCommand::Add { plugin, to, yes, registry } if is_reference(plugin) => {
            let reference = plugin.to_string_lossy();
            with_registry(global, environment, &reference, registry, |config, trust, registry| {
                add_from(registry, &config, &trust, to.as_deref(), *yes)
            })
        }
        PluginCommand::Add { plugin, to, yes, .. } => with_engine(global, environment, |config, trust| {
            approve::add(&config, &trust, &approve::Add { plugin, to: to.as_deref(), yes: *yes })
        }),
        PluginCommand::Remove { name } => {
            with_engine(global, environment, |_, trust| approve::remove(&trust, name))
        }
        PluginCommand::Compile { into, json } => {
            with_plugins(global, environment, |config, _| compile(&config, into, *json))
        }
        PluginCommand::List { json } => with_plugins(global, environment, |config, trust| {
            let engine = started(trust.clone().applied_to(config)?)?;
            Ok(list(&engine, &trust, *json))
        }),
        PluginCommand::Inspect { plugin, json } => with_engine(global, environment, |config, trust| {
            inspect(&started(trust.applied_to(config)?)?, plugin, *json)
        }),
    }
}

/// Tests a plugin's folder by its component: `file`, or what the folder builds.
fn run_tests(
    config: EngineConfig,
    dir: &Path,
    file: Option<&Path>,
    bless: bool,
    as_json: bool,
) -> Result<(CommandOutput, Exit), Problem> {
    let file = file.map_or_else(|| component(dir), |file| Ok(file.to_owned()))?;
    let (engine, info, folder) = test::engine(config.clone(), &file)?;
    let other = test::other_engine(config, &info, folder.path())?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| Problem::from_error(ProblemCode::Internal, &error))?;
    let outcome = runtime.block_on(test::run(&engine, other.as_ref(), &info, dir, bless))?;
    let exit = if outcome.failed == 0 { Exit::Done } else { Exit::Partial };
    Ok((if as_json { outcome.json().into() } else { CommandOutput::from(outcome.text) }, exit))
}

/// Runs a plugin without any others.
fn run_alone(plugin: &Path, run: run::Run<'_>) -> Exit {
    let ran = component(plugin).and_then(|file| {
        // Only this plugin: other plugins are neither loaded nor reported.
        let alone = EngineConfig { plugin_dirs: Vec::new(), ..run.sources.engine.clone() };
        let config = run.sources.trust.clone().applied_to(alone)?;
        let (engine, info, _folder) = test::engine(config, &file)?;
        run::run(run, engine, &info)
    });
    ran.unwrap_or_else(|problem| {
        err(&summary::problem("cannot run the plugin", &problem));
        Exit::Settings
    })
}

/// Adds a plugin from a registry.
#[cfg(feature = "oci")]
fn add_from(
    registry: &Registry,
    config: &EngineConfig,
    trust: &PluginTrust,
    to: Option<&Path>,
    yes: bool,
) -> Result<(String, Exit), Problem> {
    let to = to.ok_or_else(|| {
        Problem::new(ProblemCode::CommandArgument, "`--to` is required with an `oci://` reference")
            .remedy("name a plugin directory with --to")
    })?;
    // No service sees the plugin here before it is approved.
    let folder = tempfile::tempdir().map_err(|error| Problem::from_error(ProblemCode::Internal, &error))?;
    let (file, _) = exchange::fetch(registry, folder.path())?;
    approve::add(config, trust, &approve::Add { plugin: &file, to: Some(to), yes })
}

fn compile(config: &EngineConfig, into: &Path, as_json: bool) -> Result<(CommandOutput, Exit), Problem> {
    let count = Engine::precompile(config, into)
        .map_err(|error| Problem::from_error(ProblemCode::Internal, &error))?;
    let said = if as_json {
        CommandOutput::from(json!({"compiled": count, "into": into}))
    } else {
        CommandOutput::from(format!("compiled {count} plugins into {}", into.display()))
    };
    Ok((said, Exit::Done))
}

/// Runs an action with the engine's settings, and prints its result.
fn with_engine<S: Into<CommandOutput>>(
    global: &Global,
    environment: &Environment,
    work: impl FnOnce(EngineConfig, PluginTrust) -> Result<(S, Exit), Problem>,
) -> Exit {
    let settings = SettingsInputs::read(global, environment).section();
    with(settings, |PluginSettings { engine, trust }| work(engine, trust))
}

/// Does the same, and requires a plugin directory.
fn with_plugins<S: Into<CommandOutput>>(
    global: &Global,
    environment: &Environment,
    work: impl FnOnce(EngineConfig, PluginTrust) -> Result<(S, Exit), Problem>,
) -> Exit {
    let settings = SettingsInputs::read(global, environment).section();
    with(settings, |FoundPlugins(PluginSettings { engine, trust })| work(engine, trust))
}

/// Does the same with an OCI reference.
#[cfg(feature = "oci")]
fn with_registry<S: Into<CommandOutput>>(
    global: &Global,
    environment: &Environment,
    reference: &str,
    args: &RegistryArgs,
    work: impl FnOnce(EngineConfig, PluginTrust, &Registry) -> Result<(S, Exit), Problem>,
) -> Exit {
    let settings = SettingsInputs::read(global, environment).section();
    with(settings, |(PluginSettings { engine, trust }, ThirdParty(http))| {
        work(engine, trust, &Registry::new(reference, args, environment, http)?)
    })
}

fn with<T, S: Into<CommandOutput>>(
    settings: Result<T, Vec<Issue>>,
    work: impl FnOnce(T) -> Result<(S, Exit), Problem>,
) -> Exit {
    match settings {
        Ok(settings) => finish("cannot use the plugin", work(settings)),
        Err(issues) => {
            err(&summary::issues(&issues));
            Exit::Settings
        }
    }
}

fn started(config: EngineConfig) -> Result<Engine, Problem> {
    Engine::new(config).map_err(|error| {
        Problem::from_error(ProblemCode::Internal, &error)
            .map_message(|why| format!("cannot start the plugin engine: {why}"))
    })
}

/// Returns the component: the file itself, or what its folder builds.
fn component(plugin: &Path) -> Result<PathBuf, Problem> {
    if plugin.is_dir() { build::build(plugin).map(|built| built.file) } else { Ok(plugin.to_owned()) }
}

/// Prints the result, or why the action failed.
fn finish(failed: &str, done: Result<(impl Into<CommandOutput>, Exit), Problem>) -> Exit {
    match done {
        Ok((said, exit)) => {
            said.into().print();
            exit
        }
        Err(problem) => {
            err(&summary::problem(failed, &problem));
            Exit::Settings
        }
    }
}

fn begin(args: &NewPlugin) -> Result<(CommandOutput, Exit), Problem> {
    let scaffold::Begun { folder, files, notes } = scaffold::write(args)?;
    if args.json {
        let begun = json!({"kind": args.kind, "folder": folder, "files": files, "notes": notes});
        return Ok((begun.into(), Exit::Done));
    }
    let mut text = String::new();
    for file in files.iter().filter(|file| !file.starts_with("sdk/")) {
        // Writing to a String cannot fail.
        _ = writeln!(text, "  {}/{file}", folder.display());
    }
    _ = write!(
        text,
        "\nA plugin that maps {}. Next:\n  cd {}\n  berth plugin test --bless    # builds it, and shows its \
        output for fixtures/example.json\n  berth plugin run             # reads the kind from AWS",
        args.kind,
        folder.display()
    );
    for note in notes {
        _ = write!(text, "\n\nnote: {}", hang(&note, "  "));
    }
    Ok((safe(&text).into(), Exit::Done))
}

/// Reports what a host reports about a component that it accepts.
fn check(info: &PluginInfo, granted: &BTreeSet<String>, as_json: bool) -> (CommandOutput, Exit) {
    let mut violations: Vec<String> = info.manifest.kinds.iter().flat_map(validate_plan).collect();
    let steps =
        info.manifest.kinds.iter().flat_map(|kind| kind.plan().steps.iter().map(move |step| (kind, step)));
    violations.extend(steps.filter_map(|(kind, step)| {
        let Problem { message, remedy, .. } = check_read(&step.service, &step.operation, granted).err()?;
        Some(format!("{}, step `{}`: {message}: {}", kind.kind, step.id, remedy.unwrap_or_default()))
    }));
    if as_json {
        let exit = if violations.is_empty() { Exit::Done } else { Exit::Partial };
        return (json!({"plugin": info, "complaints": violations}).into(), exit);
    }
    let mut text = describe(info);
    for violation in &violations {
        // Writing to a String cannot fail.
        _ = write!(text, "\n✗ {}", hang(violation, "  "));
    }
    if violations.is_empty() {
        text.push_str("\n✓ Berth accepts the plugin, and its manifest fits AWS's models");
        (safe(&text).into(), Exit::Done)
    } else {
        (safe(&text).into(), Exit::Partial)
    }
}

fn list(engine: &Engine, trust: &PluginTrust, as_json: bool) -> (CommandOutput, Exit) {
    let (plugins, refused) = (engine.plugins(), engine.refused());
    if as_json {
        let with_trust = |plugin: &PluginInfo| {
            let mut described = json!(plugin);
            described["trust"] = json!(trusted(trust, plugin));
            described
        };
        let plugins: Vec<_> = plugins.iter().map(with_trust).collect();
        return (json!({"plugins": plugins, "refused": refused}).into(), Exit::Done);
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["kind", "plugin", "version", "contract", "trust", "options", "IAM actions", "code"]);
    for plugin in &plugins {
        for kind in &plugin.manifest.kinds {
            let served = plugin.kinds.iter().find(|served| served.kind == kind.kind);
            if served.is_some_and(|served| served.replaced_by.is_some()) {
                continue;
            }
            let options: Vec<_> = kind.options().iter().map(|option| option.name.as_str()).collect();
            table.add_row([
                kind.kind.to_string(),
                plugin.name.clone(),
                plugin.version.clone(),
                plugin.contract.clone(),
                trusted(trust, plugin).to_owned(),
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
    (safe(&text).into(), Exit::Done)
}

/// Returns why a plugin is trusted.
fn trusted(trust: &PluginTrust, plugin: &PluginInfo) -> &'static str {
    if trust.is_bundled(&plugin.file) {
        return "bundled";
    }
    match trust.level {
        TrustLevel::Pinned => "approved",
        TrustLevel::Signed => "approved, signed",
        TrustLevel::Any => "unchecked",
    }
}

fn code(plugin: &PluginInfo) -> &'static str {
    match plugin.code {
        CodeOrigin::Compiled => "compiled",
        CodeOrigin::Cached => "cached",
        CodeOrigin::Deferred => "when used",
    }
}

fn iam_actions(kind: &KindManifest) -> BTreeSet<String> {
    kind.plan().steps.iter().flat_map(Step::iam_actions).collect()
}

fn inspect(engine: &Engine, wanted: &str, as_json: bool) -> Result<(CommandOutput, Exit), Problem> {
    let named = |plugin: &PluginInfo| {
        plugin.name == wanted || plugin.kinds.iter().any(|served| served.kind.as_str() == wanted)
    };
    let found = engine.plugins().into_iter().rfind(named);
    let plugin = match found {
        Some(plugin) => plugin,
        None => engine.inspect(&component(Path::new(wanted))?).map_err(|problem| {
            let problem = problem.map_message(|why| format!("cannot use `{wanted}` as a plugin: {why}"));
            match &problem.remedy {
                Some(_) => problem,
                None => problem.remedy("name a file, a folder, or a plugin or kind of `berth plugin list`"),
            }
        })?,
    };
    let said = if as_json {
        CommandOutput::from(json!({"plugin": plugin, "manifest": *plugin.manifest}))
    } else {
        safe(&describe(&plugin)).into()
    };
    Ok((said, Exit::Done))
}

/// Writes the WASI interfaces that a plugin imports, one line per package.
fn write_wasi(plugin: &PluginInfo, out: &mut String) -> std::fmt::Result {
    let mut packages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for import in plugin.wasi() {
        let (package, interface) = import.split_once('/').unwrap_or((import, ""));
        packages.entry(package).or_default().push(interface);
    }
    for (package, interfaces) in packages {
        writeln!(out, "  imports    {package}: {}", interfaces.join(", "))?;
    }
    Ok(())
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
    if plugin.isolated {
        writeln!(out, "  runs       in separate processes")?;
    }
    let wasi: BTreeSet<&str> = plugin.wasi().collect();
    let others: Vec<&str> =
        plugin.imports.iter().map(String::as_str).filter(|import| !wasi.contains(import)).collect();
    let imports = if plugin.imports.is_empty() { "nothing".to_owned() } else { others.join(", ") };
    if !imports.is_empty() {
        writeln!(out, "  imports    {imports}")?;
    }
    write_wasi(plugin, out)?;
    for kind in &plugin.manifest.kinds {
        let scope = match kind.scope {
            Scope::Regional => "regional",
            Scope::Global => "global",
            Scope::Organization => "once per organization",
            Scope::Account => "the account itself; no AWS call",
        };
        writeln!(out, "\n{} ({scope})", kind.kind)?;
        for step in &kind.plan().steps {
            let when = step.option.as_ref().map(|option| format!(", with {option}")).unwrap_or_default();
            let how = match (&step.each, &step.batch) {
                (Some(parent), _) => format!(", for each of `{parent}`"),
                (_, Some(batch)) => format!(", for {} of `{}` at once", batch.size, batch.of),
                _ => String::new(),
            };
            writeln!(out, "  reads      {}:{}{how}{when}", step.service, step.operation)?;
        }
        for option in kind.options() {
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
