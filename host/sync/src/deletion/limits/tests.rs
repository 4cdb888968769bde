use super::*;

fn kind(name: &str) -> Kind {
    Kind::new(name).unwrap()
}

fn account() -> AccountId {
    AccountId::new("111111111111").unwrap()
}

fn blueprint(name: &str) -> BlueprintId {
    BlueprintId::new(name).unwrap()
}

fn part() -> Part {
    Part { kind: Some(kind("X::Thing")), account: Some(account()), blueprint: None }
}

fn doomed(count: u64, part: &Part, removed: bool) -> Vec<Doomed> {
    let basis = Basis { parts: BTreeSet::from([part.clone()]), removed };
    (0..count)
        .map(|at| Doomed {
            key: EntityKey { blueprint: blueprint("thing"), identifier: at.to_string() },
            basis: basis.clone(),
        })
        .collect()
}

fn held(kept: u64) -> Counts {
    Counts {
        kept: [((kind("X::Thing"), account()), kept)].into(),
        kept_by_blueprint: [(blueprint("thing"), kept)].into(),
        ..Counts::default()
    }
}

#[test]
fn a_part_does_not_lose_almost_everything_at_once() {
    for (lost, kept, held_back) in
        [(19, 0, false), (20, 0, true), (18, 2, false), (19, 1, true), (90, 10, false), (91, 9, true)]
    {
        let limited = apply_limits(doomed(lost, &part(), false), &held(kept));
        assert_eq!(limited.held_back.len(), usize::from(held_back), "{lost} of {}", lost + kept);
        assert_eq!(limited.allowed.is_empty(), held_back);
        // Whoever removes an account means all of it.
        let limited = apply_limits(doomed(lost, &part(), true), &held(kept));
        assert_eq!(limited.allowed.len() as u64, lost);
    }
}

#[test]
fn other_parts_are_not_held_up() {
    let other = Part { kind: Some(kind("X::Other")), ..part() };
    let mut all = doomed(30, &part(), false);
    let mut few = doomed(2, &other, false);
    for doomed in &mut few {
        doomed.key.blueprint = blueprint("other");
    }
    all.extend(few);
    let limited = apply_limits(all, &held(0));
    assert_eq!(limited.allowed.len(), 2);
    assert_eq!(limited.held_back[0].entities.len(), 30);
    assert!(limited.held_back[0].problem.message.contains("30 of 30"), "{:?}", limited.held_back);
}

#[test]
fn parts_of_which_less_is_known_are_counted_as_a_whole() {
    for part in [
        Part { account: None, ..part() },
        Part { kind: None, account: None, blueprint: Some(blueprint("thing")) },
        Part { kind: None, account: None, blueprint: None },
    ] {
        assert_eq!(apply_limits(doomed(30, &part, false), &held(10)).allowed.len(), 30, "{part}");
        assert_eq!(apply_limits(doomed(30, &part, false), &held(1)).allowed.len(), 0, "{part}");
    }
}

#[test]
fn a_mistaken_identifier_holds_back_what_its_entry_would_delete() {
    let mistaken = |blueprint, kind| Mistaken { entry: 3, kind, blueprint, resources: 20, identifiers: 1 };
    for (entry, held_back) in [
        (mistaken(Some(blueprint("thing")), kind("X::Other")), true),
        (mistaken(Some(blueprint("other")), kind("X::Thing")), true),
        (mistaken(None, kind("X::Thing")), true),
        (mistaken(Some(blueprint("other")), kind("X::Other")), false),
    ] {
        // Also for an intended removal.
        for removed in [false, true] {
            let counts = Counts { mistaken: vec![entry.clone()], ..held(100) };
            let limited = apply_limits(doomed(1, &part(), removed), &counts);
            assert_eq!(limited.allowed.is_empty(), held_back, "{entry:?}");
        }
    }
}

#[test]
fn the_whole_is_bounded_by_a_share_and_a_number() {
    let options = |threshold, maximum| LimitOptions { threshold, maximum };
    for (deleting, owned, options, allowed) in [
        (0, 0, options(0.0, Some(0)), true),
        (1, 0, options(0.9, None), false),
        (9, 10, options(0.9, None), true),
        (10, 10, options(0.9, None), false),
        (10, 10, options(1.0, None), true),
        // There may be more dependents than owned entities.
        (11, 10, options(1.0, None), false),
        (5, 100, options(0.9, Some(5)), true),
        (6, 100, options(0.9, Some(5)), false),
    ] {
        assert_eq!(
            check_total(deleting, owned, &options).is_ok(),
            allowed,
            "{deleting} of {owned} {options:?}"
        );
    }
}
