//! `berth plugin test`: runs a plugin's fixtures through the real engine.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use berth_conformance::{Conformance, Cost, Violation};
use berth_embed::{Problem, ProblemCode, error_chain};
use berth_engine::{Candidate, Engine, EngineConfig, PluginInfo, PluginPolicy, Trust, Wasi};
use serde_json::{Value, json};

use crate::output::hang;

/// The most violations of one fixture that are shown.
const SHOWN: usize = 10;

/// The results of all fixtures.
#[derive(Default)]
pub(super) struct FixtureResults {
    pub(super) text: String,
    pub(super) failed: usize,
    pub(super) passed: usize,
    fixtures: Vec<Value>,
    peak_memory: u64,
}

impl FixtureResults {
    /// Returns the results as JSON.
    pub(super) fn json(&self) -> Value {
        let Self { failed, passed, fixtures, peak_memory, .. } = self;
        json!({"passed": passed, "failed": failed, "peak_memory": peak_memory, "fixtures": fixtures})
    }
}

/// Admits the file that the author named, and applies the usual rules to the others.
struct Named {
    file: PathBuf,
    others: Trust,
}

impl PluginPolicy for Named {
    fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Problem> {
        if candidate.file == self.file { Ok(()) } else { self.others.admit(candidate) }
    }
}

/// Starts an engine with the bundled plugins, for their JQ, and the plugin under test, which wins.
///
/// # Errors
/// A [`Problem`] if the engine cannot start or rejects the plugin.
pub(super) fn engine(
    config: EngineConfig,
    file: &Path,
) -> Result<(Engine, PluginInfo, tempfile::TempDir), Problem> {
    let problem = |what: &str, error: &dyn std::error::Error| {
        Problem::new(ProblemCode::Internal, format!("{what}: {}", error_chain(error)))
    };
    // The original name first, because later messages name a copy.
    if file.is_file() {
        super::started(EngineConfig { plugin_dirs: Vec::new(), ..config.clone() })?.inspect(file)?;
    }
    // A folder of its own, so that files next to the plugin are not tested.
    let folder = tempfile::tempdir().map_err(|error| problem("cannot create a temporary folder", &error))?;
    let copy = folder.path().join(file.file_name().unwrap_or_default());
    fs::copy(file, &copy).map_err(|error| {
        Problem::new(ProblemCode::FileUnreadable, format!("cannot read {}: {error}", file.display()))
            .remedy("name a component (`*.wasm`), or the folder of a plugin, which Berth builds")
    })?;
    let mut plugin_dirs = config.plugin_dirs.clone();
    plugin_dirs.push(folder.path().to_owned());
    let trust = Trust::by(Arc::new(Named { file: copy.clone(), others: config.trust.clone() }));
    let engine = Engine::new(EngineConfig { plugin_dirs, trust, ..config })
        .map_err(|error| problem("cannot start the plugin engine", &error))?;
    if let Some(refused) = engine.refused().into_iter().find(|refused| Path::new(&refused.plugin) == copy) {
        return Err(refused.problem.map_message(|why| format!("{} is rejected: it {why}", file.display())));
    }
    let mut info = engine.plugins().into_iter().find(|plugin| plugin.file == copy).ok_or_else(|| {
        Problem::new(
            ProblemCode::PluginInvalid,
            format!("{} is not a plugin with a kind of its own", file.display()),
        )
    })?;
    // Messages name the original file, not the copy.
    file.clone_into(&mut info.file);
    Ok((engine, info, folder))
}

/// Starts an engine whose plugins get other random numbers and clocks, if they can read any.
///
/// # Errors
/// A [`Problem`] if the engine cannot start.
pub(super) fn other_engine(
    config: EngineConfig,
    info: &PluginInfo,
    folder: &Path,
) -> Result<Option<Engine>, Problem> {
    if info.wasi().next().is_none() || config.wasi == Wasi::Deny {
        return Ok(None);
    }
    let plugin_dirs = vec![folder.to_owned()];
    // The first engine has admitted these plugins.
    let (trust, wasi) = (Trust::default(), Wasi::Variant(1));
    super::started(EngineConfig { plugin_dirs, trust, wasi, ..config }).map(Some)
}

/// Runs every fixture below `dir`.
///
/// # Errors
/// A [`Problem`] if there is no fixture, or if one cannot be read.
pub(super) async fn run(
    engine: &Engine,
    other: Option<&Engine>,
    info: &PluginInfo,
    dir: &Path,
    bless: bool,
) -> Result<FixtureResults, Problem> {
    let mut outcome = FixtureResults::default();
    let several = info.manifest.kinds.len() > 1;
    if engine.jq().is_none() {
        _ = writeln!(
            outcome.text,
            "note: the default mapping in JQ is not compared, because no plugin directory (--plugins or \
            BERTH_PLUGINS) holds the bundled plugin `jq.wasm`"
        );
    }
    for kind in &info.manifest.kinds {
        // A plugin with several kinds has a folder for each.
        let part = if several { kind.kind.as_str().replace("::", "-") } else { String::new() };
        let fixtures = dir.join("fixtures").join(&part);
        let files = json_files(&fixtures)?;
        let conformance = Conformance::of(engine.current(), &kind.kind, engine.jq().is_some())?;
        let other = other.map(|other| Conformance::of(other.current(), &kind.kind, false)).transpose()?;
        for file in files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let golden = dir.join("golden").join(&part).join(format!("{name}.json"));
            let shown = if several { format!("{} {name}", kind.kind) } else { name };
            match fixture(&conformance, other.as_ref(), &file, &golden, bless).await {
                Ok(cost) => {
                    outcome.passed += 1;
                    let micros = cost.time.as_secs_f64() * 1e6;
                    outcome.fixtures.push(json!({"kind": kind.kind, "fixture": shown, "passed": true,
                        "variants": cost.variants, "micros_a_resource": micros, "complaints": []}));
                    _ = writeln!(
                        outcome.text,
                        "✓ {shown}: {} variants; {:.1} µs per resource",
                        cost.variants,
                        cost.time.as_secs_f64() * 1e6
                    );
                }
                Err(violations) => {
                    outcome.failed += 1;
                    outcome.fixtures.push(json!({"kind": kind.kind, "fixture": shown, "passed": false,
                        "complaints": violations}));
                    _ = writeln!(outcome.text, "✗ {shown}");
                    for line in violations.iter().take(SHOWN) {
                        _ = writeln!(outcome.text, "    {}", hang(line, "    "));
                    }
                    if let more @ 1.. = violations.len().saturating_sub(SHOWN) {
                        _ = writeln!(outcome.text, "    and {more} more");
                    }
                }
            }
        }
    }
    let peak = engine
        .plugins()
        .into_iter()
        .rfind(|plugin| plugin.sha256 == info.sha256)
        .map_or(0, |p| p.peak_memory);
    outcome.peak_memory = peak;
    _ = write!(
        outcome.text,
        "\n{} passed, {} failed; at most {} KiB of memory in an instance",
        outcome.passed,
        outcome.failed,
        peak.div_ceil(1024)
    );
    Ok(outcome)
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let remedy = "save an AWS response there: `aws <service> <operation> --output json > fixtures/one.json`";
    let entries = fs::read_dir(folder).map_err(|error| {
        Problem::new(ProblemCode::FileUnreadable, format!("{}: {error}", folder.display())).remedy(remedy)
    })?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Problem::new(
            ProblemCode::FileUnreadable,
            format!("{} has no fixture", folder.display()),
        )
        .remedy(remedy));
    }
    Ok(files)
}

/// Checks one fixture: the suite, then the golden file. Returns the violations.
async fn fixture(
    conformance: &Conformance,
    other: Option<&Conformance>,
    file: &Path,
    golden: &Path,
    bless: bool,
) -> Result<Cost, Vec<String>> {
    let as_failure = |problem: Problem| vec![problem.to_string()];
    let text = fs::read(file).map_err(|error| vec![error.to_string()])?;
    let value: Value =
        serde_json::from_slice(&text).map_err(|error| vec![format!("it is not JSON: {error}")])?;
    let resources = conformance.resources(&value).map_err(as_failure)?;
    let made = conformance.golden(&resources).await.map_err(as_failure)?;
    let mut violations = Vec::new();
    if bless {
        write_golden(golden, &made).map_err(|error| vec![format!("{}: {error}", golden.display())])?;
    } else {
        match fs::read(golden) {
            Err(_) => violations.push(format!(
                "{} does not exist; review the plugin's output, and accept it with `--bless`:\n{made:#}",
                golden.display()
            )),
            Ok(text) => match serde_json::from_slice::<Value>(&text) {
                Err(error) => violations.push(format!("{} is not JSON: {error}", golden.display())),
                Ok(expected) => {
                    let differences = Conformance::differences(&expected, &made);
                    if !differences.is_empty() {
                        violations.push(format!(
                            "differs from {} (accept with `--bless`):\n{}",
                            golden.display(),
                            differences.join("\n")
                        ));
                    }
                }
            },
        }
    }
    let mut found = match other {
        Some(other) => conformance.compare_with(other, &resources).await.map_err(as_failure)?,
        None => Vec::new(),
    };
    let (more, cost) = conformance.check(&resources).await.map_err(as_failure)?;
    found.extend(more);
    violations.extend(found.into_iter().map(|Violation { at, what }| format!("{at}: {what}")));
    if violations.is_empty() { Ok(cost) } else { Err(violations) }
}

fn write_golden(path: &Path, made: &Value) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, format!("{made:#}\n"))
}
