//! The first phase: determines what to read, and what is known before.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::SystemTime,
};

use berth_core::{
    Account, AccountAccess, AccountId, AppConfig, BegunResync, BlueprintId, Catalog, CatalogError,
    CatalogInfo, CatalogView, EnabledRegions, KindEntry, MapperSnapshot, Opened, OpenedSource, PlannedRead,
    Problem, ProblemCode, Processing, RefusedPlugin, Region, ResourceReader, ResyncStart, SourceSession,
    Unit, UnitId, UnitState, UpsertOptions, home_region,
};
use futures::{StreamExt, stream};
use tracing::Instrument;

use super::Context;
use crate::{
    Event, Mode, ResolvedResource, SyncError,
    catalog_access::CatalogAccess,
    content::key_digest,
    deletion::{AccountScope, Facts, MappingFacts},
    ledger_view::{LedgerHandle, LedgerView},
    order::{Order, Relations},
    owned::Owned,
    plan::{plan, region_hints, resolve},
    problems::{ProblemLog, warn_if},
    unit_task::options,
};

// The text about unreadable accounts.
const UNREADABLE: &str = "account cannot be read";
/// Blueprints whose relations are read at once.
const RELATIONS: usize = 8;

/// A catalog that is open for a plan or for a resync.
pub(super) enum OpenCatalog {
    Plan(Arc<dyn CatalogView>),
    Resync(Box<dyn ResyncStart>),
}

/// Opens the catalog for the mode.
pub(super) async fn open(
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

/// Reports that a resync starts; a plan reports nothing.
pub(super) async fn begin(catalog: OpenCatalog, started: SystemTime) -> CatalogAccess {
    match catalog {
        OpenCatalog::Plan(view) => CatalogAccess::Read(view),
        OpenCatalog::Resync(start) => {
            let BegunResync { session, reported } = start.begin(started).await;
            if let Err(error) = reported {
                tracing::warn!(%error, "cannot report the start of the resync");
            }
            CatalogAccess::Write(session)
        }
    }
}

/// What was opened.
pub(super) struct PrepareInput {
    pub(super) info: CatalogInfo,
    pub(super) source: Result<OpenedSource, Problem>,
    /// The plugins that the resync is planned with.
    pub(super) snapshot: Arc<dyn MapperSnapshot>,
}

/// The input of the other phases.
pub(super) struct Prepared {
    pub(super) identity: String,
    pub(super) config: AppConfig,
    pub(super) processing: Processing,
    pub(super) examples: usize,
    pub(super) accounts: Vec<AccountAccess>,
    pub(super) refused: Vec<RefusedPlugin>,
    pub(super) resources: Vec<ResolvedResource>,
    pub(super) snapshot: Arc<dyn MapperSnapshot>,
    pub(super) reader: Arc<dyn ResourceReader>,
    /// What the catalog held when the resync started.
    pub(super) owned: Arc<Owned>,
    pub(super) ledger: Option<Arc<LedgerView>>,
    /// What deletion depends on, except the units.
    pub(super) facts: Facts,
    /// The order of sending entities.
    pub(super) order: Order,
    /// The units to read.
    pub(super) units: Arc<[Arc<Unit>]>,
    /// The units whose outcome is known without reading them.
    pub(super) settled: Vec<(UnitId, UnitState)>,
    pub(super) notes: Vec<String>,
}

impl Prepared {
    /// Returns how to write entities.
    pub(super) fn upsert_options(&self) -> UpsertOptions {
        UpsertOptions {
            merge: self.config.enable_merge_entity,
            create_missing_related_entities: self.config.create_missing_related_entities,
        }
    }
}

/// Plans the units, and determines what is known before they are read.
///
/// # Errors
/// [`SyncError`] if there is nothing to read, or nothing can be read.
pub(super) async fn prepare(context: &Context, input: PrepareInput) -> Result<Prepared, SyncError> {
    let PrepareInput { info, source, snapshot } = input;
    let CatalogInfo { identity, config, processing, examples, .. } = info;
    let refused = snapshot.refused();
    if config.resources.is_empty() {
        return Err(SyncError::Config(
            Problem::new(
                ProblemCode::MappingInvalid,
                "the integration's mapping in Port has no `resources`, so there is nothing to read",
            )
            .remedy(
                "add resources to the mapping of this data source in Port, or let Berth create the default \
                 one with OCEAN__INITIALIZE_PORT_RESOURCES=true",
            ),
        ));
    }
    let OpenedSource { accounts, session: source } = source.map_err(SyncError::Source)?;
    note_accounts(context, &accounts);
    let (resources, mut notes) = resolve(&config, &snapshot.kinds(), &refused);
    let ledger = open_ledger(context, &identity, &mut notes).await;
    // A catalog that maps by itself changes what it holds. The ledger's session stays open, so that later
    // nothing from before counts as known.
    let ledger = ledger.filter(|_| processing != Processing::Documents);
    let owned = async {
        match processing {
            Processing::Entities | Processing::EntitiesAndDocuments => owned(context).await,
            // The catalog then manages its own entities.
            Processing::Documents => Owned::Known(HashSet::new()),
        }
    };
    let (owned, regions) = futures::join!(owned, regions(context, &*source, &accounts, &resources));
    let mut planned = plan(&accounts, &regions.of, &resources);
    notes.extend(regions.assumed.iter().map(|account| {
        format!(
            "account {account} denies access to the list of its regions; Berth reads those that \
            `regionPolicy.allow` names"
        )
    }));
    planned.notes.splice(0..0, notes);
    let units: Vec<UnitId> = planned.units.iter().map(|unit| unit.id.clone()).collect();
    context.observer.event(&Event::Planned { units: &units, settled: &planned.settled });
    drop(units);
    let reader = source.reader(&reads(&resources));
    let owned = Arc::new(owned);
    let ledger = match ledger {
        Some(session) => Some(Arc::new(LedgerView::of(session, Arc::clone(&owned)).await)),
        None => None,
    };
    let facts = facts(context, &accounts, &regions, &resources, ledger.as_deref());
    let mut prepared = Prepared {
        identity,
        config,
        processing,
        examples,
        accounts,
        refused,
        resources,
        snapshot,
        reader,
        owned,
        ledger,
        facts,
        order: Order::default(),
        units: planned.units.into(),
        settled: planned.settled,
        notes: planned.notes,
    };
    prepared.order = order(context, &prepared).await;
    Ok(prepared)
}

fn note_accounts(context: &Context, accounts: &[AccountAccess]) {
    for AccountAccess { account, access } in accounts {
        if let Err(problem) = access {
            let names = [account.id.as_str()];
            warn_if!(
                context.problems.should_log((UNREADABLE, ProblemLog::Once), None, &problem.message, &names),
                account = %account.id, %problem, "{UNREADABLE}"
            );
        }
        context.observer.event(&Event::Account { account, problem: access.as_ref().err() });
    }
}

async fn open_ledger(context: &Context, identity: &str, notes: &mut Vec<String>) -> Option<LedgerHandle> {
    let ledger = Arc::clone(context.options.ledger.as_ref()?);
    LedgerHandle::open(ledger, identity.to_owned(), context.catalog.is_plan(), notes).await
}

/// Returns the planned reads of the source.
fn reads(resources: &[ResolvedResource]) -> Vec<PlannedRead> {
    let reads = resources.iter().filter_map(|resource| {
        let (kind, _) = resource.mapping.as_ref().ok()?;
        Some(PlannedRead { kind: Arc::clone(kind), options: options(&resource.config) })
    });
    reads.collect()
}

/// Lists what the catalog holds for this integration, as digests.
async fn owned(context: &Context) -> Owned {
    let mut keys = HashSet::new();
    let mut pages = context.catalog.view().owned();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => keys.extend(page.iter().map(|owned| key_digest(&owned.key))),
            Err(error) => {
                tracing::warn!(%error, "cannot list the catalog's entities; nothing will be deleted");
                return Owned::Unknown(error.0);
            }
        }
    }
    Owned::Known(keys)
}

/// Returns the order of sending entities: needed if the catalog does not create the targets of relations, or
/// if relations may have lost theirs.
async fn order(context: &Context, prepared: &Prepared) -> Order {
    let ordered = !context.catalog.is_plan()
        && !prepared.config.create_missing_related_entities
        && prepared.processing != Processing::Documents;
    if ordered || prepared.ledger.as_ref().is_some_and(|ledger| ledger.has_gaps()) {
        Order::of(relations(context, &prepared.resources).await)
    } else {
        Order::default()
    }
}

/// Returns the relations of the blueprints that mappings name, as far as they can be read.
async fn relations(context: &Context, resources: &[ResolvedResource]) -> Relations {
    let blueprints: BTreeSet<BlueprintId> =
        resources.iter().filter_map(|resource| resource.blueprint.clone()).collect();
    // By value here and in `regions`: with a closure that takes a reference, the compiler cannot prove that
    // the whole resync is `Send`, which `tokio::spawn` requires.
    stream::iter(blueprints)
        .map(|blueprint| async move {
            match context.catalog.view().relations(&blueprint).await {
                Ok(relations) => Some((blueprint, relations?)),
                Err(error) => {
                    tracing::warn!(%blueprint, %error, "cannot read the relations of a blueprint");
                    None
                }
            }
        })
        .buffer_unordered(RELATIONS)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// The regions of each account.
#[derive(Default)]
struct AccountRegions {
    of: BTreeMap<AccountId, Result<Vec<Region>, Problem>>,
    /// The accounts whose regions are those that the mapping names, because they have no list.
    assumed: BTreeSet<AccountId>,
}

async fn regions(
    context: &Context,
    source: &dyn SourceSession,
    accounts: &[AccountAccess],
    resources: &[ResolvedResource],
) -> AccountRegions {
    if !resources.iter().any(ResolvedResource::reads_regions) {
        return AccountRegions::default();
    }
    let hints = &region_hints(resources);
    let usable = accounts.iter().filter(|access| access.access.is_ok());
    let accounts: Vec<Arc<Account>> = usable.map(|access| Arc::clone(&access.account)).collect();
    stream::iter(accounts)
        .map(|account| async move {
            let span = tracing::info_span!("regions", account = %account.id);
            let regions = source.regions(&account, hints).instrument(span).await;
            if let Err(problem) = &regions {
                tracing::warn!(account = %account.id, %problem, "cannot list regions");
            }
            (account.id.clone(), regions)
        })
        .buffer_unordered(context.options.region_concurrency.max(1))
        .fold(AccountRegions::default(), |mut all, (account, enabled)| {
            if enabled.as_ref().is_ok_and(EnabledRegions::is_assumed) {
                all.assumed.insert(account.clone());
            }
            all.of.insert(account, enabled.map(|enabled| enabled.regions().to_vec()));
            std::future::ready(all)
        })
        .await
}

/// Returns what deletion depends on, except the units.
fn facts(
    context: &Context,
    accounts: &[AccountAccess],
    regions: &AccountRegions,
    resources: &[ResolvedResource],
    ledger: Option<&LedgerView>,
) -> Facts {
    let scope = |account: &Account| {
        // Assumed regions say nothing about the other regions.
        let listed = regions.of.get(&account.id).filter(|_| !regions.assumed.contains(&account.id));
        let enabled = listed.and_then(|listed| listed.as_ref().ok());
        AccountScope {
            regions: enabled.map(|enabled| enabled.iter().cloned().collect()),
            main_region: home_region(account.partition),
        }
    };
    Facts {
        accounts: accounts.iter().map(|a| (a.account.id.clone(), scope(&a.account))).collect(),
        entries: resources.iter().map(|resource| MappingFacts::clone(&resource.entry)).collect(),
        removal: context.options.removal.clone(),
        missing: ledger.map(LedgerView::missing_scopes),
    }
}
