use berth_core::{EntityKey, Region, UnitId};
use proptest::prelude::*;

use super::*;
use crate::{
    deletion::{MappingFacts, RemovalOptions},
    write::producer_of,
};

const A: &str = "111111111111";
const B: &str = "222222222222";
const WEST: &str = "eu-west-1";
const EAST: &str = "us-east-1";
/// A kind whose resources several accounts may list, and one whose resources belong to a single account.
const SHARED: &str = "X::Shared";
const SINGLE: &str = "X::Single";

fn account(id: &str) -> AccountId {
    AccountId::new(id).unwrap()
}

fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

fn kind(name: &str) -> Kind {
    Kind::new(name).unwrap()
}

fn blueprint(name: &str) -> BlueprintId {
    BlueprintId::new(name).unwrap()
}

fn unit(id: &str, place: &str, of: &str, resource: usize) -> UnitId {
    UnitId { account: account(id), place: Some(Place::Region(region(place))), kind: kind(of), resource }
}

fn producer(id: &str, place: &str, of: &str) -> Producer {
    producer_of(&unit(id, place, of, 0)).unwrap()
}

fn entry(of: &str, fills: &str) -> MappingFacts {
    MappingFacts {
        kind: kind(of),
        scope: Some(Scope::Regional),
        blueprint: Some(blueprint(fills)),
        searched: false,
        single_account: of == SINGLE,
        rules: AttributionRules {
            account_relations: vec!["account".into()],
            region_properties: vec!["region".into()],
        },
    }
}

/// Both accounts with both regions, [`SHARED`] for `shared` and [`SINGLE`] for `single`.
fn facts() -> Facts {
    let scope = AccountScope { regions: Some([EAST, WEST].map(region).into()), main_region: region(EAST) };
    Facts {
        accounts: [A, B].map(|id| (account(id), scope.clone())).into(),
        entries: vec![entry(SHARED, "shared"), entry(SINGLE, "single")],
        removal: RemovalOptions::default(),
        missing: Some(MissingScopes::new()),
    }
}

type Ended = Vec<(UnitId, Proof)>;

/// Returns all units of these facts, complete.
fn units(facts: &Facts) -> Ended {
    let mut units = Vec::new();
    for (position, entry) in facts.entries.iter().enumerate() {
        for (id, scope) in &facts.accounts {
            for place in scope.regions.iter().flatten() {
                let id = unit(id.as_str(), place.as_str(), entry.kind.as_str(), position);
                units.push((id, Proof::Complete));
            }
        }
    }
    units
}

fn end(units: &mut Ended, id: &str, place: &str, of: &str, proof: Proof) {
    for unit in units.iter_mut().filter(|(unit, _)| {
        unit.account == account(id)
            && unit.kind == kind(of)
            && unit.place == Some(Place::Region(region(place)))
    }) {
        unit.1 = proof;
    }
}

/// Decides about an entity of a blueprint that states this account and region.
fn decide(
    facts: &Facts,
    units: &Ended,
    fills: &str,
    producers: &Producers,
    stated: (Option<&str>, Option<&str>),
) -> Decision {
    let key = EntityKey { blueprint: blueprint(fills), identifier: "i".into() };
    let (id, place) = (stated.0.map(account), stated.1.map(region));
    let stale = Stale { key: &key, producers, account: id.as_ref(), region: place.as_ref() };
    DeletionPolicy::new(facts, units).decide(&stale)
}

fn is_deleted(decision: &Decision) -> bool {
    matches!(decision, Decision::Delete(_))
}

#[track_caller]
fn assert_removed(decision: &Decision, scope: &str) {
    match decision {
        Decision::Keep(Keep::ScopeRemoved { scope: kept, .. }) => assert_eq!(kept.to_string(), scope),
        other => panic!("{other:?}"),
    }
}

const NOTHING: (Option<&str>, Option<&str>) = (None, None);

#[test]
fn each_recorded_producer_has_to_prove_absence() {
    let facts = facts();
    for (proof, known, deleted) in [
        (Proof::Complete, vec![A, B], true),
        (Proof::Incomplete, vec![A, B], false),
        (Proof::Unmapped(1), vec![A, B], false),
        (Proof::Incomplete, vec![A], true),
    ] {
        let mut units = units(&facts);
        end(&mut units, B, WEST, SHARED, proof);
        let producers = Producers::these(known.iter().map(|id| producer(id, WEST, SHARED)));
        let decision = decide(&facts, &units, "shared", &producers, NOTHING);
        assert_eq!(is_deleted(&decision), deleted, "{proof:?} {known:?}");
    }
}

#[test]
fn what_somebody_else_made_stays() {
    let facts = facts();
    let decision = decide(&facts, &units(&facts), "shared", &Producers::SomebodyElse, NOTHING);
    assert_eq!(decision, Decision::Keep(Keep::SomebodyElse));
    let mut searching = facts.clone();
    searching.entries[0].searched = true;
    let decision = decide(&searching, &units(&searching), "shared", &Producers::Unknown, NOTHING);
    assert_eq!(decision, Decision::Keep(Keep::SomebodyElse));
}

#[test]
fn without_a_record_every_unit_counts_unless_the_account_is_certain() {
    let facts = facts();
    for (fills, stated, incomplete, deleted) in [
        // Nothing is certain about a kind that several accounts may list.
        ("shared", Some(A), (B, WEST, SINGLE), false),
        ("shared", None, (A, EAST, SHARED), false),
        ("single", Some(A), (B, WEST, SINGLE), true),
        ("single", Some(A), (A, WEST, SHARED), true),
        ("single", Some(A), (A, WEST, SINGLE), false),
        ("single", Some(A), (A, EAST, SINGLE), false),
        ("single", None, (B, WEST, SHARED), false),
        // No resource mapping fills it any longer.
        ("former", Some(A), (B, WEST, SINGLE), false),
    ] {
        let mut units = units(&facts);
        end(&mut units, incomplete.0, incomplete.1, incomplete.2, Proof::Incomplete);
        let decision = decide(&facts, &units, fills, &Producers::Unknown, (stated, None));
        assert_eq!(is_deleted(&decision), deleted, "{fills} {stated:?} {incomplete:?}");
    }
    for fills in ["shared", "single", "former"] {
        assert!(is_deleted(&decide(&facts, &units(&facts), fills, &Producers::Unknown, NOTHING)), "{fills}");
    }
}

#[test]
fn two_kinds_that_fill_a_blueprint_make_nothing_certain() {
    let mut facts = facts();
    facts.entries = vec![entry(SHARED, "single"), entry(SINGLE, "single")];
    let mut units = units(&facts);
    end(&mut units, B, WEST, SINGLE, Proof::Incomplete);
    assert!(!is_deleted(&decide(&facts, &units, "single", &Producers::Unknown, (Some(A), None))));
    facts.entries[0] = MappingFacts { blueprint: None, ..entry(SINGLE, "single") };
    assert!(!is_deleted(&decide(&facts, &units, "single", &Producers::Unknown, (Some(A), None))));
}

#[test]
fn a_renamed_blueprint_proves_nothing_by_itself() {
    let mut facts = facts();
    facts.entries[0] = entry(SHARED, "renamed");
    let known = Producers::one(producer(A, WEST, SHARED));
    let mut units = units(&facts);
    match decide(&facts, &units, "shared", &known, NOTHING) {
        Decision::Delete(basis) => assert!(basis.removed),
        kept @ Decision::Keep(_) => panic!("{kept:?}"),
    }
    end(&mut units, B, EAST, SINGLE, Proof::Incomplete);
    assert!(!is_deleted(&decide(&facts, &units, "shared", &known, NOTHING)));
}

#[test]
fn a_renamed_blueprint_does_not_hide_a_removed_scope() {
    let known = Producers::one(producer(A, WEST, SHARED));
    let mut facts = facts();
    facts.entries[0] = entry(SHARED, "renamed");
    facts.accounts.get_mut(&account(A)).unwrap().regions = Some([region(EAST)].into());
    let decision = decide(&facts, &units(&facts), "shared", &known, NOTHING);
    assert_removed(&decision, &format!("region={A}/{WEST}"));
    // The region is enabled, but the mapping with the new blueprint leaves it out.
    facts.accounts.get_mut(&account(A)).unwrap().regions = Some([EAST, WEST].map(region).into());
    let mut units = units(&facts);
    units.retain(|(unit, _)| unit.place != Some(Place::Region(region(WEST))));
    let decision = decide(&facts, &units, "shared", &known, NOTHING);
    assert_removed(&decision, &format!("region={A}/{WEST}/{SHARED}"));
}

#[test]
fn a_scope_that_is_not_read_any_more_is_no_absence() {
    let all = facts();
    let known = Producers::one(producer(A, WEST, SINGLE));
    let mut away = all.clone();
    away.accounts.remove(&account(A));
    let mut opted_out = all.clone();
    opted_out.accounts.get_mut(&account(A)).unwrap().regions = Some([region(EAST)].into());
    let policy_of = |units: &mut Ended, every: bool| {
        units.retain(|(unit, _)| {
            unit.kind != kind(SINGLE) || !every && unit.place != Some(Place::Region(region(WEST)))
        });
    };
    let (mut without_region, mut without_any) = (units(&all), units(&all));
    policy_of(&mut without_region, false);
    policy_of(&mut without_any, true);
    let stated = (Some(A), Some(WEST));
    for (facts, units, record, unrecorded) in [
        (&away, &units(&away), format!("account={A}"), format!("account={A}")),
        (&opted_out, &units(&opted_out), format!("region={A}/{WEST}"), format!("region={A}/{WEST}")),
        (&all, &without_region, format!("region={A}/{WEST}/{SINGLE}"), format!("region={A}/{WEST}/{SINGLE}")),
        (&all, &without_any, format!("region={A}/{WEST}/{SINGLE}"), format!("region={A}/{EAST}/{SINGLE}")),
    ] {
        for (producers, scope) in [(&known, record), (&Producers::Unknown, unrecorded)] {
            let decision = decide(facts, units, "single", producers, stated);
            assert_removed(&decision, &scope);
            let scope: RemovedScope = scope.parse().unwrap();
            // An operator confirms it.
            let mut confirmed = facts.clone();
            confirmed.removal.confirmed.insert(scope.clone());
            match decide(&confirmed, units, "single", producers, stated) {
                Decision::Delete(basis) => assert!(basis.removed),
                kept @ Decision::Keep(_) => panic!("{kept:?}"),
            }
            // It was missing before; this does not count without a ledger, or in an incomplete resync.
            for (missing, after, deleted) in [
                (Some(1), RemovalAfter::Resyncs(2), true),
                (Some(1), RemovalAfter::Resyncs(3), false),
                (Some(0), RemovalAfter::Resyncs(1), true),
                (Some(0), RemovalAfter::Resyncs(0), true),
                (Some(9), RemovalAfter::Never, false),
                (None, RemovalAfter::Resyncs(0), false),
            ] {
                let mut counted = facts.clone();
                counted.removal.after = after;
                counted.missing = missing.map(|count| [(scope.clone(), count)].into());
                let decision = decide(&counted, units, "single", producers, stated);
                assert_eq!(is_deleted(&decision), deleted, "{scope} {missing:?} {after}");
                let mut incomplete = units.clone();
                incomplete[0].1 = Proof::Incomplete;
                assert!(!is_deleted(&decide(&counted, &incomplete, "single", producers, stated)), "{scope}");
            }
        }
    }
}

#[test]
fn an_account_that_left_protects_what_is_not_certainly_of_another() {
    let mut facts = facts();
    facts.accounts.remove(&account(A));
    let units = units(&facts);
    let key = |fills: &str| EntityKey { blueprint: blueprint(fills), identifier: "i".into() };
    let (shared, single, b) = (key("shared"), key("single"), account(B));
    let mut policy = DeletionPolicy::new(&facts, &units);
    let of = |key, account| Stale { key, producers: &Producers::Unknown, account, region: None };
    assert!(is_deleted(&policy.decide(&of(&shared, None))));
    policy.note_account(&account(A));
    assert_removed(&policy.decide(&of(&shared, None)), &format!("account={A}"));
    assert!(is_deleted(&policy.decide(&of(&single, Some(&b)))));
    // The others must not be recorded as the only producers either.
    let seen = || vec![producer(B, WEST, SHARED)];
    let after = policy.producers_after(&shared.blueprint, &Producers::Unknown, seen(), false);
    assert_eq!(after, Producers::Unknown);
    let mut meant = facts.clone();
    meant.removal.confirmed.insert(RemovedScope::Account(account(A)));
    let mut policy = DeletionPolicy::new(&meant, &units);
    policy.note_account(&account(A));
    let after = policy.producers_after(&shared.blueprint, &Producers::Unknown, seen(), false);
    assert_eq!(after, Producers::these(seen()));
}

#[test]
fn an_organization_is_read_once_through_any_account() {
    let mut facts = facts();
    facts.entries = vec![MappingFacts { scope: Some(Scope::Organization), ..entry(SHARED, "shared") }];
    facts.accounts.remove(&account(A));
    let known = Producers::one(Producer { account: account(A), place: Place::Global, kind: kind(SHARED) });
    let through_b = UnitId { place: Some(Place::Global), ..unit(B, WEST, SHARED, 0) };
    for (proof, deleted) in [(Proof::Complete, true), (Proof::Incomplete, false)] {
        let units = vec![(through_b.clone(), proof)];
        assert_eq!(is_deleted(&decide(&facts, &units, "shared", &known, NOTHING)), deleted);
    }
}

#[test]
fn an_account_whose_regions_are_not_known_proves_nothing() {
    let mut facts = facts();
    facts.accounts.get_mut(&account(A)).unwrap().regions = None;
    let mut units = units(&facts);
    units.push((UnitId { place: None, ..unit(A, WEST, SHARED, 0) }, Proof::Incomplete));
    let known = Producers::one(producer(A, WEST, SHARED));
    let decision = decide(&facts, &units, "shared", &known, NOTHING);
    assert!(matches!(decision, Decision::Keep(Keep::Incomplete { .. })), "{decision:?}");
}

#[test]
fn regions_that_are_only_assumed_never_prove_a_removal() {
    let mut facts = facts();
    facts.accounts.get_mut(&account(A)).unwrap().regions = None;
    // Every read is complete, and was so in enough resyncs; WEST is left out.
    let scope = RemovedScope::KindRegion(account(A), region(WEST), kind(SINGLE));
    facts.missing =
        Some([(scope.clone(), 9), (RemovedScope::Region(Some(account(A)), region(WEST)), 9)].into());
    let mut units: Ended = Vec::new();
    for id in [A, B] {
        for (position, of) in [SHARED, SINGLE].into_iter().enumerate() {
            units.push((unit(id, EAST, of, position), Proof::Complete));
        }
    }
    let known = Producers::one(producer(A, WEST, SINGLE));
    for (producers, stated) in [(&known, NOTHING), (&Producers::Unknown, (Some(A), Some(WEST)))] {
        let decision = decide(&facts, &units, "single", producers, stated);
        assert_removed(&decision, &format!("region={A}/{WEST}/{SINGLE}"));
    }
    let policy = DeletionPolicy::new(&facts, &units);
    assert!(policy.missing_after([&scope]).is_empty(), "nor does it count for later");
    // A read in an assumed region proves as much as any other.
    let read = Producers::one(producer(A, EAST, SINGLE));
    assert!(is_deleted(&decide(&facts, &units, "single", &read, NOTHING)));
    facts.removal.confirmed.insert(RemovedScope::Region(Some(account(A)), region(WEST)));
    assert!(
        is_deleted(&decide(&facts, &units, "single", &known, NOTHING)),
        "the operator's confirmation \
        counts"
    );
}

#[test]
fn producers_go_only_when_they_prove_absence() {
    let facts = facts();
    let [a, b] = [A, B].map(|id| producer(id, WEST, SHARED));
    let both = Producers::these([a.clone(), b.clone()]);
    let (one, other) = (Producers::one(a.clone()), Producers::one(b.clone()));
    for (before, proof, single, after) in [
        (&both, Proof::Complete, false, &one),
        (&both, Proof::Incomplete, false, &both),
        (&both, Proof::Unmapped(1), false, &both),
        (&other, Proof::Incomplete, false, &both),
        (&one, Proof::Incomplete, false, &one),
        (&Producers::Unknown, Proof::Complete, false, &one),
        (&Producers::Unknown, Proof::Incomplete, false, &Producers::Unknown),
        (&Producers::Unknown, Proof::Incomplete, true, &one),
        (&Producers::SomebodyElse, Proof::Complete, true, &Producers::SomebodyElse),
    ] {
        let mut units = units(&facts);
        end(&mut units, B, WEST, SHARED, proof);
        let policy = DeletionPolicy::new(&facts, &units);
        let result = policy.producers_after(&blueprint("shared"), before, vec![a.clone()], single);
        assert_eq!(result, *after, "{before:?} {proof:?}");
    }
}

#[test]
fn a_live_event_deletes_only_what_is_certainly_its_own() {
    let facts = Facts { entries: facts().entries, ..Facts::default() };
    let nobody: Ended = Vec::new();
    let policy = DeletionPolicy::new(&facts, &nobody);
    let [a, b] = [A, B].map(|id| producer(id, WEST, SINGLE));
    let key = EntityKey { blueprint: blueprint("single"), identifier: "i".into() };
    let allows = |key: &EntityKey, producers: &Producers, id: Option<&str>, place: Option<&str>| {
        let (id, place) = (id.map(account), place.map(region));
        let stale = Stale { key, producers, account: id.as_ref(), region: place.as_ref() };
        policy.allows_event(&stale, &a)
    };
    let unknown = Producers::Unknown;
    assert!(allows(&key, &Producers::one(a.clone()), None, None));
    assert!(!allows(&key, &Producers::one(b.clone()), Some(A), Some(WEST)));
    assert!(!allows(&key, &Producers::these([a.clone(), b.clone()]), Some(A), Some(WEST)));
    assert!(!allows(&key, &Producers::SomebodyElse, Some(A), Some(WEST)));
    assert!(allows(&key, &unknown, Some(A), Some(WEST)));
    assert!(!allows(&key, &unknown, Some(A), Some(EAST)));
    assert!(!allows(&key, &unknown, Some(A), None));
    assert!(!allows(&key, &unknown, Some(B), Some(WEST)));
    let shared = EntityKey { blueprint: blueprint("shared"), identifier: "i".into() };
    assert!(!allows(&shared, &unknown, Some(A), Some(WEST)));
}

#[test]
fn missing_scopes_are_counted_while_they_are_missing() {
    let mut facts = facts();
    facts.accounts.remove(&account(A));
    facts.accounts.get_mut(&account(B)).unwrap().regions = Some([region(EAST)].into());
    let scope = |text: String| text.parse::<RemovedScope>().unwrap();
    let (away, back) = (scope(format!("account={A}")), scope(format!("account={B}")));
    let (out, whole) = (scope(format!("region={B}/{WEST}")), scope(format!("region={WEST}")));
    let left_out = scope(format!("region={B}/{EAST}/{SINGLE}"));
    let read = scope(format!("region={B}/{EAST}/{SHARED}"));
    let all = [&away, &back, &out, &whole, &left_out, &read];
    facts.missing = Some(all.iter().map(|scope| ((*scope).clone(), 1)).collect());
    let mut units = units(&facts);
    units.retain(|(unit, _)| unit.kind == kind(SHARED));
    // Whether or not something is kept for it: it may be one of two reasons.
    let still: Vec<&RemovedScope> = vec![&away, &out, &whole, &left_out];
    let counted = |count: u32| still.iter().map(|scope| ((*scope).clone(), count)).collect::<MissingScopes>();
    assert_eq!(DeletionPolicy::new(&facts, &units).missing_after([&away]), counted(2));
    units[0].1 = Proof::Incomplete;
    assert_eq!(DeletionPolicy::new(&facts, &units).missing_after([&away]), counted(1));
    // A new one is counted from now on.
    facts.missing = None;
    assert_eq!(DeletionPolicy::new(&facts, &units).missing_after([&away]), MissingScopes::new());
    units[0].1 = Proof::Complete;
    assert_eq!(DeletionPolicy::new(&facts, &units).missing_after([&away]), [(away.clone(), 1)].into());
}

#[test]
fn two_removed_producers_are_counted_together() {
    let mut facts = facts();
    facts.accounts.retain(|_, _| false);
    let known = Producers::these([A, B].map(|id| producer(id, WEST, SHARED)));
    let units: Ended = Vec::new();
    let mut resyncs = 0;
    while let Decision::Keep(Keep::ScopeRemoved { scope, .. }) =
        decide(&facts, &units, "shared", &known, NOTHING)
    {
        resyncs += 1;
        assert!(resyncs < 5, "never deleted");
        facts.missing = Some(DeletionPolicy::new(&facts, &units).missing_after([&scope]));
    }
    assert!(is_deleted(&decide(&facts, &units, "shared", &known, NOTHING)));
}

fn proofs() -> impl Strategy<Value = Vec<Proof>> {
    let proof =
        prop_oneof![3 => Just(Proof::Complete), 1 => Just(Proof::Incomplete), 1 => Just(Proof::Unmapped(2))];
    proptest::collection::vec(proof, 8)
}

fn some_producers() -> impl Strategy<Value = Vec<Producer>> {
    let one = (0..2usize, 0..2usize, 0..2usize)
        .prop_map(|(id, place, of)| producer([A, B][id], [EAST, WEST][place], [SHARED, SINGLE][of]));
    proptest::collection::vec(one, 0..4)
}

proptest! {
    #[test]
    fn nothing_is_deleted_before_every_producer_proved_absence(
        proofs in proofs(),
        producers in some_producers(),
        fills in prop_oneof![Just("shared"), Just("single"), Just("former")],
        stated in proptest::option::of(prop_oneof![Just(A), Just(B)]),
    ) {
        let facts = facts();
        let mut units = units(&facts);
        for (unit, proof) in units.iter_mut().zip(proofs) {
            unit.1 = proof;
        }
        let record = Producers::these(producers.clone());
        let deleted = is_deleted(&decide(&facts, &units, fills, &record, (stated, None)));
        let proven = units.iter().all(|(unit, proof)| {
            *proof == Proof::Complete || !producers.contains(&producer_of(unit).unwrap())
        });
        let everything = units.iter().all(|(_, proof)| *proof == Proof::Complete);
        prop_assert!(!deleted || proven);
        prop_assert!(deleted || !everything, "an entity that is gone everywhere is deleted");
        if producers.is_empty() && (fills != "single" || stated.is_none()) {
            prop_assert_eq!(deleted, everything);
        }
    }

    #[test]
    fn a_worse_resync_never_deletes_more_nor_records_fewer(
        better in proofs(),
        worse in proofs(),
        producers in some_producers(),
        fills in prop_oneof![Just("shared"), Just("single"), Just("former")],
    ) {
        let facts = facts();
        let mut good = units(&facts);
        for (unit, proof) in good.iter_mut().zip(better) {
            unit.1 = proof;
        }
        let mut bad = good.clone();
        for (unit, proof) in bad.iter_mut().zip(worse) {
            if proof != Proof::Complete {
                unit.1 = proof;
            }
        }
        let record = Producers::these(producers.clone());
        let decided = |units| is_deleted(&decide(&facts, units, fills, &record, NOTHING));
        prop_assert!(decided(&good) || !decided(&bad));
        let seen = vec![producer(A, WEST, SHARED)];
        let after = |units| {
            DeletionPolicy::new(&facts, units).producers_after(&blueprint(fills), &record, seen.clone(), false)
        };
        let (fewer, more) = (after(&good), after(&bad));
        match (fewer.known(), more.known()) {
            (Some(fewer), Some(more)) => prop_assert!(fewer.iter().all(|producer| more.contains(producer))),
            (None, Some(more)) => prop_assert!(false, "{more:?} was decided with fewer facts"),
            (_, None) => {}
        }
    }
}

#[test]
fn an_unrecorded_entity_is_kept_while_its_entry_reads_nothing() {
    let mut facts = facts();
    let mut all = units(&facts);
    all.retain(|(unit, _)| unit.kind == kind(SINGLE));
    let unrecorded = |facts: &Facts| decide(facts, &all, "shared", &Producers::Unknown, (None, None));
    assert_removed(&unrecorded(&facts), &format!("region={A}/{EAST}/{SHARED}"));
    facts.removal.confirmed.insert(RemovedScope::Region(None, region(EAST)));
    assert!(is_deleted(&unrecorded(&facts)));
}

#[test]
fn an_arn_that_names_what_is_not_read_protects_its_entity() {
    let mut facts = facts();
    facts.accounts.get_mut(&account(A)).unwrap().regions = Some([region(EAST)].into());
    let units = units(&facts);
    let decide = |facts: &Facts, identifier: &str, stated: Option<&str>| {
        let key = EntityKey { blueprint: blueprint("single"), identifier: identifier.to_owned() };
        let id = stated.map(account);
        let stale = Stale { key: &key, producers: &Producers::Unknown, account: id.as_ref(), region: None };
        DeletionPolicy::new(facts, &units).decide(&stale)
    };
    let arn = |place: &str, id: &str| format!("arn:aws:x:{place}:{id}:thing/one");
    // The region is disabled for account A.
    assert_removed(&decide(&facts, &arn(WEST, A), Some(A)), &format!("region={A}/{WEST}"));
    assert_removed(&decide(&facts, &arn(WEST, A), None), &format!("region={A}/{WEST}"));
    // No account reads it.
    assert_removed(&decide(&facts, "arn:aws:x:ap-south-1::/things/one", None), "region=ap-south-1");
    // The account is not listed; what the entity states is certain, and wins.
    let left = "333333333333";
    assert_removed(&decide(&facts, &arn(WEST, left), None), &format!("account={left}"));
    assert!(is_deleted(&decide(&facts, &arn(WEST, left), Some(B))));
    // All of it is read, or the ARN names nothing.
    for (identifier, stated) in [
        (arn(WEST, B), Some(B)),
        (arn(WEST, B), None),
        (arn(EAST, A), Some(A)),
        (arn("", "aws"), Some(A)),
        ("arn:aws:x".to_owned(), Some(A)),
        ("thing:aws:x:ap-south-1:333333333333:one".to_owned(), Some(A)),
    ] {
        assert!(is_deleted(&decide(&facts, &identifier, stated)), "{identifier} {stated:?}");
    }
    // The operator may confirm it.
    facts.removal.confirmed.insert(RemovedScope::Region(Some(account(A)), region(WEST)));
    assert!(is_deleted(&decide(&facts, &arn(WEST, A), Some(A))));
}

#[test]
fn an_arn_protects_its_entity_where_no_entry_reads_its_region() {
    let facts = facts();
    // As if a `regionPolicy` left the region out.
    let mut units = units(&facts);
    units.retain(|(unit, _)| unit.place == Some(Place::Region(region(EAST))));
    let decide = |fills: &str, place: &str| {
        let identifier = format!("arn:aws:x:{place}:{A}:thing/one");
        let key = EntityKey { blueprint: blueprint(fills), identifier };
        let stale = Stale { key: &key, producers: &Producers::Unknown, account: None, region: None };
        DeletionPolicy::new(&facts, &units).decide(&stale)
    };
    assert_removed(&decide("single", WEST), &format!("region={A}/{WEST}/{SINGLE}"));
    assert_removed(&decide("shared", WEST), &format!("region={A}/{WEST}/{SHARED}"));
    assert!(is_deleted(&decide("shared", EAST)));
}
