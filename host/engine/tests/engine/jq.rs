//! Mappings of users, by the component of JQ.

use std::{
    fs,
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use berth_core::{MapError, MapReport, MapRequest, Mapping};
use berth_engine::{Engine, EngineConfig, Limits};
use serde_json::{Value, json};

use super::{
    components::{built, component},
    config, engine, identifiers, page, plugins, request,
};

/// An engine with the JQ component and an honest plugin; one for all tests, since the component takes
/// seconds to compile.
fn jq_engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        // Read again when the component is first used, so it outlives this function.
        let dir = &Path::new(env!("CARGO_TARGET_TMPDIR")).join("jq-engine");
        fs::create_dir_all(dir).unwrap();
        fs::copy(component("honest"), dir.join("honest.wasm")).unwrap();
        fs::copy(built("plugins/jq.wasm"), dir.join("jq.wasm")).unwrap();
        let limits = Limits { deadline: Duration::from_secs(3), ..config(dir).limits };
        let engine = Engine::new(EngineConfig { limits, ..config(dir) }).unwrap();
        assert_eq!(engine.refused(), []);
        assert_eq!(engine.plugins().len(), 1, "the JQ component is no plugin");
        assert_eq!(engine.jq(), Some(dir.join("jq.wasm")));
        engine
    })
}

fn mapping(query: &str, mappings: &Value) -> Mapping {
    let mut all = json!({"identifier": ".Properties.Id", "blueprint": "\"b\""});
    all.as_object_mut().unwrap().extend(mappings.as_object().unwrap().clone());
    let resource = json!({
        "kind": "Guests::Honest", "selector": {"query": query}, "port": {"entity": {"mappings": all}}
    });
    Mapping::Custom(Arc::new(serde_json::from_value(resource).unwrap()))
}

async fn map_by(mapping: Mapping, names: &[&str]) -> Result<MapReport, MapError> {
    jq_engine().current().map(request("Guests::Honest", mapping, page(names))).await
}

async fn jq_still_works() {
    let report = map_by(mapping("true", &json!({"title": ".Properties.Name | ascii_upcase"})), &["a", "b"])
        .await
        .unwrap();
    assert_eq!(identifiers(&report), ["id-0", "id-1"]);
    assert_eq!(report.entities[1].title, Some(json!("B")));
    assert_eq!(report.errors, []);
}

#[tokio::test]
async fn users_mappings_are_evaluated() {
    jq_still_works().await;
    let custom = mapping(
        "if .Properties.Name == \"odd\" then null else .Properties.Name != \"out\" end",
        &json!({
            "title": "'<' + .Properties.Name + '>'", "team": ".Properties.No",
            "properties": {"n": "1 + 1", "bad": ".Properties.Name.x"},
            "relations": {"one": "\"x\"", "search": {"combinator": "'and'", "rules": []}}
        }),
    );
    let report = map_by(custom, &["a", "out", "odd", "d"]).await.unwrap();
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        json!({
            "entities": [
                {"blueprint": "b", "identifier": "id-0", "title": "<a>", "team": null,
                 "properties": {"n": 2, "bad": null},
                 "relations": {"one": "x", "search": {"combinator": "and", "rules": []}}},
                {"blueprint": "b", "identifier": "id-3", "title": "<d>", "team": null,
                 "properties": {"n": 2, "bad": null},
                 "relations": {"one": "x", "search": {"combinator": "and", "rules": []}}},
            ],
            "errors": [{"index": 2, "resource": "id-2",
                "reason": "selector.query: gave `null` instead of true or false"}],
            "filtered": 1,
            "misconfigured": [
                {"field": "properties.bad", "expression": ".Properties.Name.x", "blueprint": "b", "count": 2,
                 "reason": "cannot index \"a\" with \"x\""},
                {"field": "team", "expression": ".Properties.No", "blueprint": "b", "count": 2,
                 "reason": "gave null"},
            ]
        })
    );
}

#[tokio::test]
async fn the_default_mapping_has_the_same_result_natively_and_in_jq() {
    let kinds = jq_engine().kinds();
    let default = kinds.values().next().unwrap().manifest.mapping.clone().unwrap();
    let by_jq = map_by(Mapping::Custom(Arc::new(default)), &["a", "b", "c"]).await.unwrap();
    assert_eq!(by_jq, map_by(Mapping::Native, &["a", "b", "c"]).await.unwrap());
}

#[tokio::test]
async fn documents_come_alone_or_with_the_entities() {
    let by = |mapping, documents| async move {
        let request = request("Guests::Honest", mapping, page(&["a", "b"]));
        jq_engine().current().map(MapRequest { documents, ..request }).await.unwrap()
    };
    let alone = by(Mapping::Documents, false).await;
    assert_eq!((identifiers(&alone), alone.documents.len()), (vec![], 2));
    let second: Value = serde_json::from_str(alone.documents[1].get()).unwrap();
    assert_eq!(second["Properties"]["Name"], "b");
    // The selector selects entities, and does not affect documents.
    let custom = mapping(".Properties.Name != \"a\"", &json!({}));
    for (mapping, entities) in [(Mapping::Native, vec!["id-0", "id-1"]), (custom, vec!["id-1"])] {
        let beside = by(mapping.clone(), true).await;
        assert_eq!((identifiers(&beside), &beside.documents), (entities, &alone.documents));
        assert_eq!(by(mapping, false).await.documents, []);
    }
}

#[tokio::test]
async fn a_mapping_sees_only_the_configured_variables() {
    let dir = plugins(&["honest"]);
    fs::copy(built("plugins/jq.wasm"), dir.path().join("jq.wasm")).unwrap();
    let jq_environment = [("STAGE".to_owned(), "prod".to_owned())].into_iter().collect();
    let engine = Engine::new(EngineConfig { jq_environment, ..config(dir.path()) }).unwrap();
    let custom = mapping("true", &json!({"title": "env | tojson"}));
    let report = engine.current().map(request("Guests::Honest", custom, page(&["a"]))).await.unwrap();
    assert_eq!(report.entities[0].title, Some(json!(r#"{"STAGE":"prod"}"#)));
}

#[tokio::test]
async fn a_runaway_expression_is_stopped_and_named() {
    for (expression, expected) in [
        ("1 | until(false; .)", "the mapping of Guests::Honest ran longer than 3 s"),
        (
            "[repeat(\"x\" * 1000)] | length",
            "the mapping of Guests::Honest needed more than 32 MiB of memory",
        ),
        ("def f: 1 + f; f", "the mapping of Guests::Honest "),
    ] {
        let custom = mapping("true", &json!({"properties": {"p": expression}}));
        let begun = Instant::now();
        let error = map_by(custom, &["a", "b", "c"]).await.unwrap_err();
        let MapError::Mapping(problem) = error else { panic!("{expression}: {error}") };
        assert!(problem.message.starts_with(expected), "{expression}: {problem}");
        assert!(problem.remedy.is_some(), "{expression}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{expression} took {:?}", begun.elapsed());
        jq_still_works().await;
    }
    // Only the document that crashes the evaluation fails.
    let crash = json!({"properties": {"p": "def f: 1 + f; if .Properties.Name == \"b\" then f else 1 end"}});
    let report = map_by(mapping("true", &crash), &["a", "b", "c"]).await.unwrap();
    assert_eq!(identifiers(&report), ["id-0", "id-2"]);
    assert_eq!((report.errors[0].index, report.errors[0].resource.as_str()), (1, "id-1"));
}

#[tokio::test]
async fn an_invalid_mapping_is_rejected_with_the_reason() {
    for (query, mappings, expected) in [
        (
            "nope",
            json!({}),
            "the mapping of Guests::Honest is invalid: `selector.query`, `nope`: the filter `nope` is not defined",
        ),
        (
            "true",
            json!({"identifier": ".["}),
            "the mapping of Guests::Honest is invalid: `identifier`, `.[`: ",
        ),
        (
            "true",
            json!({"blueprint": "'a b'"}),
            "the mapping of Guests::Honest returned invalid output: at `entities[0].blueprint`: `a b`",
        ),
    ] {
        let error = map_by(mapping(query, &mappings), &["a"]).await.unwrap_err();
        let MapError::Mapping(problem) = error else { panic!("{error}") };
        assert!(problem.message.starts_with(expected), "{problem}");
        assert!(problem.remedy.is_some());
    }
    let error = engine(&["honest"])
        .current()
        .map(request("Guests::Honest", mapping("true", &json!({})), page(&["a"])))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, MapError::Mapping(problem) if problem.message.contains("need the `jq` component")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_mappings_do_not_mix() {
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..60 {
        tasks.spawn(async move {
            let of = round % 7;
            let custom = mapping("true", &json!({"title": format!("\"{of} \\(.Properties.Name)\"")}));
            let report = map_by(custom, &["a"]).await.unwrap();
            assert_eq!(report.entities[0].title, Some(json!(format!("{of} a"))));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
