//! Checks that a resync would work, without writing anything.

use std::{collections::BTreeSet, sync::Arc};

use berth_core::{
    Account, AccountAccess, Catalog, FetchError, FetchRequest, KindEntry, KindReads, MapperSnapshot,
    OpenedSource, Problem, ProblemCode, Processing, Region, ResourceReader, Scope, Source, SourceSession,
};
use futures::{StreamExt, stream};
use serde::Serialize;

use crate::plan::{ResolvedResource, defaults, main_region_first, region_hints, resolve};

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", content = "detail", rename_all = "lowercase")]
pub enum Finding {
    /// It works; what was found.
    Good(String),
    /// It does not work.
    Bad(Problem),
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked, as in `role of account 111122223333`.
    pub subject: String,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

impl Check {
    fn new(subject: impl Into<String>, result: Result<String, Problem>) -> Self {
        let finding = match result {
            Ok(seen) => Finding::Good(seen),
            Err(problem) => Finding::Bad(problem),
        };
        Self { subject: subject.into(), finding }
    }

    /// Returns whether it works.
    pub fn is_good(&self) -> bool {
        matches!(self.finding, Finding::Good(_))
    }
}

/// Accounts to check at once.
const ACCOUNTS: usize = 16;

/// Checks the base identity, each role, the regions, one read per kind and account, the catalog, and the
/// plugins. Writes nothing.
///
/// The kinds are those of the app-config or, with `all_kinds`, of all plugins.
pub async fn check(
    source: Arc<dyn Source>,
    mapper: &dyn MapperSnapshot,
    catalog: Arc<dyn Catalog>,
    all_kinds: bool,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let kinds = mapper.kinds();
    let refused = mapper.refused();
    checks.push(Check::new(
        "plugins",
        if kinds.is_empty() {
            Err(Problem::new(ProblemCode::PluginMissing, "no plugin is usable")
                .remedy("name a directory with plugins (`--plugins`)"))
        } else {
            Ok(format!("{} kinds", kinds.len()))
        },
    ));
    for plugin in &refused {
        checks.push(Check::new(format!("plugin {}", plugin.plugin), Err(plugin.problem.clone())));
    }

    let defaults: Vec<KindEntry> = defaults(&kinds);
    let (catalog, identity, opened) =
        futures::join!(catalog.read(&defaults), source.identity(), Arc::clone(&source).open());
    let mut config = match catalog {
        Ok(catalog) => {
            let info = catalog.info;
            let resources = info.config.resources.len();
            let mapped = match info.processing {
                Processing::Entities | Processing::EntitiesAndDocuments => "mapped",
                Processing::Documents => "mapped by Port, from raw data",
            };
            checks.push(Check::new(
                "Port",
                Ok(format!("credentials accepted; {resources} resources are {mapped}")),
            ));
            info.config
        }
        Err(error) => {
            checks.push(Check::new("Port", Err(error.0)));
            // Without the mapping it is not known what would be read; the defaults are a good guess.
            berth_core::AppConfig {
                resources: defaults.iter().filter_map(|entry| entry.manifest.mapping.clone()).collect(),
                ..berth_core::AppConfig::default()
            }
        }
    };
    match identity {
        Ok(Some(identity)) => checks.push(Check::new("AWS base identity", Ok(identity))),
        Ok(None) => {}
        Err(problem) => checks.push(Check::new("AWS base identity", Err(problem))),
    }
    if all_kinds {
        let mapped: BTreeSet<_> = config.resources.iter().map(|resource| resource.kind.clone()).collect();
        let others = kinds.values().filter(|entry| !mapped.contains(&entry.manifest.kind));
        config.resources.extend(others.filter_map(|entry| entry.manifest.mapping.clone()));
    }
    let (resources, _) = resolve(&config, &kinds, &refused);
    for resource in &resources {
        if let Err(problem) = &resource.mapping {
            checks.push(Check::new(format!("mapping of {}", resource.config.kind), Err(problem.clone())));
        }
    }
    match opened {
        Err(problem) => checks.push(Check::new("AWS accounts", Err(problem))),
        Ok(OpenedSource { accounts, session }) => {
            let mut found: Vec<Vec<Check>> = stream::iter(&accounts)
                .map(|access| account(&*session, access, &resources))
                .buffered(ACCOUNTS)
                .collect()
                .await;
            checks.extend(found.drain(..).flatten());
        }
    }
    checks
}

async fn account(
    source: &dyn SourceSession,
    access: &AccountAccess,
    resources: &[ResolvedResource],
) -> Vec<Check> {
    let account = &access.account;
    let role = format!("account {}: access", account.id);
    if let Err(problem) = &access.access {
        return vec![Check::new(role, Err(problem.clone()))];
    }
    let mut checks = vec![Check::new(role, Ok(account.name.clone()))];
    let regions = source.regions(account, &region_hints(resources)).await;
    let reported = regions.as_ref().map_err(Clone::clone).map(|enabled| {
        let count = enabled.regions().len();
        if enabled.is_assumed() {
            format!("{count} named by `regionPolicy.allow`; the account does not list its regions")
        } else {
            format!("{count} enabled")
        }
    });
    checks.push(Check::new(format!("account {}: regions", account.id), reported));
    let regions = regions.map_or_else(|_| Vec::new(), |enabled| enabled.regions().to_vec());
    let reader = source.reader(&[]);
    let mut seen = BTreeSet::new();
    for resource in resources {
        let Ok((kind, _)) = &resource.mapping else { continue };
        if kind.scope == Scope::Account || !seen.insert(&kind.kind) {
            continue;
        }
        let mut allowed: Vec<Region> =
            regions.iter().filter(|region| resource.allows(region)).cloned().collect();
        main_region_first(account, &mut allowed);
        let Some(region) = allowed.first().cloned() else { continue };
        let request = FetchRequest {
            account: Arc::clone(account),
            regions: vec![region.clone()],
            kind: Arc::clone(kind),
            options: resource.config.selector.include_actions.iter().cloned().collect(),
            one: None,
            fresh: false,
        };
        let subject = format!("account {}: {} in {region}", account.id, kind.kind);
        checks.push(Check::new(subject, read(&*reader, request, account).await));
    }
    checks
}

/// Reads a unit until it is known to be readable: one resource, with all its steps.
async fn read(
    reader: &dyn ResourceReader,
    mut request: FetchRequest,
    account: &Account,
) -> Result<String, Problem> {
    Arc::make_mut(&mut request.kind).plan_mut().chunk = Some(1);
    tracing::debug!(account = %account.id, kind = %request.kind.kind, "reading one resource");
    match reader.fetch(request).next().await {
        None => Ok("readable, but empty".into()),
        Some(Ok(page)) => match (page.failures.into_iter().next(), page.unread.into_iter().next()) {
            (Some(failure), _) => Err(failure.problem),
            (None, Some(unread)) => Err(unread.problem.map_message(|why| {
                format!(
                    "{why}; the values of this step stay unchanged \
                    in Port"
                )
            })),
            (None, None) => Ok("readable".into()),
        },
        Some(Err(FetchError::Skipped(problem) | FetchError::Failed(problem))) => Err(problem),
    }
}
