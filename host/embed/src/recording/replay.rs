//! A source that replays a recording.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use berth_core::{
    Account, AccountAccess, EnabledRegions, FetchError, FetchRequest, OpenedSource, PlannedRead, Problem,
    ProblemCode, RawPage, RegionHints, ResourceReader, Source, SourceSession,
};
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::value::RawValue;

use super::{End, FORMAT, INDEX, Index, Line, RecordingError, Regions, file_error, file_of};

/// Returns only what was recorded. A read that was not recorded fails its unit, and so protects the unit's
/// entities.
#[derive(Debug)]
pub struct ReplaySource {
    directory: PathBuf,
    index: Index,
}

impl ReplaySource {
    /// Opens a recording.
    ///
    /// # Errors
    /// [`RecordingError`] if the directory holds no recording, or one of a newer Berth.
    pub fn open(directory: &Path) -> Result<Self, RecordingError> {
        let path = directory.join(INDEX);
        let json = fs::read(&path).map_err(file_error(&path))?;
        let content = |error: serde_json::Error| RecordingError::Content {
            path: path.clone(),
            reason: error.to_string(),
        };
        // The format first: the rest of a newer recording may have an unknown form.
        #[derive(serde::Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_slice(&json).map_err(content)?;
        if format > FORMAT {
            return Err(RecordingError::Format { found: format });
        }
        let index = serde_json::from_slice(&json).map_err(content)?;
        Ok(Self { directory: directory.to_owned(), index })
    }

    /// Returns how many values were replaced in it because they look like secrets.
    pub fn redacted(&self) -> u64 {
        self.index.redacted
    }
}

/// Reads one line at a time: a recording may be larger than memory.
struct UnitPages {
    path: PathBuf,
    lines: io::Lines<BufReader<fs::File>>,
}

impl UnitPages {
    /// Returns the next page; `None` at the recorded end.
    fn next(&mut self) -> Result<Option<RawPage>, FetchError> {
        let broken = |reason: String| {
            let problem = Problem::new(
                ProblemCode::RecordingUnusable,
                format!("cannot parse {}: {reason}", self.path.display()),
            );
            FetchError::Failed(problem.remedy("the recording is damaged: record again"))
        };
        let line = match self.lines.next() {
            None => return Err(broken("it was cut off before its end".into())),
            Some(line) => line.map_err(|error| broken(error.to_string()))?,
        };
        match serde_json::from_str(&line).map_err(|error| broken(error.to_string()))? {
            Line::Page { region, resources, failures, unread } => {
                let elements: Vec<&RawValue> =
                    serde_json::from_str(resources.get()).map_err(|error| broken(error.to_string()))?;
                let count = elements.len();
                Ok(Some(RawPage {
                    region,
                    resources: String::from(Box::<str>::from(resources)).into_bytes(),
                    count,
                    failures,
                    unread,
                    reservation: berth_core::Reservation::default(),
                }))
            }
            Line::End(End::Complete) => Ok(None),
            Line::End(End::Skipped(problem)) => Err(FetchError::Skipped(problem)),
            Line::End(End::Failed(problem)) => Err(FetchError::Failed(problem)),
        }
    }
}

#[async_trait]
impl Source for ReplaySource {
    async fn identity(&self) -> Result<Option<String>, Problem> {
        Ok(Some(format!("the recording in {}", self.directory.display())))
    }

    async fn open(self: Arc<Self>) -> Result<OpenedSource, Problem> {
        let access = |recorded: &super::RecordedAccount| AccountAccess {
            account: Arc::new(recorded.account.clone()),
            access: recorded.problem.clone().map_or(Ok(()), Err),
        };
        let accounts = self.index.accounts.iter().map(access).collect();
        Ok(OpenedSource { accounts, session: self })
    }
}

#[async_trait]
impl SourceSession for ReplaySource {
    async fn regions(&self, account: &Account, _: &RegionHints) -> Result<EnabledRegions, Problem> {
        let recorded = self.index.accounts.iter().find(|recorded| recorded.account.id == account.id);
        let assumed = recorded.is_some_and(|recorded| recorded.assumed);
        match recorded.and_then(|recorded| recorded.regions.clone()) {
            Some(Regions::Enabled(regions)) if assumed => Ok(EnabledRegions::Assumed(regions)),
            Some(Regions::Enabled(regions)) => Ok(EnabledRegions::Listed(regions)),
            Some(Regions::Problem(problem)) => Err(problem),
            None => Err(Problem::new(
                ProblemCode::RecordingUnusable,
                format!("the regions of account {} were not recorded", account.id),
            )
            .remedy("record again with the current mapping")),
        }
    }

    fn reader(&self, _: &[PlannedRead]) -> Arc<dyn ResourceReader> {
        Arc::new(Pages { directory: self.directory.clone() })
    }

    fn for_events(self: Arc<Self>) -> Arc<dyn SourceSession> {
        self
    }
}

/// The recorded pages.
struct Pages {
    directory: PathBuf,
}

impl ResourceReader for Pages {
    fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
        let path = file_of(&self.directory, &request);
        let lines = match fs::File::open(&path) {
            Ok(file) => BufReader::new(file).lines(),
            Err(error) => {
                let problem = Problem::new(
                    ProblemCode::RecordingUnusable,
                    format!("{} was not recorded: {}: {error}", request.kind.kind, path.display()),
                );
                let problem = problem.remedy("record again with the current mapping and options");
                return stream::iter([Err(FetchError::Failed(problem))]).boxed();
            }
        };
        stream::unfold(Some(UnitPages { path, lines }), |state| async move {
            let mut pages = state?;
            match pages.next() {
                Ok(None) => None,
                Ok(Some(page)) => Some((Ok(page), Some(pages))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}
