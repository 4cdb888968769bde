//! The one driver of a resync: config → accounts → regions → fetch → map → diff → upsert → delete.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use berth_core::{
    Account, AccountAccess, AccountId, BlueprintId, Catalog, DocumentBatch, EntityKey, FetchError,
    FetchRequest, FieldSet, Install, Intent, Kind, KindEntry, Known, Ledger, MapContext, MapRequest, Mapper,
    Mapping, Milestone, Problem, Processing, Region, ResourceConfig, ResyncStatus, Scope, Session, Source,
    Unit, UnitId, UnitState, UpsertOptions,
};
use futures::{StreamExt, stream};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    Deletion, Event, Evidence, Gone, Hints, Journal, Observer, Outcome, Report, ResolvedResource, Scopes,
    UnitCounts, UnitReport, Verdict,
    content::{content_digest, key_digest},
    documents::{Beside, Documents},
    known::{Memory, Recorder},
    mapped::{Fate, Mapped},
    misconfigured::Misconfigured,
    order::{Order, Relations},
    plan, resolve,
    tally::Tally,
    version::{Version, Versions},
    write::{Owned, Targets, Writer, Written, note_targets, relates},
};

/// Whether a run writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Everything is written.
    #[default]
    Apply,
    /// Nothing is written; the report says what would be.
    Plan,
}

impl Mode {
    fn intent(self) -> Intent {
        match self {
            Self::Apply => Intent::Write,
            Self::Plan => Intent::ReadOnly,
        }
    }
}

/// How a run behaves.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Whether it writes.
    pub mode: Mode,
    /// Units read at once.
    pub unit_concurrency: usize,
    /// Accounts whose regions are listed at once.
    pub region_concurrency: usize,
    /// How long a run whose work is done waits for what is made beside it (documents that the catalog
    /// wants besides entities, examples).
    pub patience: Duration,
    /// What is remembered from one resync to the next. Without it everything is looked up in the
    /// catalog.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// Stops the run: nothing more is read, nothing is deleted.
    pub cancel: CancellationToken,
    /// What live events write meanwhile, where the same process follows them.
    pub journal: Arc<Journal>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Apply,
            unit_concurrency: 64,
            region_concurrency: 16,
            patience: Duration::from_secs(30),
            ledger: None,
            cancel: CancellationToken::new(),
            journal: Arc::default(),
        }
    }
}

/// Why a run ended before any unit was planned. Nothing was changed in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The catalog cannot be used.
    #[error("the catalog is not usable: {0}")]
    Catalog(Problem),
    /// The accounts are not known.
    #[error("no account can be read: {0}")]
    Source(Problem),
    /// The app-config asks for nothing.
    #[error("{0}")]
    Config(Problem),
}

impl SyncError {
    /// The cause, with its remedy.
    pub fn problem(&self) -> &Problem {
        match self {
            Self::Catalog(problem) | Self::Source(problem) | Self::Config(problem) => problem,
        }
    }
}

/// Failures of single resources that a report lists; the rest is only counted.
const LISTED_FAILURES: usize = 100;
/// Entities on their way from the mapping to the catalog.
const CHANNEL: usize = 2_000;
/// Entities whose evidence is fetched with one call.
const EVIDENCE: usize = 50;
/// Blueprints whose relations are read at once.
const RELATIONS: usize = 8;

/// Runs one resync.
///
/// # Errors
/// [`SyncError`] when the run ends before any unit is planned. Everything later is told by the
/// [`Report`].
#[tracing::instrument(name = "sync", level = "info", skip_all)]
pub async fn run(
    source: Arc<dyn Source>,
    mapper: Arc<dyn Mapper>,
    catalog: Arc<dyn Catalog>,
    observer: Arc<dyn Observer>,
    options: SyncOptions,
) -> Result<Report, SyncError> {
    let started = SystemTime::now();
    let clock = Instant::now();
    let journal = Arc::clone(&options.journal);
    let _running = journal.begin();
    let pinned = mapper.pinned().unwrap_or_else(|| Arc::clone(&mapper));
    let kinds = pinned.kinds();
    let defaults = defaults(&kinds);
    let intent = options.mode.intent();
    let (session, accounts) = futures::join!(catalog.open(intent, &defaults), source.accounts());
    let session = session.map_err(|error| SyncError::Catalog(error.0))?;
    observer.event(&Event::Opened { notes: &session.notes });
    // The catalog may stop this resync, but not those that share the caller's token.
    let options = SyncOptions { cancel: options.cancel.child_token(), ..options };
    let run = Run { source, mapper, catalog, observer, options, started, begun: clock };

    let mut notes = session.notes.clone();
    let outcome = match run.options.mode {
        Mode::Plan => run.resync(session, accounts, pinned).await,
        Mode::Apply => {
            if let Err(error) = run.catalog.begin(started).await {
                tracing::warn!(%error, "the start of the resync could not be reported");
            }
            tokio::select! {
                outcome = run.resync(session, accounts, pinned) => outcome,
                never = run.stopped_by_catalog(&mut notes) => match never {},
            }
        }
    };
    let (mut report, told) = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(%error, "the resync ended before anything was read");
            run.end(ResyncStatus::Failed).await;
            return Err(error);
        }
    };
    report.duration = clock.elapsed();
    report.notes.splice(0..0, notes);
    report.outcome = judge(&report, run.options.cancel.is_cancelled());
    run.end(status(&report, told)).await;
    Ok(report)
}

/// How the catalog is told that a resync ended. `told` is whether it took all steps that it cannot
/// do without.
fn status(report: &Report, told: bool) -> ResyncStatus {
    let failed = |unit: &UnitReport| matches!(unit.state, UnitState::Failed(_));
    match report.outcome {
        Outcome::Aborted => ResyncStatus::Aborted,
        _ if !told => ResyncStatus::Failed,
        Outcome::Done | Outcome::DeletionsHeldBack => ResyncStatus::Completed,
        // The catalog deletes by itself what it was not given, and knows nothing of units: to it,
        // whatever was not read completely must not look so.
        Outcome::Partial if report.processing == Processing::Documents => ResyncStatus::Failed,
        // An entity that the catalog refused does not fail a resync, nor does a scope that access
        // was denied to: both are lasting facts, told in the report. A scope that failed does.
        Outcome::Partial if !report.units.iter().any(failed) => ResyncStatus::Completed,
        Outcome::Partial | Outcome::NothingRead => ResyncStatus::Failed,
    }
}

/// The units with their states, in which an entry of `resources[]` that made no entity at all has
/// failed.
fn incomplete_when_empty<'r>(
    reports: &'r [UnitReport],
    empty_handed: &'r BTreeMap<usize, UnitState>,
) -> impl Iterator<Item = (&'r UnitId, &'r UnitState)> {
    reports.iter().map(|report| match empty_handed.get(&report.unit.resource) {
        Some(failed) if report.state.is_complete() => (&report.unit, failed),
        _ => (&report.unit, &report.state),
    })
}

/// What a fresh installation gets. Kinds whose resource is the account come first, since the
/// others' blueprints relate to theirs.
pub(crate) fn defaults(kinds: &BTreeMap<Kind, KindEntry>) -> Vec<KindEntry> {
    let mut defaults: Vec<KindEntry> = kinds
        .values()
        .filter(|entry| entry.manifest.install != Install::None)
        .map(|entry| {
            let mut entry = entry.clone();
            if entry.manifest.install == Install::Blueprints {
                Arc::make_mut(&mut entry.manifest).mapping = None;
            }
            entry
        })
        .collect();
    defaults.sort_by_key(|entry| entry.manifest.scope != Scope::Account);
    defaults
}

fn judge(report: &Report, cancelled: bool) -> Outcome {
    let complete = report.units.iter().filter(|unit| unit.state.is_complete()).count();
    let deletion = &report.deletion;
    if cancelled {
        Outcome::Aborted
    } else if complete == 0 && (!report.units.is_empty() || report.accounts.iter().all(|(_, p)| p.is_some()))
    {
        Outcome::NothingRead
    } else if complete < report.units.len()
        || report.accounts.iter().any(|(_, problem)| problem.is_some())
        || !report.refusals.is_empty()
        || !deletion.failed.is_empty()
    {
        Outcome::Partial
    } else if deletion.held_back.is_some() {
        Outcome::DeletionsHeldBack
    } else {
        Outcome::Done
    }
}

struct Run {
    source: Arc<dyn Source>,
    mapper: Arc<dyn Mapper>,
    catalog: Arc<dyn Catalog>,
    observer: Arc<dyn Observer>,
    options: SyncOptions,
    started: SystemTime,
    begun: Instant,
}

/// A unit's position, its report, its resources that failed, and the fields that gave nothing.
type Ended = (usize, UnitReport, Vec<(String, Problem)>, Misconfigured);

/// What running the units gave.
struct UnitsRun {
    reports: Vec<UnitReport>,
    item_failures: Vec<(UnitId, String, Problem)>,
    misconfigured: Misconfigured,
}

impl Run {
    async fn end(&self, status: ResyncStatus) {
        if self.options.mode == Mode::Apply
            && let Err(error) = self.catalog.end(status).await
        {
            tracing::warn!(%error, "the end of the resync could not be reported");
        }
    }

    /// Waits for the catalog to ask for the resync's end, and stops it then.
    async fn stopped_by_catalog(&self, notes: &mut Vec<String>) -> Infallible {
        let problem = self.catalog.accompany().await;
        tracing::warn!(%problem, "the catalog stops the resync");
        notes.push(format!("stopped before its end: {problem}"));
        self.options.cancel.cancel();
        std::future::pending().await
    }

    /// The second value is false when the catalog missed a step that it cannot do without.
    async fn resync(
        &self,
        session: Session,
        accounts: Result<Vec<AccountAccess>, Problem>,
        mapper: Arc<dyn Mapper>,
    ) -> Result<(Report, bool), SyncError> {
        let Session { config, processing, examples, .. } = session;
        let refused = mapper.refused();
        if config.resources.is_empty() {
            return Err(SyncError::Config(
                Problem::new("the integration's mapping in Port has no `resources`, so there is nothing to read").remedy(
                    "add resources to the mapping of this data source in Port, or let Berth create the default one with OCEAN__INITIALIZE_PORT_RESOURCES=true",
                ),
            ));
        }
        let accounts = accounts.map_err(SyncError::Source)?;
        for AccountAccess { account, access } in &accounts {
            if let Err(problem) = access {
                tracing::warn!(account = %account.id, %problem, "account cannot be read");
            }
            self.observer.event(&Event::Account { account, problem: access.as_ref().err() });
        }
        let (resources, mut notes) = resolve(&config, &mapper.kinds(), &refused);
        let mut versions = Versions::new(&self.mapper, mapper, &config);
        let ledger = match &self.options.ledger {
            Some(ledger) => {
                let intent = self.options.mode.intent();
                Memory::open(Arc::clone(ledger), self.catalog.identity(), intent, &mut notes).await
            }
            None => None,
        };
        // A catalog that maps by itself changes what it holds. The ledger's session is left without an
        // end, so that nothing which was known before counts later.
        let ledger = ledger.filter(|_| processing != Processing::Documents);
        let owned = async move {
            match processing {
                Processing::Entities | Processing::EntitiesAndDocuments => self.owned().await,
                // What is in the catalog is the catalog's business then.
                Processing::Documents => Owned::Known(HashSet::new()),
            }
        };
        let (owned, regions) = futures::join!(owned, self.regions(&accounts, &resources));
        let mut planned = plan(&accounts, &regions, &resources);
        planned.notes.splice(0..0, notes);
        self.observer.event(&Event::Planned {
            units: planned.units.len(),
            settled: planned.settled.len(),
            plan: &planned,
        });

        let reads = resources.iter().filter_map(|resource| {
            let (kind, _) = resource.mapping.as_ref().ok()?;
            Some((Arc::clone(kind), options(&resource.config)))
        });
        self.source.prepare(&reads.collect::<Vec<_>>());

        let owned = Arc::new(owned);
        let memory = match ledger {
            Some(session) => Some(Arc::new(Memory::of(session, Arc::clone(&owned)).await)),
            None => None,
        };
        let options = UpsertOptions {
            merge: config.enable_merge_entity,
            create_missing_related_entities: config.create_missing_related_entities,
        };
        let ordered = self.options.mode == Mode::Apply
            && !options.create_missing_related_entities
            && processing != Processing::Documents;
        let order = if ordered || memory.as_ref().is_some_and(|memory| memory.has_gaps()) {
            Order::of(self.relations(&resources).await)
        } else {
            Order::default()
        };
        let recorder = match (&memory, self.options.mode) {
            (Some(memory), Mode::Apply) => Some(Recorder::start(memory)),
            _ => None,
        };
        let units: Arc<[Arc<Unit>]> = planned.units.into();
        let (sender, receiver) = mpsc::channel(CHANNEL);
        let (tally, milestones) = Tally::new(resources.len(), &units, &planned.settled);
        let tally = Arc::new(tally);
        let examples = (config.resources.iter().map(|resource| resource.kind.clone()), examples);
        let (documents, beside) = Documents::new(&self.catalog, processing, examples, &self.options);
        let documents = Arc::new(documents);
        let done = CancellationToken::new();
        let writer = Writer {
            catalog: Arc::clone(&self.catalog),
            observer: Arc::clone(&self.observer),
            mode: self.options.mode,
            options,
            units: Arc::clone(&units),
            owned: Arc::clone(&owned),
            tally: Arc::clone(&tally),
            memory: memory.clone(),
            records: recorder.as_ref().map(|recorder| recorder.sender.clone()),
            journal: Arc::clone(&self.options.journal),
        };
        let merge = memory.as_ref().map(|_| options.merge);
        let settled = std::mem::take(&mut planned.settled);
        let work = async {
            let (units_run, written) = futures::join!(
                self.units(&units, (&resources, &mut versions), merge, sender, (&tally, &documents)),
                writer.run(receiver, order)
            );
            tally.finish(self.options.cancel.is_cancelled());
            let mut reports = units_run.reports;
            for report in reports.iter_mut().filter(|report| report.state.is_complete()) {
                // Which documents were in a write that failed is not known: all of the entry's may.
                if let Some(problem) = documents.lost(report.unit.resource) {
                    report.state = UnitState::Failed(problem);
                }
            }
            planned
                .notes
                .extend(documents.superseded().map(|problem| format!("stopped before its end: {problem}")));
            // Its end is the end of what is made beside.
            drop(documents);
            done.cancel();
            for (report, counts) in reports.iter_mut().zip(&written.counts) {
                report.counts.add(counts);
            }
            reports.extend(settled.into_iter().map(|(unit, state)| UnitReport {
                unit,
                state,
                counts: UnitCounts::default(),
                duration: Duration::ZERO,
            }));
            let mut mapped: BTreeMap<usize, u64> = BTreeMap::new();
            for report in &reports {
                *mapped.entry(report.unit.resource).or_default() += report.counts.mapped;
            }
            let deletion = if processing == Processing::Documents {
                Deletion::default()
            } else {
                tally.tell(Milestone::DeletionStarted);
                let empty_handed: BTreeMap<usize, UnitState> = units_run
                    .misconfigured
                    .empty_handed(&mapped)
                    .into_iter()
                    .map(|(resource, problem)| (resource, UnitState::Failed(problem)))
                    .collect();
                let deletion = if self.options.cancel.is_cancelled() {
                    Deletion {
                        held_back: Some(Problem::new("the resync was stopped before its end")),
                        ..Deletion::default()
                    }
                } else {
                    let scopes = Scopes::new(incomplete_when_empty(&reports, &empty_handed), &resources);
                    self.delete(&config, &resources, &scopes, &owned, &written, memory.as_deref()).await
                };
                // Only where that kept something from being deleted it is more than a remark.
                for report in reports.iter_mut().filter(|report| report.state.is_complete()) {
                    let resource = report.unit.resource;
                    if let Some(failed) = empty_handed.get(&resource)
                        && deletion.protected.iter().any(|(_, unit)| unit.resource == resource)
                    {
                        report.state = failed.clone();
                    }
                }
                tally.tell(Milestone::DeletionEnded {
                    deleted: deletion.deleted.len() as u64,
                    failed: deletion.failed.len() as u64,
                    held_back: deletion.held_back.is_some(),
                });
                deletion
            };
            let remembered = match (&memory, recorder) {
                (Some(memory), Some(recorder)) => {
                    self.remember(&config, memory, recorder, &reports, &deletion, &written).await
                }
                _ => Ok(()),
            };
            // Its end is the end of the milestones.
            drop(tally);
            let misconfigured =
                units_run.misconfigured.told(self.catalog.as_ref(), &resources, &mapped).await;
            (reports, units_run.item_failures, misconfigured, written, deletion, remembered)
        };
        let telling = async {
            match self.options.mode {
                Mode::Apply => milestones.told(self.catalog.as_ref()).await,
                Mode::Plan => true,
            }
        };
        let ((reports, item_failures, misconfigurations, written, deletion, remembered), told, ()) =
            futures::join!(work, telling, self.beside(beside, &done));
        if let Err(problem) = remembered {
            tracing::warn!(%problem, "the ledger is not up to date");
            planned.notes.push(format!("the next resync compares with the catalog: {problem}"));
        }
        for (resource, count) in &written.not_found {
            planned.notes.push(format!(
                "resources[{resource}]: the catalog found nothing by the search query of {count} entities, so that nothing was written for them"
            ));
        }
        if let (count @ 1.., Some(example)) = &written.duplicates {
            planned.notes.push(format!(
                "{count} entities were mapped more than once (as {example}): the identifier is not unique over accounts, regions or resources, and the last one wins"
            ));
        }
        let report = Report {
            dry_run: self.options.mode == Mode::Plan,
            processing,
            started: self.started,
            duration: Duration::ZERO,
            outcome: Outcome::Done,
            units: reports,
            accounts: accounts
                .into_iter()
                .map(|access| (access.account.as_ref().clone(), access.access.err()))
                .collect(),
            refusals: written.refusals,
            item_failures,
            misconfigurations,
            changes: written.changes,
            deletion,
            refused_plugins: refused,
            notes: planned.notes,
        };
        Ok((report, told))
    }

    /// What is made beside the work. It is given up when the resync is stopped, and soon after the
    /// work is done.
    async fn beside(&self, beside: Beside, done: &CancellationToken) {
        let late = async {
            done.cancelled().await;
            tokio::time::sleep(self.options.patience).await;
        };
        tokio::select! {
            () = beside.run() => {}
            () = self.options.cancel.cancelled() => {}
            () = late => tracing::warn!("the catalog is too slow for documents; the rest is left out"),
        }
    }

    /// Lists what the catalog holds for this integration, as digests.
    async fn owned(&self) -> Owned {
        let mut keys = HashSet::new();
        let mut pages = self.catalog.owned(self.started);
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => keys.extend(page.iter().map(|owned| key_digest(&owned.key))),
                Err(error) => {
                    tracing::warn!(%error, "what the catalog holds could not be listed; nothing will be deleted");
                    return Owned::Unknown(error.0);
                }
            }
        }
        Owned::Known(keys)
    }

    /// The relations of the blueprints that are mapped to by name, as far as they can be read.
    async fn relations(&self, resources: &[ResolvedResource]) -> Relations {
        let blueprints: BTreeSet<BlueprintId> =
            resources.iter().filter_map(|resource| resource.blueprint.clone()).collect();
        // By value here and in `regions`: of a closure that takes a reference, the compiler cannot tell
        // that the whole resync may move to another thread, as `tokio::spawn` asks.
        stream::iter(blueprints)
            .map(|blueprint| async move {
                match self.catalog.relations(&blueprint).await {
                    Ok(relations) => Some((blueprint, relations?)),
                    Err(error) => {
                        tracing::warn!(%blueprint, %error, "the relations of a blueprint could not be read");
                        None
                    }
                }
            })
            .buffer_unordered(RELATIONS)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// Brings the ledger up to date, after everything else.
    async fn remember(
        &self,
        config: &berth_core::AppConfig,
        memory: &Memory,
        recorder: Recorder,
        reports: &[UnitReport],
        deletion: &Deletion,
        written: &Written,
    ) -> Result<(), Problem> {
        recorder.finish().await?;
        let mut gone: HashSet<u128> = HashSet::new();
        // Where the catalog does not create targets itself, others may relate to what was deleted.
        // It then counts as vanished in the next resync, so that they are looked at.
        if config.create_missing_related_entities {
            gone.extend(deletion.deleted.iter().map(|gone| key_digest(&gone.entity)));
        }
        // Whatever related to these was looked at in this resync, if everything was.
        if !self.options.cancel.is_cancelled() && reports.iter().all(|report| report.state.is_complete()) {
            gone.extend(memory.vanished().difference(&written.seen));
        }
        let mut entries: Vec<_> = gone.into_iter().map(|key| (key, None)).collect();
        // Live events wrote these since, whatever the resync saw of them.
        let touched = self.options.journal.touched().into_iter();
        entries.extend(touched.filter_map(|key| {
            let known = memory.look_up(key).map(|known| Known { content: None, ..known });
            // Of one that is new to this resync all is forgotten, so that it is looked at.
            (known.is_some() || written.seen.contains(&key)).then_some((key, known))
        }));
        memory.record(entries).await?;
        memory.end().await
    }

    async fn regions(
        &self,
        accounts: &[AccountAccess],
        resources: &[ResolvedResource],
    ) -> BTreeMap<AccountId, Result<Vec<Region>, Problem>> {
        let needed = resources
            .iter()
            .any(|resource| resource.mapping.as_ref().is_ok_and(|(kind, _)| kind.scope != Scope::Account));
        if !needed {
            return BTreeMap::new();
        }
        let usable = accounts.iter().filter(|access| access.access.is_ok());
        let accounts: Vec<Arc<Account>> = usable.map(|access| Arc::clone(&access.account)).collect();
        stream::iter(accounts)
            .map(|account| async move {
                let span = tracing::info_span!("regions", account = %account.id);
                let regions = self.source.regions(&account).instrument(span).await;
                if let Err(problem) = &regions {
                    tracing::warn!(account = %account.id, %problem, "regions cannot be listed");
                }
                (account.id.clone(), regions)
            })
            .buffer_unordered(self.options.region_concurrency.max(1))
            .collect()
            .await
    }

    /// Runs all units, under the limits of the options and of each selector.
    async fn units(
        &self,
        units: &[Arc<Unit>],
        (resources, versions): (&[ResolvedResource], &mut Versions<'_>),
        merge: Option<bool>,
        sender: mpsc::Sender<Mapped>,
        (tally, documents): (&Arc<Tally>, &Arc<Documents>),
    ) -> UnitsRun {
        let mut schedule = Schedule::new(units);
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut reports: Vec<Option<UnitReport>> = units.iter().map(|_| None).collect();
        let mut item_failures = Vec::new();
        let mut misconfigured = Misconfigured::default();
        loop {
            while running.len() < self.options.unit_concurrency.max(1)
                && !self.options.cancel.is_cancelled()
                && let Some(index) = schedule.next()
            {
                let Some(resource) = resources.get(units[index].id.resource) else { continue };
                let (unit, begun) = versions.begin(&units[index], resource);
                let task = UnitTask {
                    index,
                    source: Arc::clone(&self.source),
                    observer: Arc::clone(&self.observer),
                    begun,
                    fields: Arc::clone(&resource.fields),
                    merge,
                    sender: sender.clone(),
                    tally: Arc::clone(tally),
                    documents: Arc::clone(documents),
                };
                let span = tracing::info_span!(
                    "unit",
                    account = %unit.id.account,
                    region = unit.id.place.as_ref().map(tracing::field::display),
                    kind = %unit.id.kind,
                    index = unit.id.resource
                );
                running.spawn(async move { task.run(&unit).await }.instrument(span));
            }
            let joined = tokio::select! {
                joined = running.join_next() => joined,
                () = self.options.cancel.cancelled(), if !running.is_empty() => {
                    running.shutdown().await;
                    None
                }
            };
            let Some(joined) = joined else { break };
            match joined {
                Ok((index, report, failures, fields)) => {
                    schedule.done(index);
                    misconfigured.merge(fields);
                    let room = LISTED_FAILURES.saturating_sub(item_failures.len());
                    item_failures.extend(
                        failures
                            .into_iter()
                            .take(room)
                            .map(|(resource, p)| (report.unit.clone(), resource, p)),
                    );
                    if let Some(slot) = reports.get_mut(index) {
                        *slot = Some(report);
                    }
                }
                // A panic in a unit's task is a defect, but still concerns that unit only; its
                // empty slot is reported as failed below.
                Err(error) => tracing::error!(%error, "a unit's task ended abnormally"),
            }
        }
        // In place: there may be hundreds of thousands.
        let reports = reports
            .into_iter()
            .enumerate()
            .map(|(index, report)| {
                report.unwrap_or_else(|| UnitReport {
                    unit: units[index].id.clone(),
                    state: UnitState::Failed(Problem::new(if self.options.cancel.is_cancelled() {
                        "not read: the resync was stopped"
                    } else {
                        "the unit's task ended abnormally"
                    })),
                    counts: UnitCounts::default(),
                    duration: Duration::ZERO,
                })
            })
            .collect();
        UnitsRun { reports, item_failures, misconfigured }
    }

    /// Finds stale entities, judges each, and deletes what may go.
    async fn delete(
        &self,
        config: &berth_core::AppConfig,
        resources: &[ResolvedResource],
        scopes: &Scopes,
        owned: &Owned,
        written: &Written,
        memory: Option<&Memory>,
    ) -> Deletion {
        let mut deletion = Deletion::default();
        let owned = match owned {
            Owned::Known(owned) => owned,
            Owned::Unknown(problem) => {
                deletion.held_back = Some(Problem::new(format!(
                    "what the catalog holds could not be listed: {}",
                    problem.message
                )));
                return deletion;
            }
        };
        deletion.owned = owned.len() as u64;
        if owned.iter().all(|key| written.seen.contains(key)) {
            return deletion;
        }
        let stale = match self.stale(owned, &written.seen).await {
            Ok(stale) => stale,
            Err(problem) => {
                deletion.held_back = Some(problem);
                return deletion;
            }
        };
        let mut doomed = Vec::new();
        let mut evident: HashMap<EntityKey, Evidence> = HashMap::new();
        for (blueprint, keys) in stale {
            if let Some(unit) = written.unresolved.get(&blueprint) {
                deletion.protected.extend(keys.into_iter().map(|key| (key, unit.clone())));
                continue;
            }
            for keys in keys.chunks(EVIDENCE) {
                let mut evidence = self.evidence(&blueprint, keys, resources, memory).await;
                for key in keys {
                    let evidence = evidence.remove(&key.identifier).unwrap_or_default();
                    match scopes.judge(key, &evidence) {
                        Verdict::Delete => {
                            evident.insert(key.clone(), evidence);
                            doomed.push(key.clone());
                        }
                        Verdict::Protected(unit) => deletion.protected.push((key.clone(), unit)),
                    }
                }
            }
        }
        let gone = |entity: EntityKey| {
            let evidence = evident.get(&entity);
            let mapped = || {
                resources
                    .iter()
                    .find(|resource| resource.blueprint.as_ref() == Some(&entity.blueprint))
                    .map(|resource| resource.config.kind.clone())
            };
            Gone {
                kind: evidence.and_then(|evidence| evidence.kind.clone()).or_else(mapped),
                account: evidence.and_then(|evidence| evidence.account.clone()),
                entity,
            }
        };
        if config.create_missing_related_entities
            && let Err(problem) = self.spare_targets(&mut doomed, &mut deletion.related, written).await
        {
            deletion.held_back = Some(problem);
            return deletion;
        }
        let (granted, _claim) =
            self.options.journal.claim(doomed.iter().map(|key| (key_digest(key), self.begun)));
        if granted.contains(&false) {
            // Live events have seen to these since the resync began.
            let mut granted = granted.into_iter();
            doomed.retain(|_| granted.next() == Some(true));
        }
        if doomed.is_empty() {
            return deletion;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share of counts far below 2^52")]
        let share = doomed.len() as f64 / owned.len() as f64;
        if share > config.entity_deletion_threshold {
            deletion.held_back = Some(
                Problem::new(format!(
                    "{} of {} entities would be deleted ({:.0} %), more than `entityDeletionThreshold` allows ({:.0} %)",
                    doomed.len(),
                    owned.len(),
                    share * 100.0,
                    config.entity_deletion_threshold * 100.0
                ))
                .remedy("see `berth plan` for the list; if it is right, raise `entityDeletionThreshold` in the integration's mapping in Port for one resync"),
            );
            return deletion;
        }
        match self.options.mode {
            Mode::Plan => deletion.deleted = doomed.into_iter().map(gone).collect(),
            Mode::Apply => {
                self.observer.event(&Event::Deleting { count: doomed.len() });
                let span = tracing::debug_span!("delete", entities = doomed.len());
                let delete = self.catalog.delete(&doomed, config.delete_dependent_entities);
                let report = delete.instrument(span).await;
                deletion.deleted = report.deleted.into_iter().map(gone).collect();
                for gone in &deletion.deleted {
                    self.observer.event(&Event::Deleted { gone });
                }
                deletion.failed = report.failed;
            }
        }
        deletion
    }

    /// The keys of what is owned but was not seen, by blueprint. Listed a second time, because
    /// only digests were kept of the first.
    async fn stale(
        &self,
        owned: &HashSet<u128>,
        seen: &HashSet<u128>,
    ) -> Result<BTreeMap<BlueprintId, Vec<EntityKey>>, Problem> {
        let mut stale: BTreeMap<BlueprintId, Vec<EntityKey>> = BTreeMap::new();
        let mut pages = self.catalog.owned(self.started);
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                Problem::new(format!("what the catalog holds could not be listed: {}", error.0.message))
            })?;
            for entity in page {
                let digest = key_digest(&entity.key);
                // What was not there at the start is somebody else's doing in the meantime.
                if owned.contains(&digest) && !seen.contains(&digest) {
                    stale.entry(entity.key.blueprint.clone()).or_default().push(entity.key);
                }
            }
        }
        Ok(stale)
    }

    /// What is remembered of the units that stale entities belong to; of the others, what they show.
    async fn evidence(
        &self,
        blueprint: &BlueprintId,
        keys: &[EntityKey],
        resources: &[ResolvedResource],
        memory: Option<&Memory>,
    ) -> HashMap<String, Evidence> {
        let Some(memory) = memory else { return self.shown(blueprint, keys, resources).await };
        let mut evidence = HashMap::new();
        let mut others = Vec::new();
        for key in keys {
            match memory.look_up(key_digest(key)) {
                Some(Known { origin: Some(origin), .. }) => {
                    evidence.insert(key.identifier.clone(), Evidence::remembered(&origin));
                }
                _ => others.push(key.clone()),
            }
        }
        if !others.is_empty() {
            evidence.extend(self.shown(blueprint, &others, resources).await);
        }
        evidence
    }

    /// What stale entities show of the account and region they belong to.
    async fn shown(
        &self,
        blueprint: &BlueprintId,
        keys: &[EntityKey],
        resources: &[ResolvedResource],
    ) -> HashMap<String, Evidence> {
        let mut hints = resources
            .iter()
            .filter(|resource| resource.blueprint.as_ref().is_none_or(|own| own == blueprint))
            .map(|resource| resource.hints.as_ref());
        let Some(first) = hints.next() else { return HashMap::new() };
        if hints.any(|other| other != first) {
            // Two mappings fill this blueprint in different ways: a field may mean either.
            return HashMap::new();
        }
        let fields: FieldSet = first.fields();
        let entities = if fields == FieldSet::default() {
            keys.iter()
                .map(|key| berth_core::Entity::new(key.blueprint.clone(), key.identifier.clone()))
                .collect()
        } else {
            match self.catalog.current(keys, &fields).await {
                Ok(entities) => entities,
                Err(error) => {
                    tracing::warn!(%blueprint, %error, "stale entities could not be looked at; they stay protected");
                    return HashMap::new();
                }
            }
        };
        let read = |hints: &Hints, entity: berth_core::Entity| {
            let evidence = hints.read(&entity);
            (entity.key.identifier, evidence)
        };
        entities.into_iter().map(|entity| read(first, entity)).collect()
    }

    /// Keeps stale entities that mapped entities relate to: the catalog would create them again.
    async fn spare_targets(
        &self,
        doomed: &mut Vec<EntityKey>,
        spared: &mut Vec<EntityKey>,
        written: &Written,
    ) -> Result<(), Problem> {
        if doomed.is_empty() {
            return Ok(());
        }
        let mut pointing: BTreeMap<BlueprintId, Vec<(&BlueprintId, String)>> = BTreeMap::new();
        let mut found = Targets::new();
        let sources: BTreeSet<&BlueprintId> =
            written.relates_to.keys().chain(written.searching.keys()).collect();
        for from in sources {
            let relations = self.catalog.relations(from).await.map_err(|error| {
                Problem::new(format!(
                    "the relations of blueprint `{from}` could not be read: {}",
                    error.0.message
                ))
            })?;
            for (name, target) in relations.into_iter().flatten() {
                if doomed.iter().any(|key| key.blueprint == target) {
                    self.look_up(from, &name, written, &mut found).await?;
                    pointing.entry(target).or_default().push((from, name));
                }
            }
        }
        doomed.retain(|key| {
            let related = pointing.get(&key.blueprint).is_some_and(|from| {
                from.iter().any(|(from, name)| {
                    [&written.relates_to, &found]
                        .iter()
                        .any(|targets| relates(targets, from, name, &key.identifier))
                })
            });
            if related {
                spared.push(key.clone());
            }
            !related
        });
        Ok(())
    }

    /// Asks the catalog what entities relate to whose relation is a search query.
    async fn look_up(
        &self,
        from: &BlueprintId,
        relation: &str,
        written: &Written,
        found: &mut Targets,
    ) -> Result<(), Problem> {
        let searching = written.searching.get(from).and_then(|relations| relations.get(relation));
        let fields = FieldSet { relations: BTreeSet::from([relation.to_owned()]), ..FieldSet::default() };
        for identifiers in searching.map(Vec::as_slice).unwrap_or_default().chunks(EVIDENCE) {
            let keys: Vec<EntityKey> = identifiers
                .iter()
                .map(|identifier| EntityKey { blueprint: from.clone(), identifier: identifier.clone() })
                .collect();
            let entities = self.catalog.current(&keys, &fields).await.map_err(|error| {
                Problem::new(format!(
                    "what `{relation}` of `{from}` found could not be read: {}",
                    error.0.message
                ))
            })?;
            for entity in &entities {
                note_targets(found, entity);
            }
        }
        Ok(())
    }
}

/// Picks the next unit: in planning order, but never more accounts of one resource at once than
/// its selector allows (`maxConcurrentAccounts`).
struct Schedule<'u> {
    units: &'u [Arc<Unit>],
    queues: Vec<Queue>,
}

/// The units of one resource.
struct Queue {
    resource: usize,
    pending: VecDeque<usize>,
    limit: usize,
    active: HashMap<AccountId, usize>,
}

impl<'u> Schedule<'u> {
    fn new(units: &'u [Arc<Unit>]) -> Self {
        let mut pending: BTreeMap<usize, VecDeque<usize>> = BTreeMap::new();
        // In the order in which the first unit of each was planned.
        let mut order = Vec::new();
        for (index, unit) in units.iter().enumerate() {
            let units = pending.entry(unit.id.resource).or_insert_with(|| {
                order.push(unit);
                VecDeque::new()
            });
            units.push_back(index);
        }
        let queues = order.into_iter().map(|first| {
            let limit = first.resource.selector.max_concurrent_accounts.unwrap_or(0);
            Queue {
                resource: first.id.resource,
                pending: pending.remove(&first.id.resource).unwrap_or_default(),
                // Not set, or zero: only the limits of the whole run.
                limit: if limit == 0 { usize::MAX } else { limit as usize },
                active: HashMap::new(),
            }
        });
        Self { units, queues: queues.collect() }
    }

    fn next(&mut self) -> Option<usize> {
        let units = self.units;
        self.queues.iter_mut().find_map(|queue| {
            let account = &units.get(*queue.pending.front()?)?.id.account;
            if queue.active.len() >= queue.limit && !queue.active.contains_key(account) {
                return None;
            }
            *queue.active.entry(account.clone()).or_default() += 1;
            queue.pending.pop_front()
        })
    }

    fn done(&mut self, index: usize) {
        let Some(unit) = self.units.get(index) else { return };
        let resource = unit.id.resource;
        let Some(queue) = self.queues.iter_mut().find(|queue| queue.resource == resource) else { return };
        if let Some(running) = queue.active.get_mut(&unit.id.account) {
            *running -= 1;
            if *running == 0 {
                queue.active.remove(&unit.id.account);
            }
        }
    }
}

struct UnitTask {
    index: usize,
    source: Arc<dyn Source>,
    observer: Arc<dyn Observer>,
    /// The version of the plugin that it reads and maps by, or why there is none any more.
    begun: Result<Version, Problem>,
    fields: Arc<FieldSet>,
    /// How entities are written, where what they say is remembered.
    merge: Option<bool>,
    sender: mpsc::Sender<Mapped>,
    tally: Arc<Tally>,
    documents: Arc<Documents>,
}

impl UnitTask {
    async fn run(self, unit: &Unit) -> Ended {
        let clock = Instant::now();
        self.tally.unit_started(self.index);
        self.observer.event(&Event::UnitStarted { unit: &unit.id });
        let mut counts = UnitCounts::default();
        let mut failures = Vec::new();
        let mut misconfigured = Misconfigured::default();
        let mut state = self.read(unit, &mut counts, &mut failures, &mut misconfigured).await;
        if self.tally.unit_read(self.index)
            && let Err(problem) = self.documents.end(&unit.id).await
        {
            state = UnitState::Failed(problem);
        }
        let state = match (state, failures.first()) {
            (UnitState::Complete, Some((resource, problem))) => UnitState::Failed(Problem {
                message: format!(
                    "{} of {} resources could not be read or mapped (first: {resource}: {})",
                    counts.failed, counts.fetched, problem.message
                ),
                remedy: problem.remedy.clone(),
            }),
            (state, _) => state,
        };
        let report = UnitReport { unit: unit.id.clone(), state, counts, duration: clock.elapsed() };
        match &report.state {
            UnitState::Complete => {
                tracing::info!(
                    fetched = counts.fetched,
                    mapped = counts.mapped,
                    elapsed_ms = report.duration.as_millis(),
                    "unit complete"
                );
            }
            UnitState::Skipped(problem) => tracing::warn!(%problem, "unit skipped"),
            UnitState::Failed(problem) => tracing::warn!(%problem, "unit failed"),
        }
        self.tally.unit_ended(self.index, &report.state, &report.counts);
        self.observer.event(&Event::UnitFinished { report: &report });
        (self.index, report, failures, misconfigured)
    }

    async fn read(
        &self,
        unit: &Unit,
        counts: &mut UnitCounts,
        failures: &mut Vec<(String, Problem)>,
        misconfigured: &mut Misconfigured,
    ) -> UnitState {
        let since = Instant::now();
        let Version { mapper, mapping } = match &self.begun {
            Ok(version) => version,
            Err(problem) => return UnitState::Failed(problem.clone()),
        };
        let pages = self.source.fetch(FetchRequest {
            account: Arc::clone(&unit.account),
            regions: unit.regions.clone(),
            kind: Arc::clone(&unit.kind),
            options: options(&unit.resource),
            one: None,
        });
        let (mapping, documents) = &self.documents.mapping(mapping);
        // The next batch is read while this one is mapped.
        let mut mapped = pages
            .map(|page| async {
                let mut page = page?;
                let lost = std::mem::take(&mut page.failures);
                let count = page.count;
                if count == 0 {
                    return Ok((count, lost, Ok(berth_core::MapReport::default())));
                }
                let kind = unit.id.kind.clone();
                let context = MapContext {
                    account: Arc::clone(&unit.account),
                    region: page.region.clone(),
                    options: unit.resource.selector.include_actions.clone(),
                };
                let examples = self.documents.set_aside(&kind, &context, &page);
                let (mapping, documents) = (mapping.clone(), *documents);
                let report = mapper.map(MapRequest { kind, context, mapping, documents, page }).await;
                self.documents.mapped(mapper, examples, report.is_ok());
                Ok::<_, FetchError>((count, lost, report))
            })
            .buffered(2);
        while let Some(page) = mapped.next().await {
            let (count, lost, report) = match page {
                Ok(page) => page,
                Err(FetchError::Skipped(problem)) => return UnitState::Skipped(problem),
                Err(FetchError::Failed(problem)) => return UnitState::Failed(problem),
            };
            counts.fetched += (count + lost.len()) as u64;
            counts.failed += lost.len() as u64;
            for failure in lost {
                tracing::warn!(resource = failure.resource, problem = %failure.problem, "a resource could not be read");
                failures.push((failure.resource, failure.problem));
            }
            let report = match report {
                Ok(report) => report,
                Err(error) => return UnitState::Failed(map_problem(error)),
            };
            counts.filtered += report.filtered as u64;
            counts.mapped += report.entities.len() as u64;
            counts.failed += report.errors.len() as u64;
            for field in report.misconfigured {
                misconfigured.add(unit.id.resource, field);
            }
            for error in report.errors {
                tracing::warn!(
                    resource = error.resource,
                    reason = error.reason,
                    "a resource could not be mapped"
                );
                failures.push((error.resource, Problem::new(format!("not mapped: {}", error.reason))));
            }
            if matches!(mapping, Mapping::Documents) {
                counts.documents += report.documents.len() as u64;
            }
            let batch = DocumentBatch {
                unit: unit.id.clone(),
                config: Arc::clone(&unit.resource),
                documents: report.documents,
            };
            if let Err(problem) = self.documents.take(batch).await {
                return UnitState::Failed(problem);
            }
            self.observer.event(&Event::UnitProgress { unit: &unit.id, fetched: counts.fetched });
            for entity in report.entities {
                let mapped = Mapped {
                    unit: self.index,
                    fields: Arc::clone(&self.fields),
                    content: self.merge.and_then(|merge| content_digest(&entity, merge)),
                    entity,
                    since,
                    fate: Fate::default(),
                };
                if self.sender.send(mapped).await.is_err() {
                    return UnitState::Failed(Problem::new("the writing side of the resync has ended"));
                }
            }
        }
        UnitState::Complete
    }
}

/// The options that an entry switches on.
fn options(entry: &ResourceConfig) -> BTreeSet<String> {
    entry.selector.include_actions.iter().cloned().collect()
}

/// A batch that could not be mapped, told to an operator.
pub fn map_problem(error: berth_core::MapError) -> Problem {
    use berth_core::MapError;
    match error {
        MapError::Plugin { plugin, kind, problem } => Problem {
            message: format!("plugin `{plugin}` failed on {kind}: {}", problem.message),
            remedy: problem.remedy,
        },
        MapError::NoPlugin(problem) | MapError::Mapping(problem) => problem,
    }
}
