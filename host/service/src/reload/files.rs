//! Polls files for changes. Notifications would be faster, but do not work on network file systems, or for
//! files that Kubernetes mounts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The polling interval. A changed file is read once it looks the same twice, so that it is not read while it
/// is written.
const LOOK: Duration = Duration::from_secs(2);

/// The existing files: when each was written, and its length.
type Stamp = BTreeMap<PathBuf, (SystemTime, u64)>;

/// Files that are polled.
pub(crate) struct Files {
    look: Arc<dyn Fn() -> Stamp + Send + Sync>,
    seen: Stamp,
}

impl Files {
    /// Starts to watch for changes from the current state.
    pub(crate) async fn watch(look: impl Fn() -> Stamp + Send + Sync + 'static) -> Self {
        let mut files = Self { look: Arc::new(look), seen: Stamp::new() };
        files.seen().await;
        files
    }

    /// Waits until they differ from the last known state, and stay the same for a moment.
    pub(crate) async fn change(&self) {
        let mut before = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.now().await;
            if now != self.seen && before.as_ref() == Some(&now) {
                return;
            }
            before = Some(now);
        }
    }

    /// Records the current state.
    pub(crate) async fn seen(&mut self) {
        self.seen = self.now().await;
    }

    /// Runs off the runtime, because a network file system may be slow.
    async fn now(&self) -> Stamp {
        let look = Arc::clone(&self.look);
        tokio::task::spawn_blocking(move || look()).await.unwrap_or_else(|_| self.seen.clone())
    }
}

/// Watches plugins, their signatures, and the lockfile. The first state counts as a change, because a file
/// may change between loading and the first poll.
pub(crate) fn components(dirs: &[PathBuf], lock: Option<&Path>) -> Files {
    let (dirs, lock) = (dirs.to_owned(), lock.map(Path::to_owned));
    let look = move || {
        let mut stamp = of_directories(&dirs);
        stamp.extend(of_files(&lock));
        stamp
    };
    Files { look: Arc::new(look), seen: Stamp::new() }
}

/// Returns the state of single files.
pub(crate) fn of_files<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Stamp {
    // Follows links: Kubernetes replaces a link to replace a mounted file.
    let look = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some((path.clone(), (file.modified().ok()?, file.len())))
    };
    paths.into_iter().filter_map(look).collect()
}

/// Returns the state of the files in directories.
fn of_directories(dirs: &[PathBuf]) -> Stamp {
    let entries = |dir: &PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let files: Vec<PathBuf> = dirs.iter().flat_map(entries).map(|entry| entry.path()).collect();
    of_files(files.iter().filter(|file| is_component(file)))
}

fn is_component(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "wasm" || extension == "minisig")
}
