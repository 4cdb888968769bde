//! Sets of producers: their size, and how a killed resync affects them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use berth_core::{
    AccountId, Kind, Ledger, LedgerEntry, LedgerSession, MissingScopes, Place, Producer, Producers, Region,
};
use berth_ledger::{FileLedger, LedgerConfig};
use proptest::prelude::*;
use redb::{Builder, ConcurrencyMode, Database, TableDefinition};

const CATALOG: &str = "aws of type aws-v3 at https://api.getport.io in organization org_1";

fn open(dir: &Path) -> FileLedger {
    FileLedger::open(LedgerConfig::new(dir)).unwrap()
}

fn begin(ledger: &FileLedger) -> Arc<dyn LedgerSession> {
    ledger.begin(CATALOG).unwrap().session
}

fn end(session: &Arc<dyn LedgerSession>) {
    Arc::clone(session).end(&MissingScopes::new()).unwrap();
}

fn unit(number: u64) -> Producer {
    Producer {
        account: AccountId::new(format!("{:012}", 111_111_111_111 + number / 2)).unwrap(),
        place: if number.is_multiple_of(2) {
            Place::Global
        } else {
            Place::Region(Region::new("eu-west-1").unwrap())
        },
        kind: Kind::new("AWS::EC2::Subnet").unwrap(),
    }
}

fn units(numbers: &[u64]) -> Producers {
    Producers::these(numbers.iter().copied().map(unit))
}

fn entry(content: u128, producers: Producers) -> LedgerEntry {
    LedgerEntry { content: Some(content), producers }
}

/// Records these in a resync that is killed if `killed`, and returns the next session's record of key 1.
fn after(ledger: &FileLedger, records: &[Producers], killed: bool) -> Producers {
    let session = begin(ledger);
    for producers in records {
        session.record(&[(1, Some(entry(1, producers.clone())))]).unwrap();
    }
    if !killed {
        end(&session);
    }
    begin(ledger).look_up(1).unwrap().producers
}

#[test]
fn a_killed_resync_never_leaves_fewer_producers() {
    let (one, two, three) = (units(&[1]), units(&[2]), units(&[1, 2, 3]));
    let (unknown, foreign) = (Producers::Unknown, Producers::SomebodyElse);
    for (before, recorded, if_killed) in [
        (&three, std::slice::from_ref(&one), &three),
        (&two, std::slice::from_ref(&one), &units(&[1, 2])),
        (&two, &[one.clone(), units(&[3])], &three),
        (&two, &[one.clone(), three.clone()], &three),
        (&one, std::slice::from_ref(&three), &three),
        (&unknown, std::slice::from_ref(&one), &unknown),
        (&foreign, std::slice::from_ref(&one), &foreign),
        (&one, std::slice::from_ref(&unknown), &unknown),
        (&one, std::slice::from_ref(&foreign), &foreign),
    ] {
        for killed in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let ledger = open(dir.path());
            assert_eq!(after(&ledger, std::slice::from_ref(before), false), *before);
            let expected = if killed { if_killed } else { recorded.last().unwrap() };
            let found = after(&ledger, recorded, killed);
            assert_eq!(found, *expected, "{before:?}, then {recorded:?}, killed: {killed}");
        }
    }
    // The producers were unknown: other units might have produced it, had they been read.
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    assert_eq!(after(&ledger, std::slice::from_ref(&one), true), unknown);
    assert_eq!(after(&ledger, &[two.clone(), one.clone()], true), unknown);
    assert_eq!(after(&ledger, &[two, one.clone()], false), one);
}

#[test]
fn entities_share_their_sets() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let session = begin(&ledger);
    let records: Vec<_> = (0..100_u64)
        .map(|key| (u128::from(key), Some(entry(1, if key < 50 { units(&[1]) } else { units(&[3, 1]) }))))
        .collect();
    session.record(&records).unwrap();
    end(&session);
    let session = begin(&ledger);
    let shared = |key: u128| match session.look_up(key).unwrap().producers {
        Producers::Known(shared) => shared,
        other => panic!("{other:?}"),
    };
    for (first, all) in [(0, 0..50), (50, 50..100)] {
        let first = shared(first);
        assert!(all.into_iter().all(|key| Arc::ptr_eq(&first, &shared(key))));
    }
    assert_eq!(*shared(50), [unit(1), unit(3)]);
}

/// An action on a ledger.
#[derive(Debug, Clone)]
enum Step {
    Record(Vec<(u128, Option<LedgerEntry>)>),
    Invalidate(Vec<u128>),
    /// The resync ends, and another begins.
    End,
    /// Another resync begins, although this one has not ended.
    Abandon,
    /// The process is killed and started again.
    Kill,
}

fn producers() -> impl Strategy<Value = Producers> {
    prop_oneof![
        1 => Just(Producers::Unknown),
        1 => Just(Producers::SomebodyElse),
        8 => prop::collection::vec(0..4_u64, 1..4).prop_map(|numbers| units(&numbers)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..6_u128;
    let content = prop::option::weighted(0.8, 1..1000_u128);
    let recorded = prop::option::weighted(
        0.9,
        (content, producers()).prop_map(|(content, producers)| LedgerEntry { content, producers }),
    );
    prop_oneof![
        6 => prop::collection::vec((key.clone(), recorded), 1..5).prop_map(Step::Record),
        1 => prop::collection::vec(key, 1..3).prop_map(Step::Invalidate),
        2 => Just(Step::End),
        1 => Just(Step::Abandon),
        1 => Just(Step::Kill),
    ]
}

/// The expected record of an entity.
#[derive(Debug, Clone)]
struct Model {
    content: Option<u128>,
    /// The resync that recorded it.
    run: u32,
    /// Its producers if the resync does not end, and if it does.
    if_killed: Producers,
    exact: Producers,
}

impl Model {
    fn after(former: Option<&Self>, run: u32, entry: &LedgerEntry) -> Self {
        let before = former.map_or(&Producers::Unknown, |former| &former.if_killed);
        let if_killed = match (before, &entry.producers) {
            (Producers::Known(before), Producers::Known(now)) => {
                Producers::these(before.iter().chain(&**now).cloned())
            }
            (_, now @ (Producers::Unknown | Producers::SomebodyElse)) => now.clone(),
            (before, Producers::Known(_)) => before.clone(),
        };
        Self { content: entry.content, run, if_killed, exact: entry.producers.clone() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_ledger_behaves_like_its_model(steps in prop::collection::vec(step(), 1..25)) {
        let dirs = tempfile::tempdir().unwrap();
        let dir_of = |run: u32| dirs.path().join(run.to_string());
        let (mut run, mut trusted_from) = (1, 0);
        let mut model: BTreeMap<u128, Model> = BTreeMap::new();
        let mut dir = dir_of(run);
        let mut ledger = open(&dir);
        let mut session = begin(&ledger);
        for step in steps {
            match &step {
                Step::Record(entries) => {
                    session.record(entries).unwrap();
                    for (key, entry) in entries {
                        match entry {
                            Some(entry) => {
                                let next = Model::after(model.get(key), run, entry);
                                model.insert(*key, next);
                            }
                            None => _ = model.remove(key),
                        }
                    }
                }
                Step::Invalidate(keys) => {
                    let pairs: Vec<_> = keys.iter().map(|key| (*key, None)).collect();
                    ledger.invalidate(CATALOG, &pairs).unwrap();
                    for key in keys {
                        model.entry(*key).and_modify(|entity| entity.content = None);
                    }
                }
                Step::End => {
                    end(&session);
                    for entity in model.values_mut() {
 entity.if_killed = entity.exact.clone();
}
                }
                Step::Abandon | Step::Kill => {
                    trusted_from = run;
                    for entity in model.values_mut() {
 entity.exact = entity.if_killed.clone();
}
                }
            }
            let new_session = matches!(step, Step::End | Step::Abandon | Step::Kill);
            if new_session {
                run += 1;
                if matches!(step, Step::Kill) {
                    // Only the file at this moment remains.
                    let next = dir_of(run);
                    fs::create_dir(&next).unwrap();
                    fs::copy(dir.join("ledger.redb"), next.join("ledger.redb")).unwrap();
                    dir = next;
                    ledger = open(&dir);
                }
                session = begin(&ledger);
                for key in 0..6 {
                    let expected = model.get(&key).map(|entity| LedgerEntry {
                        content: entity.content.filter(|_| entity.run >= trusted_from),
                        producers: entity.if_killed.clone(),
                    });
                    prop_assert_eq!(session.look_up(key), expected, "{} after {:?}", key, step);
                }
                let mut keys = BTreeSet::new();
                session.each_key(&mut |key| _ = keys.insert(key)).unwrap();
                prop_assert_eq!(keys, model.keys().copied().collect());
            }
            // Outside the running resync, only its own records are certain.
            let expected: Vec<_> = (0..6)
                .map(|key| model.get(&key).map(|entity| LedgerEntry {
                    content: entity.content.filter(|_| entity.run == run),
                    producers: entity.if_killed.clone(),
                }))
                .collect();
            prop_assert_eq!(ledger.entries(CATALOG, &[0, 1, 2, 3, 4, 5]).unwrap(), expected);
        }
    }
}

// The original tables of format 1.
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const RUNS: TableDefinition<'_, u32, (u64, bool)> = TableDefinition::new("runs");
const UNITS: TableDefinition<'_, u32, &str> = TableDefinition::new("units");
const UNIT_NUMBERS: TableDefinition<'_, &str, u32> = TableDefinition::new("unit-numbers");
const ENTITIES: TableDefinition<'_, u128, [u8; 24]> = TableDefinition::new("entities");

const MANY: u64 = 100_000;
const UNIT_COUNT: u64 = 60;
const BATCH: usize = 10_000;

/// One of twenty entities has two producers.
fn producers_of(number: u64) -> Vec<u64> {
    let first = number % UNIT_COUNT;
    if number.is_multiple_of(20) { vec![first, (number / 20) % UNIT_COUNT] } else { vec![first] }
}

/// Keys are digests, so they are spread evenly.
fn key(number: u64) -> u128 {
    u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

/// Opens the file like a ledger: how it is shared decides when pages are reused.
fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
    builder
}

/// Writes the same data as a ledger of format 1.
fn write_format_1(path: &Path) {
    let database = builder().create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("catalog", CATALOG).unwrap();
    transaction.open_table(RUNS).unwrap().insert(1, (1_700_000_000, true)).unwrap();
    transaction.commit().unwrap();
    let numbers: Vec<u64> = (0..MANY).collect();
    for batch in numbers.chunks(BATCH) {
        let transaction = database.begin_write().unwrap();
        {
            let mut entities = transaction.open_table(ENTITIES).unwrap();
            let mut units = transaction.open_table(UNITS).unwrap();
            let mut unit_numbers = transaction.open_table(UNIT_NUMBERS).unwrap();
            for number in batch {
                let unit_number = match producers_of(*number)[..] {
                    [one] => {
                        let unit_number = u32::try_from(one).unwrap() + 1;
                        let unit = unit(one);
                        let place = unit.place.region().map_or("global", Region::as_str);
                        let line = format!("{} {place} {}", unit.account, unit.kind);
                        units.insert(unit_number, line.as_str()).unwrap();
                        unit_numbers.insert(line.as_str(), unit_number).unwrap();
                        unit_number
                    }
                    _ => 0,
                };
                let mut bytes = [1; 24];
                bytes[16..20].copy_from_slice(&unit_number.to_le_bytes());
                entities.insert(key(*number), bytes).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}

#[test]
fn sets_need_almost_no_space() {
    let dir = tempfile::tempdir().unwrap();
    let former = dir.path().join("format-1.redb");
    write_format_1(&former);
    let ledger = open(dir.path());
    let session = begin(&ledger);
    let numbers: Vec<u64> = (0..MANY).collect();
    for batch in numbers.chunks(BATCH) {
        let records: Vec<_> = batch
            .iter()
            .map(|number| (key(*number), Some(entry(u128::from(*number + 1), units(&producers_of(*number))))))
            .collect();
        session.record(&records).unwrap();
    }
    end(&session);
    for number in [0, 1, 20, 99_980, 99_999] {
        let found = begin(&ledger).look_up(key(number)).unwrap();
        assert_eq!(found.producers, units(&producers_of(number)), "{number}");
    }
    // A subnet that two accounts share counts for both.
    let totals = ledger.totals(CATALOG).unwrap();
    let mut expected: BTreeMap<(AccountId, Kind), u64> = BTreeMap::new();
    for number in 0..MANY {
        let parts: BTreeSet<_> =
            producers_of(number).into_iter().map(unit).map(|unit| (unit.account, unit.kind)).collect();
        for part in parts {
            *expected.entry(part).or_default() += 1;
        }
    }
    assert_eq!(totals, expected);
    drop((session, ledger));

    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let current = dir.path().join("ledger.redb");
    let (before, after) = (size(&former), size(&current));
    println!("bytes per entity: {} before, {} after", before / MANY, after / MANY);
    // A file grows by doubling. Its compacted size is the size of its content.
    for path in [&former, &current] {
        while builder().create(path).unwrap().compact().unwrap() {}
    }
    let (compact_before, compact_after) = (size(&former), size(&current));
    println!("compacted: {} before, {} after", compact_before / MANY, compact_after / MANY);
    let slack = 1 << 20;
    assert!(after <= before + 40 * MANY + slack, "{before} bytes before, {after} after");
    assert!(
        compact_after <= compact_before + 2 * MANY,
        "{compact_before} bytes before, {compact_after} after"
    );
}

#[test]
fn producers_are_replaced_when_the_resync_ends_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let session = begin(&ledger);
    session.record(&[(1, Some(entry(7, Producers::Unknown))), (2, Some(entry(8, units(&[1]))))]).unwrap();
    session.record_producers(&[(1, units(&[1, 2])), (3, units(&[1]))]).unwrap();
    drop(session);
    let killed = begin(&ledger);
    assert_eq!(killed.look_up(1).unwrap().producers, Producers::Unknown, "the resync did not end");
    killed.record(&[(1, Some(entry(7, Producers::Unknown)))]).unwrap();
    killed.record_producers(&[(1, units(&[1, 2])), (3, units(&[1]))]).unwrap();
    end(&killed);
    let after = begin(&ledger);
    assert_eq!(after.look_up(1).unwrap(), entry(7, units(&[1, 2])), "the content stays");
    assert_eq!(after.look_up(3), None, "what is not recorded stays so");
    after.record_producers(&[(1, units(&[2]))]).unwrap();
    end(&after);
    assert_eq!(begin(&ledger).look_up(1).unwrap(), entry(7, units(&[2])));
}

#[test]
fn an_event_adds_its_producer_and_makes_the_content_uncertain() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let session = begin(&ledger);
    session.record(&[(1, Some(entry(7, units(&[1])))), (2, Some(entry(8, Producers::Unknown)))]).unwrap();
    end(&session);
    let of = |number| Some(unit(number));
    ledger.invalidate(CATALOG, &[(1, of(2)), (2, of(2)), (3, of(2)), (4, None)]).unwrap();
    let entries = ledger.entries(CATALOG, &[1, 2, 3, 4]).unwrap();
    let uncertain = |producers| Some(LedgerEntry { content: None, producers });
    assert_eq!(
        entries,
        [uncertain(units(&[1, 2])), uncertain(Producers::Unknown), uncertain(units(&[2])), None]
    );
}
