//! Where plugins are, and which of them are trusted.

use std::{
    io,
    path::{Path, PathBuf},
};

use berth_engine::{Compiler, CompilerProcess, EngineConfig, Isolation, IsolationProcess, Variables, Wasi};
use minisign_verify::PublicKey;
use serde::Deserialize;

use super::{
    Issue,
    check::{Section, SettingsCheck},
    schema::Setting,
    values::{Count, OneOf, Paths, Seconds, Words},
};
use crate::{
    files,
    trust::{Key, PluginTrust, SIGNATURE_BYTES, TrustLevel},
};

/// The variable that an image with plugins sets. Berth trusts these plugins and runs their compiled code, so
/// a directory does not count as bundled only because of its name.
const BUNDLED: &str = "BERTH_BUNDLED_PLUGINS";

/// Returns the running program, even after an upgrade replaced its file.
fn this_program() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

#[derive(Debug, Deserialize)]
pub(super) struct PluginsTable {
    plugins: Setting<Paths>,
    #[serde(alias = "BERTH_PLUGINS_LOCK")]
    plugins_lock: Setting<PathBuf>,
    #[serde(alias = "BERTH_PLUGIN_TRUST")]
    plugin_trust: Setting<OneOf<TrustLevel>>,
    plugin_keys: Setting<Paths>,
    plugin_isolation: Setting<OneOf<IsIsolated>>,
    #[serde(alias = "BERTH_CACHE_DIR")]
    cache_dir: Setting<PathBuf>,
    plugin_deadline_seconds: Setting<Seconds>,
    plugin_memory_mib: Setting<Count>,
    wasi: Setting<OneOf<Wasi>>,
    jq_environment: Setting<Vec<String>>,
}

impl Words for TrustLevel {
    const WORDS: &'static [(&'static str, Self)] =
        &[("pinned", Self::Pinned), ("signed", Self::Signed), ("any", Self::Any)];
}

impl Words for Wasi {
    const WORDS: &'static [(&'static str, Self)] = &[("empty", Self::Empty), ("deny", Self::Deny)];
}

/// Whether third-party plugins, and users' expressions, run in separate processes.
#[derive(Debug, Clone, Copy)]
struct IsIsolated(bool);

impl Words for IsIsolated {
    const WORDS: &'static [(&'static str, Self)] = &[("none", Self(false)), ("process", Self(true))];
}

/// The settings to run plugins. A command about one plugin needs no plugin directory.
#[derive(Debug)]
pub(crate) struct PluginSettings {
    /// Without the rules about trusted plugins: [`EngineConfig::trust`] is set where the engine starts.
    pub(crate) engine: EngineConfig,
    pub(crate) trust: PluginTrust,
}

impl Section for PluginSettings {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let table: PluginsTable = check.table()?;
        // Only a service reloads plugins while it runs, and enables it.
        let mut engine = EngineConfig { reloads: false, ..EngineConfig::default() };
        let trust = directories(check, &table, &mut engine);
        engine.cache_dir = cache_dir(check, &table.cache_dir);
        let deadline = check.value(&table.plugin_deadline_seconds);
        let memory = check.value(&table.plugin_memory_mib);
        let wasi = check.value(&table.wasi);
        engine.jq_environment = jq_environment(check, &table.jq_environment);
        engine.limits.deadline = deadline?.0;
        engine.limits.memory_bytes = memory?.0 << 20;
        engine.wasi = wasi?.0;
        Some(Self { engine, trust: trust? })
    }
}

/// The same, with a required plugin directory.
#[derive(Debug)]
pub(crate) struct FoundPlugins(pub(crate) PluginSettings);

impl Section for FoundPlugins {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let plugins = PluginSettings::read(check)?;
        if plugins.engine.plugin_dirs.is_empty() && check.is_fine() {
            check.push(Issue {
                setting: "--plugins (or BERTH_PLUGINS)".into(),
                problem: "no plugin directory is given, and none is installed next to the binary".into(),
                remedy:
                    "name the directory with the plugins; in a checkout, `cargo xtask components` builds \
                    them"
                        .into(),
            });
        }
        Some(Self(plugins))
    }
}

/// Returns the plugin directories, bundled ones first, and the rules for third-party plugins.
fn directories(
    check: &mut SettingsCheck<'_>,
    table: &PluginsTable,
    config: &mut EngineConfig,
) -> Option<PluginTrust> {
    let given = if check.args().plugins.is_empty() {
        list_of_paths(check, &table.plugins, "BERTH_PLUGINS")
    } else {
        check.args().plugins.clone()
    };
    let bundled = bundled_plugins(check);
    let isolated = plugins_are_isolated(check, &table.plugin_isolation);
    match this_program() {
        Ok(program) => {
            config.compiler = Compiler::Process(CompilerProcess::new(program.clone()));
            if isolated? {
                let trusted_dirs = bundled.iter().cloned().collect();
                config.isolation = Isolation::Process(IsolationProcess { program, trusted_dirs });
            }
        }
        Err(error) => check.push(Issue {
            setting: "the program itself".into(),
            problem: format!(
                "the system does not say where it is ({error}), so Berth cannot compile plugins"
            ),
            remedy: "mount /proc, or start Berth by its full path".into(),
        }),
    }
    // Only there: whoever may add a plugin must not add native code that no sandbox contains.
    config.precompiled_dirs =
        bundled.iter().map(|dir| dir.join("compiled")).filter(|dir| dir.is_dir()).collect();
    config.plugin_dirs.extend(bundled.clone());
    for dir in given {
        let dir = check.path(dir);
        if bundled.as_ref().is_some_and(|bundled| same(bundled, &dir)) {
            continue;
        }
        if dir.is_dir() {
            config.plugin_dirs.push(dir);
        } else {
            check.push(Issue {
                setting: "--plugins (or BERTH_PLUGINS)".into(),
                problem: format!("`{}` is not a directory", dir.display()),
                remedy: "name a directory that holds plugins (`*.wasm`), or create this one".into(),
            });
        }
    }
    trust(check, table, bundled)
}

fn trust(
    check: &mut SettingsCheck<'_>,
    table: &PluginsTable,
    bundled: Option<PathBuf>,
) -> Option<PluginTrust> {
    let level = check.value(&table.plugin_trust).map(|OneOf(level)| level);
    let lock = check.args().plugins_lock.clone().or_else(|| check.value(&table.plugins_lock));
    let keys: Vec<Key> = list_of_paths(check, &table.plugin_keys, "BERTH_PLUGIN_KEYS")
        .into_iter()
        .filter_map(|file| key(check, &table.plugin_keys, &file))
        .collect();
    if level == Some(TrustLevel::Signed) && keys.is_empty() && !table.plugin_keys.is_set() {
        check.issue(
            &table.plugin_keys,
            "not set, while `plugin_trust` is `signed`",
            "name the files with the public keys of the plugins' signers (minisign's `*.pub`)",
        );
    }
    let lock_given = lock.is_some();
    let lock = check.path(lock.unwrap_or_else(|| "plugins.lock".into()));
    let trust = PluginTrust { level: level?, lock, lock_given, keys, bundled };
    if trust.level != TrustLevel::Any
        && let Err(problem) = trust.grants()
    {
        check.push(Issue {
            setting: "--plugins-lock (or BERTH_PLUGINS_LOCK)".into(),
            problem: problem.message,
            remedy: problem.remedy.unwrap_or_default(),
        });
    }
    Some(trust)
}

fn plugins_are_isolated(check: &mut SettingsCheck<'_>, setting: &Setting<OneOf<IsIsolated>>) -> Option<bool> {
    let OneOf(IsIsolated(isolated)) = check.value(setting)?;
    // A setting that protects less than it says is worse than an error.
    if isolated && !cfg!(target_os = "linux") {
        check.issue(setting, "only Linux can isolate a process", "run Berth on Linux, or remove the setting");
    }
    Some(isolated)
}

/// The variables that JQ mappings can read. Whoever can edit the mapping in Port can read them, so variables
/// of the host, which hold its credentials, are not allowed.
fn jq_environment(check: &mut SettingsCheck<'_>, setting: &Setting<Vec<String>>) -> Variables {
    let own = |name: &String| {
        let name = name.to_ascii_uppercase();
        ["OCEAN__", "BERTH_", "AWS_"].iter().any(|prefix| name.starts_with(prefix))
    };
    let names = check.value(setting).unwrap_or_default();
    let (own, shown): (Vec<String>, Vec<String>) = names.into_iter().partition(own);
    for name in own {
        check.issue(
            setting,
            format!("`{name}` is a setting of Berth or of AWS, which may hold credentials"),
            "name other variables: whoever edits the mapping in Port can read them",
        );
    }
    let environment = check.environment();
    let value = |name: String| environment.get(&name).map(|value| (name.clone(), value.to_owned()));
    shown.into_iter().filter_map(value).collect()
}

/// Where compiled plugins are cached. Without a home directory they are compiled at each start.
fn cache_dir(check: &mut SettingsCheck<'_>, setting: &Setting<PathBuf>) -> Option<PathBuf> {
    let home = || check.environment().cache_home.as_ref().map(|home| home.join("berth"));
    let home = home();
    check.value(setting).map(|dir| check.path(dir)).or(home)
}

fn key(check: &mut SettingsCheck<'_>, setting: &Setting<Paths>, file: &Path) -> Option<Key> {
    let file = check.path(file);
    let read = files::read_text(&file, SIGNATURE_BYTES).map_err(|error| error.to_string());
    let key = read.and_then(|text| {
        // With or without minisign's comment line.
        let key = PublicKey::decode(text.trim()).or_else(|_| PublicKey::from_base64(text.trim()));
        key.map_err(|error| format!("it holds no minisign public key: {error}"))
    });
    match key {
        Ok(key) => Some(Key { file, key }),
        Err(reason) => {
            check.issue(
                setting,
                format!("`{}`: {reason}", file.display()),
                "name files with minisign public keys (`*.pub`)",
            );
            None
        }
    }
}

/// A list of paths: from a variable, separated as in `PATH`, else from the settings.
fn list_of_paths(check: &mut SettingsCheck<'_>, setting: &Setting<Paths>, variable: &str) -> Vec<PathBuf> {
    if let Some(list) = check.environment().get(variable) {
        return std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect();
    }
    check.value(setting).map(|Paths(paths)| paths).unwrap_or_default()
}

/// Returns the directory that the image names, or the one installed next to the binary, or that of a
/// checkout.
fn bundled_plugins(check: &mut SettingsCheck<'_>) -> Option<PathBuf> {
    if let Some(named) = check.environment().get(BUNDLED) {
        let dir = check.environment().working_dir.join(named);
        if dir.is_dir() {
            return Some(dir);
        }
        check.push(Issue {
            setting: BUNDLED.into(),
            problem: format!("`{}` is not a directory", dir.display()),
            remedy: "keep the value that the image sets, or unset it".into(),
        });
        return None;
    }
    let beside = check.environment().executable.as_ref().and_then(|exe| exe.parent()).map(|dir| {
        // Cargo marks its target directories, which exist only in a checkout.
        let target = dir.parent().filter(|target| target.join("CACHEDIR.TAG").is_file());
        let built = target.map(|target| target.join("components/plugins"));
        [Some(dir.join("plugins")), Some(dir.join("../lib/berth/plugins")), built]
    });
    beside.into_iter().flatten().flatten().find(|dir| dir.is_dir())
}

/// Returns whether two paths name the same directory.
fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, SettingsInputs, tests::load},
    };

    #[test]
    fn mappings_see_the_variables_that_are_named_and_no_credentials() {
        let settings =
            load(&[("OCEAN__JQ_ENVIRONMENT", r#"["STAGE", "UNSET"]"#), ("STAGE", "hush-stage")]).unwrap();
        let shown = format!("{:?}", settings.engine.jq_environment);
        assert_eq!(shown, r#"{"STAGE"}"#);
        let issues = load(&[("OCEAN__JQ_ENVIRONMENT", "STAGE, aws_secret_access_key")]).unwrap_err();
        assert_eq!((issues.len(), issues[0].setting.as_str()), (1, "OCEAN__JQ_ENVIRONMENT"));
        assert!(issues[0].problem.contains("aws_secret_access_key"), "{issues:?}");
    }

    #[test]
    fn the_rules_for_plugins_of_others_are_checked() {
        let trust = |changes: &[(&str, &str)]| load(changes).map(|settings| settings.trust);
        let default = trust(&[]).unwrap();
        assert_eq!((default.level, default.lock_given), (TrustLevel::Pinned, false));
        assert!(default.lock.ends_with("plugins.lock") && default.lock.is_absolute());

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vendor.pub");
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let key = file.to_str().unwrap();
        for text in [pair.pk.to_box().unwrap().to_string(), pair.pk.to_base64()] {
            std::fs::write(&file, text).unwrap();
            let signed = trust(&[("BERTH_PLUGIN_TRUST", "signed"), ("BERTH_PLUGIN_KEYS", key)]).unwrap();
            assert_eq!((signed.level, signed.keys.len()), (TrustLevel::Signed, 1));
        }

        let setting = |changes: &[(&str, &str)]| trust(changes).unwrap_err()[0].setting.clone();
        assert_eq!(setting(&[("OCEAN__PLUGIN_TRUST", "some")]), "OCEAN__PLUGIN_TRUST");
        assert_eq!(setting(&[("BERTH_PLUGIN_TRUST", "signed")]), "OCEAN__PLUGIN_KEYS");
        std::fs::write(&file, "no key").unwrap();
        assert_eq!(setting(&[("BERTH_PLUGIN_KEYS", key)]), "OCEAN__PLUGIN_KEYS");
        std::fs::write(&file, "[plugins.x]\nsha256 = 3").unwrap();
        let issues = trust(&[("BERTH_PLUGINS_LOCK", key)]).unwrap_err();
        let problem = &issues[0].problem;
        assert!(problem.starts_with("cannot parse ") && problem.contains("vendor.pub: "), "{issues:?}");
    }

    #[test]
    fn a_checkout_finds_what_it_built_and_nothing_else_passes_for_bundled() {
        let dir = tempfile::tempdir().unwrap();
        let (target, components) = (dir.path().join("target"), dir.path().join("target/components/plugins"));
        let others = dir.path().join("others");
        for dir in [&components, &others, &target.join("release")] {
            std::fs::create_dir_all(dir).unwrap();
        }
        let mut environment = Environment::of(&[]);
        environment.working_dir = dir.path().to_owned();
        environment.executable = Some(target.join("release/berth"));
        let found = |environment: &Environment, given: &[&str]| {
            let mut args = vec!["berth", "sync"];
            args.extend(given.iter().flat_map(|dir| ["--plugins", dir]));
            let args = Args::parse_from(args);
            let source = SettingsInputs::read(&args.global, environment);
            assert!(source.section::<PluginSettings>().is_ok(), "one plugin needs no other");
            source.section().map(|FoundPlugins(PluginSettings { engine, trust })| (engine, trust))
        };
        assert!(found(&environment, &[]).is_err(), "a directory without cargo's mark is not a checkout");
        std::fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
        let (config, trust) =
            found(&environment, &["target/components/../components/plugins", "others"]).unwrap();
        assert_eq!(config.plugin_dirs, [components.clone(), others.clone()], "no directory is listed twice");
        assert!(trust.is_bundled(&components.join("x.wasm")) && !trust.is_bundled(&others.join("x.wasm")));

        // The directory that an image names.
        let with = |value: &str| {
            let mut environment = Environment::of(&[("BERTH_BUNDLED_PLUGINS", value)]);
            environment.working_dir = dir.path().to_owned();
            environment
        };
        let (config, trust) = found(&with(others.to_str().unwrap()), &[]).unwrap();
        assert_eq!(config.plugin_dirs, [others.as_path()]);
        assert!(trust.is_bundled(&others.join("x.wasm")) && !trust.is_bundled(&components.join("x.wasm")));
        let args = Args::parse_from(["berth", "sync"]);
        let environment = with("nowhere");
        let issues =
            SettingsInputs::read(&args.global, &environment).section::<PluginSettings>().unwrap_err();
        assert_eq!(issues[0].setting, "BERTH_BUNDLED_PLUGINS");
    }
}
