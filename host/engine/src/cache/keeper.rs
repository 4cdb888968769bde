//! Decides how long compiled code is kept.
//!
//! Several processes with different plugins may share one directory. The modification time of a record
//! shows when a process last used its entry: it is renewed at each start, and once a day while the plugin
//! is in use.
//! - An entry that nobody has used for [`UNUSED`] is removed, including those of earlier versions of Berth.
//! - An entry that this process compiled is removed as soon as its plugin was replaced and is no longer in
//!   use, unless another process has used the entry since.

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

/// The time after which unused code is removed.
const UNUSED: Duration = Duration::from_hours(30 * 24);
/// How often a process renews its marks of use.
const RENEWAL: Duration = Duration::from_hours(24);

/// The entries of a directory that this process uses and has created.
pub(crate) struct Keeper {
    pub(super) dir: PathBuf,
    engine_key: String,
    entries: Mutex<Entries>,
}

struct Entries {
    used: HashMap<String, Weak<Lease>>,
    /// Entries that were compiled here, with the modification time that they were given.
    made: HashMap<String, SystemTime>,
    renewed: Instant,
}

/// Marks an entry as used until dropped.
pub(crate) struct Lease {
    keeper: Arc<Keeper>,
    component: String,
    replaced: AtomicBool,
}

impl Lease {
    /// Records that another version has replaced this one.
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
    /// Opens a directory, and removes entries that nobody has used for a long time.
    pub(super) fn of(dir: PathBuf, engine_key: String) -> Self {
        clean(&dir, SystemTime::now());
        let entries = Entries { used: HashMap::new(), made: HashMap::new(), renewed: Instant::now() };
        Self { dir, engine_key, entries: Mutex::new(entries) }
    }

    /// Marks an entry as used, whether it exists yet or not.
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

    /// Marks an entry as used now.
    pub(super) fn touch(&self, component: &str) {
        self.entries().touch(&self.record(component), component);
    }

    /// Marks all leased entries as used, once a day.
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
            // An entry that was created here stays so until another process uses it.
            let own = entries.is_own(&record, &component);
            entries.made.remove(&component);
            entries.touch(&record, &component);
            if let Some(stamp) = own.then(|| stamp(&record)).flatten() {
                entries.made.insert(component, stamp);
            }
        }
    }

    /// Records that an entry was created here.
    pub(super) fn made(&self, component: &str) {
        if let Some(stamp) = stamp(&self.record(component)) {
            self.entries().made.insert(component.to_owned(), stamp);
        }
    }

    /// Removes an entry that this process no longer uses, if it was created here and nobody else has used
    /// it.
    fn discard(&self, component: &str) {
        let mut entries = self.entries();
        if entries.used.get(component).is_some_and(|lease| lease.strong_count() > 0) {
            return;
        }
        entries.used.remove(component);
        let record = self.record(component);
        if entries.is_own(&record, component) {
            entries.made.remove(component);
            tracing::debug!(component, "removed the compiled code of a previous version");
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
    /// Returns whether an entry was created here and nobody else has used it.
    fn is_own(&self, record: &Path, component: &str) -> bool {
        let made = self.made.get(component);
        made.is_some() && made.copied() == stamp(record)
    }

    fn touch(&mut self, record: &Path, component: &str) {
        if self.is_own(record, component) {
            return;
        }
        self.made.remove(component);
        // If this fails, someone else manages the directory.
        _ = files::open(record).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

fn stamp(file: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(file).and_then(|found| found.modified()).ok()
}

/// Removes an entry: the record first, so that an entry is either complete or absent.
fn remove(record: &Path) {
    _ = fs::remove_file(record);
    _ = fs::remove_file(record.with_extension("cwasm"));
}

/// Removes entries that nobody has used for a long time, and unfinished files.
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

/// Returns whether a file has the name of an entry's file.
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
    fn entries_unused_for_a_month_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (old, new) = (written(dir, 'a', OTHER_KEY), written(dir, 'b', OTHER_KEY));
        aged(&old, 31 * DAY);
        aged(&new, 29 * DAY);
        // The record decides, not the code.
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
    fn a_use_extends_an_entry_by_a_month() {
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
    fn a_long_running_process_renews_its_entries_once_a_day() {
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
    fn a_replaced_version_is_removed_after_its_last_use() {
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
    fn entries_of_others_are_removed_only_by_age() {
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
