//! The one driver of a resync: config → accounts → regions → fetch → map → diff → upsert → delete.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use berth_core::{
    Account, AccountAccess, AccountId, Adoption, BegunResync, BlueprintId, Catalog, CatalogError,
    CatalogInfo, CatalogSession, CatalogView, EnabledRegions, Install, Kind, KindEntry, Ledger, Mapper,
    MapperSnapshot, Milestone, Opened, OpenedSource, PlannedRead, Problem, ProblemCode, Processing, Region,
    ResourceReader, ResourceResult, ResyncStart, ResyncStatus, Scope, Source, SourceSession, Unit, UnitId,
    UnitState, UpsertOptions,
};
use futures::{StreamExt, stream};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    Approved, Deletion, Event, Journal, Observer, Outcome, Report, ResolvedResource, UnitCounts, UnitReport,
    catalog_access::CatalogAccess,
    content::key_digest,
    deletion::{
        AccountScope, Entry, Facts, LimitOptions, Policy, RemovalOptions,
        lookup::{DeletionSettings, Reports, StaleEntities},
    },
    documents::{BackgroundTasks, Documents},
    ledger_view::{LedgerHandle, LedgerView, Recorder},
    mapped::Mapped,
    misconfigured::Misconfigured,
    order::{Order, Relations},
    plan,
    problems::{Log, Problems, warn_if},
    remember::EndOfResync,
    resolve,
    schedule::Schedule,
    tally::Tally,
    unit_task::{Ended, UnitTask, options},
    version::Versions,
    write::Writer,
    written::Owned,
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
    /// When the entities of removed accounts and regions are deleted.
    pub removal: RemovalOptions,
    /// The largest number of entities that one resync may delete; `None`: no such limit.
    pub max_deletions: Option<u64>,
    /// Which entities of others may be taken over.
    pub adoption: Adoption,
    /// The only changes to make, where a plan is applied.
    pub approved: Option<Arc<Approved>>,
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
            removal: RemovalOptions::default(),
            max_deletions: None,
            adoption: Adoption::Never,
            approved: None,
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

/// What is told of accounts.
const UNREADABLE: &str = "account cannot be read";
/// Failures of single resources that a report lists; the rest is only counted.
const LISTED_FAILURES: usize = 100;
/// Entities on their way from the mapping to the catalog.
const CHANNEL: usize = 2_000;
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
    let snapshot = Arc::clone(&mapper).snapshot();
    let defaults = defaults(&snapshot.kinds());
    let upsert_batch = catalog.upsert_batch();
    let (opened, source) = futures::join!(open(catalog, options.mode, &defaults), source.open());
    let Opened { info, session } = opened.map_err(|error| SyncError::Catalog(error.0))?;
    observer.event(&Event::Opened { notes: &info.notes });
    // The catalog may stop this resync, but not those that share the caller's token.
    let options = SyncOptions { cancel: options.cancel.child_token(), ..options };
    let catalog = match session {
        OpenCatalog::Plan(view) => CatalogAccess::Read(view),
        OpenCatalog::Resync(start) => {
            let BegunResync { session, reported } = start.begin(started).await;
            if let Err(error) = reported {
                tracing::warn!(%error, "the start of the resync could not be reported");
            }
            CatalogAccess::Write(session)
        }
    };
    let writes = catalog.session().cloned();
    let run = Run { mapper, catalog, upsert_batch, observer, options, started, begun: clock };

    let mut notes = info.notes.clone();
    let outcome = match &writes {
        None => run.resync(info, source, snapshot).await,
        Some(session) => {
            tokio::select! {
                biased;
                outcome = run.resync(info, source, snapshot) => outcome,
                never = run.stopped_by_catalog(&**session, &mut notes) => match never {},
            }
        }
    };
    let (mut report, told) = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(%error, "the resync ended before anything was read");
            end(writes, ResyncStatus::Failed).await;
            return Err(error);
        }
    };
    report.duration = clock.elapsed();
    report.notes.splice(0..0, notes);
    report.outcome = judge(&report, run.options.cancel.is_cancelled());
    end(writes, status(&report, told)).await;
    Ok(report)
}

/// A catalog that is open for a plan or for a resync.
enum OpenCatalog {
    Plan(Arc<dyn CatalogView>),
    Resync(Box<dyn ResyncStart>),
}

async fn open(
    catalog: Arc<dyn Catalog>,
    mode: Mode,
    defaults: &[KindEntry],
) -> Result<Opened<OpenCatalog>, CatalogError> {
    match mode {
        Mode::Plan => {
            let Opened { info, session } = catalog.read(defaults).await?;
            Ok(Opened { info, session: OpenCatalog::Plan(session) })
        }
        Mode::Apply => {
            let Opened { info, session } = catalog.open(defaults).await?;
            Ok(Opened { info, session: OpenCatalog::Resync(session) })
        }
    }
}

async fn end(session: Option<Arc<dyn CatalogSession>>, status: ResyncStatus) {
    if let Some(session) = session
        && let Err(error) = session.end(status).await
    {
        tracing::warn!(%error, "the end of the resync could not be reported");
    }
}

/// How the catalog is told that a resync ended. `told` is whether it took all steps that it cannot
/// do without.
fn status(report: &Report, told: bool) -> ResyncStatus {
    match report.outcome {
        Outcome::Aborted => ResyncStatus::Aborted,
        _ if !told => ResyncStatus::Failed,
        Outcome::Done | Outcome::DeletionsHeldBack => ResyncStatus::Completed,
        Outcome::Partial if report.processing == Processing::Documents => ResyncStatus::Failed,
        // An entity that the catalog refused does not fail a resync: a lasting fact, told in the report.
        Outcome::Partial => {
            let mut all = ResourceResult::default();
            report.units.iter().for_each(|unit| all.count(&unit.state));
            all.status(report.processing)
        }
        Outcome::NothingRead => ResyncStatus::Failed,
    }
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
    // A unit of which one resource was refused has failed, and yet the others were read.
    let counts = report.totals().counts;
    let nothing_read = complete == 0 && counts.mapped == 0 && counts.documents == 0;
    if cancelled {
        Outcome::Aborted
    } else if nothing_read && (!report.units.is_empty() || report.accounts.iter().all(|(_, p)| p.is_some())) {
        Outcome::NothingRead
    } else if complete < report.units.len()
        || report.accounts.iter().any(|(_, problem)| problem.is_some())
        || report.units.iter().any(|unit| !unit.unread.is_empty())
        || !report.refusals.is_empty()
        || !deletion.failed.is_empty()
    {
        Outcome::Partial
    } else if deletion.needs_decision() {
        Outcome::DeletionsHeldBack
    } else {
        Outcome::Done
    }
}

struct Run {
    mapper: Arc<dyn Mapper>,
    catalog: CatalogAccess,
    upsert_batch: usize,
    observer: Arc<dyn Observer>,
    options: SyncOptions,
    started: SystemTime,
    begun: Instant,
}

/// The regions of each account.
#[derive(Default)]
struct AccountRegions {
    of: BTreeMap<AccountId, Result<Vec<Region>, Problem>>,
    /// The accounts whose regions are those that the mapping names, for want of a list.
    assumed: BTreeSet<AccountId>,
}

/// What running the units gave.
struct UnitsRun {
    reports: Vec<UnitReport>,
    item_failures: Vec<(UnitId, String, Problem)>,
    misconfigured: Misconfigured,
}

impl Run {
    /// Waits for the catalog to ask for the resync's end, and stops it then.
    async fn stopped_by_catalog(&self, catalog: &dyn CatalogSession, notes: &mut Vec<String>) -> Infallible {
        let problem = catalog.watch_for_abort().await;
        tracing::warn!(%problem, "the catalog stops the resync");
        notes.push(format!("stopped before its end: {problem}"));
        self.options.cancel.cancel();
        std::future::pending().await
    }

    /// The second value is false when the catalog missed a step that it cannot do without.
    async fn resync(
        &self,
        info: CatalogInfo,
        source: Result<OpenedSource, Problem>,
        mapper: Arc<dyn MapperSnapshot>,
    ) -> Result<(Report, bool), SyncError> {
        let CatalogInfo { identity, config, processing, examples, .. } = info;
        let refused = mapper.refused();
        if config.resources.is_empty() {
            return Err(SyncError::Config(
                Problem::new(ProblemCode::MappingInvalid, "the integration's mapping in Port has no `resources`, so there is nothing to read").remedy(
                    "add resources to the mapping of this data source in Port, or let Berth create the default one with OCEAN__INITIALIZE_PORT_RESOURCES=true",
                ),
            ));
        }
        let OpenedSource { accounts, session: source } = source.map_err(SyncError::Source)?;
        let problems: Arc<Problems> = Arc::default();
        for AccountAccess { account, access } in &accounts {
            if let Err(problem) = access {
                let names = [account.id.as_str()];
                warn_if!(
                    problems.should_log((UNREADABLE, Log::Once), None, &problem.message, &names),
                    account = %account.id, %problem, "{UNREADABLE}"
                );
            }
            self.observer.event(&Event::Account { account, problem: access.as_ref().err() });
        }
        let (resources, mut notes) = resolve(&config, &mapper.kinds(), &refused);
        let snapshot = Arc::clone(&mapper);
        let mut versions = Versions::new(&self.mapper, mapper, &config);
        let ledger = match &self.options.ledger {
            Some(ledger) => {
                let ledger = Arc::clone(ledger);
                LedgerHandle::open(ledger, identity.clone(), self.catalog.is_plan(), &mut notes).await
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
        let (owned, regions) = futures::join!(owned, self.regions(&*source, &accounts, &resources));
        let mut planned = plan(&accounts, &regions.of, &resources);
        notes.extend(regions.assumed.iter().map(|account| {
            format!(
                "account {account} denies access to the list of its regions; those that `regionPolicy.allow` names are read"
            )
        }));
        planned.notes.splice(0..0, notes);
        self.observer.event(&Event::Planned {
            units: planned.units.len(),
            settled: planned.settled.len(),
            plan: &planned,
        });

        let reads = resources.iter().filter_map(|resource| {
            let (kind, _) = resource.mapping.as_ref().ok()?;
            Some(PlannedRead { kind: Arc::clone(kind), options: options(&resource.config) })
        });
        let reader = source.reader(&reads.collect::<Vec<_>>());

        let owned = Arc::new(owned);
        let ledger = match ledger {
            Some(session) => Some(Arc::new(LedgerView::of(session, Arc::clone(&owned)).await)),
            None => None,
        };
        let options = UpsertOptions {
            merge: config.enable_merge_entity,
            create_missing_related_entities: config.create_missing_related_entities,
        };
        let ordered = !self.catalog.is_plan()
            && !options.create_missing_related_entities
            && processing != Processing::Documents;
        let order = if ordered || ledger.as_ref().is_some_and(|ledger| ledger.has_gaps()) {
            Order::of(self.relations(&resources).await)
        } else {
            Order::default()
        };
        let recorder = ledger.as_deref().and_then(Recorder::start);
        let units: Arc<[Arc<Unit>]> = planned.units.into();
        let (sender, receiver) = mpsc::channel(CHANNEL);
        let (tally, milestones) = Tally::new(resources.len(), &units, &planned.settled);
        let tally = Arc::new(tally);
        let examples = (config.resources.iter().map(|resource| resource.kind.clone()), examples);
        let (documents, background) =
            Documents::new(self.catalog.clone(), processing, examples, self.options.cancel.clone());
        let documents = Arc::new(documents);
        let done = CancellationToken::new();
        let writer = Writer {
            catalog: self.catalog.clone(),
            upsert_batch: self.upsert_batch,
            observer: Arc::clone(&self.observer),
            options,
            units: Arc::clone(&units),
            owned: Arc::clone(&owned),
            tally: Arc::clone(&tally),
            ledger: ledger.clone(),
            single_account: resources.iter().map(|resource| resource.entry.single_account).collect(),
            adoption: self.options.adoption.clone(),
            approved: self.options.approved.clone(),
            records: recorder.as_ref().map(|recorder| recorder.sender.clone()),
            journal: Arc::clone(&self.options.journal),
            problems: Arc::clone(&problems),
        };
        let merge = ledger.as_ref().map(|_| options.merge);
        let settled = std::mem::take(&mut planned.settled);
        let facts = self.facts(&accounts, &regions, &resources, ledger.as_deref());
        let work = async {
            let (units_run, written) = futures::join!(
                self.units(
                    &reader,
                    &units,
                    (&resources, &mut versions),
                    merge,
                    sender,
                    (&tally, &documents, &problems)
                ),
                writer.run(receiver, order)
            );
            tally.finish(self.options.cancel.is_cancelled());
            problems.log_repeats();
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
                unread: Vec::new(),
                duration: Duration::ZERO,
            }));
            let mut mapped: BTreeMap<usize, u64> = BTreeMap::new();
            for report in &reports {
                *mapped.entry(report.unit.resource).or_default() += report.counts.mapped;
            }
            let documents_only = processing == Processing::Documents;
            let outcomes = Reports(&reports);
            let mut policy = Policy::new(&facts, &outcomes);
            let deletion = if documents_only {
                Deletion::default()
            } else {
                tally.tell(Milestone::DeletionStarted);
                let deletion = if self.options.cancel.is_cancelled() {
                    let problem =
                        Problem::new(ProblemCode::ResyncStopped, "the resync was stopped before its end")
                            .remedy("the next resync deletes what is gone");
                    Deletion { stopped: Some(problem), ..Deletion::default() }
                } else {
                    let stale = StaleEntities {
                        catalog: &self.catalog,
                        reader: &*reader,
                        mapper: &*snapshot,
                        observer: self.observer.as_ref(),
                        journal: &self.options.journal,
                        resources: &resources,
                        units: &units,
                        reports: &reports,
                        policy: &mut policy,
                        written: &written,
                        ledger: ledger.as_deref(),
                        settings: self.deletion_settings(&config),
                        begun: self.begun,
                        deletion: Deletion::default(),
                    };
                    stale.delete(&owned).await
                };
                tally.tell(Milestone::DeletionEnded {
                    deleted: deletion.deleted.len() as u64,
                    failed: deletion.failed.len() as u64,
                    held_back: deletion.stopped.is_some() || !deletion.held_back.is_empty(),
                });
                deletion
            };
            let remembered = match (&ledger, recorder) {
                (Some(ledger), Some(recorder)) => {
                    let ended = EndOfResync {
                        policy: &policy,
                        deletion: &deletion,
                        written: &written,
                        units: &units,
                        resources: &resources,
                        journal: &self.options.journal,
                        stopped: self.options.cancel.is_cancelled(),
                    };
                    ended.remember(&config, ledger, recorder).await
                }
                _ => Ok(()),
            };
            // Its end is the end of the milestones.
            drop(tally);
            let misconfigured = units_run.misconfigured.told(self.catalog.view(), &resources, &mapped).await;
            (reports, units_run.item_failures, misconfigured, written, deletion, remembered)
        };
        let telling = async {
            match self.catalog.session() {
                Some(session) => milestones.told(&**session).await,
                None => true,
            }
        };
        let ((reports, item_failures, misconfigurations, written, deletion, remembered), told, ()) =
            futures::join!(work, telling, self.background(background, &done));
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
            dry_run: self.catalog.is_plan(),
            processing,
            catalog: identity,
            started: self.started,
            duration: Duration::ZERO,
            outcome: Outcome::Done,
            units: reports,
            accounts: accounts
                .into_iter()
                .map(|access| (access.account.as_ref().clone(), access.access.err()))
                .collect(),
            refusals: written.refusals,
            foreign: written.foreign,
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
    async fn background(&self, tasks: Option<BackgroundTasks>, done: &CancellationToken) {
        let Some(tasks) = tasks else { return };
        let late = async {
            done.cancelled().await;
            tokio::time::sleep(self.options.patience).await;
        };
        tokio::select! {
            biased;
            () = tasks.run() => {}
            () = self.options.cancel.cancelled() => {}
            () = late => tracing::warn!("the catalog is too slow for documents; the rest is left out"),
        }
    }

    /// Lists what the catalog holds for this integration, as digests.
    async fn owned(&self) -> Owned {
        let mut keys = HashSet::new();
        let mut pages = self.catalog.view().owned();
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
                match self.catalog.view().relations(&blueprint).await {
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

    /// What deletion depends on beside the units.
    fn facts(
        &self,
        accounts: &[AccountAccess],
        regions: &AccountRegions,
        resources: &[ResolvedResource],
        ledger: Option<&LedgerView>,
    ) -> Facts {
        let scope = |account: &Account| {
            // What is only assumed says nothing about the regions that are not among them.
            let listed = regions.of.get(&account.id).filter(|_| !regions.assumed.contains(&account.id));
            let enabled = listed.and_then(|listed| listed.as_ref().ok());
            AccountScope {
                regions: enabled.map(|enabled| enabled.iter().cloned().collect()),
                main_region: account.partition.home(),
            }
        };
        Facts {
            accounts: accounts.iter().map(|a| (a.account.id.clone(), scope(&a.account))).collect(),
            entries: resources.iter().map(|resource| Entry::clone(&resource.entry)).collect(),
            removal: self.options.removal.clone(),
            missing: ledger.map(LedgerView::missing_scopes),
        }
    }

    fn deletion_settings(&self, config: &berth_core::AppConfig) -> DeletionSettings {
        DeletionSettings {
            limits: LimitOptions {
                threshold: config.entity_deletion_threshold,
                maximum: self.options.max_deletions,
            },
            delete_dependents: config.delete_dependent_entities,
            creates_targets: config.create_missing_related_entities,
            approved: self.options.approved.clone(),
        }
    }

    async fn regions(
        &self,
        source: &dyn SourceSession,
        accounts: &[AccountAccess],
        resources: &[ResolvedResource],
    ) -> AccountRegions {
        if !resources.iter().any(ResolvedResource::reads_regions) {
            return AccountRegions::default();
        }
        let hints = &plan::region_hints(resources);
        let usable = accounts.iter().filter(|access| access.access.is_ok());
        let accounts: Vec<Arc<Account>> = usable.map(|access| Arc::clone(&access.account)).collect();
        stream::iter(accounts)
            .map(|account| async move {
                let span = tracing::info_span!("regions", account = %account.id);
                let regions = source.regions(&account, hints).instrument(span).await;
                if let Err(problem) = &regions {
                    tracing::warn!(account = %account.id, %problem, "regions cannot be listed");
                }
                (account.id.clone(), regions)
            })
            .buffer_unordered(self.options.region_concurrency.max(1))
            .fold(AccountRegions::default(), |mut all, (account, enabled)| {
                if enabled.as_ref().is_ok_and(EnabledRegions::is_assumed) {
                    all.assumed.insert(account.clone());
                }
                all.of.insert(account, enabled.map(|enabled| enabled.regions().to_vec()));
                std::future::ready(all)
            })
            .await
    }

    /// Runs all units, under the limits of the options and of each selector.
    async fn units(
        &self,
        reader: &Arc<dyn ResourceReader>,
        units: &[Arc<Unit>],
        (resources, versions): (&[ResolvedResource], &mut Versions<'_>),
        merge: Option<bool>,
        sender: mpsc::Sender<Mapped>,
        (tally, documents, problems): (&Arc<Tally>, &Arc<Documents>, &Arc<Problems>),
    ) -> UnitsRun {
        let mut schedule = Schedule::new(units);
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut reports: Vec<Option<UnitReport>> = units.iter().map(|_| None).collect();
        let mut item_failures = Vec::new();
        let mut misconfigured = Misconfigured::default();
        let mut stopped = false;
        loop {
            while running.len() < self.options.unit_concurrency.max(1)
                && !self.options.cancel.is_cancelled()
                && let Some(index) = schedule.next()
            {
                let Some(resource) = resources.get(units[index].id.resource) else { continue };
                let (unit, begun) = versions.begin(&units[index], resource);
                let task = UnitTask {
                    index,
                    reader: Arc::clone(reader),
                    observer: Arc::clone(&self.observer),
                    begun,
                    fields: Arc::clone(&resource.fields),
                    merge,
                    sender: sender.clone(),
                    tally: Arc::clone(tally),
                    documents: Arc::clone(documents),
                    problems: Arc::clone(problems),
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
                biased;
                () = self.options.cancel.cancelled(), if !stopped && !running.is_empty() => {
                    // One that has ended meanwhile is told to the catalog as complete, and so it counts.
                    stopped = true;
                    running.abort_all();
                    continue;
                }
                joined = running.join_next() => joined,
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
                Err(error) if error.is_cancelled() => {}
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
                    state: UnitState::Failed(if self.options.cancel.is_cancelled() {
                        Problem::new(ProblemCode::ResyncStopped, "not read: the resync was stopped")
                            .remedy("the next resync reads it")
                    } else {
                        Problem::new(ProblemCode::Internal, "the unit's task ended abnormally")
                            .remedy("nothing of it is deleted; report this, with the log")
                    }),
                    counts: UnitCounts::default(),
                    unread: Vec::new(),
                    duration: Duration::ZERO,
                })
            })
            .collect();
        UnitsRun { reports, item_failures, misconfigured }
    }
}
