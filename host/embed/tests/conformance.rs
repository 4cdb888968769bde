//! What every plugin promises: the bundled plugins keep it, and who does not is told.
#![expect(
    clippy::unwrap_used,
    reason = "tests; clippy.toml exempts only functions that bear #[test] themselves"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use berth_embed::{
    Engine, EngineConfig, Limits, Problem,
    conformance::{Complaint, Conformance},
    core::{BlueprintId, Entity, ItemError, Kind, MapError, MapReport, MapRequest, Mapping},
};
use berth_test_support::FakeMapper;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

/// What the task runner prepared: where it says, else where it usually is.
fn prepared(variable: &str, usual: &str) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    env::var_os(variable).map_or_else(|| repository.join(usual), PathBuf::from)
}

fn fixtures(plugin: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins").join(plugin).join("fixtures");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |file: PathBuf| {
        let name = format!("{plugin}/{}", file.file_stem().unwrap().display());
        (name, serde_json::from_slice(&fs::read(&file).unwrap()).unwrap())
    };
    files.map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundled_plugins_keep_what_every_plugin_promises() {
    let bundled = prepared("BERTH_TEST_COMPONENTS", "target/components").join("plugins");
    assert!(bundled.is_dir(), "{} is missing: run `cargo xtask components` first", bundled.display());
    let engine = Engine::new(EngineConfig {
        plugin_dirs: vec![bundled],
        cache_dir: Some(prepared("BERTH_TEST_CACHE", "target/test-cache")),
        // Long enough for a machine that does much else.
        limits: Limits { deadline: Duration::from_mins(1), ..Limits::default() },
        ..EngineConfig::default()
    })
    .unwrap();
    assert_eq!(engine.refused(), []);
    assert!(engine.jq().is_some());
    let engine = Arc::new(engine);
    let subjects = engine.plugins().into_iter().flat_map(|plugin| {
        assert_eq!(plugin.manifest.kinds.len(), 1, "{} has one kind, and fixtures of it", plugin.name);
        let kind = plugin.manifest.kinds[0].kind.clone();
        fixtures(&plugin.name).into_iter().map(move |(name, fixture)| (kind.clone(), name, fixture))
    });
    let check = |(kind, name, fixture): (Kind, String, Value), engine: Arc<Engine>| async move {
        let suite = Conformance::of(engine.current(), &kind, true).unwrap();
        let resources = suite.resources(&fixture).unwrap();
        let (complaints, cost) = suite.check(&resources).await.unwrap();
        let told = complaints.into_iter().map(|Complaint { at, what }| format!("{name}: {at}: {what}"));
        (told.collect::<Vec<_>>(), cost.variants)
    };
    let tasks = subjects.map(|subject| tokio::spawn(check(subject, Arc::clone(&engine))));
    let checked = stream::iter(tasks).buffer_unordered(4).map(Result::unwrap);
    let checked: Vec<_> = checked.collect().await;
    let variants: usize = checked.iter().map(|(_, variants)| variants).sum();
    assert!(checked.len() > 250 && variants > 50_000, "{} fixtures, {variants} variants", checked.len());
    let complaints: Vec<String> = checked.into_iter().flat_map(|(complaints, _)| complaints).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What a plugin may do wrong, or right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Good,
    /// Its own code refuses a text where AWS has a list, which its documents pass on.
    RefusesOddities,
    CrashesOnNumbers,
    /// Only its documents do.
    DocumentsCrashOnNumbers,
    NeedsNames,
    Rolls,
    Doubles,
}

struct Plugin {
    habit: Habit,
    rolled: AtomicUsize,
}

impl Plugin {
    fn mapper(habit: Habit) -> Arc<FakeMapper> {
        let kind = json!({
            "kind": "Test::Thing", "scope": "regional",
            "plan": {"steps": [{"id": "l", "service": "x", "operation": "ListThings", "items": "Things[]"}]},
            "mapping": {"kind": "Test::Thing", "selector": {"query": "true"}, "port": {"entity": {"mappings": {
                "identifier": ".Properties.Id", "title": ".Properties.Name", "blueprint": "\"thing\""}}}}});
        let plugin = Self { habit, rolled: AtomicUsize::new(0) };
        Arc::new(FakeMapper::new([FakeMapper::kind(kind)], move |request| plugin.map(&request)))
    }

    fn map(&self, request: &MapRequest) -> Result<MapReport, MapError> {
        let resources: Vec<Value> = serde_json::from_slice(&request.page.resources).unwrap();
        let native = matches!(request.mapping, Mapping::Native);
        let mut report = MapReport::default();
        let mut crashed = 0;
        for (index, resource) in resources.iter().enumerate() {
            let item = &resource["item"];
            let mut refuse = |reason: &str| {
                let resource = format!("thing {index}");
                report.errors.push(ItemError { index, resource, reason: reason.into() });
            };
            let crashes = match self.habit {
                Habit::CrashesOnNumbers => native,
                Habit::DocumentsCrashOnNumbers => !native,
                _ => false,
            };
            if crashes && item["Name"].is_number() {
                crashed += 1;
                refuse("it crashed");
                continue;
            }
            if self.habit == Habit::RefusesOddities && native && item["Parts"].is_string() {
                refuse("a list was expected");
                continue;
            }
            let mut entity = Entity::new(BlueprintId::new("thing").unwrap(), item["Id"].to_string());
            let name = item["Name"].as_str().map(ToOwned::to_owned);
            entity.title = Some(match self.habit {
                Habit::NeedsNames if native => name.unwrap_or_else(|| "nameless".into()).into(),
                Habit::Rolls => self.rolled.fetch_add(1, Ordering::Relaxed).to_string().into(),
                _ => json!(name),
            });
            if self.habit == Habit::Doubles {
                report.entities.push(entity.clone());
            }
            report.entities.push(entity);
        }
        // As the engine has it: where nothing went well, the batch has failed.
        if crashed > 0 && crashed == resources.len() {
            let (plugin, problem) = ("things".into(), Problem::new("it crashed"));
            return Err(MapError::Plugin { plugin, kind: request.kind.clone(), problem });
        }
        Ok(report)
    }
}

async fn complaints(habit: Habit) -> Vec<String> {
    let suite = Conformance::of(Plugin::mapper(habit), &Kind::new("Test::Thing").unwrap(), true).unwrap();
    let answer = json!({"Things": [{"Id": "a", "Name": "Ada", "Parts": ["x"]}, {"Id": "b", "Name": null}]});
    let resources = suite.resources(&answer).unwrap();
    assert_eq!(resources.len(), 2);
    let (complaints, _) = suite.check(&resources).await.unwrap();
    complaints.into_iter().map(|Complaint { at, what }| format!("{at}: {what}")).collect()
}

#[test]
fn a_fixture_is_what_aws_answers_or_what_the_host_hands_over() {
    let suite =
        Conformance::of(Plugin::mapper(Habit::Good), &Kind::new("Test::Thing").unwrap(), true).unwrap();
    let thing = json!({"item": {"Id": "a"}});
    for (fixture, resources) in [
        (json!({"Things": [{"Id": "a"}]}), vec![thing.clone()]),
        (json!([thing.clone()]), vec![thing]),
        (json!({"Things": []}), vec![]),
        (json!([]), vec![]),
    ] {
        assert_eq!(suite.resources(&fixture).unwrap(), resources, "{fixture}");
    }
    for (other, told) in [
        (json!({"Thing": []}), "there is nothing at `Things[]`; the answer has: Thing"),
        (json!({"Things": 3}), "there is nothing at `Things[]`"),
        (json!(7), "a fixture is"),
    ] {
        let problem = suite.resources(&other).unwrap_err();
        assert!(problem.message.starts_with(told), "{problem}");
    }
}

#[tokio::test]
async fn a_promise_that_is_not_kept_is_told_with_its_place() {
    for habit in [Habit::Good, Habit::RefusesOddities] {
        assert_eq!(complaints(habit).await, Vec::<String>::new(), "{habit:?}");
    }
    for habit in [Habit::CrashesOnNumbers, Habit::DocumentsCrashOnNumbers] {
        let crash =
            |index| format!("resource {index}, `item.Name` with a number: plugin `things` failed on ");
        let told = complaints(habit).await;
        assert_eq!(told.len(), 2, "{habit:?}: {told:?}");
        assert!(told[0].starts_with(&crash(0)) && told[1].starts_with(&crash(1)), "{habit:?}: {told:?}");
    }
    let told = complaints(Habit::NeedsNames).await;
    let null = "resource 1, `item.Name` null: the default mapping in JQ (left) and the plugin's code (right) \
                differ: title: null → \"nameless\"";
    assert!(told.iter().any(|line| line == null), "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("resource 0, `item.Name` missing: ")), "{told:?}");
    let told = complaints(Habit::Rolls).await;
    assert!(told[0].starts_with("all resources: two runs give different entities"), "{told:?}");
    let told = complaints(Habit::Doubles).await;
    assert!(told[0].contains("is made twice"), "{told:?}");
}
