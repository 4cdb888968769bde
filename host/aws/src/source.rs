//! The source that the sync reads from.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use berth_core::{
    Account, AccountAccess, AccountId, EnabledRegions, FetchError, FetchRequest, OpenedSource, Partition,
    PlannedRead, Problem, ProblemCode, RawPage, Region, RegionHints, ResourceReader, Scope, Source,
    SourceSession, main_region,
};
use futures::stream::{self, BoxStream, StreamExt};

use crate::{
    AwsConfig, AwsStats, Concurrency, ConfigError,
    accounts::{Discovered, Discovery, ListedAccount, Strategy},
    client::{AwsClient, RegionalSession},
    clock::AwsClock,
    credentials::{AccountSession, Identities},
    fetch::{self, Fetch, budget::Budget},
    policy::LONGEST_SESSION_POLICY,
    regions,
};

/// The default maximum size of unmapped responses, in bytes. Enough for two hundred pages of a hundred
/// plain resources; decoded, they take about five times as much.
const PENDING_BYTES: usize = 8 << 20;

/// AWS as a [`Source`].
pub struct AwsSource {
    client: AwsClient,
    identities: Identities,
    strategy: Strategy,
    partition: Partition,
    concurrency: Concurrency,
    limits: Limits,
}

/// The limits of reading.
#[derive(Clone)]
struct Limits {
    granted: Arc<BTreeSet<String>>,
    concurrency: Concurrency,
    budget: Arc<Budget>,
    deadline: Duration,
}

/// The accounts of one resync.
struct AwsSession {
    client: Arc<AwsClient>,
    partition: Partition,
    limits: Limits,
    sessions: Arc<Sessions>,
}

/// Reads the resources of one resync.
struct AwsReader {
    client: Arc<AwsClient>,
    limits: Limits,
    sessions: Arc<Sessions>,
}

/// The sessions of a resync, by account.
#[derive(Default)]
struct Sessions {
    accounts: HashMap<AccountId, Result<Arc<AccountSession>, Problem>>,
    /// The accounts that may have access to the organization, most likely first.
    organization: Vec<(AccountId, Arc<AccountSession>)>,
}

impl Sessions {
    fn of(&self, account: &AccountId) -> Result<Arc<AccountSession>, Problem> {
        match self.accounts.get(account) {
            Some(session) => session.clone(),
            None => Err(Problem::new(
                ProblemCode::AwsAccountsUnknown,
                format!("account {account} is not among the accounts of this resync"),
            )),
        }
    }
}

impl AwsSource {
    /// Creates a source. Sends nothing yet.
    ///
    /// `http` sends every request, including those of the official SDK. It should have a connect timeout,
    /// follow no redirects and leave bodies unchanged.
    ///
    /// # Errors
    /// [`ConfigError`] for the first invalid setting.
    pub fn new(config: AwsConfig, http: impl Into<berth_http::HttpClient>) -> Result<Self, ConfigError> {
        let http = http.into();
        if let Some(policy) = &config.session_policy
            && policy.chars().count() > LONGEST_SESSION_POLICY
        {
            let reason = format!(
                "the session policy has {} characters, but STS accepts {LONGEST_SESSION_POLICY}; load fewer plugins or disable the session policy",
                policy.chars().count()
            );
            return Err(ConfigError { setting: "session policy", reason });
        }
        if let Some(url) = config.endpoints.unprotected() {
            let host = url.host_str().unwrap_or_default();
            let reason = format!(
                "`{}://{host}` is not an https address, so others on the network could read sessions and data; only this machine (localhost) can be used without TLS",
                url.scheme()
            );
            return Err(ConfigError { setting: "AWS_ENDPOINT_URL", reason });
        }
        let (strategy, partition) = Strategy::of(&config)?;
        let clock = AwsClock::default();
        Ok(Self {
            client: AwsClient::new(&config, http.clone(), clock.clone()),
            identities: Identities::new(&config, partition, http, &clock),
            strategy,
            partition,
            concurrency: config.concurrency,
            limits: Limits {
                granted: Arc::new(config.granted_reads),
                concurrency: config.concurrency,
                budget: Arc::new(Budget::new(config.pending_bytes.unwrap_or(PENDING_BYTES))),
                deadline: config.unit_deadline,
            },
        })
    }

    /// Returns the metrics of all requests so far, except those for credentials.
    pub fn stats(&self) -> AwsStats {
        self.client.counters.snapshot()
    }

    pub(crate) fn identities(&self) -> &Identities {
        &self.identities
    }
}

impl std::fmt::Debug for AwsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsSource").field("strategy", &self.strategy).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for AwsSource {
    async fn identity(&self) -> Result<Option<String>, Problem> {
        let identity = self.base_identity().await?;
        Ok(Some(format!("{} ({})", identity.principal, identity.provider.as_str())))
    }

    async fn open(self: Arc<Self>) -> Result<OpenedSource, Problem> {
        let client = Arc::new(self.client.for_resync());
        client.counters.forget_kinds();
        let discovery = Discovery {
            identities: &self.identities,
            client: &client,
            strategy: &self.strategy,
            partition: self.partition,
            at_once: self.concurrency.roles.get(),
        };
        let Discovered { members, management } = discovery.run().await?;
        let mut sessions = Sessions { organization: management.into_iter().collect(), ..Sessions::default() };
        let mut accounts = Vec::with_capacity(members.len());
        for ListedAccount { account, session } in members {
            let access = session.as_ref().map(|_| ()).map_err(Clone::clone);
            if let Ok(session) = &session {
                sessions.organization.push((account.id.clone(), session.clone()));
            }
            sessions.accounts.insert(account.id.clone(), session);
            accounts.push(AccountAccess { account, access });
        }
        let session = AwsSession {
            client,
            partition: self.partition,
            limits: self.limits.clone(),
            sessions: Arc::new(sessions),
        };
        Ok(OpenedSource { accounts, session: Arc::new(session) })
    }
}

#[async_trait]
impl SourceSession for AwsSession {
    async fn regions(&self, account: &Account, hints: &RegionHints) -> Result<EnabledRegions, Problem> {
        let session = self.sessions.of(&account.id)?;
        let home = Region::new(main_region(self.partition))
            .map_err(|error| Problem::from_error(ProblemCode::Internal, &error))?;
        let target = RegionalSession { account: account.id.clone(), region: home, session, metrics: None };
        regions::enabled(&self.client, &target, hints).await
    }

    fn reader(&self, reads: &[PlannedRead]) -> Arc<dyn ResourceReader> {
        Arc::new(AwsReader {
            client: Arc::new(self.client.for_reads(reads)),
            limits: self.limits.clone(),
            sessions: self.sessions.clone(),
        })
    }

    fn for_events(self: Arc<Self>) -> Arc<dyn SourceSession> {
        Arc::new(Self {
            client: Arc::new(self.client.for_resync()),
            partition: self.partition,
            limits: self.limits.clone(),
            sessions: self.sessions.clone(),
        })
    }
}

impl ResourceReader for AwsReader {
    fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
        let through = match (request.kind.scope, self.sessions.of(&request.account.id)) {
            // Only AWS knows which account may read the organization: the management account or a delegated
            // administrator.
            (Scope::Organization, _) => self.sessions.organization.clone(),
            (_, Ok(session)) => vec![(request.account.id.clone(), session)],
            (_, Err(problem)) => return stream::iter([Err(FetchError::Failed(problem))]).boxed(),
        };
        let Limits { granted, concurrency, budget, deadline } = &self.limits;
        fetch::run(Fetch {
            client: self.client.clone(),
            through,
            request,
            granted: granted.clone(),
            concurrency: *concurrency,
            budget: budget.unit(),
            deadline: *deadline,
        })
    }
}
