//! Helpers that the tests share.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::{Arc, Mutex},
    time::Duration,
};

use berth_aws::{AwsConfig, AwsSource, EndpointOverrides, Retry, StaticKeys};
use berth_core::{
    Account, AccountAccess, AccountId, EnabledRegions, FetchError, FetchRequest, ItemFailure, KindManifest,
    Manifest, One, OpenedSource, Partition, Problem, RawPage, Region, RegionHints, ResourceReader,
    Source as _, SourceSession,
};
use futures::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};

pub(crate) fn http() -> reqwest::Client {
    // Installed once; later calls have no effect.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

pub(crate) fn config(endpoint: &str) -> AwsConfig {
    AwsConfig {
        static_keys: Some(StaticKeys {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "base-secret".into(),
            session_token: None,
        }),
        endpoints: EndpointOverrides::new().all(endpoint.parse().unwrap()),
        retry: Retry {
            base: Duration::from_millis(2),
            cap: Duration::from_millis(20),
            attempt_timeout: Duration::from_secs(20),
            ..Retry::default()
        },
        ..AwsConfig::default()
    }
}

pub(crate) fn with_roles(endpoint: &str, accounts: &[&str]) -> AwsConfig {
    let arns = accounts.iter().map(|account| format!("arn:aws:iam::{account}:role/Reader")).collect();
    AwsConfig { account_role_arns: arns, ..config(endpoint) }
}

pub(crate) fn source(config: AwsConfig) -> Resync {
    source_over(config, http())
}

pub(crate) fn source_over(config: AwsConfig, http: reqwest::Client) -> Resync {
    Resync { source: Arc::new(AwsSource::new(config, http).unwrap()), opened: Mutex::default() }
}

/// A source with its last opened session.
pub(crate) struct Resync {
    source: Arc<AwsSource>,
    opened: Mutex<Option<OpenedParts>>,
}

type OpenedParts = (Arc<dyn SourceSession>, Arc<dyn ResourceReader>);

impl Deref for Resync {
    type Target = AwsSource;

    fn deref(&self) -> &AwsSource {
        &self.source
    }
}

impl Resync {
    /// Opens the source for the next resync.
    pub(crate) async fn accounts(&self) -> Result<Vec<AccountAccess>, Problem> {
        let OpenedSource { accounts, session } = Arc::clone(&self.source).open().await?;
        let reader = session.reader(&[]);
        *self.opened.lock().unwrap() = Some((session, reader));
        Ok(accounts)
    }

    fn opened(&self) -> OpenedParts {
        self.opened.lock().unwrap().clone().unwrap()
    }

    pub(crate) async fn regions(&self, account: &Account) -> Result<Vec<Region>, Problem> {
        let enabled = self.enabled_regions(account, &RegionHints::default()).await?;
        Ok(enabled.regions().to_vec())
    }

    pub(crate) async fn enabled_regions(
        &self,
        account: &Account,
        hints: &RegionHints,
    ) -> Result<EnabledRegions, Problem> {
        self.opened().0.regions(account, hints).await
    }

    pub(crate) fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
        self.opened().1.fetch(request)
    }
}

/// Returns a kind with this scope and these steps.
pub(crate) fn kind(scope: &str, plan: &Value) -> Arc<KindManifest> {
    let options: BTreeSet<&str> =
        plan["steps"].as_array().unwrap().iter().filter_map(|step| step["option"].as_str()).collect();
    let options: Vec<Value> = options.iter().map(|name| json!({"name": name, "description": ""})).collect();
    let manifest = json!({"name": "test", "version": "1.0.0", "kinds": [
        {"kind": "AWS::Test::Kind", "scope": scope, "plan": plan, "options": options}
    ]});
    let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
    Arc::new(manifest.kinds.into_iter().next().unwrap())
}

pub(crate) fn account(id: &str) -> Arc<Account> {
    Arc::new(Account::unnamed(AccountId::new(id).unwrap(), Partition::Aws))
}

/// The result of a unit.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) resources: Vec<Value>,
    pub(crate) pages: Vec<usize>,
    pub(crate) failures: Vec<ItemFailure>,
    /// The steps that are unknown for some resources, with the number of resources.
    pub(crate) unread: BTreeMap<String, usize>,
    pub(crate) error: Option<FetchError>,
}

impl Read {
    pub(crate) fn complete(self) -> Vec<Value> {
        assert!(self.error.is_none() && self.failures.is_empty(), "{:?} {:?}", self.error, self.failures);
        self.resources
    }
}

pub(crate) async fn read(
    source: &Resync,
    account_id: &str,
    regions: &[&str],
    kind: &Arc<KindManifest>,
    options: &[&str],
) -> Read {
    read_with(source, account_id, regions, kind, options, None).await
}

/// Reads a unit, or the one resource of it that an event names.
pub(crate) async fn read_with(
    source: &Resync,
    account_id: &str,
    regions: &[&str],
    kind: &Arc<KindManifest>,
    options: &[&str],
    one: Option<One>,
) -> Read {
    fetch(
        source,
        FetchRequest {
            account: account(account_id),
            regions: regions.iter().map(|region| Region::new(region).unwrap()).collect(),
            kind: kind.clone(),
            options: options.iter().map(ToString::to_string).collect(),
            one,
            fresh: false,
        },
    )
    .await
}

/// Runs a request.
pub(crate) async fn fetch(source: &Resync, request: FetchRequest) -> Read {
    let mut pages = source.fetch(request);
    let mut read = Read::default();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => {
                let resources: Vec<Value> = serde_json::from_slice(&page.resources).unwrap();
                assert_eq!(resources.len(), page.count);
                read.pages.push(page.count);
                read.resources.extend(resources);
                read.failures.extend(page.failures);
                for unread in page.unread {
                    *read.unread.entry(unread.step).or_default() += page.count;
                }
            }
            Err(error) => read.error = Some(error),
        }
    }
    read
}
