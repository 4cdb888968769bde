//! [`PortCatalog`](berth_port::PortCatalog) writes entities: bulks, and what becomes of each entity.

use std::slice;

use berth_core::{Entity, FieldSet, OwnedEntity, UpsertOptions, UpsertOutcome};
use port_stand_in::Fault;
use serde_json::json;

use crate::common::{
    catalog, config,
    fixtures::{EXPORTER, PEER, WRITE, defaults, furnished, id, instance_entity, key, owned, sent},
};

#[tokio::test]
async fn every_entity_of_a_bulk_has_its_own_outcome() {
    let stand_in = furnished().await;
    stand_in.seed_entity("ec2Instance", &json!({"identifier": "i-old"}), PEER).unwrap();
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let options = UpsertOptions { merge: true, create_missing_related_entities: false };
    let entities = [
        instance_entity("i-new", json!({"state": "running", "since": null}), json!({})),
        instance_entity("i-old", json!({"count": 3}), json!({"account": null})),
        instance_entity("i-state", json!({"state": "melting"}), json!({})),
        instance_entity("i-since", json!({"since": "yesterday"}), json!({})),
        instance_entity("i-count", json!({"count": "3"}), json!({})),
        instance_entity("i-what", json!({"unheardOf": 1}), json!({})),
        instance_entity("i-lost", json!({}), json!({"account": "111122223333"})),
        instance_entity("i bad id", json!({}), json!({})),
    ];
    let report = catalog.upsert(&id("ec2Instance"), &entities, options).await;
    let (fine, refused) = report.outcomes.split_at(2);
    assert_eq!(fine, [UpsertOutcome::Created, UpsertOutcome::Updated]);
    for (outcome, said) in refused.iter().zip(["state", "since", "count", "unheardOf", "111122223333", "id"])
    {
        let (UpsertOutcome::Refused(problem) | UpsertOutcome::MissingRelation(problem)) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(problem.message.contains(said) && problem.remedy.is_some(), "{problem}");
        let relation = matches!(outcome, UpsertOutcome::MissingRelation(_));
        assert_eq!(relation, said == "111122223333", "{outcome:?}");
    }
    let UpsertOutcome::Refused(unfit) = &refused[5] else { panic!("{refused:?}") };
    assert!(unfit.remedy.as_ref().unwrap().contains("gsub("), "{unfit}");

    let bulk = &sent(&stand_in, "entities/bulk")[0];
    assert_eq!(bulk.user_agent, EXPORTER);
    for (name, value) in [
        ("upsert", "true"),
        ("merge", "true"),
        ("create_missing_related_entities", "false"),
        ("validation_only", "false"),
        ("ocean_info_event_type", "resync"),
    ] {
        assert_eq!(bulk.query_value(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(bulk.query_value("ocean_info_resync_id").unwrap().len(), 36);
    // Explicit nulls are sent, absent fields are not.
    assert_eq!(
        bulk.body["entities"][0],
        json!({"identifier": "i-new", "blueprint": "ec2Instance", "title": "i-new",
               "properties": {"state": "running", "since": null}})
    );
    assert_eq!(stand_in.entity("ec2Instance", "i-old").unwrap()["updatedBy"], EXPORTER);
}

#[tokio::test]
async fn missing_relation_targets_are_created_where_allowed_and_then_owned() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let entity = instance_entity("i-1", json!({}), json!({"account": "111122223333"}));
    let report = catalog.upsert(&id("ec2Instance"), &[entity], WRITE).await;
    assert_eq!(report.outcomes, [UpsertOutcome::Created]);
    catalog.open(&defaults()).await.unwrap();
    let owned: Vec<OwnedEntity> = owned(&catalog).await.concat();
    let keys: Vec<String> = owned.iter().map(|entity| entity.key.to_string()).collect();
    assert_eq!(keys, ["awsAccount/111122223333", "ec2Instance/i-1"]);
}

#[tokio::test]
async fn search_queries_are_sent_and_what_port_finds_is_reported() {
    let stand_in = furnished().await;
    let account = json!({"identifier": "111122223333", "title": "prod"});
    stand_in.seed_entity("awsAccount", &account, PEER).unwrap();
    for identifier in ["i-1", "i-2", "i-3"] {
        let title = if identifier == "i-1" { "web" } else { "twin" };
        let entity = json!({"identifier": identifier, "title": title});
        stand_in.seed_entity("ec2Instance", &entity, PEER).unwrap();
    }
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let titled = |title: &str| json!({"combinator": "and", "rules": [{"property": "$title", "operator": "=", "value": title}]});
    let found = |title: &str, blob: usize| Entity {
        properties: serde_json::from_value(json!({"blob": "x".repeat(blob)})).unwrap(),
        relations: serde_json::from_value(json!({"account": titled("prod")})).unwrap(),
        ..Entity::found_by(id("ec2Instance"), titled(title))
    };
    let report =
        catalog.upsert(&id("ec2Instance"), &["web", "none", "twin"].map(|t| found(t, 1)), WRITE).await;
    assert_eq!(report.outcomes[..2], [UpsertOutcome::Found("i-1".into()), UpsertOutcome::NotFound]);
    let UpsertOutcome::Refused(problem) = &report.outcomes[2] else { panic!("{report:?}") };
    assert!(problem.message.contains("more than one"), "{problem}");
    assert_eq!(sent(&stand_in, "entities/bulk")[0].body["entities"][0]["identifier"], titled("web"));
    assert_eq!(stand_in.entity("ec2Instance", "i-1").unwrap()["relations"]["account"], "111122223333");

    // Too large for a bulk, and sent alone.
    stand_in.change_options(|options| options.bulk_max_bytes = 3_000);
    stand_in.fail(Fault::on("entities/bulk").status(413));
    let report = catalog.upsert(&id("ec2Instance"), &[found("web", 2_000)], WRITE).await;
    assert_eq!(report.outcomes, [UpsertOutcome::Found("i-1".into())]);
}

#[tokio::test]
async fn bulks_keep_to_both_limits_and_halve_when_port_wants_less() {
    let stand_in = furnished().await;
    let mut config = config(&stand_in);
    config.upsert_batch_max_bytes = 10_000;
    let catalog = catalog(config);
    catalog.open(&defaults()).await.unwrap();
    let sized = |n: usize, bytes: usize| {
        instance_entity(&format!("i-{n}"), json!({"blob": "x".repeat(bytes)}), json!({}))
    };
    let entities: Vec<Entity> =
        (0..60).map(|n| sized(n, 10)).chain((60..70).map(|n| sized(n, 3_000))).collect();
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    assert!(report.outcomes.iter().all(|outcome| *outcome == UpsertOutcome::Created));
    let mut sizes: Vec<usize> = sent(&stand_in, "entities/bulk")
        .iter()
        .map(|bulk| {
            assert!(bulk.body.to_string().len() <= 10_000);
            bulk.body["entities"].as_array().unwrap().len()
        })
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 3, 3, 3, 20, 20, 20]);

    // Port may accept less than usual: down to single entities, and one is too large.
    stand_in.change_options(|options| options.bulk_max_bytes = 4_000);
    stand_in.clear_requests();
    let entities: Vec<Entity> = (80..84).map(|n| sized(n, if n == 82 { 6_000 } else { 1_000 })).collect();
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    let created = |n: usize| report.outcomes[n] == UpsertOutcome::Created;
    assert!(created(0) && created(1) && created(3), "{report:?}");
    let UpsertOutcome::Refused(problem) = &report.outcomes[2] else { panic!("{report:?}") };
    assert!(problem.message.contains("413") && problem.message.contains("bytes"), "{problem}");
    // 4 → 2 + 2, the second → 1 + 1, the large one alone: once more as a single upsert.
    assert_eq!(stand_in.count("entities/bulk"), 5);
    assert_eq!(sent(&stand_in, "POST /v1/blueprints/{blueprint}/entities").len(), 6);
}

#[tokio::test]
async fn what_is_to_blame_for_a_refused_bulk_is_found_and_the_others_are_written() {
    for status in [400, 413, 422, 500, 503] {
        let stand_in = furnished().await;
        let catalog = catalog(config(&stand_in));
        catalog.open(&defaults()).await.unwrap();
        let entities: Vec<Entity> =
            (0..40).map(|n| instance_entity(&format!("i-{n}-"), json!({}), json!({}))).collect();
        for culprit in ["i-0-", "i-13-", "i-39-"] {
            stand_in
                .fail(Fault::on("/entities").containing(format!("\"{culprit}\"")).status(status).times(99));
        }
        let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
        assert_eq!(report.outcomes.len(), 40);
        for (n, outcome) in report.outcomes.iter().enumerate() {
            match outcome {
                UpsertOutcome::Refused(problem) if [0, 13, 39].contains(&n) => {
                    assert!(problem.message.contains(&status.to_string()), "{problem}");
                }
                outcome => assert_eq!(*outcome, UpsertOutcome::Created, "{status} {n}"),
            }
        }
        assert_eq!(stand_in.entities()["ec2Instance"].as_object().unwrap().len(), 37);
    }
}

#[tokio::test]
async fn a_relation_that_port_does_not_take_costs_its_entity_alone() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let entities = [
        instance_entity("i-1", json!({}), json!({})),
        instance_entity("i-2", json!({}), json!({"account": "my account"})),
    ];
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    assert_eq!(report.outcomes[0], UpsertOutcome::Created);
    let UpsertOutcome::Refused(problem) = &report.outcomes[1] else { panic!("{report:?}") };
    assert!(problem.message.contains("relations.account"), "{problem}");
    assert_eq!(sent(&stand_in, "entities/bulk").len(), 1, "it is not sent");

    // What Port has from before can still be found and deleted.
    stand_in.seed_entity("ec2Instance", &json!({"identifier": "an old one"}), EXPORTER).unwrap();
    let old = key("ec2Instance", "an old one");
    assert_eq!(catalog.current(slice::from_ref(&old), &FieldSet::default()).await.unwrap().len(), 1);
    assert_eq!(catalog.delete(slice::from_ref(&old), false).await.deleted, [old]);
}

#[tokio::test]
async fn an_outage_is_not_searched_for_a_culprit() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let entities: Vec<Entity> =
        (0..20).map(|n| instance_entity(&format!("i-{n}"), json!({}), json!({}))).collect();
    stand_in.fail(Fault::on("entities/bulk").status(500).times(9_999));
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    assert!(report.outcomes.iter().all(|outcome| matches!(outcome, UpsertOutcome::Refused(_))));
    assert!(stand_in.count("entities/bulk") <= 24, "{}", stand_in.count("entities/bulk"));
}

#[tokio::test]
async fn one_failure_of_a_bulk_is_repeated() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let entities = [instance_entity("i-1", json!({}), json!({}))];
    stand_in.fail(Fault::on("entities/bulk").status(500));
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    assert_eq!(report.outcomes, [UpsertOutcome::Created]);

    let nowhere = Entity::new(id("noSuchBlueprint"), "x");
    let report = catalog.upsert(&id("noSuchBlueprint"), &[nowhere], WRITE).await;
    let [UpsertOutcome::Refused(problem)] = &report.outcomes[..] else { panic!("{report:?}") };
    assert!(problem.message.contains("noSuchBlueprint"), "{problem}");
}
