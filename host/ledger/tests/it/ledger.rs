//! Tests the ledger through its trait: what survives, what counts, and how a damaged, foreign or locked
//! file is handled.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use berth_core::{
    AccountId, Kind, Ledger, LedgerEntry, LedgerReader, LedgerSession, MissingScopes, OpenedLedger, Place,
    Producer, Producers, Region,
};
use berth_ledger::{Access, FileLedger, LedgerConfig};
use proptest::prelude::*;

const CATALOG: &str = "aws of type aws-v3 at https://api.getport.io";

fn open(dir: &Path) -> FileLedger {
    FileLedger::open(LedgerConfig::new(dir)).unwrap()
}

fn begin(ledger: &FileLedger) -> Arc<dyn LedgerSession> {
    let OpenedLedger { session, notes } = ledger.begin(CATALOG).unwrap();
    assert_eq!(notes, Vec::<String>::new());
    session
}

fn unit(account: &str, place: &str) -> Producer {
    let place = Region::new(place).map_or(Place::Global, Place::Region);
    Producer {
        account: AccountId::new(account).unwrap(),
        place,
        kind: Kind::new("AWS::EC2::Instance").unwrap(),
    }
}

fn entry(content: u128) -> LedgerEntry {
    LedgerEntry { content: Some(content), producers: Producers::one(unit("111111111111", "eu-west-1")) }
}

/// Runs a resync that records these entries and ends.
fn resync(ledger: &FileLedger, entries: &[(u128, Option<LedgerEntry>)]) {
    let session = begin(ledger);
    session.record(entries).unwrap();
    session.end(&MissingScopes::new()).unwrap();
}

fn keys(session: &dyn LedgerReader) -> BTreeSet<u128> {
    let mut keys = BTreeSet::new();
    session.each_key(&mut |key| _ = keys.insert(key)).unwrap();
    keys
}

#[test]
fn records_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("made/on/demand");
    let global = LedgerEntry { content: Some(2), producers: Producers::one(unit("222222222222", "global")) };
    let shared = LedgerEntry::default();
    let all = [(1, entry(1)), (2, global), (3, shared), (4, entry(4))];
    resync(&open(&state), &all.clone().map(|(key, entry)| (key, Some(entry))));
    resync(&open(&state), &[(4, None), (1, Some(entry(11)))]);

    let ledger = open(&state);
    let session = begin(&ledger);
    assert_eq!(session.look_up(1), Some(entry(11)));
    assert_eq!(session.look_up(2).as_ref(), Some(&all[1].1));
    assert_eq!(session.look_up(3).as_ref(), Some(&all[2].1));
    assert_eq!((session.look_up(4), session.look_up(5)), (None, None));
    assert_eq!(keys(session.as_ref()), BTreeSet::from([1, 2, 3]));
    // A session sees the state at its beginning.
    session.record(&[(9, Some(entry(9)))]).unwrap();
    assert_eq!(session.look_up(9), None);
}

#[test]
fn an_unended_resync_makes_earlier_contents_uncertain() {
    let dir = tempfile::tempdir().unwrap();
    resync(&open(dir.path()), &[(1, Some(entry(1))), (2, Some(entry(2)))]);
    // Recorded, then killed.
    begin(&open(dir.path())).record(&[(2, Some(entry(22)))]).unwrap();

    let ledger = open(dir.path());
    let session = begin(&ledger);
    let uncertain = LedgerEntry { content: None, ..entry(0) };
    assert_eq!(session.look_up(1), Some(uncertain), "the killed run may have sent another content");
    assert_eq!(session.look_up(2), Some(entry(22)), "the killed run had this confirmed");
    session.record(&[(1, Some(entry(1)))]).unwrap();
    session.end(&MissingScopes::new()).unwrap();
    let session = begin(&ledger);
    assert_eq!(session.look_up(1), Some(entry(1)), "looked at and recorded again");
    assert_eq!(session.look_up(2), Some(entry(22)));
}

#[test]
fn other_writes_make_contents_uncertain_and_keep_producers() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    resync(&ledger, &[(1, Some(entry(1))), (2, Some(entry(2)))]);
    ledger.invalidate("another catalog", &[(2, None)]).unwrap();
    let running = begin(&ledger);
    ledger.invalidate(CATALOG, &[(1, None), (3, None)]).unwrap();
    assert_eq!(running.look_up(1), Some(entry(1)), "a session sees what was known at its beginning");
    running.end(&MissingScopes::new()).unwrap();
    drop(ledger);

    let session = begin(&open(dir.path()));
    assert_eq!(session.look_up(1), Some(LedgerEntry { content: None, ..entry(1) }));
    assert_eq!((session.look_up(2), session.look_up(3)), (Some(entry(2)), None));
    assert_eq!(keys(session.as_ref()), BTreeSet::from([1, 2]));
}

#[test]
fn after_the_interval_everything_is_verified_again() {
    let dir = tempfile::tempdir().unwrap();
    let with = |verify_interval| {
        let config = LedgerConfig { verify_interval, ..LedgerConfig::new(dir.path()) };
        FileLedger::open(config).unwrap()
    };
    resync(&with(Duration::from_hours(1)), &[(1, Some(entry(1)))]);
    let day = begin(&with(Duration::from_hours(24))).look_up(1);
    assert_eq!(day, Some(entry(1)));
    let none = begin(&with(Duration::ZERO)).look_up(1).unwrap();
    assert_eq!((none.content, none.producers), (None, entry(1).producers), "who produced it stays known");
}

#[test]
fn a_ledger_of_another_catalog_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    resync(&open(dir.path()), &[(1, Some(entry(1)))]);
    let ledger = open(dir.path());
    // A reader leaves it unchanged.
    let looked = ledger.read("another").unwrap();
    assert!(looked.session.look_up(1).is_none() && looked.notes[0].contains(CATALOG), "{:?}", looked.notes);
    assert_eq!(begin(&ledger).look_up(1), Some(entry(1)));

    let taken = ledger.begin("another").unwrap();
    assert!(
        taken.notes[0].contains(CATALOG) && taken.notes[0].contains("starting over"),
        "{:?}",
        taken.notes
    );
    assert!(taken.session.look_up(1).is_none() && keys(taken.session.as_ref()).is_empty());
    let back = ledger.begin(CATALOG).unwrap();
    assert!(back.notes[0].contains("another"), "{:?}", back.notes);
    assert_eq!(back.session.look_up(1), None, "it is not taken for what it was");
}

#[test]
fn only_the_session_that_began_last_writes() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let former = begin(&ledger);
    former.record(&[(1, Some(entry(1)))]).unwrap();
    let other = ledger.begin("another").unwrap().session;
    let back = ledger.begin(CATALOG).unwrap().session;
    for superseded in [former, other] {
        let refused = superseded.record(&[(1, Some(entry(2)))]).unwrap_err();
        assert!(refused.message.contains("another resync"), "{refused}");
        assert!(superseded.end(&MissingScopes::new()).is_err());
    }
    back.record(&[(3, Some(entry(3)))]).unwrap();
    back.end(&MissingScopes::new()).unwrap();
    assert_eq!(keys(begin(&ledger).as_ref()), BTreeSet::from([3]));
}

#[test]
fn missing_scopes_are_replaced_by_each_resync_that_ends() {
    let dir = tempfile::tempdir().unwrap();
    let scopes = |texts: &[(&str, u32)]| -> MissingScopes {
        texts.iter().map(|(text, count)| (text.parse().unwrap(), *count)).collect()
    };
    let first = scopes(&[("account=111111111111", 1), ("region=222222222222/eu-west-1", 7)]);
    let second = scopes(&[("account=111111111111", 2), ("account=333333333333", 1)]);
    let session = begin(&open(dir.path()));
    assert_eq!(session.missing_scopes().unwrap(), MissingScopes::new());
    session.end(&first).unwrap();
    // Killed: nothing changes.
    begin(&open(dir.path())).record(&[(1, Some(entry(1)))]).unwrap();
    let session = begin(&open(dir.path()));
    assert_eq!(session.missing_scopes().unwrap(), first);
    Arc::clone(&session).end(&second).unwrap();
    assert_eq!(session.missing_scopes().unwrap(), first, "as it was at the beginning");
    drop(session);

    let ledger = open(dir.path());
    assert_eq!(begin(&ledger).missing_scopes().unwrap(), second);
    let another = ledger.read("another").unwrap().session;
    assert_eq!(another.missing_scopes().unwrap(), MissingScopes::new());
    let another = ledger.begin("another").unwrap().session;
    assert_eq!(another.missing_scopes().unwrap(), MissingScopes::new());
    let back = ledger.begin(CATALOG).unwrap().session;
    assert_eq!(back.missing_scopes().unwrap(), MissingScopes::new());
}

#[test]
fn entries_and_totals_follow_the_current_file() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    assert_eq!(ledger.entries(CATALOG, &[1]).unwrap(), [None], "about no catalog yet");
    let (one, two) = (unit("111111111111", "eu-west-1"), unit("222222222222", "global"));
    let other_region = unit("111111111111", "us-east-1");
    let of = |producers: &[&Producer]| {
        let producers = Producers::these(producers.iter().copied().cloned());
        Some(LedgerEntry { content: Some(7), producers })
    };
    let foreign = LedgerEntry { content: Some(7), producers: Producers::SomebodyElse };
    let all = [
        (1, of(&[&one])),
        (2, of(&[&two, &one])),
        (3, of(&[&one, &other_region])),
        (4, Some(LedgerEntry::default())),
        (5, Some(foreign)),
    ];
    resync(&ledger, &all);
    let found = ledger.entries(CATALOG, &[5, 4, 3, 2, 1, 6]).unwrap();
    let expected: Vec<_> = all.iter().rev().map(|(_, entry)| entry.clone()).chain([None]).collect();
    assert_eq!(found, expected);
    let part = |unit: &Producer, count| ((unit.account.clone(), unit.kind.clone()), count);
    assert_eq!(ledger.totals(CATALOG).unwrap(), BTreeMap::from([part(&one, 3), part(&two, 1)]));

    assert_eq!(ledger.entries("another", &[1, 2]).unwrap(), [None, None]);
    assert_eq!(ledger.totals("another").unwrap(), BTreeMap::new());

    // Records of a running resync count; what it may still send does not.
    let running = begin(&ledger);
    running.record(&[(1, of(&[&two])), (2, None), (6, of(&[&two]))]).unwrap();
    let found = ledger.entries(CATALOG, &[1, 2, 3, 6]).unwrap();
    let union = Producers::these([one.clone(), two.clone()]);
    assert_eq!(found[0], Some(LedgerEntry { content: Some(7), producers: union }));
    assert_eq!(found[1], None);
    assert_eq!(found[2].as_ref().unwrap().content, None);
    assert_eq!(found[3].as_ref().unwrap().producers, Producers::Unknown);
    running.end(&MissingScopes::new()).unwrap();
    assert_eq!(ledger.entries(CATALOG, &[1, 6]).unwrap(), [of(&[&two]), of(&[&two])]);
    assert_eq!(ledger.totals(CATALOG).unwrap(), BTreeMap::from([part(&one, 1), part(&two, 2)]));
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    resync(&ledger, &[(1, Some(entry(1)))]);
    let refused = FileLedger::open(LedgerConfig::new(dir.path())).unwrap_err();
    assert!(refused.message.contains(dir.path().to_str().unwrap()), "{refused}");
    assert!(refused.remedy.as_ref().unwrap().contains("--state-dir"), "{refused}");

    let before = fs::read(dir.path().join("ledger.redb")).unwrap();
    let read = LedgerConfig { access: Access::Read, ..LedgerConfig::new(dir.path()) };
    let reader = FileLedger::open(read).unwrap();
    let session = reader.read(CATALOG).unwrap().session;
    assert_eq!(session.look_up(1), Some(entry(1)));
    assert!(reader.begin(CATALOG).is_err());
    assert_eq!(fs::read(dir.path().join("ledger.redb")).unwrap(), before, "nothing was written");
}

#[test]
fn reading_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let config = LedgerConfig { access: Access::Read, ..LedgerConfig::new(&state) };
    let ledger = FileLedger::open(config).unwrap();
    assert_eq!(ledger.entries(CATALOG, &[1]).unwrap(), [None]);
    assert_eq!(ledger.totals(CATALOG).unwrap(), BTreeMap::new());
    let opened = ledger.read(CATALOG).unwrap();
    assert!(opened.session.look_up(1).is_none() && keys(opened.session.as_ref()).is_empty());
    assert_eq!(opened.session.missing_scopes().unwrap(), MissingScopes::new());
    assert!(!state.exists() && opened.notes.is_empty());
}

#[cfg(unix)]
#[test]
fn new_files_are_accessible_to_this_user_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("made/on/demand");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    resync(&open(&state), &[(1, Some(entry(1)))]);
    assert_eq!((mode(&state), mode(&state.join("ledger.redb"))), (0o700, 0o600));
    fs::write(state.join("ledger.redb"), "not a database").unwrap();
    survives(&state);
    assert_eq!(mode(&state.join("ledger.redb")), 0o600, "the one that is started over");
}

#[test]
fn an_unusable_directory_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = FileLedger::open(LedgerConfig::new(&file)).unwrap_err();
    assert!(refused.message.contains(file.to_str().unwrap()) && refused.remedy.is_some(), "{refused}");
}

/// Opens a changed file, and uses it.
fn survives(dir: &Path) -> (Option<LedgerEntry>, Vec<String>) {
    let ledger = open(dir);
    let opened = ledger.begin(CATALOG).unwrap();
    let found = opened.session.look_up(1);
    opened.session.record(&[(1, Some(entry(5)))]).unwrap();
    opened.session.end(&MissingScopes::new()).unwrap();
    assert_eq!(begin(&ledger).look_up(1), Some(entry(5)));
    (found, opened.notes)
}

#[test]
fn a_damaged_file_is_moved_aside_and_started_over() {
    // The second damaged file replaces the first one.
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        resync(&open(dir.path()), &[(1, Some(entry(1)))]);
        fs::write(dir.path().join("ledger.redb"), "not a database".repeat(1000)).unwrap();
        let (found, notes) = survives(dir.path());
        assert_eq!(found, None);
        assert!(notes[0].contains("damaged"), "{notes:?}");
        assert!(dir.path().join("ledger.damaged.redb").exists());
    }
    // An empty file, as a full disk leaves it, counts as missing.
    fs::write(dir.path().join("ledger.redb"), "").unwrap();
    assert_eq!(survives(dir.path()), (None, Vec::new()));
}

#[test]
fn a_partly_damaged_file_is_moved_aside_too() {
    // The head of the file identifies it as a ledger.
    for part in 1..8 {
        let dir = tempfile::tempdir().unwrap();
        resync(&open(dir.path()), &large());
        let path = dir.path().join("ledger.redb");
        let mut bytes = fs::read(&path).unwrap();
        let size = bytes.len();
        bytes.iter_mut().skip(size * part / 8).take(size / 8 * 4).for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, &bytes).unwrap();
        let reader = LedgerConfig { access: Access::Read, ..LedgerConfig::new(dir.path()) };
        drop(FileLedger::open(reader).unwrap());
        let (found, notes) = survives(dir.path());
        assert!(found.is_none() || notes.is_empty(), "part {part}: {notes:?}");
    }
}

fn large() -> Vec<(u128, Option<LedgerEntry>)> {
    (1..3000_u128).map(|key| (key, Some(entry(key)))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whichever byte changes: the data is correct or not used, and nothing panics.
    #[test]
    fn a_changed_byte_is_never_relied_on(at in any::<prop::sample::Index>(), flip in 1..=255_u8, cut: bool) {
        let dir = tempfile::tempdir().unwrap();
        resync(&open(dir.path()), &large());
        let path = dir.path().join("ledger.redb");
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if cut {
            bytes.truncate(at + 1);
        }
        fs::write(&path, &bytes).unwrap();
        let ledger = open(dir.path());
        let opened = ledger.begin(CATALOG).unwrap();
        for (key, recorded) in large() {
            let found = opened.session.look_up(key);
            prop_assert!(found.is_none() || found == recorded, "{key}: {found:?}");
        }
        drop(opened);
        resync(&ledger, &[(1, Some(entry(5)))]);
    }
}
