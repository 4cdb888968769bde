//! [`PortCatalog`] with the fake Port: who owns an entity, what a deletion also removes, and Port's clock.

use std::{collections::BTreeSet, time::Duration};

use crate::common::{Work, catalog, config};
use berth_core::{
    Adoption, BlueprintId, Dependent, Entity, EntityKey, FieldSet, UpsertOptions, UpsertOutcome,
};
use berth_port::PortConfig;
use port_stand_in::{Fault, LoggedRequest, PortStandIn, StandInOptions};
use serde_json::{Value, json};

const LIST: &str = "GET /v1/integration";
const SEARCH: &str = "entities/search";
const LISTING: &str = "POST /v1/blueprints/entities/datasource-entities";

/// Returns the data source of an integration.
fn by(version: &str, integration: &str) -> String {
    format!("port-ocean/aws-v3/{version}/{integration}/exporter")
}

fn key(blueprint: &str, identifier: &str) -> EntityKey {
    EntityKey { blueprint: BlueprintId::new(blueprint).unwrap(), identifier: identifier.into() }
}

fn keys(identifiers: &[&str]) -> Vec<EntityKey> {
    identifiers.iter().map(|identifier| key("vm", identifier)).collect()
}

/// Returns a Port with two blueprints and the named integrations, all of version 1.2.3.
async fn port(integrations: &[&str]) -> PortStandIn {
    let stand_in = PortStandIn::start(StandInOptions::default()).await.unwrap();
    let blueprint = |identifier: &str, relations: Value| {
        json!({
            "identifier": identifier, "title": identifier,
            "schema": {"properties": {"size": {"type": "number"}}}, "relations": relations,
        })
    };
    stand_in.seed_blueprint(&blueprint("account", json!({}))).unwrap();
    let relations = json!({"account": {"target": "account", "many": false, "required": false}});
    stand_in.seed_blueprint(&blueprint("vm", relations)).unwrap();
    for integration in integrations {
        let document = json!({
            "installationId": integration, "installationAppType": "aws-v3", "version": "1.2.3",
            "config": {"resources": []}, "arePortResourcesInitialized": true,
        });
        stand_in.seed_integration(&document).unwrap();
    }
    stand_in
}

fn named(stand_in: &PortStandIn, identifier: &str) -> PortConfig {
    let mut config = config(stand_in);
    config.integration_identifier = identifier.into();
    config
}

/// Returns the opened catalog of an integration.
async fn opened(stand_in: &PortStandIn, identifier: &str) -> Work {
    let catalog = catalog(named(stand_in, identifier));
    catalog.open(&[]).await.unwrap();
    catalog.begin(std::time::SystemTime::now()).await.unwrap();
    stand_in.clear_requests();
    catalog
}

fn seed(stand_in: &PortStandIn, identifier: &str, datasource: &str) {
    let entity = json!({"identifier": identifier, "properties": {"size": 1}});
    stand_in.seed_entity("vm", &entity, datasource).unwrap();
}

async fn current(catalog: &Work, identifiers: &[&str]) -> BTreeSet<String> {
    let found = catalog.current(&keys(identifiers), &FieldSet::default()).await.unwrap();
    found.into_iter().map(|entity| entity.key.identifier).collect()
}

async fn listed(catalog: &Work) -> BTreeSet<String> {
    let pages: Vec<_> = catalog.owned().await.unwrap();
    pages.into_iter().flatten().map(|entity| entity.key.identifier).collect()
}

/// Returns what is foreign, with a mark if it may be taken over.
async fn foreign(catalog: &Work, identifiers: &[&str], adoption: &Adoption) -> BTreeSet<String> {
    let found = catalog.foreign(&keys(identifiers), adoption).await.unwrap();
    found
        .into_iter()
        .map(|entity| format!("{}{}", entity.key.identifier, if entity.adoptable { "!" } else { "" }))
        .collect()
}

fn set(identifiers: &[&str]) -> BTreeSet<String> {
    identifiers.iter().map(ToString::to_string).collect()
}

fn sent(stand_in: &PortStandIn, call: &str) -> Vec<LoggedRequest> {
    stand_in.requests().into_iter().filter(|request| request.call() == call).collect()
}

/// Returns how often the integrations were listed.
fn lists(stand_in: &PortStandIn) -> usize {
    sent(stand_in, LIST).len()
}

// === Own entities ===

#[tokio::test]
async fn integrations_whose_names_end_alike_do_not_own_each_others_entities() {
    let stand_in = port(&["sec", "team/sec"]).await;
    seed(&stand_in, "own", &by("1.2.3", "sec"));
    seed(&stand_in, "own-old", &by("0.9.0", "sec"));
    seed(&stand_in, "theirs", &by("1.2.3", "team/sec"));
    seed(&stand_in, "theirs-old", &by("0.9.0", "team/sec"));
    let all = ["own", "own-old", "theirs", "theirs-old", "nowhere"];
    let sec = opened(&stand_in, "sec").await;
    // The listing cannot distinguish them.
    assert_eq!(listed(&sec).await.len(), 4);
    assert_eq!(current(&sec, &all).await, set(&["own", "own-old"]));
    let team = opened(&stand_in, "team/sec").await;
    assert_eq!(current(&team, &all).await, set(&["theirs", "theirs-old"]));

    assert_eq!(foreign(&sec, &all, &Adoption::Never).await, set(&["theirs", "theirs-old"]));
    assert_eq!(foreign(&team, &all, &Adoption::Never).await, set(&["own", "own-old"]));
}

#[tokio::test]
async fn what_known_versions_wrote_costs_no_additional_request() {
    let stand_in = port(&["sec"]).await;
    let mut newer = named(&stand_in, "sec");
    newer.integration_version = "2.0.0".into();
    let newer = catalog(newer);
    // The session reads the version before the upgrade when it opens.
    newer.open(&[]).await.unwrap();
    newer.begin(std::time::SystemTime::now()).await.unwrap();
    seed(&stand_in, "before", &by("1.2.3", "sec"));
    seed(&stand_in, "after", &by("2.0.0", "sec"));
    seed(&stand_in, "long-ago", &by("0.1.0", "sec"));
    stand_in.clear_requests();
    for _ in 0..3 {
        assert_eq!(current(&newer, &["before", "after"]).await, set(&["before", "after"]));
    }
    assert_eq!((stand_in.count(SEARCH), stand_in.requests().len()), (3, 3));

    // Something is missing: Port lists its integrations once, and the rest is searched.
    assert_eq!(current(&newer, &["after", "long-ago"]).await, set(&["after", "long-ago"]));
    assert_eq!((stand_in.count(SEARCH), lists(&stand_in)), (5, 1));
    assert_eq!(current(&newer, &["after", "long-ago"]).await, set(&["after", "long-ago"]));
    assert_eq!((stand_in.count(SEARCH), lists(&stand_in)), (6, 1));
    // The next session reads them again.
    newer.open(&[]).await.unwrap();
    assert_eq!(current(&newer, &["long-ago"]).await, set(&["long-ago"]));
    assert_eq!(lists(&stand_in), 2);
}

#[tokio::test]
async fn without_a_list_of_integrations_only_known_versions_are_certain() {
    for fault in [
        Fault::on(LIST).status(404),
        Fault::on(LIST).status(403),
        Fault::on(LIST).status(500).times(2),
        Fault::on(LIST).body(json!({"ok": true})),
        Fault::on(LIST).body(json!({"ok": true, "integrations": [{"identifier": "x"}]})),
    ] {
        let stand_in = port(&["sec"]).await;
        seed(&stand_in, "own", &by("1.2.3", "sec"));
        seed(&stand_in, "own-old", &by("0.9.0", "sec"));
        seed(&stand_in, "theirs", &by("1.2.3", "team/sec"));
        seed(&stand_in, "persons", "UI");
        let sec = opened(&stand_in, "sec").await;
        // A failure is retried once.
        let tries = if fault.status == Some(500) { 2 } else { 1 };
        stand_in.fail(fault);
        let all = ["own", "own-old", "theirs", "persons"];
        assert_eq!(current(&sec, &all).await, set(&["own"]));
        assert_eq!(current(&sec, &all).await, set(&["own"]));
        // Entities that an older version may have written are written again, and are certain from then on.
        assert_eq!(foreign(&sec, &all, &Adoption::Never).await, set(&["theirs", "persons"]));
        assert_eq!((lists(&stand_in), stand_in.count(SEARCH)), (tries, 4));
        let entity = Entity::new(BlueprintId::new("vm").unwrap(), "own-old");
        let options = UpsertOptions { merge: true, create_missing_related_entities: false };
        let report = sec.upsert(&entity.key.blueprint, std::slice::from_ref(&entity), options).await;
        assert_eq!(report.outcomes, [UpsertOutcome::Updated]);
        assert_eq!(current(&sec, &all).await, set(&["own", "own-old"]));
    }
}

#[tokio::test]
async fn an_integration_that_was_removed_keeps_its_entities() {
    // Port no longer lists `team/sec`.
    let stand_in = port(&["sec"]).await;
    seed(&stand_in, "own-old", &by("0.9.0", "sec"));
    seed(&stand_in, "theirs", &by("1.2.3", "team/sec"));
    let sec = opened(&stand_in, "sec").await;
    for _ in 0..2 {
        assert_eq!(current(&sec, &["own-old", "theirs"]).await, set(&["own-old"]));
    }
    assert_eq!(foreign(&sec, &["own-old", "theirs"], &Adoption::Never).await, set(&["theirs"]));
}

#[tokio::test]
async fn rules_that_port_refuses_leave_known_versions_certain() {
    let stand_in = port(&["sec", "team/sec"]).await;
    seed(&stand_in, "own", &by("1.2.3", "sec"));
    seed(&stand_in, "own-old", &by("0.9.0", "sec"));
    seed(&stand_in, "theirs", &by("1.2.3", "team/sec"));
    let all = ["own", "own-old", "theirs"];
    let sec = opened(&stand_in, "sec").await;
    // The first search is accepted, the one for missing entities is not, and is not retried.
    stand_in.fail(Fault::on(SEARCH));
    stand_in.fail(Fault::on(SEARCH).status(422));
    for searches in [2, 3] {
        assert_eq!(current(&sec, &all).await, set(&["own"]));
        assert_eq!(stand_in.count(SEARCH), searches);
    }
    sec.open(&[]).await.unwrap();
    assert_eq!(current(&sec, &all).await, set(&["own", "own-old"]));
    stand_in.fail(Fault::on(SEARCH).status(422));
    assert_eq!(current(&sec, &all).await, set(&["own"]));
    // A search that fails for another reason is an error.
    for status in [401, 500] {
        stand_in.fail(Fault::on(SEARCH).status(status).times(2));
        sec.current(&keys(&all), &FieldSet::default()).await.unwrap_err();
        stand_in.clear_faults();
    }
}

#[tokio::test]
async fn an_entity_of_somebody_else_is_not_gone() {
    let stand_in = port(&["sec", "team/sec"]).await;
    seed(&stand_in, "theirs", &by("1.2.3", "team/sec"));
    seed(&stand_in, "persons", "UI");
    let sec = opened(&stand_in, "sec").await;
    stand_in.fail(Fault::on("entities/delete").status(403).times(9));
    let report = sec.delete(&keys(&["theirs", "persons", "nowhere"]), true).await;
    assert_eq!(report.deleted, keys(&["nowhere"]));
    assert_eq!(report.failed.len(), 2);
}

// === Entities of others ===

#[tokio::test]
async fn a_first_load_costs_one_search_for_each_blueprint() {
    let stand_in = port(&["sec"]).await;
    seed(&stand_in, "persons", "UI");
    let sec = opened(&stand_in, "sec").await;
    for batch in 0..10 {
        let batch: Vec<EntityKey> = (0..20).map(|n| key("vm", &format!("{batch}-{n}"))).collect();
        assert_eq!(sec.foreign(&batch, &Adoption::Never).await.unwrap(), []);
    }
    assert_eq!((stand_in.count(SEARCH), stand_in.requests().len()), (1, 2));
    let search = &sent(&stand_in, "POST /v1/blueprints/{blueprint}/entities/search")[0];
    assert_eq!(search.body["include"], json!(["blueprint", "identifier"]));
    assert_eq!(foreign(&sec, &["new", "persons"], &Adoption::Never).await, set(&["persons"]));

    // What is known about others is no older than the session.
    seed(&stand_in, "persons-2", "UI");
    assert_eq!(foreign(&sec, &["persons-2"], &Adoption::Never).await, set(&[]));
    sec.open(&[]).await.unwrap();
    assert_eq!(foreign(&sec, &["persons-2"], &Adoption::Never).await, set(&["persons-2"]));
    assert_eq!(sec.foreign(&[], &Adoption::Never).await.unwrap(), []);
}

#[tokio::test]
async fn a_query_that_port_refuses_is_replaced_by_a_look_for_each_entity() {
    let stand_in = port(&["sec", "team/sec"]).await;
    seed(&stand_in, "own", &by("0.9.0", "sec"));
    seed(&stand_in, "theirs", &by("0.9.0", "team/sec"));
    seed(&stand_in, "persons", "UI");
    let all = ["own", "theirs", "persons", "new"];
    let sec = opened(&stand_in, "sec").await;
    stand_in.fail(Fault::on(SEARCH).status(422));
    assert_eq!(foreign(&sec, &all, &Adoption::Never).await, set(&["theirs", "persons"]));
    stand_in.clear_requests();
    assert_eq!(foreign(&sec, &["new", "newer"], &Adoption::Never).await, set(&[]));
    assert_eq!(stand_in.requests().len(), 1);

    // Neither a refusal nor a response.
    sec.open(&[]).await.unwrap();
    stand_in.fail(Fault::on(SEARCH).status(500).times(2));
    sec.foreign(&keys(&all), &Adoption::Never).await.unwrap_err();
    stand_in.fail(Fault::on(SEARCH).body(json!({"ok": true})));
    sec.foreign(&keys(&all), &Adoption::Never).await.unwrap_err();
    assert_eq!(foreign(&sec, &all, &Adoption::Never).await, set(&["theirs", "persons"]));
}

#[tokio::test]
async fn an_entity_that_a_relation_brought_into_being_belongs_to_nobody() {
    let stand_in = port(&["sec"]).await;
    let bare = |identifier: &str, title: Option<&str>, datasource: &str| {
        let entity = json!({"identifier": identifier, "title": title});
        stand_in.seed_entity("vm", &entity, datasource).unwrap();
    };
    bare("placeholder", None, "");
    bare("titled", Some("titled"), "");
    bare("renamed", Some("My VM"), "");
    bare("persons-bare", None, "UI");
    bare("own-placeholder", None, &by("1.2.3", "sec"));
    seed(&stand_in, "unknown-writer", "");
    let all = ["placeholder", "titled", "renamed", "persons-bare", "own-placeholder", "unknown-writer"];
    let somebodys = set(&["renamed", "persons-bare", "unknown-writer"]);
    let sec = opened(&stand_in, "sec").await;
    assert_eq!(foreign(&sec, &all, &Adoption::Never).await, somebodys);

    // Port does not say which ones nobody wrote: the list, the entities, and then the refusal.
    sec.open(&[]).await.unwrap();
    stand_in.fail(Fault::on(SEARCH).times(2).latency(Duration::ZERO));
    stand_in.fail(Fault::on(SEARCH).status(422));
    let all_but_own: BTreeSet<String> =
        all.iter().filter(|id| **id != "own-placeholder").map(ToString::to_string).collect();
    assert_eq!(foreign(&sec, &all, &Adoption::Never).await, all_but_own);
}

#[tokio::test]
async fn only_what_the_named_integration_wrote_is_adopted_from_it() {
    let from = Adoption::From("old".into());
    let all = ["old-1", "old-2", "team-old", "other-type", "persons"];
    for listed in [true, false] {
        let stand_in = port(&["sec", "old", "team/old"]).await;
        seed(&stand_in, "old-1", &by("1.2.3", "old"));
        seed(&stand_in, "old-2", &by("0.9.0", "old"));
        seed(&stand_in, "team-old", &by("0.9.0", "team/old"));
        seed(&stand_in, "other-type", "port-ocean/gcp/1.2.3/old/exporter");
        seed(&stand_in, "persons", "UI");
        let sec = opened(&stand_in, "sec").await;
        if !listed {
            stand_in.fail(Fault::on(LIST).status(404));
        }
        // Without a list, only what the version in its document wrote is certain.
        let old_2 = if listed { "old-2!" } else { "old-2" };
        let expected = set(&["old-1!", old_2, "team-old", "other-type", "persons"]);
        assert_eq!(foreign(&sec, &all, &from).await, expected);
        let any = foreign(&sec, &all, &Adoption::Any).await;
        assert!(any.len() == 5 && any.iter().all(|entity| entity.ends_with('!')), "{any:?}");
        let never = foreign(&sec, &all, &Adoption::Never).await;
        assert!(never.len() == 5 && !never.iter().any(|entity| entity.ends_with('!')), "{never:?}");
    }
}

// === Dependents ===

#[tokio::test]
async fn dependents_are_found_by_any_relation_and_all_the_way() {
    let stand_in = port(&["sec", "team/sec"]).await;
    let relations = json!({
        "vms": {"target": "vm", "many": true, "required": false},
        "parent": {"target": "service", "many": false, "required": false},
    });
    let service =
        json!({"identifier": "service", "title": "s", "schema": {"properties": {}}, "relations": {}});
    stand_in.seed_blueprint(&service).unwrap();
    let mut related = service;
    related["relations"] = relations;
    let change = reqwest::Client::new();
    let token: Value = change
        .post(stand_in.base_url().join("v1/auth/access_token").unwrap())
        .header("content-type", "application/json")
        .body(json!({"clientId": "stand-in-client", "clientSecret": "stand-in-secret"}).to_string())
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .map(|body| serde_json::from_slice(&body).unwrap())
        .unwrap();
    let put = change
        .put(stand_in.base_url().join("v1/blueprints/service").unwrap())
        .header("content-type", "application/json")
        .bearer_auth(token["accessToken"].as_str().unwrap())
        .body(related.to_string());
    assert!(put.send().await.unwrap().status().is_success());

    let own = by("1.2.3", "sec");
    let seed = |blueprint: &str, identifier: &str, relations: Value, datasource: &str| {
        let entity = json!({"identifier": identifier, "relations": relations});
        stand_in.seed_entity(blueprint, &entity, datasource).unwrap();
    };
    seed("account", "a", json!({}), &own);
    seed("account", "b", json!({}), &own);
    seed("vm", "v1", json!({"account": "a"}), &own);
    seed("vm", "v2", json!({"account": "a"}), &by("1.2.3", "team/sec"));
    seed("vm", "v3", json!({"account": "b"}), &own);
    seed("service", "s1", json!({"vms": ["v3", "v1"]}), "UI");
    seed("service", "s2", json!({"parent": "s1", "vms": ["v1", "v2"]}), "UI");
    seed("service", "s3", json!({"parent": "s2"}), "UI");
    seed("service", "s4", json!({"vms": ["v3"]}), "UI");
    let sec = opened(&stand_in, "sec").await;
    let mut found = sec.dependents(&[key("account", "a"), key("vm", "v1")]).await.unwrap();
    found.sort();
    let shown: Vec<String> = found
        .iter()
        .map(|Dependent { entity, depends_on, owned }| format!("{entity} by {depends_on} {owned}"))
        .collect();
    // `s2` relates to two of them, and is named once.
    assert_eq!(
        shown,
        [
            "service/s1 by vm/v1 false",
            "service/s2 by vm/v1 false",
            "service/s3 by service/s2 false",
            "vm/v2 by account/a false",
        ]
    );
    let of_b = sec.dependents(&[key("account", "b")]).await.unwrap();
    assert!(of_b.iter().any(|d| d.entity == key("vm", "v3") && d.owned), "{of_b:?}");
    assert_eq!(stand_in.count("GET /v1/blueprints"), 1);

    // They are what Port deletes.
    let report = sec.delete(&[key("account", "a"), key("vm", "v1")], true).await;
    assert_eq!(report.failed, []);
    let left = stand_in.entities();
    for dependent in &found {
        let Dependent { entity, .. } = dependent;
        assert!(left[entity.blueprint.as_str()].get(&entity.identifier).is_none(), "{entity}");
    }
    assert!(left["service"].get("s4").is_some() && left["vm"].get("v3").is_some(), "{left}");

    stand_in.clear_requests();
    assert_eq!(sec.dependents(&[]).await.unwrap(), []);
    assert_eq!(stand_in.requests().len(), 0);
}

#[tokio::test]
async fn dependents_that_port_does_not_show_clearly_are_an_error() {
    let stand_in = port(&["sec"]).await;
    let own = by("1.2.3", "sec");
    stand_in.seed_entity("account", &json!({"identifier": "a"}), &own).unwrap();
    let sec = opened(&stand_in, "sec").await;
    let account = [key("account", "a")];
    for (call, body) in [
        ("GET /v1/blueprints", json!({"ok": true})),
        ("GET /v1/blueprints", json!({"ok": true, "blueprints": [{"title": "?"}]})),
        (SEARCH, json!({"ok": true})),
        (SEARCH, json!({"entities": [{"identifier": "v", "relations": {"account": {"id": "a"}}}]})),
    ] {
        stand_in.fail(Fault::on(call).body(body.clone()));
        sec.dependents(&account).await.expect_err(&body.to_string());
    }
    assert_eq!(sec.dependents(&account).await.unwrap(), []);
}

#[tokio::test]
async fn dependents_that_port_names_are_reported_as_deleted() {
    let stand_in = port(&["sec"]).await;
    let sec = opened(&stand_in, "sec").await;
    let deleted = json!([
        "v1", {"identifier": "v2", "blueprint": "vm"}, {"identifier": "s1", "blueprint": "service"}, "unnamed",
    ]);
    let body = json!({"ok": true, "deletedEntities": deleted});
    stand_in.fail(Fault::on("entities/delete").body(body));
    let report = sec.delete(&keys(&["v1", "v2"]), true).await;
    let deleted: BTreeSet<String> = report.deleted.iter().map(ToString::to_string).collect();
    assert_eq!(deleted, set(&["vm/v1", "vm/v2", "service/s1"]));
    assert_eq!((report.deleted.len(), report.failed.len()), (3, 0));
}

#[tokio::test]
async fn without_dependents_nothing_that_others_relate_to_is_deleted() {
    let stand_in = port(&["sec"]).await;
    let own = by("1.2.3", "sec");
    for account in ["a", "b"] {
        stand_in.seed_entity("account", &json!({"identifier": account}), &own).unwrap();
    }
    let vm = json!({"identifier": "v", "relations": {"account": "a"}});
    stand_in.seed_entity("vm", &vm, "UI").unwrap();
    let sec = opened(&stand_in, "sec").await;
    let report = sec.delete(&[key("account", "a"), key("account", "b")], false).await;
    assert_eq!(report.deleted, [key("account", "b")]);
    assert_eq!(report.failed[0].0, key("account", "a"));
    assert!(stand_in.entity("vm", "v").is_some());
}

// === Port's clock ===

#[tokio::test]
async fn what_was_written_before_the_session_follows_ports_clock() {
    let cases = [(0, true), (3600, true), (-3600, true), (3600, false), (-3600, false)];
    let cases = cases.map(|(ahead, date_header)| async move {
        let stand_in = port(&["sec"]).await;
        stand_in.change_options(|options| options.date_header = date_header);
        stand_in.set_clock_ahead(ahead);
        let sec = catalog(named(&stand_in, "sec"));
        let write = async |identifier: &str| {
            let entity = Entity::new(BlueprintId::new("vm").unwrap(), identifier);
            let options = UpsertOptions { merge: true, create_missing_related_entities: false };
            sec.upsert(&entity.key.blueprint, std::slice::from_ref(&entity), options).await
        };
        write("before").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        sec.open(&[]).await.unwrap();
        sec.begin(std::time::SystemTime::now()).await.unwrap();
        // The `Date` header has whole seconds only.
        tokio::time::sleep(Duration::from_millis(if date_header { 2_100 } else { 5 })).await;
        write("after").await;
        assert_eq!(listed(&sec).await, set(&["before"]), "{ahead} {date_header}");
        assert_eq!(listed(&sec).await, set(&["before"]), "{ahead} {date_header}");
        let times: BTreeSet<String> =
            sent(&stand_in, LISTING).iter().map(|request| request.body["before"].to_string()).collect();
        assert_eq!(times.len(), 1, "{times:?}");
    });
    futures::future::join_all(cases).await;
}

// === Lists ===

#[tokio::test]
async fn a_list_whose_cursors_repeat_is_an_error() {
    let stand_in = port(&["sec"]).await;
    let sec = opened(&stand_in, "sec").await;
    for cursors in [&["A", "A"][..], &["A", "B", "A"], &["A", "B", "C", "B"]] {
        for cursor in cursors {
            let body = json!({"ok": true, "entities": [], "next": cursor});
            stand_in.fail(Fault::on(LISTING).body(body));
        }
        let outcome: Result<Vec<_>, _> = sec.owned().await;
        let error = outcome.unwrap_err().0;
        assert!(error.message.contains("does not end") && error.remedy.is_some(), "{error}");
    }
    assert_eq!(stand_in.count(LISTING), 2 + 3 + 4);
}

#[tokio::test]
async fn a_list_that_is_not_in_the_answer_is_an_error_and_not_an_empty_one() {
    let stand_in = port(&["sec"]).await;
    let sec = opened(&stand_in, "sec").await;
    for body in [json!({}), json!({"ok": true, "next": null}), json!({"ok": true, "entities": null})] {
        stand_in.fail(Fault::on(LISTING).body(body.clone()));
        let outcome: Result<Vec<_>, _> = sec.owned().await;
        assert!(outcome.unwrap_err().0.message.contains("not understood"), "{body}");
        stand_in.fail(Fault::on(SEARCH).body(body.clone()));
        let outcome = sec.current(&keys(&["v"]), &FieldSet::default()).await;
        assert!(outcome.unwrap_err().0.message.contains("not understood"), "{body}");
    }
    assert_eq!(listed(&sec).await, set(&[]));
}

// === Identity ===

#[tokio::test]
async fn a_session_is_named_after_integration_place_and_organization() {
    let stand_in = port(&["sec", "SEC"]).await;
    let identity = async |mut config: PortConfig| {
        config.raw_data.enabled = false;
        catalog(config).read(&[]).await.unwrap().identity
    };
    let base = stand_in.base_url().as_str().trim_end_matches('/').to_owned();
    let sec = identity(named(&stand_in, "sec")).await;
    assert_eq!(sec, format!("sec of type aws-v3 at {base} in organization org_stand_in"));
    assert_eq!(stand_in.count("/v1/organization"), 0, "the token names it");
    assert_ne!(identity(named(&stand_in, "SEC")).await, sec);

    stand_in.change_options(|options| options.organization = "org_other".into());
    let other = identity(named(&stand_in, "sec")).await;
    assert!(other.ends_with("in organization org_other"), "{other}");
}

#[tokio::test]
async fn an_organization_that_the_token_does_not_name_is_asked_for() {
    let stand_in = port(&["sec"]).await;
    stand_in.change_options(|options| options.organization_in_token = false);
    let sec = catalog(named(&stand_in, "sec"));
    let first = sec.open(&[]).await.unwrap();
    assert!(first.identity.ends_with("in organization org_stand_in"), "{}", first.identity);
    // The feature flags come with it, and it does not change.
    assert_eq!(stand_in.count("/v1/organization"), 1);
    assert_eq!(sec.open(&[]).await.unwrap().identity, first.identity);
    assert_eq!(stand_in.count("/v1/organization"), 1);

    let mut config = named(&stand_in, "sec");
    config.raw_data.enabled = false;
    stand_in.fail(Fault::on("/v1/organization").status(403));
    let unknown = catalog(config).read(&[]).await.unwrap();
    assert!(unknown.identity.ends_with("in an unknown organization"), "{}", unknown.identity);
    assert!(unknown.notes.iter().any(|note| note.contains("403")), "{:?}", unknown.notes);
}
