//! Where plugins are, and which of them are trusted.

use std::{
    io,
    path::{Path, PathBuf},
};

use berth_embed::{Compiler, CompilerProcess, EngineConfig, Isolation, IsolationProcess, Wasi};
use minisign_verify::PublicKey;
use serde_json::Value;

use super::{Issue, Reader};
use crate::{
    args::Global,
    files,
    trust::{Demand, Key, SIGNATURE_BYTES, Trust},
};

/// What an image sets that brings plugins. They are trusted, and their compiled code is run, so that no
/// place counts as that of bundled plugins by its name alone.
const BUNDLED: &str = "BERTH_BUNDLED_PLUGINS";

/// The program that runs, even after an upgrade replaced its file.
fn this_program() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

impl Reader<'_> {
    /// The directories of plugins, bundled ones first, and the rules for those of others.
    pub(super) fn plugins(&mut self, args: &Global, config: &mut EngineConfig) -> Trust {
        let given = if args.plugins.is_empty() {
            self.list_of_paths("plugins", "BERTH_PLUGINS", "[\"plugins\"]")
        } else {
            args.plugins.clone()
        };
        let bundled = self.bundled_plugins();
        let isolated = self.plugins_are_isolated();
        match this_program() {
            Ok(program) => {
                config.compiler = Compiler::Process(CompilerProcess::new(program.clone()));
                if isolated {
                    let trusted_dirs = bundled.iter().cloned().collect();
                    config.isolation = Isolation::Process(IsolationProcess { program, trusted_dirs });
                }
            }
            Err(error) => self.issue(
                "the program itself",
                format!("the system does not say where it is ({error}), so that no plugin can be compiled"),
                "mount /proc, or start it by its full path",
            ),
        }
        // Only there: whoever may add a plugin must not bring code that no sandbox holds.
        config.precompiled_dirs =
            bundled.iter().map(|dir| dir.join("compiled")).filter(|dir| dir.is_dir()).collect();
        config.plugin_dirs.extend(bundled.clone());
        for dir in given {
            let dir = self.environment.working_dir.join(dir);
            if bundled.as_ref().is_some_and(|bundled| same(bundled, &dir)) {
                continue;
            }
            if dir.is_dir() {
                config.plugin_dirs.push(dir);
            } else {
                self.issues.push(Issue {
                    setting: "--plugins (or BERTH_PLUGINS)".into(),
                    problem: format!("`{}` is not a directory", dir.display()),
                    remedy: "give a directory that holds plugins (`*.wasm`), or make this one".into(),
                });
            }
        }
        self.trust(args, bundled)
    }

    /// Tells that there are no plugins, for what is nothing without them.
    pub(super) fn wants_plugins(&mut self, config: &EngineConfig) {
        if config.plugin_dirs.is_empty() && self.issues.is_empty() {
            self.issues.push(Issue {
                setting: "--plugins (or BERTH_PLUGINS)".into(),
                problem: "no plugin directory is given, and none is installed beside the binary".into(),
                remedy:
                    "give the directory with the plugins; in a checkout, `cargo xtask components` builds them"
                        .into(),
            });
        }
    }

    fn trust(&mut self, args: &Global, bundled: Option<PathBuf>) -> Trust {
        const DEMAND: &str = "plugin_trust";
        let demand = self.environment.get("BERTH_PLUGIN_TRUST").map(ToOwned::to_owned);
        let demand = match demand.or_else(|| self.text(DEMAND)).as_deref() {
            None | Some("pinned") => Demand::Pinned,
            Some("signed") => Demand::Signed,
            Some("any") => Demand::Any,
            Some(other) => {
                self.issue(DEMAND, format!("found `{other}`"), "use `pinned`, `signed` or `any`");
                Demand::Pinned
            }
        };
        let from_environment = || self.environment.get("BERTH_PLUGINS_LOCK").map(PathBuf::from);
        let lock = args.plugins_lock.clone().or_else(from_environment);
        let lock = lock.or_else(|| self.text("plugins_lock").map(PathBuf::from));
        let keys: Vec<Key> = self
            .list_of_paths("plugin_keys", "BERTH_PLUGIN_KEYS", "[\"/etc/berth/vendor.pub\"]")
            .into_iter()
            .filter_map(|file| self.key(&file))
            .collect();
        if demand == Demand::Signed && keys.is_empty() && self.tree.get("plugin_keys").is_none() {
            self.issue(
                "plugin_keys",
                "not set, while `plugin_trust` is `signed`",
                "name the files with the public keys of those whose plugins are used (minisign's `*.pub`)",
            );
        }
        let lock_given = lock.is_some();
        let lock = self.environment.working_dir.join(lock.unwrap_or_else(|| "plugins.lock".into()));
        let trust = Trust { demand, lock, lock_given, keys, bundled };
        if demand != Demand::Any
            && let Err(problem) = trust.grants()
        {
            self.issues.push(Issue {
                setting: "--plugins-lock (or BERTH_PLUGINS_LOCK)".into(),
                problem: problem.message,
                remedy: problem.remedy.unwrap_or_default(),
            });
        }
        trust
    }

    /// Whether plugins of others, and expressions of users, run in processes of their own.
    fn plugins_are_isolated(&mut self) -> bool {
        const PATH: &str = "plugin_isolation";
        let isolated = match self.text(PATH).as_deref() {
            None | Some("none") => false,
            Some("process") => true,
            Some(other) => {
                self.issue(PATH, format!("found `{other}`"), "use `none` or `process`");
                false
            }
        };
        // What protects less than it says is worse than what says no.
        if isolated && !cfg!(target_os = "linux") {
            self.issue(PATH, "only Linux can close up a process", "run Berth on Linux, or leave it out");
        }
        isolated
    }

    /// What plugins get that import WASI.
    pub(super) fn wasi(&mut self) -> Wasi {
        match self.text("wasi").as_deref() {
            None | Some("empty") => Wasi::Empty,
            Some("deny") => Wasi::Deny,
            Some(other) => {
                self.issue("wasi", format!("found `{other}`"), "use `empty` or `deny`");
                Wasi::Empty
            }
        }
    }

    fn key(&mut self, file: &Path) -> Option<Key> {
        let file = self.environment.working_dir.join(file);
        let read = files::read_text(&file, SIGNATURE_BYTES).map_err(|error| error.to_string());
        let key = read.and_then(|text| {
            // With the line of comment that minisign writes, or without.
            let key = PublicKey::decode(text.trim()).or_else(|_| PublicKey::from_base64(text.trim()));
            key.map_err(|error| format!("it holds no public key of minisign: {error}"))
        });
        match key {
            Ok(key) => Some(Key { file, key }),
            Err(reason) => {
                self.issue(
                    "plugin_keys",
                    format!("`{}`: {reason}", file.display()),
                    "name files with public keys of minisign (`*.pub`)",
                );
                None
            }
        }
    }

    /// A list of paths: from a variable, separated as in `PATH`, else from the settings.
    fn list_of_paths(&mut self, path: &str, variable: &str, example: &str) -> Vec<PathBuf> {
        if let Some(list) = self.environment.get(variable) {
            return std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect();
        }
        match self.tree.get(path).map(|setting| setting.value.clone()) {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one.into()],
            Some(Value::Array(paths)) => paths.iter().filter_map(Value::as_str).map(PathBuf::from).collect(),
            Some(_) => {
                self.issue(path, "not a list of paths", format!("use a list such as `{example}`"));
                Vec::new()
            }
        }
    }

    /// The directory that the image names, or the one installed beside the binary, or that of a checkout.
    fn bundled_plugins(&mut self) -> Option<PathBuf> {
        if let Some(named) = self.environment.get(BUNDLED) {
            let dir = self.environment.working_dir.join(named);
            if dir.is_dir() {
                return Some(dir);
            }
            self.issues.push(Issue {
                setting: BUNDLED.into(),
                problem: format!("`{}` is not a directory", dir.display()),
                remedy: "leave the value that the image sets, or unset it".into(),
            });
            return None;
        }
        let beside = self.environment.executable.as_ref().and_then(|exe| exe.parent()).map(|dir| {
            // Cargo marks the directories that it builds in: nowhere else is this a checkout.
            let target = dir.parent().filter(|target| target.join("CACHEDIR.TAG").is_file());
            let built = target.map(|target| target.join("components/plugins"));
            [Some(dir.join("plugins")), Some(dir.join("../lib/berth/plugins")), built]
        });
        beside.into_iter().flatten().flatten().find(|dir| dir.is_dir())
    }
}

/// Whether two paths are one directory.
fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
