//! [`PortCatalog`](berth_port::PortCatalog) reads entities and blueprints.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use berth_core::{EntityKey, FieldSet};
use port_stand_in::Fault;
use serde_json::json;

use crate::common::{
    catalog, config,
    fixtures::{EXPORTER, PEER, blueprint, defaults, furnished, id, key, owned, sent},
};

#[tokio::test]
async fn a_search_asks_for_the_mapped_fields_of_what_is_owned() {
    let stand_in = furnished().await;
    stand_in.seed_entity("awsAccount", &json!({"identifier": "111122223333"}), "UI").unwrap();
    for n in 0..120 {
        let entity = json!({
            "identifier": format!("i-{n}"), "title": "old", "team": "a",
            "properties": {"count": n, "state": "running"}, "relations": {"account": "111122223333"},
        });
        let datasource = if n == 7 { "UI" } else { EXPORTER };
        stand_in.seed_entity("ec2Instance", &entity, datasource).unwrap();
    }
    let catalog = catalog(config(&stand_in));
    catalog.read(&[]).await.unwrap();
    stand_in.clear_requests();
    let keys: Vec<EntityKey> = (0..130)
        .map(|n| key("ec2Instance", &format!("i-{n}")))
        .chain([key("awsAccount", "111122223333")])
        .collect();
    let fields = FieldSet {
        title: true,
        team: false,
        properties: ["count", "since"].map(str::to_owned).into(),
        relations: ["account".to_owned()].into(),
    };
    let found = catalog.current(&keys, &fields).await.unwrap();
    // Neither the one that a person owns nor the ten that do not exist.
    assert_eq!(found.len(), 119);
    let one = found.iter().find(|entity| entity.key.identifier == "i-42").unwrap();
    assert_eq!(one.properties["count"], 42);
    assert_eq!(one.relations["account"], "111122223333");
    assert_eq!((&one.title, &one.team), (&Some(json!("old")), &None));

    // One search for each blueprint, and another one if something is missing: after Port's list of
    // integrations, which is read once, any version may have written it.
    let searches = sent(&stand_in, "search");
    assert_eq!((searches.len(), stand_in.count("GET /v1/integration")), (4, 1));
    let first = searches.iter().find(|search| search.body.to_string().contains("\"i-0\"")).unwrap();
    assert_eq!(first.path, "/v1/blueprints/ec2Instance/entities/search");
    assert_eq!(
        first.body["include"],
        json!([
            "blueprint",
            "identifier",
            "title",
            "properties.count",
            "properties.since",
            "relations.account"
        ])
    );
    assert_eq!(first.body["limit"], 1000);
    assert_eq!(first.user_agent, EXPORTER);
    let rules = &first.body["query"]["rules"];
    assert_eq!(rules[0]["value"].as_array().unwrap().len(), 130);
    assert_eq!(
        json!([rules[1], rules[2]]),
        json!([
            {"property": "$blueprint", "operator": "=", "value": "ec2Instance"},
            {"property": "$datasource", "operator": "=", "value": EXPORTER},
        ])
    );

    // From then on, one search is enough for whatever exists.
    stand_in.clear_requests();
    assert_eq!(catalog.current(&keys, &fields).await.unwrap().len(), 119);
    let again = sent(&stand_in, "");
    assert_eq!(again.len(), 2);
    assert_eq!(
        again[0].body["query"]["rules"][2],
        json!({"combinator": "or", "rules": [
            {"property": "$datasource", "operator": "=", "value": EXPORTER},
            {"combinator": "and", "rules": [
                {"property": "$datasource", "operator": "contains", "value": "port-ocean/aws-v3/"},
                {"property": "$datasource", "operator": "contains", "value": "/My-Berth/exporter"},
                {"property": "$datasource", "operator": "doesNotContains", "value": "port-ocean/aws-v3/1.2.3/"},
            ]},
        ]})
    );
}

#[tokio::test]
async fn a_port_without_searches_in_pages_or_of_many_entities_is_asked_as_before() {
    const PAGED: &str = "{blueprint}/entities/search";
    for (status, searches) in [(404, [1, 3]), (405, [1, 3]), (422, [1, 3]), (413, [1, 3])] {
        let stand_in = furnished().await;
        for n in 0..120 {
            stand_in.seed_entity("ec2Instance", &json!({"identifier": format!("i-{n}")}), EXPORTER).unwrap();
        }
        let catalog = catalog(config(&stand_in));
        catalog.read(&[]).await.unwrap();
        stand_in.fail(Fault::on(PAGED).status(status).times(99));
        let keys: Vec<EntityKey> = (0..120).map(|n| key("ec2Instance", &format!("i-{n}"))).collect();
        for _ in 0..2 {
            assert_eq!(catalog.current(&keys, &FieldSet::default()).await.unwrap().len(), 120, "{status}");
        }
        // Read once, and not again.
        assert_eq!(
            [stand_in.count(PAGED), stand_in.count("POST /v1/entities/search") / 2],
            searches,
            "{status}"
        );
        let first = &sent(&stand_in, "POST /v1/entities/search")[0];
        assert_eq!(first.query_value("exclude_calculated_properties").as_deref(), Some("true"));
        assert_eq!(first.query_values("include"), ["blueprint", "identifier"]);
        assert_eq!(first.body["rules"][0]["value"].as_array().unwrap().len(), 50);
    }
}

#[tokio::test]
async fn what_is_owned_comes_in_pages_and_without_other_owners() {
    let stand_in = furnished().await;
    stand_in.change_options(|options| options.page_limit = 10);
    let seed = |n: usize, datasource: &str, at: &str| {
        let entity = json!({"identifier": format!("i-{n:02}"), "updatedAt": at});
        stand_in.seed_entity("ec2Instance", &entity, datasource).unwrap();
    };
    let (early, late) = ("2026-01-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z");
    (0..25).for_each(|n| seed(n, if n % 2 == 0 { PEER } else { EXPORTER }, early));
    seed(30, EXPORTER, late);
    seed(31, "UI", early);
    seed(32, "port-ocean/aws-v3/1.2.3/Other/exporter", early);
    seed(33, "port-ocean/aws/1.2.3/My-Berth/exporter", early);
    let catalog = catalog(config(&stand_in));
    // By Port's clock, it is the first of February.
    let february = SystemTime::UNIX_EPOCH + Duration::from_hours(491_640);
    let ahead = SystemTime::now().duration_since(february).unwrap().as_secs();
    stand_in.set_clock_ahead(-i64::try_from(ahead).unwrap());
    catalog.read(&defaults()).await.unwrap();
    let pages = owned(&catalog).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
    let identifiers: BTreeSet<&str> =
        pages.iter().flatten().map(|entity| entity.key.identifier.as_str()).collect();
    assert_eq!(
        identifiers,
        (0..25).map(|n| format!("i-{n:02}")).collect::<Vec<_>>().iter().map(String::as_str).collect()
    );

    let requests = sent(&stand_in, "datasource-entities");
    let before = requests[0].body["before"].as_str().unwrap();
    assert!(before.starts_with("2026-02-01T00:00:") && before.ends_with(".000000+00:00"), "{before}");
    assert_eq!(
        requests[0].body,
        json!({
            "datasource_prefix": "port-ocean/aws-v3/", "datasource_suffix": "/My-Berth/exporter",
            "limit": 5000, "before": before,
        })
    );
    assert!(requests.iter().all(|request| request.body["before"] == before));
    assert!(requests[1].body["from"].is_string() && requests[2].body["from"].is_string());

    stand_in.fail(Fault::on("datasource-entities").status(500).times(2));
    let failed: Result<Vec<_>, _> = catalog.owned().await;
    assert!(failed.unwrap_err().0.message.contains("list owned entities"));
}

#[tokio::test]
async fn relations_are_reported_by_name_and_asked_for_once_per_resync() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.read(&[]).await.unwrap();
    let expected = BTreeMap::from([("account".to_owned(), id("awsAccount"))]);
    for _ in 0..3 {
        assert_eq!(catalog.relations(&id("ec2Instance")).await.unwrap(), Some(expected.clone()));
        assert_eq!(catalog.relations(&id("noSuchBlueprint")).await.unwrap(), None);
    }

    assert_eq!(catalog.required(&id("ec2Instance")).await.unwrap(), BTreeSet::new());
    assert_eq!(catalog.required(&id("noSuchBlueprint")).await.unwrap(), BTreeSet::new());
    assert_eq!(stand_in.count("GET /v1/blueprints/{blueprint}"), 2);
    catalog.open(&[]).await.unwrap();
    assert_eq!(catalog.relations(&id("ec2Instance")).await.unwrap(), Some(expected));
    assert_eq!(stand_in.count("GET /v1/blueprints/{blueprint}"), 3);
    stand_in.fail(Fault::on("GET /v1/blueprints/{blueprint}").status(500).times(2));
    assert!(catalog.relations(&id("awsAccount")).await.is_err());

    let mut strict = blueprint("strict", &json!({"owner": {"target": "awsAccount", "required": true}}));
    strict["schema"]["required"] = json!(["state"]);
    stand_in.seed_blueprint(&strict).unwrap();
    let fields = ["properties.state", "relations.owner"].map(ToOwned::to_owned);
    assert_eq!(catalog.required(&id("strict")).await.unwrap(), BTreeSet::from(fields));
}
