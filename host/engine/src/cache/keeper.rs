//! Which compiled code is kept for how long.
//!
//! Several processes may use one directory, each with plugins of its own. The time stamp of a record
//! tells when a process last used its entry: it is renewed at each start, and once a day while the
//! plugin is in use.
//! - What nobody has used for [`UNUSED`] is removed, of former versions of Berth, too.
//! - What this process has compiled itself is removed as soon as its plugin was replaced and nothing uses
//!   it any more, unless another process has used it since.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{files, path};

/// After how long code that nobody uses is removed.
const UNUSED: Duration = Duration::from_hours(30 * 24);
/// How often a process says that it uses its code.
const RENEWAL: Duration = Duration::from_hours(24);

/// The entries of a directory that this process uses and has made.
pub(crate) struct Keeper {
    pub(super) dir: PathBuf,
    engine_key: String,
    entries: Mutex<Entries>,
}

struct Entries {
    used: HashMap<String, Weak<Lease>>,
    /// What was compiled here, with the time stamp that it was given.
    made: HashMap<String, SystemTime>,
    renewed: Instant,
}

/// The use of an entry, for as long as it lives.
pub(crate) struct Lease {
    keeper: Arc<Keeper>,
    component: String,
    replaced: AtomicBool,
}

impl Lease {
    /// Says that another version has taken the place of this one.
    pub(crate) fn replaced(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.replaced.load(Ordering::Relaxed) {
            self.keeper.discard(&self.component);
        }
    }
}

impl Keeper {
    /// Takes a directory, and removes what nobody has used for long.
    pub(super) fn of(dir: PathBuf, engine_key: String) -> Self {
        clean(&dir, SystemTime::now());
        let entries = Entries { used: HashMap::new(), made: HashMap::new(), renewed: Instant::now() };
        Self { dir, engine_key, entries: Mutex::new(entries) }
    }

    /// Uses an entry from now on, whether it is there yet or not.
    pub(super) fn lease(self: &Arc<Self>, component: &str) -> Arc<Lease> {
        let mut entries = self.entries();
        if let Some(lease) = entries.used.get(component).and_then(Weak::upgrade) {
            lease.replaced.store(false, Ordering::Relaxed);
            return lease;
        }
        let lease = Arc::new(Lease {
            keeper: Arc::clone(self),
            component: component.to_owned(),
            replaced: AtomicBool::new(false),
        });
        entries.used.insert(component.to_owned(), Arc::downgrade(&lease));
        lease
    }

    /// Says that an entry is used.
    pub(super) fn touch(&self, component: &str) {
        self.entries().touch(&self.record(component), component);
    }

    /// Says once a day that all entries are used that are.
    pub(super) fn renew(&self) {
        let mut entries = self.entries();
        if entries.renewed.elapsed() < RENEWAL {
            return;
        }
        entries.renewed = Instant::now();
        entries.used.retain(|_, lease| lease.strong_count() > 0);
        let used: Vec<String> = entries.used.keys().cloned().collect();
        for component in used {
            let record = self.record(&component);
            // What was made here stays so while nobody else uses it.
            let own = entries.is_own(&record, &component);
            entries.made.remove(&component);
            entries.touch(&record, &component);
            if let Some(stamp) = own.then(|| stamp(&record)).flatten() {
                entries.made.insert(component, stamp);
            }
        }
    }

    /// Notes that an entry was made here.
    pub(super) fn made(&self, component: &str) {
        if let Some(stamp) = stamp(&self.record(component)) {
            self.entries().made.insert(component.to_owned(), stamp);
        }
    }

    /// Removes an entry that nothing here uses any more, if it was made here and nobody else has used it.
    fn discard(&self, component: &str) {
        let mut entries = self.entries();
        if entries.used.get(component).is_some_and(|lease| lease.strong_count() > 0) {
            return;
        }
        entries.used.remove(component);
        let record = self.record(component);
        if entries.is_own(&record, component) {
            entries.made.remove(component);
            tracing::debug!(component, "the compiled code of a former version is removed");
            remove(&record);
        }
    }

    fn record(&self, component: &str) -> PathBuf {
        path(&self.dir, component, &self.engine_key, "json")
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Whether an entry was made here and used by nobody else.
    fn is_own(&self, record: &Path, component: &str) -> bool {
        let made = self.made.get(component);
        made.is_some() && made.copied() == stamp(record)
    }

    fn touch(&mut self, record: &Path, component: &str) {
        if self.is_own(record, component) {
            return;
        }
        self.made.remove(component);
        // Where it cannot be said, somebody else keeps the directory.
        _ = files::open(record).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

fn stamp(file: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(file).and_then(|found| found.modified()).ok()
}

/// Removes an entry: the record first, so that it is whole or absent.
fn remove(record: &Path) {
    _ = fs::remove_file(record);
    _ = fs::remove_file(record.with_extension("cwasm"));
}

/// Removes what nobody has used for long, and what was never finished.
fn clean(dir: &Path, now: SystemTime) {
    let older = |file: &Path, than: Duration| {
        stamp(file).and_then(|stamp| now.duration_since(stamp).ok()).is_some_and(|age| age > than)
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let file = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(files::UNFINISHED) {
            if older(&file, RENEWAL) {
                _ = fs::remove_file(&file);
            }
        } else if is_ours(&name) {
            let record = file.with_extension("json");
            let judged = if record.exists() { &record } else { &file };
            if older(judged, UNUSED) {
                remove(&record);
            }
        }
    }
}

/// Whether a file is called as those of entries are.
fn is_ours(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let Some((component, key)) = stem.split_once('-') else { return false };
    let hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    [OsStr::new("json"), OsStr::new("cwasm")].contains(&OsStr::new(extension))
        && component.len() == 64
        && key.len() == 16
        && hexadecimal(component)
        && hexadecimal(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";
    const OTHER_KEY: &str = "fedcba9876543210";
    const DAY: Duration = Duration::from_hours(24);

    fn component(letter: char) -> String {
        letter.to_string().repeat(64)
    }

    fn written(dir: &Path, letter: char, key: &str) -> PathBuf {
        for extension in ["cwasm", "json"] {
            fs::write(path(dir, &component(letter), key, extension), "").unwrap();
        }
        path(dir, &component(letter), key, "json")
    }

    fn aged(file: &Path, by: Duration) {
        fs::File::open(file).unwrap().set_modified(SystemTime::now() - by).unwrap();
    }

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    fn keeper(dir: &Path) -> Arc<Keeper> {
        Arc::new(Keeper::of(dir.to_owned(), KEY.to_owned()))
    }

    #[test]
    fn what_nobody_used_for_a_month_goes_and_all_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (old, new) = (written(dir, 'a', OTHER_KEY), written(dir, 'b', OTHER_KEY));
        aged(&old, 31 * DAY);
        aged(&new, 29 * DAY);
        // The record tells, not the code.
        aged(&new.with_extension("cwasm"), 90 * DAY);
        let orphan = written(dir, 'c', KEY);
        fs::remove_file(&orphan).unwrap();
        aged(&orphan.with_extension("cwasm"), 31 * DAY);
        for (name, age) in [("notes.json", 90), (".unfinished-a", 2), (".unfinished-b", 0)] {
            fs::write(dir.join(name), "").unwrap();
            aged(&dir.join(name), age * DAY);
        }
        keeper(dir);
        let left =
            [new.clone(), new.with_extension("cwasm"), dir.join("notes.json"), dir.join(".unfinished-b")];
        assert!(left.iter().all(|file| file.exists()));
        assert_eq!(names(dir), left.len());
    }

    #[test]
    fn a_use_keeps_an_entry_for_another_month() {
        let dir = tempfile::tempdir().unwrap();
        let record = written(dir.path(), 'a', KEY);
        aged(&record, 29 * DAY);
        keeper(dir.path()).touch(&component('a'));
        clean(dir.path(), SystemTime::now() + 29 * DAY);
        assert!(record.exists());
        clean(dir.path(), SystemTime::now() + 31 * DAY);
        assert_eq!(names(dir.path()), 0);
    }

    #[test]
    fn a_process_that_runs_for_long_says_once_a_day_what_it_uses() {
        let dir = tempfile::tempdir().unwrap();
        let record = written(dir.path(), 'a', KEY);
        let keeper = keeper(dir.path());
        keeper.made(&component('a'));
        let lease = keeper.lease(&component('a'));
        aged(&record, 3 * DAY);
        keeper.made(&component('a'));
        let before = stamp(&record);
        keeper.renew();
        assert_eq!(stamp(&record), before, "not yet");
        keeper.entries().renewed = Instant::now().checked_sub(RENEWAL).unwrap();
        keeper.renew();
        assert!(stamp(&record) > before);
        lease.replaced();
        drop(lease);
        assert!(!record.exists(), "it is still its own");
    }

    #[test]
    fn a_replaced_version_goes_when_the_last_use_of_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let record = written(dir.path(), 'a', KEY);
        let keeper = keeper(dir.path());
        keeper.made(&component('a'));
        let (first, second) = (keeper.lease(&component('a')), keeper.lease(&component('a')));
        drop(keeper.lease(&component('a')));
        first.replaced();
        drop(first);
        assert!(record.exists(), "a unit still runs with it");
        drop(second);
        assert_eq!(names(dir.path()), 0);

        // The end of a process replaces nothing; nor does a version that comes back.
        let record = written(dir.path(), 'b', KEY);
        keeper.made(&component('b'));
        drop(keeper.lease(&component('b')));
        let lease = keeper.lease(&component('b'));
        lease.replaced();
        drop((keeper.lease(&component('b')), lease));
        assert!(record.exists());
    }

    #[test]
    fn what_others_made_or_used_is_left_to_its_age() {
        let dir = tempfile::tempdir().unwrap();
        let (theirs, shared) = (written(dir.path(), 'a', KEY), written(dir.path(), 'b', KEY));
        let (one, other) = (keeper(dir.path()), keeper(dir.path()));
        one.made(&component('b'));
        aged(&shared, Duration::from_secs(5));
        one.made(&component('b'));
        other.touch(&component('b'));
        for letter in ['a', 'b'] {
            one.touch(&component(letter));
            let lease = one.lease(&component(letter));
            lease.replaced();
            drop(lease);
        }
        assert!(theirs.exists() && shared.exists());
    }
}
