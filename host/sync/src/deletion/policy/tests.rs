use berth_core::{Region, UnitId};
use serde_json::json;

use super::*;

const A: &str = "111111111111";
const B: &str = "222222222222";

fn account(id: &str) -> AccountId {
    AccountId::new(id).unwrap()
}

fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

fn unit(id: &str, place: &str, kind: &str) -> UnitId {
    UnitId {
        account: account(id),
        place: Some(Place::Region(region(place))),
        kind: Kind::new(kind).unwrap(),
        resource: 0,
    }
}

#[test]
fn each_recorded_producer_has_to_prove_absence() {
    let facts = Facts {
        accounts: [A, B]
            .map(|id| {
                let scope = AccountScope {
                    regions: Some(BTreeSet::from([region("eu-west-1")])),
                    main_region: region("us-east-1"),
                };
                (account(id), scope)
            })
            .into(),
        entries: vec![Entry {
            kind: Kind::new("X::Thing").unwrap(),
            scope: Some(Scope::Regional),
            blueprint: Some(BlueprintId::new("thing").unwrap()),
            searched: false,
            single_account: false,
            rules: AttributionRules::of(
                &serde_json::from_value(json!({"identifier": ".x", "blueprint": "\"thing\""})).unwrap(),
            ),
        }],
        ..Facts::default()
    };
    let producer = |id| Producer::of(&unit(id, "eu-west-1", "X::Thing")).unwrap();
    let key = EntityKey { blueprint: BlueprintId::new("thing").unwrap(), identifier: "i".into() };
    for (b, producers, deleted) in [
        (Proof::Complete, vec![producer(A), producer(B)], true),
        (Proof::Incomplete, vec![producer(A), producer(B)], false),
        (Proof::Unmapped(1), vec![producer(A), producer(B)], false),
        (Proof::Incomplete, vec![producer(A)], true),
    ] {
        let units =
            vec![(unit(A, "eu-west-1", "X::Thing"), Proof::Complete), (unit(B, "eu-west-1", "X::Thing"), b)];
        let policy = Policy::new(&facts, &units);
        let producers = Producers::these(producers);
        let stale = Stale { key: &key, producers: &producers, account: None, region: None };
        assert_eq!(matches!(policy.decide(&stale), Decision::Delete(_)), deleted, "{b:?} {producers:?}");
    }
}
