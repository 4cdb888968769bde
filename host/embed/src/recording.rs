//! Records a source's responses, and replays a recording instead of the source.
//!
//! A recording is a directory. `recording.json` holds the accounts and their regions; `units` has a file for
//! each fetch, `<account>/<region or global>/<kind>[+<option>…].jsonl`, with one page per line and the end as
//! the last line. The `resources` of a page have the format that plugins get, so each of them can be a
//! fixture for a plugin's tests.
//!
//! Values that look like secrets are replaced before they are written (see `berth_common::redact`), because
//! recordings are meant to be shared. Two runs from one recording give the same entities to the byte; so does
//! the recorded run, except for replaced values.

mod record;
mod replay;

use std::{
    io,
    path::{Path, PathBuf},
};

use berth_core::{Account, FetchRequest, ItemFailure, KindReads, Problem, Region, Scope, UnreadStep};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use record::RecordingSource;
pub use replay::ReplaySource;

/// The file with everything except pages.
const INDEX: &str = "recording.json";
/// The directory with the pages.
const UNITS: &str = "units";
/// Increased when a reader of older recordings cannot read new ones.
const FORMAT: u32 = 1;

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// A file or directory of it.
    #[error("could not use {} of the recording", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The directory holds a recording already, which must not be mixed with another one.
    #[error("{} holds a recording already; name a new or empty directory", path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// An invalid file.
    #[error("cannot parse {}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The cause, with its place.
        reason: String,
    },
    /// A newer version of Berth wrote it.
    #[error("the recording has format {found}, and this version of Berth reads {FORMAT}")]
    Format {
        /// Its format.
        found: u32,
    },
}

/// `recording.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Index {
    format: u32,
    /// The version of Berth that recorded it.
    berth: String,
    /// The number of replaced values.
    redacted: u64,
    accounts: Vec<RecordedAccount>,
}

/// An account, and what the source returned for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RecordedAccount {
    account: Account,
    /// Why it cannot be read, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    /// Its regions, if they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    regions: Option<Regions>,
    /// Whether its regions are those that the mapping names, because it has no list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    assumed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Regions {
    Enabled(Vec<Region>),
    Problem(Problem),
}

/// A line of a unit's file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Page {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<Region>,
        resources: Box<RawValue>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        failures: Vec<ItemFailure>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unread: Vec<UnreadStep>,
    },
    End(End),
}

/// How a fetch ended. A file without an end was cut off.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum End {
    Complete,
    Skipped(Problem),
    Failed(Problem),
}

/// Returns the path of the pages of a fetch.
fn file_of(directory: &Path, request: &FetchRequest) -> PathBuf {
    let place = match (request.kind.scope, request.regions.first()) {
        (Scope::Regional, Some(region)) => region.as_str(),
        _ => "global",
    };
    // `:` is the only character in a kind's name that a file name may not have.
    let mut name = request.kind.kind.as_str().replace("::", "-");
    for option in &request.options {
        // Options that the kind does not have change nothing, and could name anything.
        if request.kind.options().iter().any(|known| known.name == *option) {
            name.push('+');
            name.extend(option.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
        }
    }
    directory.join(UNITS).join(request.account.id.as_str()).join(place).join(name + ".jsonl")
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> RecordingError {
    let path = path.to_owned();
    move |source| RecordingError::File { path, source }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use berth_core::{
        AccountAccess, AccountId, EnabledRegions, FetchError, OpenedSource, Partition, PlannedRead, RawPage,
        RegionHints, ResourceReader, Source, SourceSession,
    };
    use futures::stream::{self, BoxStream, StreamExt};

    use super::*;

    /// Denies access to the list of its regions.
    struct Locked;

    #[async_trait]
    impl Source for Locked {
        async fn open(self: Arc<Self>) -> Result<OpenedSource, Problem> {
            let id = AccountId::new("111111111111").unwrap();
            let accounts = vec![AccountAccess {
                account: Arc::new(Account::unnamed(id, Partition::Aws)),
                access: Ok(()),
            }];
            Ok(OpenedSource { accounts, session: self })
        }
    }

    #[async_trait]
    impl SourceSession for Locked {
        async fn regions(&self, _: &Account, hints: &RegionHints) -> Result<EnabledRegions, Problem> {
            Ok(EnabledRegions::Assumed(hints.allowed.iter().cloned().collect()))
        }

        fn reader(&self, _: &[PlannedRead]) -> Arc<dyn ResourceReader> {
            Arc::new(Self)
        }

        fn for_events(self: Arc<Self>) -> Arc<dyn SourceSession> {
            self
        }
    }

    impl ResourceReader for Locked {
        fn fetch(&self, _: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
            stream::empty().boxed()
        }
    }

    #[tokio::test]
    async fn regions_that_were_assumed_are_replayed_as_such() {
        let directory = tempfile::tempdir().unwrap();
        let hints = RegionHints { allowed: [Region::new("eu-central-1").unwrap()].into(), complete: true };
        let source = Arc::new(RecordingSource::new(Arc::new(Locked), directory.path()).unwrap());
        let OpenedSource { accounts, session } = source.open().await.unwrap();
        let account = &accounts[0].account;
        let recorded = session.regions(account, &hints).await.unwrap();
        assert!(recorded.is_assumed());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let index = std::fs::metadata(directory.path().join(INDEX)).unwrap();
            assert_eq!(
                index.permissions().mode() & 0o777,
                0o600,
                "the recording is an inventory of the \
                accounts"
            );
        }
        let source = Arc::new(ReplaySource::open(directory.path()).unwrap());
        let session = Source::open(source).await.unwrap().session;
        assert_eq!(session.regions(account, &RegionHints::default()).await.unwrap(), recorded);
    }
}
