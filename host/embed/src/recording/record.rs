//! A source that records another one's responses.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use berth_common::redact;
use berth_core::{
    Account, AccountAccess, AccountId, EnabledRegions, FetchError, FetchRequest, OpenedSource, PlannedRead,
    Problem, ProblemCode, RawPage, RegionHints, ResourceReader, Source, SourceSession,
};
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::value::RawValue;

use super::{End, FORMAT, INDEX, Index, Line, RecordedAccount, RecordingError, Regions, file_error, file_of};

/// Passes everything on unchanged, and keeps a copy.
///
/// A copy that cannot be written never disturbs the run; [`problem`](Self::problem) reports it.
pub struct RecordingSource {
    source: Arc<dyn Source>,
    keeper: Arc<Keeper>,
}

/// Writes the recording.
struct Keeper {
    directory: PathBuf,
    accounts: Mutex<BTreeMap<AccountId, RecordedAccount>>,
    redacted: AtomicU64,
    problem: Mutex<Option<Problem>>,
}

impl RecordingSource {
    /// Records `source` in a directory, which is created.
    ///
    /// # Errors
    /// [`RecordingError`] if the directory cannot be written to, or is not empty.
    pub(crate) fn new(source: Arc<dyn Source>, directory: &Path) -> Result<Self, RecordingError> {
        create_directory(directory).map_err(file_error(directory))?;
        let mut entries = fs::read_dir(directory).map_err(file_error(directory))?;
        if entries.next().is_some() {
            return Err(RecordingError::Taken { path: directory.to_owned() });
        }
        let keeper = Keeper {
            directory: directory.to_owned(),
            accounts: Mutex::default(),
            redacted: AtomicU64::new(0),
            problem: Mutex::default(),
        };
        // Fails early if the directory cannot be written to.
        keeper.write_index()?;
        Ok(Self { source, keeper: Arc::new(keeper) })
    }

    /// Returns how many values were replaced so far because they look like secrets.
    pub fn redacted(&self) -> u64 {
        self.keeper.redacted.load(Ordering::Relaxed)
    }

    /// Returns why the recording is incomplete, if it is.
    pub fn problem(&self) -> Option<Problem> {
        self.keeper.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for RecordingSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingSource").field("directory", &self.keeper.directory).finish_non_exhaustive()
    }
}

impl Keeper {
    fn accounts(&self) -> MutexGuard<'_, BTreeMap<AccountId, RecordedAccount>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_index(&self) -> Result<(), RecordingError> {
        let index = Index {
            format: FORMAT,
            berth: env!("CARGO_PKG_VERSION").into(),
            redacted: self.redacted.load(Ordering::Relaxed),
            accounts: self.accounts().values().cloned().collect(),
        };
        let path = self.directory.join(INDEX);
        let json =
            serde_json::to_vec_pretty(&index).map_err(std::io::Error::from).map_err(file_error(&path))?;
        create_file(&path).and_then(|mut file| file.write_all(&json)).map_err(file_error(&path))
    }

    /// Keeps the first error.
    fn note(&self, outcome: Result<(), RecordingError>) {
        let Err(error) = outcome else { return };
        let problem = Problem::from_error(ProblemCode::RecordingUnusable, &error)
            .remedy("free space there, and record again");
        tracing::warn!(%problem, "the recording is incomplete");
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
    }

    /// Returns a page for the file, with values that look like secrets replaced.
    fn page(&self, page: &RawPage) -> Result<Line, serde_json::Error> {
        let (resources, redacted) = redact::recording(&page.resources)?;
        self.redacted.fetch_add(redacted, Ordering::Relaxed);
        let resources = RawValue::from_string(resources)?;
        Ok(Line::Page {
            region: page.region.clone(),
            resources,
            failures: page.failures.clone(),
            unread: page.unread.clone(),
        })
    }
}

/// Creates a directory that only its owner can read: a recording is an inventory of the accounts.
fn create_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Creates a file that only its owner can read.
fn create_file(path: &Path) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create(true).truncate(true).open(path)
}

/// The file of one fetch; closed when it is dropped.
struct UnitFile {
    keeper: Arc<Keeper>,
    path: PathBuf,
    /// `None` after an error.
    file: Option<BufWriter<fs::File>>,
}

impl UnitFile {
    fn create(keeper: Arc<Keeper>, request: &FetchRequest) -> Self {
        let path = file_of(&keeper.directory, request);
        let created = path
            .parent()
            .map_or(Ok(()), create_directory)
            .and_then(|()| create_file(&path))
            .map_err(file_error(&path));
        let file = match created {
            Ok(file) => Some(BufWriter::new(file)),
            Err(error) => {
                keeper.note(Err(error));
                None
            }
        };
        Self { keeper, path, file }
    }

    fn write(&mut self, line: impl FnOnce(&Keeper) -> Result<Line, serde_json::Error>) {
        let Some(file) = &mut self.file else { return };
        let written = line(&self.keeper)
            .and_then(|line| serde_json::to_writer(&mut *file, &line))
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.flush());
        if let Err(error) = written {
            self.file = None;
            self.keeper.note(Err(file_error(&self.path)(error)));
        }
    }
}

#[async_trait]
impl Source for RecordingSource {
    async fn identity(&self) -> Result<Option<String>, Problem> {
        self.source.identity().await
    }

    async fn open(self: Arc<Self>) -> Result<OpenedSource, Problem> {
        let OpenedSource { accounts, session } = Arc::clone(&self.source).open().await?;
        self.keeper.accounts().extend(accounts.iter().map(|AccountAccess { account, access }| {
            let recorded = RecordedAccount {
                account: account.as_ref().clone(),
                problem: access.as_ref().err().cloned(),
                regions: None,
                assumed: false,
            };
            (account.id.clone(), recorded)
        }));
        self.keeper.note(self.keeper.write_index());
        let session = RecordedSession { session, keeper: Arc::clone(&self.keeper) };
        Ok(OpenedSource { accounts, session: Arc::new(session) })
    }
}

struct RecordedSession {
    session: Arc<dyn SourceSession>,
    keeper: Arc<Keeper>,
}

#[async_trait]
impl SourceSession for RecordedSession {
    async fn regions(&self, account: &Account, hints: &RegionHints) -> Result<EnabledRegions, Problem> {
        let enabled = self.session.regions(account, hints).await;
        if let Some(recorded) = self.keeper.accounts().get_mut(&account.id) {
            recorded.assumed = enabled.as_ref().is_ok_and(EnabledRegions::is_assumed);
            recorded.regions = Some(match &enabled {
                Ok(enabled) => Regions::Enabled(enabled.regions().to_vec()),
                Err(problem) => Regions::Problem(problem.clone()),
            });
        }
        self.keeper.note(self.keeper.write_index());
        enabled
    }

    fn reader(&self, reads: &[PlannedRead]) -> Arc<dyn ResourceReader> {
        Arc::new(RecordedReader { reader: self.session.reader(reads), keeper: Arc::clone(&self.keeper) })
    }

    fn for_events(self: Arc<Self>) -> Arc<dyn SourceSession> {
        let session = Arc::clone(&self.session).for_events();
        Arc::new(Self { session, keeper: Arc::clone(&self.keeper) })
    }
}

struct RecordedReader {
    reader: Arc<dyn ResourceReader>,
    keeper: Arc<Keeper>,
}

impl ResourceReader for RecordedReader {
    fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
        if request.fresh {
            // A second listing may read less than the first one, which is the one to replay.
            return self.reader.fetch(request);
        }
        let file = UnitFile::create(Arc::clone(&self.keeper), &request);
        let pages = self.reader.fetch(request);
        stream::unfold(Some((pages, file)), |state| async move {
            let (mut pages, mut file) = state?;
            let page = pages.next().await;
            match &page {
                Some(Ok(page)) => file.write(|keeper| keeper.page(page)),
                Some(Err(FetchError::Skipped(problem))) => {
                    file.write(|_| Ok(Line::End(End::Skipped(problem.clone()))));
                }
                Some(Err(FetchError::Failed(problem))) => {
                    file.write(|_| Ok(Line::End(End::Failed(problem.clone()))));
                }
                None => {
                    file.write(|_| Ok(Line::End(End::Complete)));
                    file.keeper.note(file.keeper.write_index());
                }
            }
            let rest = matches!(page, Some(Ok(_))).then_some((pages, file));
            Some((page?, rest))
        })
        .boxed()
    }
}
