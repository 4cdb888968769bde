//! The bundled plugins on their fixtures: the guarantees of every plugin, and the golden files.

use std::{collections::BTreeMap, env, fs, sync::Arc};

use berth_conformance::{Conformance, Violation};
use berth_core::{Kind, MapContext, Partition};
use berth_engine::Engine;
use futures::{StreamExt as _, stream};
use serde_json::Value;

use crate::{context, engine, plugins, subjects};

/// A fixture in a place.
struct Case {
    plugin: String,
    kind: Kind,
    fixture: String,
    answer: Value,
    context: Option<MapContext>,
}

/// The result of a case.
struct Checked {
    plugin: String,
    violations: Vec<String>,
    variants: usize,
    entities: usize,
}

/// Returns the places to map a fixture in, in addition to the usual one.
fn other_places(plugin: &str) -> Vec<MapContext> {
    match plugin {
        // The execution names its pipeline by an ARN of its own partition.
        "codepipeline-pipeline-execution" => vec![
            context(Partition::AwsUsGov, Some("us-gov-west-1"), &[]),
            context(Partition::AwsCn, Some("cn-north-1"), &[]),
        ],
        "rds-db-instance" => vec![context(Partition::Aws, Some("eu-west-1"), &["ListTagsForResourceAction"])],
        _ => Vec::new(),
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for subject in subjects() {
        for (fixture, answer) in subject.fixtures() {
            let places = other_places(&subject.plugin).into_iter().map(Some);
            cases.extend([None].into_iter().chain(places).map(|context| Case {
                plugin: subject.plugin.clone(),
                kind: subject.kind.kind.clone(),
                fixture: fixture.clone(),
                answer: answer.clone(),
                context,
            }));
        }
    }
    cases
}

async fn check(case: Case, engine: Arc<Engine>) -> Checked {
    let Case { plugin, kind, fixture, answer, context } = case;
    let mut suite = Conformance::of(engine.current(), &kind, true).unwrap();
    let place = match &context {
        Some(context) => format!(" in {} with {:?}", context.account.partition, context.options),
        None => String::new(),
    };
    let is_usual = context.is_none();
    if let Some(context) = context {
        suite = suite.within(context);
    }
    let resources = suite.resources(&answer).unwrap();
    let made = suite.golden(&resources).await.unwrap();
    let mut violations = if is_usual { compare(&plugin, &fixture, &made) } else { Vec::new() };
    let (found, cost) = suite.check(&resources).await.unwrap();
    violations.extend(found.into_iter().map(|Violation { at, what }| format!("{at}: {what}")));
    let reported = |violation| format!("{plugin}/{fixture}{place}: {violation}");
    Checked {
        violations: violations.into_iter().map(reported).collect(),
        variants: cost.variants,
        entities: made["entities"].as_array().unwrap().len(),
        plugin,
    }
}

/// Compares the output for a fixture with its golden file, or accepts it.
fn compare(plugin: &str, fixture: &str, made: &Value) -> Vec<String> {
    let file = plugins().join(plugin).join("golden").join(format!("{fixture}.json"));
    if env::var_os("BERTH_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("{made:#}\n")).unwrap();
    }
    let Ok(golden) = fs::read(&file) else {
        return vec![format!("there is no golden file; review the output and set BERTH_BLESS=1: {made:#}")];
    };
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    assert!(golden["documents"].is_array(), "{} has no documents", file.display());
    let differences = Conformance::differences(&golden, made);
    differences.into_iter().map(|difference| format!("differs from its golden file: {difference}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundled_plugins_keep_what_every_plugin_promises() {
    let engine = engine();
    let cases = cases();
    let of_all = subjects().len() > 1;
    let tasks = cases.into_iter().map(|case| tokio::spawn(check(case, Arc::clone(engine))));
    let checked = stream::iter(tasks).buffer_unordered(4).map(Result::unwrap);
    let checked: Vec<Checked> = checked.collect().await;

    let variants: usize = checked.iter().map(|checked| checked.variants).sum();
    if of_all {
        assert!(checked.len() > 350 && variants > 70_000, "{} fixtures, {variants} variants", checked.len());
    }
    let mut entities = BTreeMap::new();
    let mut violations = Vec::new();
    for Checked { plugin, violations: found, entities: made, .. } in checked {
        *entities.entry(plugin).or_insert(0) += made;
        violations.extend(found);
    }
    let none = entities.into_iter().filter(|(_, made)| *made == 0);
    violations.extend(none.map(|(plugin, _)| format!("{plugin} creates no entity from any fixture")));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// A mapping of tags that the option fills: every fixture has them, and they are used only if the option is
/// on.
#[tokio::test]
async fn tags_of_databases_come_with_their_option() {
    let place = || other_places("rds-db-instance").remove(0);
    let fixture = fs::read(plugins().join("rds-db-instance/fixtures/normal.json")).unwrap();
    let kind = Kind::new("AWS::RDS::DBInstance").unwrap();
    let of = || Conformance::of(engine().current(), &kind, true).unwrap();
    let resources = of().resources(&serde_json::from_slice(&fixture).unwrap()).unwrap();
    let tags = |made: &Value| made["entities"][0]["properties"]["tags"].clone();
    assert_eq!(tags(&of().golden(&resources).await.unwrap()), Value::Null);
    let with_option = tags(&of().within(place()).golden(&resources).await.unwrap());
    let expected = serde_json::json!([
        {"Key": "team", "Value": "payments"},
        {"Key": "env", "Value": "prod"},
        {"Key": "größe", "Value": "20 µm – 🐳"},
        {"Key": "quote", "Value": "a \"b\" \\ c\n{item}"},
    ]);
    assert_eq!(with_option, expected);
}
