//! `berth plugin add` and `berth plugin remove`: the approvals in the lockfile.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use berth_core::{Ask, Grant, Grants, KindReads, Step};
use berth_embed::{Problem, ProblemCode, core::KindManifest};
use berth_engine::{Engine, EngineConfig, PluginInfo};

use super::{component, started, write_wasi};
use crate::{
    exit::Exit,
    files,
    output::{confirm, hang, out, safe},
    trust::{PluginTrust, Signed, TrustLevel, signature_file},
};

/// What to approve, and how.
pub(super) struct Add<'a> {
    pub(super) plugin: &'a Path,
    pub(super) to: Option<&'a Path>,
    pub(super) yes: bool,
}

/// A plugin that was inspected.
struct Looked {
    info: PluginInfo,
    ask: Ask,
    signature: Signed,
}

/// Shows what plugins ask for, asks for approval, and writes it to the lockfile.
///
/// # Errors
/// A [`Problem`] if a file is not a plugin, if Berth cannot prompt, or if a file cannot be written.
pub(super) fn add(
    config: &EngineConfig,
    trust: &PluginTrust,
    add: &Add<'_>,
) -> Result<(String, Exit), Problem> {
    let mut grants = trust.grants()?;
    // Only these files: other plugins do not matter here.
    let engine = started(EngineConfig { plugin_dirs: Vec::new(), ..config.clone() })?;
    let looked: Vec<Looked> =
        files(add.plugin)?.iter().map(|file| look(&engine, trust, file)).collect::<Result<_, _>>()?;
    let mut summary = String::new();
    for plugin in &looked {
        describe(plugin, grants.plugins.get(&plugin.ask.plugin), &mut summary);
    }
    out(&safe(summary.trim_end()));
    for plugin in &looked {
        if let (TrustLevel::Signed, Some(reason)) = (trust.level, unsigned(&plugin.signature)) {
            return Err(Problem::new(
                ProblemCode::PluginNotTrusted,
                format!("{}: {reason}", plugin.info.file.display()),
            )
            .remedy(
                "`plugin_trust` is `signed`: get the plugin and its signature from its signer, and name the \
                key in `plugin_keys`",
            ));
        }
    }
    if !add.yes && !agreed(looked.len())? {
        return Ok(("nothing was approved".into(), Exit::Settings));
    }
    let is_plugin_directory = |dir: &Path| {
        let found = |dir: &Path| dir.canonicalize().ok();
        config.plugin_dirs.iter().any(|known| found(known).is_some() && found(known) == found(dir))
    };
    let mut done = String::new();
    for Looked { info, ask, .. } in looked {
        if let Some(to) = add.to {
            let copy = copy(&engine, &info, to)?;
            _ = writeln!(done, "copied to {}", copy.display());
            if !is_plugin_directory(to) {
                let to = to.display();
                _ = writeln!(done, "note: to use it, pass {to} with --plugins (or BERTH_PLUGINS)");
            }
        } else if !info.file.parent().is_some_and(is_plugin_directory) {
            _ = writeln!(
                done,
                "note: {} is not in a plugin directory, so Berth does not use it; copy it into one with \
                `--to DIR`",
                info.file.display()
            );
        }
        let wasi = info.wasi().map(ToOwned::to_owned).collect();
        let grant = Grant { version: Some(info.version), wasi, ..Grant::from(ask.clone()) };
        grants.plugins.insert(ask.plugin.clone(), grant);
        _ = writeln!(done, "approved {} in {}", ask.plugin, trust.lock.display());
    }
    trust.write(&grants)?;
    Ok((safe(done.trim_end()), Exit::Done))
}

/// Revokes an approval.
///
/// # Errors
/// A [`Problem`] if there is no approval, or if the lockfile cannot be written.
pub(super) fn remove(trust: &PluginTrust, name: &str) -> Result<(String, Exit), Problem> {
    let mut grants = trust.grants()?;
    if grants.plugins.remove(name).is_none() {
        let Grants { plugins } = &grants;
        let known: Vec<&str> = plugins.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
        return Err(Problem::new(
            ProblemCode::CommandArgument,
            format!("{} approves no `{name}`", trust.lock.display()),
        )
        .remedy(format!("it approves {known}; bundled plugins need no approval")));
    }
    trust.write(&grants)?;
    Ok((format!("revoked the approval of {name} in {}", trust.lock.display()), Exit::Done))
}

/// Returns the components to approve: a file, those of a directory, or what a folder builds.
fn files(plugin: &Path) -> Result<Vec<PathBuf>, Problem> {
    let unreadable =
        |error| Problem::new(ProblemCode::FileUnreadable, format!("{}: {error}", plugin.display()));
    if !plugin.is_dir() {
        return Ok(vec![plugin.canonicalize().map_err(unreadable)?]);
    }
    let entries = fs::read_dir(plugin.canonicalize().map_err(unreadable)?).map_err(unreadable)?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    files.sort_unstable();
    if files.is_empty() { component(plugin).map(|file| vec![file]) } else { Ok(files) }
}

fn look(engine: &Engine, trust: &PluginTrust, file: &Path) -> Result<Looked, Problem> {
    let info = engine.inspect(file)?;
    let bytes = files::read(file, info.size)
        .map_err(|error| Problem::new(ProblemCode::FileUnreadable, format!("{}: {error}", file.display())))?;
    let ask = Ask::of(&info.manifest, &info.sha256);
    Ok(Looked { info, ask, signature: trust.signature(file, &bytes) })
}

/// Copies the inspected plugin, and its signature, into a plugin directory.
fn copy(engine: &Engine, info: &PluginInfo, to: &Path) -> Result<PathBuf, Problem> {
    let target = to.join(info.file.file_name().unwrap_or_default());
    let failed = |error: &dyn std::fmt::Display| {
        Problem::new(ProblemCode::FileUnwritable, format!("cannot write {}: {error}", target.display()))
            .remedy("name a writable directory with --to")
    };
    if target.canonicalize().is_ok_and(|target| target == info.file) {
        return Ok(target);
    }
    fs::create_dir_all(to).map_err(|error| failed(&error))?;
    let copy = tempfile::Builder::new().prefix(".plugin").tempfile_in(to).map_err(|error| failed(&error))?;
    fs::copy(&info.file, copy.path()).map_err(|error| failed(&error))?;
    if engine.inspect(copy.path())?.sha256 != info.sha256 {
        return Err(Problem::new(
            ProblemCode::FileUnreadable,
            format!("{} changed while Berth read it", info.file.display()),
        )
        .remedy("review it again"));
    }
    let signature = signature_file(&info.file);
    if signature.is_file() {
        // The signature first: a running service that finds the plugin must find its signature.
        fs::copy(&signature, signature_file(&target)).map_err(|error| failed(&error))?;
    }
    copy.persist(&target).map_err(|error| failed(&error.error))?;
    Ok(target)
}

/// Asks on the terminal.
fn agreed(count: usize) -> Result<bool, Problem> {
    let question = format!("Approve {}?", if count == 1 { "it" } else { "all of them" });
    confirm(&question, "review the plugins above, and approve them with --yes")
}

/// Returns why a signature is not accepted, or `None`.
fn unsigned(signature: &Signed) -> Option<String> {
    match signature {
        Signed::By(_) => None,
        Signed::Missing(beside) => Some(format!("there is no signature {}", beside.display())),
        Signed::Unchecked => Some("there are no `plugin_keys` to check its signature with".into()),
        Signed::Bad(reason) => Some(reason.clone()),
    }
}

fn describe(plugin: &Looked, granted: Option<&Grant>, out: &mut String) {
    // Writing to a String cannot fail.
    _ = write_description(plugin, granted, out);
}

fn write_description(plugin: &Looked, granted: Option<&Grant>, out: &mut String) -> std::fmt::Result {
    let Looked { info, ask, signature } = plugin;
    writeln!(out, "{} {}", info.name, info.version)?;
    writeln!(out, "  file       {}", info.file.display())?;
    writeln!(out, "  sha256     {}", info.sha256)?;
    writeln!(out, "  contract   berth:plugin@{}", info.contract)?;
    let signature = match signature {
        Signed::By(key) => format!("valid, by {}", key.display()),
        Signed::Missing(_) => "none".to_owned(),
        Signed::Unchecked => "not checked: there are no `plugin_keys`".to_owned(),
        Signed::Bad(reason) => format!("NOT VALID: {reason}"),
    };
    writeln!(out, "  signature  {}", hang(&signature, "             "))?;
    for kind in &ask.kinds {
        writeln!(out, "  kind       {kind}")?;
    }
    for operation in &ask.operations {
        writeln!(out, "  reads      {operation}{}", needs(&info.manifest.kinds, operation))?;
    }
    for blueprint in &ask.blueprints {
        writeln!(out, "  writes     {blueprint}")?;
    }
    write_wasi(info, out)?;
    match granted {
        None => writeln!(out, "  lock       new\n"),
        Some(grant) => {
            let changes = changes(grant, ask, info);
            let summary =
                if changes.is_empty() { "as approved before".to_owned() } else { changes.join("; ") };
            writeln!(out, "  lock       {summary}\n")
        }
    }
}

/// Returns the IAM actions that an operation needs, where their names differ from the operation's.
fn needs(kinds: &[KindManifest], operation: &str) -> String {
    let steps = kinds.iter().flat_map(|kind| &kind.plan().steps);
    let of_operation = steps.filter(|step| format!("{}:{}", step.service, step.operation) == operation);
    let actions: BTreeSet<String> = of_operation.flat_map(Step::iam_actions).collect();
    if actions.is_empty() || actions.iter().all(|action| action == operation) {
        return String::new();
    }
    format!(" (IAM: {})", actions.into_iter().collect::<Vec<_>>().join(", "))
}

/// Lists what differs from the approval.
fn changes(grant: &Grant, ask: &Ask, info: &PluginInfo) -> Vec<String> {
    let mut changes = Vec::new();
    let wasi: BTreeSet<String> = info.wasi().map(ToOwned::to_owned).collect();
    if grant.sha256 != ask.sha256 {
        changes.push(format!("a different file than approved (sha256 {})", grant.sha256));
    }
    for (what, asked, granted) in [
        ("kind", &ask.kinds, &grant.kinds),
        ("read", &ask.operations, &grant.operations),
        ("blueprint", &ask.blueprints, &grant.blueprints),
        ("import", &wasi, &grant.wasi),
    ] {
        changes.extend(asked.difference(granted).map(|name| format!("new {what} {name}")));
        changes.extend(granted.difference(asked).map(|name| format!("{what} {name} is no longer requested")));
    }
    changes
}
