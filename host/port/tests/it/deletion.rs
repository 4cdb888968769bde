//! [`PortCatalog`](berth_port::PortCatalog) deletes entities.

use std::collections::BTreeSet;

use berth_core::EntityKey;
use port_stand_in::{Fault, PortStandIn};
use serde_json::json;

use crate::common::{
    catalog, config,
    fixtures::{EXPORTER, blueprint, furnished, key, sent},
};

/// `child` requires `parent`.
async fn family() -> PortStandIn {
    let stand_in = furnished().await;
    let relations = json!({"parent": {"target": "awsAccount", "many": false, "required": true}});
    stand_in.seed_blueprint(&blueprint("child", &relations)).unwrap();
    stand_in.seed_entity("awsAccount", &json!({"identifier": "p"}), EXPORTER).unwrap();
    let child = json!({"identifier": "c", "relations": {"parent": "p"}});
    stand_in.seed_entity("child", &child, EXPORTER).unwrap();
    stand_in
}

#[tokio::test]
async fn deletion_goes_in_bulks_of_at_most_a_hundred() {
    let stand_in = furnished().await;
    let keys: Vec<EntityKey> = (0..230).map(|n| key("ec2Instance", &format!("i-{n}"))).collect();
    for key in &keys {
        stand_in.seed_entity("ec2Instance", &json!({"identifier": key.identifier}), EXPORTER).unwrap();
    }
    let mut config = config(&stand_in);
    config.delete_batch_max = 1000;
    let catalog = catalog(config);
    let report = catalog.delete(&keys, true).await;
    assert_eq!((report.deleted.len(), report.failed.len()), (230, 0));
    assert_eq!(stand_in.entities(), json!({}));
    let requests = sent(&stand_in, "bulk/entities/delete");
    let mut sizes: Vec<usize> =
        requests.iter().map(|r| r.body["entities"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [30, 100, 100]);
    assert_eq!(requests[0].query_value("delete_dependents").as_deref(), Some("true"));
    assert_eq!(requests[0].query_value("ocean_info_event_type").as_deref(), Some("resync"));
    assert_eq!(requests[0].user_agent, EXPORTER);
}

#[tokio::test]
async fn what_port_does_not_confirm_and_still_holds_has_failed() {
    let stand_in = family().await;
    stand_in.seed_entity("awsAccount", &json!({"identifier": "free"}), EXPORTER).unwrap();
    let catalog = catalog(config(&stand_in));
    let keys = [key("awsAccount", "p"), key("awsAccount", "free"), key("awsAccount", "gone already")];
    let report = catalog.delete(&keys, false).await;
    let deleted: BTreeSet<String> = report.deleted.iter().map(ToString::to_string).collect();
    assert_eq!(deleted, ["awsAccount/free", "awsAccount/gone already"].map(str::to_owned).into());
    let [(failed, problem)] = &report.failed[..] else { panic!("{report:?}") };
    assert_eq!(*failed, key("awsAccount", "p"));
    assert!(problem.to_string().contains("deleteDependentEntities"), "{problem}");
    assert!(stand_in.entity("awsAccount", "p").is_some() && stand_in.entity("child", "c").is_some());
}

#[tokio::test]
async fn what_is_to_blame_for_a_refused_deletion_is_found_and_the_others_are_deleted() {
    for status in [400, 403, 422, 500] {
        let stand_in = furnished().await;
        let names: Vec<String> = (0..100).map(|n| format!("i-{n}-")).collect();
        for name in &names {
            stand_in.seed_entity("ec2Instance", &json!({"identifier": name}), EXPORTER).unwrap();
        }
        let catalog = catalog(config(&stand_in));
        let fault = Fault::on("bulk/entities/delete").containing("\"i-57-\"").times(999);
        let refusal = json!({"ok": false, "error": "has_dependents", "message": "no"});
        stand_in.fail(fault.status(status).body(refusal));
        let keys: Vec<EntityKey> = names.iter().map(|name| key("ec2Instance", name)).collect();
        let report = catalog.delete(&keys, true).await;
        assert_eq!(report.deleted.len(), 99, "{status}");
        let [(failed, problem)] = &report.failed[..] else { panic!("{report:?}") };
        assert!(*failed == keys[57] && problem.message.contains(&status.to_string()), "{problem}");
    }
}

#[tokio::test]
async fn dependents_go_along_or_first() {
    for dependents in [true, false] {
        let stand_in = family().await;
        let catalog = catalog(config(&stand_in));
        let keys = [key("awsAccount", "p"), key("child", "c")];
        let report = catalog.delete(&keys, dependents).await;
        assert_eq!((report.deleted.len(), report.failed.len()), (2, 0), "{dependents}: {report:?}");
        assert_eq!(stand_in.entities(), json!({}));
    }
}

#[tokio::test]
async fn a_deletion_that_fails_reports_every_entity_with_the_reason() {
    let stand_in = family().await;
    let catalog = catalog(config(&stand_in));
    stand_in.fail(Fault::on("bulk/entities/delete").status(500).times(2));
    let report = catalog.delete(&[key("child", "c")], true).await;
    assert!(report.deleted.is_empty());
    assert!(report.failed[0].1.message.contains("500"), "{report:?}");
    assert!(stand_in.entity("child", "c").is_some());
}
