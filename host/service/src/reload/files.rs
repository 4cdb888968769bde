//! Files that are looked at every now and then. Notices of changes would be quicker, but is not to
//! be had on network file systems, nor for the files that Kubernetes mounts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How often is looked whether a file has changed. It is read when it looks the same twice, so that
/// nobody is caught writing.
const LOOK: Duration = Duration::from_secs(2);

/// The files that are there: when each was written, and how long it is.
type Stamp = BTreeMap<PathBuf, (SystemTime, u64)>;

/// Files that are looked at.
pub(crate) struct Files {
    look: Arc<dyn Fn() -> Stamp + Send + Sync>,
    seen: Stamp,
}

impl Files {
    /// Waits for them to become other than they are now.
    pub(crate) async fn watch(look: impl Fn() -> Stamp + Send + Sync + 'static) -> Self {
        let mut files = Self { look: Arc::new(look), seen: Stamp::new() };
        files.seen().await;
        files
    }

    /// Waits until they are other than they were seen, and stay so for a moment.
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

    /// Takes note of how they are.
    pub(crate) async fn seen(&mut self) {
        self.seen = self.now().await;
    }

    /// Off the runtime, because a network file system may take its time.
    async fn now(&self) -> Stamp {
        let look = Arc::clone(&self.look);
        tokio::task::spawn_blocking(move || look()).await.unwrap_or_else(|_| self.seen.clone())
    }
}

/// Plugins, their signatures, and the lock that approves them. Nobody has seen them yet: what happens between
/// their being loaded and the first look is a change as well.
pub(crate) fn components(dirs: &[PathBuf], lock: Option<&Path>) -> Files {
    let (dirs, lock) = (dirs.to_owned(), lock.map(Path::to_owned));
    let look = move || {
        let mut stamp = of_directories(&dirs);
        stamp.extend(of_files(&lock));
        stamp
    };
    Files { look: Arc::new(look), seen: Stamp::new() }
}

/// How single files look.
pub(crate) fn of_files<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Stamp {
    // Links are followed: Kubernetes exchanges one to exchange a mounted file.
    let look = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some((path.clone(), (file.modified().ok()?, file.len())))
    };
    paths.into_iter().filter_map(look).collect()
}

/// How the files of directories look.
fn of_directories(dirs: &[PathBuf]) -> Stamp {
    let entries = |dir: &PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let files: Vec<PathBuf> = dirs.iter().flat_map(entries).map(|entry| entry.path()).collect();
    of_files(files.iter().filter(|file| is_component(file)))
}

fn is_component(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "wasm" || extension == "minisig")
}
