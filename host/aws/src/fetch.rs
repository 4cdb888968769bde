//! Runs a fetch plan: lists, fans out, enriches, and passes on batches.
//!
//! Reading continues while a batch is mapped: one batch waits, two are being enriched, and the next page is
//! being listed. Nothing else is kept in memory.

mod batch;
pub(crate) mod budget;
mod enrich;
mod item;
mod list;
mod page;
mod plan;
mod problem;
mod progress;
mod reader;
mod resource;
mod step_result;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use berth_core::{
    Account, AccountId, FetchError, FetchRequest, Problem, ProblemCode, RawPage, Region, Reservation, Scope,
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;
use tracing::Instrument;

use self::{
    budget::UnitBudget,
    plan::Plan,
    reader::UnitReader,
    resource::{RegionStop, chunked},
};
use crate::{Concurrency, client::AwsClient, credentials::AccountSession};

/// The number of batches that are enriched at once, so that the next one is ready when one is passed on.
const CHUNKS_AT_ONCE: usize = 2;

/// All inputs for reading a unit.
pub(crate) struct Fetch {
    pub(crate) client: Arc<AwsClient>,
    /// The sessions to read with: the account's or, for organization-wide kinds, those of all accounts that
    /// may have access, in this order.
    pub(crate) through: Vec<(AccountId, Arc<AccountSession>)>,
    pub(crate) request: FetchRequest,
    pub(crate) granted: Arc<BTreeSet<String>>,
    pub(crate) concurrency: Concurrency,
    /// The unit's share of the memory for unmapped data.
    pub(crate) budget: Arc<UnitBudget>,
    /// The time limit of the unit.
    pub(crate) deadline: Duration,
}

/// A report of the reading task; `None` at the end of the unit.
type Report = Option<Result<RawPage, FetchError>>;

/// Streams the batches of a unit. Reading starts with the first poll and stops when the stream is
/// dropped.
pub(crate) fn run(fetch: Fetch) -> BoxStream<'static, Result<RawPage, FetchError>> {
    if fetch.request.kind.scope == Scope::Account {
        return stream::iter([Ok(account_page(&fetch.request.account))]).boxed();
    }
    stream::once(async move {
        // Capacity for one batch: the reader is never further ahead.
        let (to, from) = mpsc::channel(1);
        let span = tracing::debug_span!(
            "fetch",
            account = %fetch.request.account.id,
            region = fetch.request.regions.first().map(Region::as_str),
            kind = %fetch.request.kind.kind
        );
        let task = tokio::spawn(read(fetch, to).instrument(span));
        stream::unfold(Some((from, AbortOnDrop(task))), |state| async move {
            let (mut from, task) = state?;
            match from.recv().await {
                Some(Some(Ok(page))) => Some((Ok(page), Some((from, task)))),
                Some(Some(Err(error))) => Some((Err(error), None)),
                Some(None) => None,
                // Without its end, the unit must not count as read.
                None => {
                    let problem = Problem::new(
                        ProblemCode::Internal,
                        "internal error: the fetch task ended without a result",
                    )
                    .remedy("Berth deletes nothing because of it; please report this bug, with the log");
                    Some((Err(FetchError::Failed(problem)), None))
                }
            }
        })
    })
    .flatten()
    .boxed()
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn account_page(account: &Account) -> RawPage {
    let resource = serde_json::json!([
        {"item": {"Id": account.id, "Name": account.name}, "steps": {}, "parents": {}}
    ]);
    RawPage {
        region: None,
        resources: resource.to_string().into_bytes(),
        count: 1,
        failures: Vec::new(),
        unread: Vec::new(),
        reservation: Reservation::default(),
    }
}

async fn read(fetch: Fetch, to: mpsc::Sender<Report>) {
    let report = match tokio::time::timeout(fetch.deadline, read_regions(&fetch, &to)).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Err(error)),
        Err(_) => Some(Err(FetchError::Failed(too_long(fetch.deadline)))),
    };
    // The receiver is gone if the unit was dropped.
    let _ = to.send(report).await;
}

fn too_long(deadline: Duration) -> Problem {
    Problem::new(
        ProblemCode::AwsDeadline,
        format!("stopped reading after {} seconds", deadline.as_secs_f64()),
    )
    .remedy("raise `unit_deadline_seconds` if the unit needs more time, or find out why it is slow")
}

async fn read_regions(fetch: &Fetch, to: &mpsc::Sender<Report>) -> Result<(), FetchError> {
    let request = &fetch.request;
    let plan = Arc::new(Plan::compile(&request.kind, &request.options, &fetch.granted)?);
    // After an event, the plan requests one resource by name and needs no page size.
    if request.one.is_none() {
        plan.warn_of_page_sizes(&request.kind);
    }
    let scope = request.kind.scope;
    // Which account may read the organization does not depend on the region.
    let regions = if scope == Scope::Organization { request.regions.len().min(1) } else { usize::MAX };
    let (mut denied, mut empty) = (None, false);
    for through in &fetch.through {
        for region in request.regions.iter().take(regions) {
            let reader = Arc::new(UnitReader::new(fetch, through, region.clone(), plan.clone()));
            match reader.read(to).await {
                Ok(()) => return Ok(()),
                Err(stop) if stop.elsewhere && scope != Scope::Regional => {
                    tracing::debug!(account = %through.0, %region, error = %stop.error, "trying elsewhere");
                    if stop.empty {
                        empty = true;
                    } else {
                        denied.get_or_insert(stop.error);
                    }
                }
                Err(stop) => return Err(stop.error),
            }
        }
    }
    match denied {
        Some(error) => Err(error),
        None if empty => Ok(()),
        None => Err(FetchError::Skipped(
            Problem::new(ProblemCode::AwsNoRegion, "no region is left to read")
                .remedy("check the selector's `regionPolicy`"),
        )),
    }
}

impl UnitReader {
    /// Reads the unit in this region: lists, enriches and passes on batches.
    async fn read(self: Arc<Self>, to: &mpsc::Sender<Report>) -> Result<(), RegionStop> {
        let last = self.plan.lists.len().saturating_sub(1);
        let listed = self.clone().list(last);
        let mut pages = chunked(listed, self.plan.chunk)
            .map_ok(|chunk| {
                let reader = self.clone();
                async move { reader.enrich(&reader.plan.lists[last], chunk).await }
            })
            .try_buffered(CHUNKS_AT_ONCE)
            .boxed();
        while let Some(chunk) = pages.try_next().await? {
            if chunk.resources.is_empty() && chunk.failures.is_empty() {
                continue;
            }
            for page in self.pages_of(chunk)? {
                if to.send(Some(Ok(page))).await.is_err() {
                    return Ok(());
                }
            }
        }
        match self.progress.all_refused() {
            Some(problem) => Err(FetchError::Skipped(problem).into()),
            None => Ok(()),
        }
    }
}
