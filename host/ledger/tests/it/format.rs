//! Files of other formats, and files that do not include the organization of their catalog yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use berth_core::{
    AccountId, Kind, Ledger, LedgerEntry, LedgerReader, MissingScopes, Place, Producer, Producers, Region,
};
use berth_ledger::{Access, FileLedger, LedgerConfig};
use redb::{Database, ReadableDatabase, TableDefinition};

const OLD: &str = "aws of type aws-v3 at https://api.getport.io";
const NEW: &str = "aws of type aws-v3 at https://api.getport.io in organization org_1";
const ELSEWHERE: &str = "aws of type aws-v3 at https://api.getport.io in organization org_2";

// The original tables of format 1.
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const RUNS: TableDefinition<'_, u32, (u64, bool)> = TableDefinition::new("runs");
const UNITS: TableDefinition<'_, u32, &str> = TableDefinition::new("units");
const UNIT_NUMBERS: TableDefinition<'_, &str, u32> = TableDefinition::new("unit-numbers");
const ENTITIES: TableDefinition<'_, u128, [u8; 24]> = TableDefinition::new("entities");

const UNIT_LINES: [&str; 2] =
    ["111111111111 eu-west-1 AWS::EC2::Instance", "222222222222 global AWS::IAM::Role"];

fn file(dir: &Path) -> PathBuf {
    dir.join("ledger.redb")
}

/// A record of format 1.
fn record(content: u128, unit: u32, run: u32) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&content.to_le_bytes());
    bytes[16..20].copy_from_slice(&unit.to_le_bytes());
    bytes[20..].copy_from_slice(&run.to_le_bytes());
    bytes
}

/// Writes a file of format 1 after a resync that has just ended: 1 and 2 with a unit, 3 with several, 4
/// with uncertain content, 5 with a missing unit.
fn format_1(dir: &Path, catalog: &str) {
    let database = Database::create(file(dir)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        transaction.open_table(META).unwrap().insert("catalog", catalog).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        transaction.open_table(RUNS).unwrap().insert(7, (now, true)).unwrap();
        let mut units = transaction.open_table(UNITS).unwrap();
        let mut numbers = transaction.open_table(UNIT_NUMBERS).unwrap();
        for (number, line) in (1..).zip(UNIT_LINES) {
            units.insert(number, line).unwrap();
            numbers.insert(line, number).unwrap();
        }
        let mut entities = transaction.open_table(ENTITIES).unwrap();
        for (key, content, unit) in [(1, 11, 1), (2, 22, 2), (3, 33, 0), (4, 0, 1), (5, 55, 9)] {
            entities.insert(key, record(content, unit, 7)).unwrap();
        }
    }
    transaction.commit().unwrap();
}

fn units() -> [Producer; 2] {
    let region = Place::Region(Region::new("eu-west-1").unwrap());
    let unit = |account, place, kind| Producer {
        account: AccountId::new(account).unwrap(),
        place,
        kind: Kind::new(kind).unwrap(),
    };
    [
        unit("111111111111", region, "AWS::EC2::Instance"),
        unit("222222222222", Place::Global, "AWS::IAM::Role"),
    ]
}

/// The expected data of a file of [`format_1`].
fn expected(with_contents: bool) -> Vec<Option<LedgerEntry>> {
    let [one, two] = units().map(Producers::one);
    let entry = |content: Option<u128>, producers: &Producers| {
        Some(LedgerEntry { content: content.filter(|_| with_contents), producers: producers.clone() })
    };
    let unknown = Producers::Unknown;
    vec![
        entry(Some(11), &one),
        entry(Some(22), &two),
        entry(Some(33), &unknown),
        entry(None, &one),
        entry(Some(55), &unknown),
        None,
    ]
}

const KEYS: [u128; 6] = [1, 2, 3, 4, 5, 6];

fn found(session: &dyn LedgerReader) -> Vec<Option<LedgerEntry>> {
    KEYS.iter().map(|key| session.look_up(*key)).collect()
}

fn keys(session: &dyn LedgerReader) -> BTreeSet<u128> {
    let mut keys = BTreeSet::new();
    session.each_key(&mut |key| _ = keys.insert(key)).unwrap();
    keys
}

fn open(dir: &Path, access: Access) -> FileLedger {
    FileLedger::open(LedgerConfig { access, ..LedgerConfig::new(dir) }).unwrap()
}

#[test]
fn format_1_is_read_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    format_1(dir.path(), OLD);
    let before = fs::read(file(dir.path())).unwrap();
    let ledger = open(dir.path(), Access::Read);
    let opened = ledger.read(OLD).unwrap();
    assert_eq!(opened.notes, Vec::<String>::new());
    assert_eq!(found(opened.session.as_ref()), expected(true));
    assert_eq!(opened.session.missing_scopes().unwrap(), MissingScopes::new());
    assert_eq!(ledger.entries(OLD, &KEYS).unwrap(), expected(true));
    let totals = units().map(|unit| (unit.account, unit.kind)).into_iter().zip([2, 1]).collect();
    assert_eq!(ledger.totals(OLD).unwrap(), totals);
    drop((opened, ledger));
    assert_eq!(fs::read(file(dir.path())).unwrap(), before);
}

#[test]
fn format_1_becomes_the_current_one_without_losing_anything() {
    let dir = tempfile::tempdir().unwrap();
    format_1(dir.path(), OLD);
    drop(open(dir.path(), Access::Write));
    {
        let database = Database::open(file(dir.path())).unwrap();
        let transaction = database.begin_read().unwrap();
        let meta = transaction.open_table(META).unwrap();
        assert_eq!(meta.get("format").unwrap().unwrap().value(), "2");
    }
    let ledger = open(dir.path(), Access::Write);
    let opened = ledger.begin(OLD).unwrap();
    assert_eq!(opened.notes, Vec::<String>::new());
    assert_eq!(found(opened.session.as_ref()), expected(true));
    // New sets and old numbers in one file.
    let both = LedgerEntry { content: Some(66), producers: Producers::these(units()) };
    opened.session.record(&[(6, Some(both.clone())), (3, Some(both.clone()))]).unwrap();
    opened.session.end(&MissingScopes::new()).unwrap();
    let session = ledger.begin(OLD).unwrap().session;
    let mut all = expected(true);
    (all[2], all[5]) = (Some(both.clone()), Some(both));
    assert_eq!(found(session.as_ref()), all);
}

#[test]
fn a_ledger_without_an_organization_becomes_that_of_the_organization_and_is_compared_once() {
    let dir = tempfile::tempdir().unwrap();
    format_1(dir.path(), OLD);
    let ledger = open(dir.path(), Access::Write);
    assert_eq!(ledger.entries(NEW, &KEYS).unwrap(), expected(false));

    // Reading leaves it unchanged.
    let looked = ledger.read(NEW).unwrap();
    assert!(looked.notes.len() == 1 && looked.notes[0].contains("organization"), "{:?}", looked.notes);
    assert_eq!(found(looked.session.as_ref()), expected(false));
    assert_eq!(ledger.entries(OLD, &KEYS).unwrap(), expected(true));

    let opened = ledger.begin(NEW).unwrap();
    assert!(opened.notes.len() == 1 && opened.notes[0].contains("organization"), "{:?}", opened.notes);
    assert_eq!(found(opened.session.as_ref()), expected(false));
    assert_eq!(ledger.entries(OLD, &KEYS).unwrap(), [const { None }; 6]);
    let compared = expected(true)[0].clone();
    opened.session.record(&[(1, compared.clone())]).unwrap();
    opened.session.end(&MissingScopes::new()).unwrap();
    let again = ledger.begin(NEW).unwrap();
    assert_eq!(again.notes, Vec::<String>::new());
    let mut all = expected(false);
    all[0] = compared;
    assert_eq!(found(again.session.as_ref()), all);

    // It is never used for another organization, nor without one.
    for another in [ELSEWHERE, OLD] {
        assert_eq!(ledger.entries(another, &KEYS).unwrap(), [const { None }; 6]);
        assert_eq!(ledger.totals(another).unwrap(), BTreeMap::new());
        let looked = ledger.read(another).unwrap();
        assert!(looked.notes[0].contains(NEW), "{:?}", looked.notes);
        assert_eq!(keys(looked.session.as_ref()), BTreeSet::new());
    }
    let taken = ledger.begin(ELSEWHERE).unwrap();
    assert!(taken.notes[0].contains(NEW), "{:?}", taken.notes);
    assert_eq!(keys(taken.session.as_ref()), BTreeSet::new());
    assert_eq!(ledger.entries(NEW, &KEYS).unwrap(), [const { None }; 6]);
}

#[test]
fn a_read_only_session_takes_the_producers_of_a_ledger_without_an_organization() {
    let dir = tempfile::tempdir().unwrap();
    format_1(dir.path(), OLD);
    let before = fs::read(file(dir.path())).unwrap();
    let ledger = open(dir.path(), Access::Read);
    let opened = ledger.read(NEW).unwrap();
    assert!(opened.notes[0].contains("organization"), "{:?}", opened.notes);
    assert_eq!(found(opened.session.as_ref()), expected(false));
    assert_eq!(keys(opened.session.as_ref()), BTreeSet::from([1, 2, 3, 4, 5]));
    drop((opened, ledger));
    assert_eq!(fs::read(file(dir.path())).unwrap(), before);
}

#[test]
fn contents_of_the_earlier_identity_stay_uncertain_for_any_interval() {
    let dir = tempfile::tempdir().unwrap();
    format_1(dir.path(), OLD);
    let verify_interval = Duration::from_hours(24 * 365);
    let config = LedgerConfig { verify_interval, ..LedgerConfig::new(dir.path()) };
    // Killed right after the identity has changed.
    drop(FileLedger::open(config.clone()).unwrap().begin(NEW).unwrap());
    let session = FileLedger::open(config).unwrap().begin(NEW).unwrap().session;
    assert_eq!(found(session.as_ref()), expected(false));
}

/// A table that a newer format might store with another type.
const OTHER_ENTITIES: TableDefinition<'_, &str, &str> = TableDefinition::new("entities");

#[test]
fn a_newer_format_is_refused_and_left_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    {
        let database = Database::create(file(dir.path())).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("format", "3").unwrap();
        transaction.open_table(OTHER_ENTITIES).unwrap().insert("a", "b").unwrap();
        transaction.commit().unwrap();
    }
    let before = fs::read(file(dir.path())).unwrap();
    for access in [Access::Write, Access::Read] {
        let config = LedgerConfig { access, ..LedgerConfig::new(dir.path()) };
        let refused = FileLedger::open(config).unwrap_err();
        assert!(refused.message.contains("format 3"), "{refused}");
        assert!(refused.message.contains(file(dir.path()).to_str().unwrap()), "{refused}");
        assert!(refused.remedy.as_ref().unwrap().contains("--state-dir"), "{refused}");
    }
    assert!(fs::read(file(dir.path())).unwrap() == before, "not a byte has changed");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
