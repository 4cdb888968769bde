//! `berth doctor`'s check of a mapping.

use std::sync::Arc;

use berth_core::{FetchError, Problem, ProblemCode};
use berth_sync::Finding;
use berth_test_support::FakeCatalog;
use serde_json::json;

use super::{A, World, checked, kinds};

#[tokio::test]
async fn a_check_finds_what_a_resync_would_trip_over_and_writes_nothing() {
    let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    world.accounts[1].1 = Err(Problem::new(ProblemCode::Other, "Unable to assume role"));
    let denied = FetchError::Skipped(Problem::new(ProblemCode::Other, "denied").remedy("allow x:ListX"));
    world.errors.insert(World::at(A, "us-east-1", "X::Thing"), denied);
    world.things(A, "us-east-1").clear();
    let checks = checked(&world, &catalog, false).await;
    let bad: Vec<_> = checks
        .iter()
        .filter_map(|check| match &check.finding {
            Finding::Bad(problem) => Some((check.subject.as_str(), problem.message.as_str())),
            Finding::Good(_) => None,
        })
        .collect();
    assert_eq!(
        bad,
        [
            ("account 111111111111: X::Thing in us-east-1", "denied"),
            ("account 222222222222: access", "Unable to assume role")
        ]
    );
    assert!(checks.iter().any(|check| check.subject == "account 111111111111: regions" && check.is_good()));
    assert!(catalog.held().is_empty() && catalog.states.lock().unwrap().is_empty());

    // A kind that is not mapped is checked on request.
    let config = json!({"resources": [serde_json::to_value(
        kinds().remove(0).manifest.mapping.as_ref().unwrap()).unwrap()]});
    let catalog = Arc::new(FakeCatalog { config, ..FakeCatalog::default() });
    for (all_kinds, looked_at) in [(false, false), (true, true)] {
        let checks = checked(&world, &catalog, all_kinds).await;
        assert_eq!(checks.iter().any(|check| check.subject.contains("X::Thing")), looked_at);
    }
}
