//! What the fake server refuses, over HTTP and without Berth's client.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod reporting;

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use port_stand_in::{PortStandIn, StandInOptions};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const AGENT: &str = "port-ocean/aws-v3/1.0.0/me/exporter";

struct Caller {
    stand_in: PortStandIn,
    http: reqwest::Client,
    token: String,
}

impl Caller {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stand_in = PortStandIn::start(StandInOptions::default()).await.unwrap();
        let mut caller = Self { stand_in, http: reqwest::Client::new(), token: String::new() };
        let body = json!({"clientId": "stand-in-client", "clientSecret": "stand-in-secret"});
        let (status, reply) = caller.call(Method::POST, "/v1/auth/access_token", body).await;
        assert_eq!((status, &reply["tokenType"]), (StatusCode::OK, &json!("Bearer")));
        caller.token = token(&reply);
        caller
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let url = self.stand_in.base_url().join(path).unwrap();
        let mut request = self.http.request(method, url).header("user-agent", AGENT).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap_or_default())
    }

    async fn refused(&self, method: Method, path: &str, body: Value, status: u16) -> String {
        let (found, reply) = self.call(method, path, body.clone()).await;
        assert_eq!(found, status, "{path} {body}: {reply}");
        assert_eq!(reply["ok"], false, "{reply}");
        assert!(reply["error"].is_string(), "{reply}");
        reply["message"].as_str().unwrap().to_owned()
    }
}

fn token(reply: &Value) -> String {
    reply["accessToken"].as_str().unwrap().to_owned()
}

fn blueprint(identifier: &str) -> Value {
    json!({"identifier": identifier, "title": "T", "schema": {"properties": {
        "name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "object"}},
        "must": {"type": "boolean"},
    }, "required": ["must"]}})
}

#[tokio::test]
async fn no_route_answers_without_a_valid_token() {
    let mut caller = Caller::new().await;
    let valid = std::mem::replace(&mut caller.token, "made-up".into());
    for (method, path) in [
        (Method::GET, "/v1/organization"),
        (Method::GET, "/v1/integration/me"),
        (Method::POST, "/v1/entities/search"),
        (Method::POST, "/v1/blueprints/b/entities/bulk"),
        (Method::GET, "/v1/no/such/route"),
    ] {
        caller.refused(method, path, Value::Null, 401).await;
    }
    caller.token = valid;
    caller.refused(Method::GET, "/v1/no/such/route", Value::Null, 404).await;
    caller.stand_in.expire_tokens();
    caller.refused(Method::GET, "/v1/organization", Value::Null, 401).await;

    caller.stand_in.change_options(|options| options.token_lifetime = Duration::ZERO);
    let body = json!({"clientId": "stand-in-client", "clientSecret": "stand-in-secret"});
    let (_, reply) = caller.call(Method::POST, "/v1/auth/access_token", body).await;
    caller.token = token(&reply);
    let said = caller.refused(Method::GET, "/v1/organization", Value::Null, 401).await;
    assert!(said.contains("expired"), "{said}");
    let wrong = json!({"clientId": "stand-in-client", "clientSecret": "guess"});
    caller.refused(Method::POST, "/v1/auth/access_token", wrong, 401).await;
    assert!(!serde_json::to_string(&caller.stand_in.requests()).unwrap().contains("guess"));
}

#[tokio::test]
async fn blueprints_are_checked_and_come_in_stages() {
    let caller = Caller::new().await;
    let mut related = blueprint("b");
    related["relations"] = json!({"r": {"target": "a", "many": false, "required": false}});
    caller.refused(Method::POST, "/v1/blueprints", related.clone(), 404).await;
    assert_eq!(caller.call(Method::POST, "/v1/blueprints", blueprint("b")).await.0, 201);
    assert_eq!(caller.call(Method::POST, "/v1/blueprints", blueprint("a")).await.0, 201);
    caller.refused(Method::POST, "/v1/blueprints", blueprint("a"), 409).await;
    assert_eq!(caller.call(Method::PATCH, "/v1/blueprints/b", related).await.0, 200);
    caller.refused(Method::DELETE, "/v1/blueprints/a", Value::Null, 403).await;
    assert_eq!(caller.call(Method::DELETE, "/v1/blueprints/b", Value::Null).await.0, 200);
    assert_eq!(caller.call(Method::DELETE, "/v1/blueprints/a", Value::Null).await.0, 200);
    for broken in [
        json!([]),
        json!({"identifier": "x"}),
        json!({"identifier": "has space", "schema": {"properties": {}}}),
        json!({"identifier": "x", "schema": {"properties": {"p": {"type": "text"}}}}),
        json!({"identifier": "x", "schema": {"properties": {}, "required": ["p"]}}),
        json!({"identifier": "a=b", "schema": {"properties": {}}}),
        json!({"identifier": "x", "title": "t".repeat(101), "schema": {"properties": {}}}),
        json!({"identifier": "x", "schema": {"properties": {"p.q": {"type": "string"}}}}),
    ] {
        caller.refused(Method::POST, "/v1/blueprints", broken, 422).await;
    }
}

#[tokio::test]
async fn an_identifier_that_does_not_fit_has_the_whole_bulk_refused() {
    let caller = Caller::new().await;
    caller.stand_in.seed_blueprint(&json!({"identifier": "b", "schema": {"properties": {}}})).unwrap();
    let path = "/v1/blueprints/b/entities/bulk?upsert=true&merge=true";
    let long = "a".repeat(1001);
    for unfit in ["", ".", "..", "a b", "50%", long.as_str()] {
        for odd in [json!({"identifier": unfit}), json!({"identifier": "e", "relations": {"r": [unfit]}})] {
            let bulk = json!({"entities": [{"identifier": "fine"}, odd]});
            let message = caller.refused(Method::POST, path, bulk, 422).await;
            assert!(message.contains("body/entities/1/"), "{message}");
        }
    }
    assert_eq!(caller.stand_in.entity("b", "fine"), None);
    let bulk = json!({"entities": [{"identifier": "Überlast"}, {"identifier": "..."}]});
    assert_eq!(caller.call(Method::POST, path, bulk).await.0, 207);
    assert!(caller.stand_in.entity("b", "Überlast").is_some());
}

#[tokio::test]
async fn a_blueprint_is_searched_in_pages() {
    let caller = Caller::new().await;
    let path = "/v1/blueprints/b/entities/search";
    caller.refused(Method::POST, path, json!({}), 404).await;
    caller.stand_in.seed_blueprint(&json!({"identifier": "b", "schema": {"properties": {}}})).unwrap();
    for n in 0..5 {
        let title = if n == 2 { "other" } else { "T" };
        let entity = json!({"identifier": format!("e-{n}"), "title": title});
        caller.stand_in.seed_entity("b", &entity, "UI").unwrap();
    }
    for broken in [
        json!({"limit": 0}),
        json!({"limit": 1001}),
        json!({"limit": "5"}),
        json!({"from": 5}),
        json!({"from": "e-1"}),
        json!({"include": "identifier"}),
        json!({"offset": 1}),
        json!({"query": {"combinator": "xor", "rules": []}}),
    ] {
        caller.refused(Method::POST, path, broken, 422).await;
    }
    let titled = json!({"property": "$title", "operator": "=", "value": "T"});
    let listed =
        json!({"property": "$identifier", "operator": "in", "value": ["e-4", "e-0", "e-1", "e-3", "e-9"]});
    for rule in [titled, listed] {
        let mut body =
            json!({"query": {"combinator": "and", "rules": [rule]}, "include": ["identifier"], "limit": 2});
        let mut pages = Vec::new();
        loop {
            let (status, reply) = caller.call(Method::POST, path, body.clone()).await;
            assert_eq!(status, 200);
            pages.push(reply["entities"].clone());
            if reply["next"].is_null() {
                break;
            }
            body["from"] = reply["next"].clone();
        }
        let page = |a: &str, b: &str| json!([{"identifier": a}, {"identifier": b}]);
        assert_eq!(pages, [page("e-0", "e-1"), page("e-3", "e-4")]);
    }
    assert!(caller.stand_in.requests().iter().all(|r| !r.route.ends_with("entities/search") || !r.writes()));
}

#[tokio::test]
async fn entities_fit_their_blueprint_or_are_refused() {
    let caller = Caller::new().await;
    caller.stand_in.seed_blueprint(&blueprint("b")).unwrap();
    let path = "/v1/blueprints/b/entities?upsert=true&merge=true";
    for (entity, said) in [
        (json!({"identifier": "e", "properties": {"name": 5, "must": true}}), "must be string"),
        (json!({"identifier": "e", "properties": {"tags": ["a"], "must": true}}), "must be object"),
        (json!({"identifier": "e", "properties": {"must": null}}), "is required"),
        (json!({"identifier": "e", "properties": {"other": 1, "must": true}}), "does not exist"),
        (json!({"identifier": "e", "title": 5, "properties": {"must": true}}), "/title"),
        (json!({"identifier": "e", "team": 5, "properties": {"must": true}}), "/team"),
        (json!({"identifier": 5, "properties": {"must": true}}), "identifier"),
        (json!({"identifier": "e", "relations": {"r": "x"}, "properties": {"must": true}}), "relation"),
        (json!({"identifier": "e", "colour": "red"}), "additional property"),
        (json!({"identifier": "e", "blueprint": "c"}), "blueprint"),
    ] {
        let message = caller.refused(Method::POST, path, entity, 422).await;
        assert!(message.contains(said), "{message}");
    }
    let entity = json!({"identifier": "e", "properties": {"name": "n", "must": true}});
    assert_eq!(caller.call(Method::POST, path, entity.clone()).await.0, 201);
    caller.refused(Method::POST, "/v1/blueprints/b/entities", entity, 409).await;

    // Merging keeps what is not set, a null empties it, replacing keeps nothing.
    let held = || caller.stand_in.entity("b", "e").unwrap()["properties"].clone();
    let merge = json!({"identifier": "e", "properties": {"tags": [{}]}});
    assert_eq!(caller.call(Method::POST, path, merge).await.0, 200);
    assert_eq!(held(), json!({"name": "n", "must": true, "tags": [{}]}));
    let empty = json!({"identifier": "e", "properties": {"name": null}});
    caller.call(Method::POST, path, empty).await;
    assert_eq!(held(), json!({"must": true, "tags": [{}]}));
    let replace = json!({"identifier": "e", "properties": {"must": false}});
    caller.call(Method::POST, "/v1/blueprints/b/entities?upsert=true&merge=false", replace).await;
    assert_eq!(held(), json!({"must": false}));
}

#[tokio::test]
async fn search_queries_stand_for_identifiers_relations_and_teams() {
    let caller = Caller::new().await;
    let mut other = blueprint("b");
    other["relations"] = json!({"one": {"target": "a"}, "many": {"target": "a", "many": true}});
    for blueprint in [&blueprint("a"), &other, &blueprint("_team")] {
        caller.stand_in.seed_blueprint(blueprint).unwrap();
    }
    for (blueprint, identifier, title) in
        [("a", "a1", "x"), ("a", "a2", "y"), ("a", "a3", "y"), ("b", "b1", "x"), ("_team", "red", "Red")]
    {
        let entity = json!({"identifier": identifier, "title": title, "properties": {"must": true}});
        caller.stand_in.seed_entity(blueprint, &entity, AGENT).unwrap();
    }
    let titled = |title: &str| json!({"combinator": "and", "rules": [{"property": "$title", "operator": "=", "value": title}]});
    let path = "/v1/blueprints/b/entities/bulk?upsert=true&merge=true";
    let entities = json!({"entities": [
        {"identifier": titled("x"), "properties": {"name": "n"}, "team": titled("Red"),
         "relations": {"one": titled("x"), "many": titled("y")}},
        {"identifier": titled("nobody")},
        {"identifier": "b1", "relations": {"one": titled("y")}},
        {"identifier": {"rules": []}},
        {"identifier": "b1", "team": {"combinator": "xor", "rules": []}},
    ]});
    let (_, reply) = caller.call(Method::POST, path, entities).await;
    assert_eq!(reply["entities"], json!([{"identifier": "b1", "index": 0, "created": false}]));
    let errors: Vec<_> = reply["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["identifier"].as_str().unwrap(), error["statusCode"].as_u64().unwrap()))
        .collect();
    assert_eq!(errors, [("unknown", 404), ("b1", 422), ("unknown", 422), ("b1", 422)]);
    let held = caller.stand_in.entity("b", "b1").unwrap();
    assert_eq!(held["relations"], json!({"one": "a1", "many": ["a2", "a3"]}));
    assert_eq!((&held["team"], &held["properties"]["name"]), (&json!(["red"]), &json!("n")));
    // A query that finds nothing relates to nothing.
    let none =
        json!({"entities": [{"identifier": "b1", "relations": {"one": titled("z"), "many": titled("z")}}]});
    caller.call(Method::POST, path, none).await;
    assert_eq!(caller.stand_in.entity("b", "b1").unwrap()["relations"], json!({"many": []}));
}

#[tokio::test]
async fn requests_keep_to_the_form_of_their_route() {
    let caller = Caller::new().await;
    caller.stand_in.seed_blueprint(&blueprint("b")).unwrap();
    caller.stand_in.seed_integration(&json!({"installationId": "me"})).unwrap();
    let bulk = |count: usize| json!({"entities": vec![json!({"identifier": "e"}); count]});
    let long = json!({"entities": [{"identifier": "e", "properties": {"name": "x".repeat(1 << 20)}}]});
    for (method, path, body, status) in [
        (Method::POST, "/v1/blueprints/b/entities/bulk", bulk(21), 413),
        (Method::POST, "/v1/blueprints/b/entities/bulk", long, 413),
        (Method::POST, "/v1/blueprints/b/entities/bulk", bulk(0), 422),
        (Method::POST, "/v1/blueprints/c/entities/bulk", bulk(1), 404),
        (Method::POST, "/v1/blueprints/b/entities/bulk?merge=yes", bulk(1), 422),
        (Method::POST, "/v1/blueprints/b/entities/bulk?ocean_info_resync_id=1", bulk(1), 422),
        (Method::POST, "/v1/blueprints/b/bulk/entities/delete", json!({"entities": vec!["e"; 101]}), 422),
        (Method::POST, "/v1/entities/search", json!({"combinator": "xor", "rules": []}), 422),
        (Method::POST, "/v1/entities/search", json!({"combinator": "and", "rules": [{}]}), 422),
        (Method::POST, "/v1/blueprints/entities/datasource-entities", json!({"limit": 1}), 422),
        (Method::PATCH, "/v1/integration/me/resync-state", json!({"status": "done"}), 422),
        (
            Method::PATCH,
            "/v1/integration/me/resync-state",
            json!({"status": "running", "lastResyncStart": "now"}),
            422,
        ),
        (Method::PATCH, "/v1/integration/me", json!({"colour": "red"}), 422),
        (Method::PATCH, "/v1/integration/you", json!({"version": "1"}), 404),
        (Method::POST, "/v1/integration", json!({"installationId": "me"}), 422),
    ] {
        caller.refused(method, path, body, status).await;
    }
    let url = caller.stand_in.base_url().join("/v1/entities/search").unwrap();
    let post = || caller.http.post(url.clone()).bearer_auth(&caller.token);
    let broken = post().header("content-type", "application/json").body("{").send().await.unwrap();
    assert_eq!(broken.status(), 400);
    assert_eq!(post().body("{}").send().await.unwrap().status(), 415);
}

#[tokio::test]
async fn the_control_surface_seeds_shows_and_restores() {
    let caller = Caller::new().await;
    let post = |path, body| caller.call(Method::POST, path, body);
    post("/_stand-in/blueprints", blueprint("b")).await;
    let seed = json!({"blueprint": "b", "datasource": AGENT, "entity": {
        "identifier": "e-1", "title": "<b>", "properties": {"must": true},
        "updatedAt": "2026-01-01T00:00:00Z",
    }});
    assert_eq!(post("/_stand-in/entities", seed).await.0, 200);
    let (_, dump) = caller.call(Method::GET, "/_stand-in/entities", Value::Null).await;
    assert_eq!(dump["b"]["e-1"]["updatedAt"], "2026-01-01T00:00:00Z");
    assert_eq!(dump, caller.stand_in.entities());

    let page = caller.stand_in.base_url().join("/?blueprint=b").unwrap();
    let page = caller.http.get(page).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("e-1") && page.contains("&lt;b&gt;") && !page.contains("<b>"), "{page}");

    post("/_stand-in/integrations", json!({"installationId": "me"})).await;
    post("/_stand-in/integrations/me/resync", Value::Null).await;
    let (_, request) = caller.call(Method::GET, "/v1/integration/me/resync-request", Value::Null).await;
    assert!(request["request"]["updatedAt"].is_string(), "{request}");

    post("/_stand-in/faults", json!({"route": "GET /v1/organization", "status": 503, "retryAfter": "7"}))
        .await;
    assert_eq!(caller.call(Method::GET, "/v1/organization", Value::Null).await.0, 503);
    assert_eq!(caller.call(Method::GET, "/v1/organization", Value::Null).await.0, 200);
    let (_, counts) = caller.call(Method::GET, "/_stand-in/counts", Value::Null).await;
    assert_eq!(counts["GET /v1/organization"], 2);

    let (_, state) = caller.call(Method::GET, "/_stand-in/state", Value::Null).await;
    post("/_stand-in/reset", Value::Null).await;
    assert_eq!(caller.stand_in.entities(), json!({}));
    assert_eq!(caller.call(Method::PUT, "/_stand-in/state", state.clone()).await.0, 200);
    assert_eq!(caller.stand_in.state(), state);
    assert_eq!(caller.stand_in.entities(), dump);
}

#[tokio::test]
async fn the_control_surface_shifts_the_clock_and_names_the_organization() {
    let mut caller = Caller::new().await;
    caller.call(Method::POST, "/v1/blueprints", blueprint("b")).await;
    for ahead in [7200, -7200] {
        let clock = json!({"aheadSeconds": ahead});
        assert_eq!(caller.call(Method::PUT, "/_stand-in/clock", clock).await.0, 200);
        let expected = chrono::Utc::now().timestamp() + ahead;
        let entity = json!({"identifier": "e", "properties": {"must": true}});
        let (_, reply) =
            caller.call(Method::POST, "/v1/blueprints/b/entities?upsert=true&merge=true", entity).await;
        let written = chrono::DateTime::parse_from_rfc3339(reply["entity"]["updatedAt"].as_str().unwrap());
        assert!((written.unwrap().timestamp() - expected).abs() < 10, "{reply}");
        let url = caller.stand_in.base_url().join("/v1/organization").unwrap();
        let response = caller.http.get(url).bearer_auth(&caller.token).send().await.unwrap();
        let date = chrono::DateTime::parse_from_rfc2822(response.headers()["date"].to_str().unwrap());
        assert!((date.unwrap().timestamp() - expected).abs() < 10);
    }

    let claims = |token: &str| -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    };
    assert_eq!(claims(&caller.token)["orgId"], port_stand_in::ORGANIZATION);
    assert_eq!(caller.call(Method::PUT, "/_stand-in/organization", json!({"id": "org_2"})).await.0, 200);
    let credentials = json!({"clientId": "stand-in-client", "clientSecret": "stand-in-secret"});
    let (_, reply) = caller.call(Method::POST, "/v1/auth/access_token", credentials).await;
    caller.token = token(&reply);
    assert_eq!(claims(&caller.token)["orgId"], "org_2");
    let (_, reply) = caller.call(Method::GET, "/v1/organization", Value::Null).await;
    assert_eq!(reply["organization"]["id"], "org_2");
}

#[tokio::test]
async fn searches_know_who_wrote_an_entity_and_integrations_are_listed() {
    let caller = Caller::new().await;
    caller.stand_in.seed_blueprint(&blueprint("b")).unwrap();
    for (identifier, datasource) in [("mine", AGENT), ("uis", "UI"), ("nobodys", "")] {
        let entity = json!({"identifier": identifier, "properties": {"must": true}});
        caller.stand_in.seed_entity("b", &entity, datasource).unwrap();
    }
    let rule = |operator: &str, value: Value| {
        let mut rule = json!({"property": "$datasource", "operator": operator});
        if !value.is_null() {
            rule["value"] = value;
        }
        rule
    };
    for (rule, expected) in [
        (rule("=", json!("UI")), "uis"),
        (rule("in", json!(["UI", AGENT])), "mine uis"),
        (rule("notIn", json!(["UI", AGENT])), "nobodys"),
        (rule("contains", json!("/me/")), "mine"),
        (rule("doesNotContains", json!("/me/")), "nobodys uis"),
        (rule("isEmpty", Value::Null), "nobodys"),
        (rule("isNotEmpty", Value::Null), "mine uis"),
    ] {
        let either = json!({"combinator": "or", "rules": [rule, {"combinator": "or", "rules": []}]});
        let query = json!({"combinator": "and", "rules": [
            {"property": "$blueprint", "operator": "=", "value": "b"}, either,
        ]});
        let (_, reply) = caller.call(Method::POST, "/v1/entities/search", query).await;
        let found = reply["entities"].as_array().unwrap().iter();
        let found: Vec<&str> = found.map(|entity| entity["identifier"].as_str().unwrap()).collect();
        assert_eq!(found.join(" "), expected, "{rule}");
    }

    for integration in ["one", "team/two"] {
        caller.stand_in.seed_integration(&json!({"installationId": integration})).unwrap();
    }
    let (_, reply) = caller.call(Method::GET, "/v1/integration", Value::Null).await;
    let names: Vec<&Value> =
        reply["integrations"].as_array().unwrap().iter().map(|it| &it["installationId"]).collect();
    assert_eq!(names, ["one", "team/two"]);
}

#[tokio::test]
async fn deletions_take_dependents_along_or_are_refused_as_a_whole() {
    let caller = Caller::new().await;
    caller.stand_in.seed_blueprint(&blueprint("a")).unwrap();
    let mut related = blueprint("b");
    related["relations"] = json!({
        "one": {"target": "a", "many": false, "required": false}, "all": {"target": "a", "many": true},
    });
    caller.stand_in.seed_blueprint(&related).unwrap();
    let seed = || {
        for identifier in ["x", "y", "z"] {
            let entity = json!({"identifier": identifier, "properties": {"must": true}});
            caller.stand_in.seed_entity("a", &entity, "UI").unwrap();
        }
        for (identifier, relations) in
            [("by-one", json!({"one": "x"})), ("by-many", json!({"all": ["y", "x"]}))]
        {
            let entity =
                json!({"identifier": identifier, "properties": {"must": true}, "relations": relations});
            caller.stand_in.seed_entity("b", &entity, "UI").unwrap();
        }
    };
    seed();
    let path =
        |dependents: bool| format!("/v1/blueprints/a/bulk/entities/delete?delete_dependents={dependents}");
    let entities = json!({"entities": ["z", "x"]});
    let said = caller.refused(Method::POST, &path(false), entities.clone(), 403).await;
    assert!(said.contains("dependents"), "{said}");
    assert!(caller.stand_in.entity("a", "z").is_some(), "the request is refused as a whole");
    let (_, reply) = caller.call(Method::POST, &path(false), json!({"entities": ["z", "lost"]})).await;
    assert_eq!(reply["deletedEntities"], json!(["z"]));
    assert_eq!(caller.call(Method::POST, &path(true), entities).await.0, 200);
    assert_eq!(caller.stand_in.entities()["b"], Value::Null);
    assert!(caller.stand_in.entity("a", "y").is_some());

    // A person is asked, and only what requires the entity goes along.
    seed();
    caller.stand_in.delete_entity("a", "x").unwrap();
    assert_eq!(caller.stand_in.entity("b", "by-many").unwrap()["relations"]["all"], json!(["y"]));
}

#[tokio::test]
async fn an_integration_names_its_addresses_where_it_has_some() {
    let caller = Caller::new().await;
    caller.stand_in.seed_integration(&json!({"installationId": "me"})).unwrap();
    let get = || caller.call(Method::GET, "/v1/integration/me", Value::Null);
    assert_eq!(get().await.1["integration"].get("logAttributes"), None);
    caller.stand_in.change_options(|options| options.reporting = true);
    let document = get().await.1["integration"].clone();
    for (attributes, path) in [("logAttributes", "logs-ingest"), ("metricAttributes", "metrics-ingest")] {
        let url = format!("{}{path}", caller.stand_in.base_url());
        assert_eq!(document[attributes]["ingestUrl"], url);
    }
}

#[tokio::test]
async fn digests_show_what_entities_say_and_not_who_wrote_them() {
    let digests = async |properties: Value, agent: &str| {
        let caller = Caller::new().await;
        caller.stand_in.seed_blueprint(&blueprint("b")).unwrap();
        let entity = json!({"identifier": "e", "properties": properties});
        caller.stand_in.seed_entity("b", &entity, agent).unwrap();
        caller.stand_in.digests()
    };
    let first = digests(json!({"must": true}), AGENT).await;
    assert_eq!(first["b"]["count"], 1);
    assert_eq!(digests(json!({"must": true}), "somebody/else").await, first);
    assert_ne!(digests(json!({"must": false}), AGENT).await, first);
}

#[tokio::test]
async fn upserts_are_done_and_counted_though_their_bodies_are_not_kept() {
    let caller = Caller::new().await;
    caller.stand_in.change_options(|options| options.keep_upserts = false);
    caller.stand_in.seed_blueprint(&blueprint("b")).unwrap();
    let entity = json!({"identifier": "e", "properties": {"must": true}});
    let path = "/v1/blueprints/b/entities/bulk?upsert=true";
    let (status, reply) = caller.call(Method::POST, path, json!({"entities": [entity]})).await;
    assert!(status.is_success(), "{status} {reply}");
    assert!(caller.stand_in.entity("b", "e").is_some());
    let logged = caller.stand_in.requests().pop().unwrap();
    assert_eq!(
        (logged.call(), logged.body),
        ("POST /v1/blueprints/{blueprint}/entities/bulk".to_owned(), Value::Null)
    );
}
