//! A disk that fills up while the ledger is in use, and is freed again.
//!
//! The file size limit of the process simulates the disk: writing beyond it fails like on a full disk. The
//! limit applies to a whole process. Therefore the tests run in a separate process, one after the other; a
//! shell starts it with the signal for such writes disabled.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{env, fs, path::Path, process::Command, sync::Arc};

use berth_core::{
    AccountId, Kind, Ledger, LedgerEntry, LedgerSession, MissingScopes, OpenedLedger, Place, Problem,
    Producer, Producers,
};
use berth_ledger::{FileLedger, LedgerConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CATALOG: &str = "aws of type aws-v3 at https://api.getport.io";
const INNER: &str = "BERTH_TEST_FULL_DISK";

fn entry(content: u128) -> LedgerEntry {
    let producer = Producer {
        account: AccountId::new("111111111111").unwrap(),
        place: Place::Global,
        kind: Kind::new("AWS::EC2::Instance").unwrap(),
    };
    LedgerEntry { content: Some(content), producers: Producers::one(producer) }
}

fn entries(count: u128) -> Vec<(u128, Option<LedgerEntry>)> {
    // Spread over the whole file.
    (1..=count).map(|key| (key.wrapping_mul(u128::MAX / 1_000_003), Some(entry(key)))).collect()
}

fn begin(ledger: &FileLedger) -> (Arc<dyn LedgerSession>, Vec<String>) {
    let OpenedLedger { session, notes } = ledger.begin(CATALOG).unwrap();
    (session, notes)
}

/// Limits the size of files; `None` removes the limit.
fn bound(bytes: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

/// Creates a ledger of a hundred entities, and a session of it for which the disk is full.
fn filled(dir: &Path) -> (FileLedger, Arc<dyn LedgerSession>, Problem) {
    let ledger = FileLedger::open(LedgerConfig::new(dir)).unwrap();
    let (session, _) = begin(&ledger);
    session.record(&entries(100)).unwrap();
    session.end(&MissingScopes::new()).unwrap();
    let (session, _) = begin(&ledger);
    bound(Some(fs::metadata(dir.join("ledger.redb")).unwrap().len()));
    let problem = session.record(&entries(60_000)).unwrap_err();
    (ledger, session, problem)
}

fn warned_of_a_full_disk(problem: &Problem, dir: &Path) {
    assert!(problem.message.contains("File too large"), "the first cause: {problem}");
    let remedy = problem.remedy.as_ref().unwrap();
    assert!(remedy.contains("free space") && remedy.contains(dir.to_str().unwrap()), "{problem}");
}

fn the_next_resync_uses_the_ledger_after_the_disk_was_freed() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, former, problem) = filled(dir.path());
    warned_of_a_full_disk(&problem, dir.path());
    warned_of_a_full_disk(&former.record(&entries(1)).unwrap_err(), dir.path());
    warned_of_a_full_disk(&Arc::clone(&former).end(&MissingScopes::new()).unwrap_err(), dir.path());
    // A request of a live event reopens the file, too; it may fail.
    if let Err(problem) = ledger.invalidate(CATALOG, &[(1, None)]) {
        assert!(problem.remedy.unwrap().contains("free space"));
    }

    bound(None);
    let (session, _) = begin(&ledger);
    let known = entries(100);
    let uncertain = LedgerEntry { content: None, ..entry(1) };
    assert_eq!(
        session.look_up(known[0].0),
        Some(uncertain),
        "the failed resync may have sent another content"
    );
    session.record(&known).unwrap();
    session.end(&MissingScopes::new()).unwrap();
    assert_eq!(begin(&ledger).0.look_up(known[0].0), Some(entry(1)));
    let refused = former.record(&entries(1)).unwrap_err();
    assert!(refused.message.contains("another resync"), "{refused}");
}

fn the_operator_is_informed_that_the_ledger_was_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, ..) = filled(dir.path());
    bound(None);
    let (_, notes) = begin(&ledger);
    assert!(notes[0].contains("reopened") && notes[0].contains("File too large"), "{notes:?}");
    assert_eq!(begin(&ledger).1, Vec::<String>::new(), "once");
}

fn a_file_that_the_fault_damaged_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, ..) = filled(dir.path());
    bound(None);
    fs::write(dir.path().join("ledger.redb"), "not a database".repeat(1000)).unwrap();
    let (session, notes) = begin(&ledger);
    assert!(notes.iter().any(|note| note.contains("damaged")), "{notes:?}");
    assert_eq!(session.look_up(entries(1)[0].0), None);
    session.record(&entries(100)).unwrap();
    session.end(&MissingScopes::new()).unwrap();
    assert_eq!(begin(&ledger).0.look_up(entries(1)[0].0), Some(entry(1)));
}

#[test]
fn a_temporarily_full_disk_does_not_cost_the_ledger() {
    if env::var_os(INNER).is_some() {
        the_next_resync_uses_the_ledger_after_the_disk_was_freed();
        the_operator_is_informed_that_the_ledger_was_reopened();
        a_file_that_the_fault_damaged_is_moved_aside();
        return;
    }
    let script = r#"trap "" XFSZ; exec "$0" --exact a_temporarily_full_disk_does_not_cost_the_ledger"#;
    let mut inner = Command::new("sh");
    let ended = inner.args(["-c", script]).arg(env::current_exe().unwrap()).env(INNER, "1").output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}
