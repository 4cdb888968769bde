//! Processes of the host: their setup, what happens while they run, and the checks afterwards.

mod check;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use berth_aws::{AwsConfig, AwsSource, StaticKeys};
use berth_core::{Catalog, Ledger, Problem, ProblemCode};
use berth_http::HttpClient;
use berth_ledger::{FileLedger, LedgerConfig};
use berth_port::{PortCatalog, PortConfig, ProcessingMode};
use berth_sync::{
    AccountCache, LiveEvents, LiveOptions, LiveParts, NullObserver, Report, SyncError, SyncOptions,
    WriteArbiter, digest_of,
};
use port_stand_in::PortStandIn;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::SimulatedLedger,
    mapper::{KINDS, SimulatedMapper},
    os,
    scenario::{Act, Change, Delivery, Scenario, ScopeChange, What},
    sim::{CANARY, INTEGRATION, Net, PORT, State, is_account, is_ours},
    world::{EntityKey, Entry, Key, Kind, REGIONS, account_id},
};

/// What a resync may take, in the world's time.
const LIMIT: Duration = Duration::from_hours(12);

/// All that one scenario needs.
pub struct Stage {
    /// What is known.
    pub state: Arc<Mutex<State>>,
    /// Port.
    pub port: Arc<PortStandIn>,
    scenario: Scenario,
    kinds: Value,
    blueprints: BTreeMap<String, Value>,
}

/// How a process ended.
type Ended = Option<Result<Report, SyncError>>;

/// Where a process reads, writes and maps.
type Seams = (Arc<AccountCache>, Arc<PortCatalog>, Arc<SimulatedMapper>);

impl Stage {
    /// Sets the stage.
    pub fn new(scenario: &Scenario, port: PortStandIn, traces: bool) -> Self {
        let kinds: Value = serde_json::from_str(KINDS).unwrap_or_default();
        let stage = Self {
            state: Arc::new(Mutex::new(State::new(scenario, traces))),
            port: Arc::new(port),
            scenario: scenario.clone(),
            blueprints: BTreeMap::new(),
            kinds,
        };
        stage.with_blueprints()
    }

    fn with_blueprints(mut self) -> Self {
        let kinds = self.kinds["kinds"].as_array().cloned().unwrap_or_default();
        for kind in kinds {
            let blueprint = kind["blueprints"][0].clone();
            let mut other = blueprint.clone();
            let name = format!("{}Alt", blueprint["identifier"].as_str().unwrap_or_default());
            other["identifier"] = json!(name);
            for blueprint in [blueprint, other] {
                if let Err(reason) = self.port.seed_blueprint(&blueprint) {
                    self.state().violation(format!("the stage is wrong: {reason}"));
                }
                let name = blueprint["identifier"].as_str().unwrap_or_default().to_owned();
                self.blueprints.insert(name, blueprint);
            }
        }
        self
    }

    /// What is known.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the mapping into Port, as a person does.
    pub fn publish_mapping(&self) {
        let config = self.state().world.app_config(&self.kinds);
        let mut document = self.port.integration(INTEGRATION).unwrap_or_else(
            || json!({"installationId": INTEGRATION, "installationAppType": "aws-v3", "version": "0.1.0"}),
        );
        document["config"] = config;
        self.port.delete_integration(INTEGRATION);
        if let Err(reason) = self.port.seed_integration(&document) {
            self.state().violation(format!("the stage is wrong: {reason}"));
        }
    }

    /// Changes what Port holds, below its API.
    fn edit_store(&self, edit: impl FnOnce(&mut Value)) {
        let mut store = self.port.state();
        edit(&mut store);
        if let Err(reason) = self.port.load_state(store) {
            self.state().violation(format!("the stage is wrong: {reason}"));
        }
    }

    /// Puts all blueprints back as they were.
    pub fn restore_blueprints(&self) {
        let blueprints = &self.blueprints;
        self.edit_store(|store| {
            for (name, blueprint) in blueprints {
                store["blueprints"][name] = blueprint.clone();
            }
        });
    }

    /// Changes what is read.
    pub fn change_scope(&self, change: &ScopeChange) {
        let mut mapping_changed = true;
        {
            let mut state = self.state();
            state.count("changes: scope");
            let entry = |mapping: &mut Vec<Entry>, kind: Kind, change: &dyn Fn(&mut Entry)| {
                mapping.iter_mut().filter(|entry| entry.kind == kind).for_each(change);
            };
            let (process, regions) = (state.process, state.world.regions);
            let (mut narrows, mut unlists) = (false, None);
            state.world.change_scope(|scope| match change {
                ScopeChange::Rename(kind) => entry(&mut scope.mapping, *kind, &|e| e.renamed = !e.renamed),
                ScopeChange::DropEntry(kind) => {
                    if scope.mapping.len() > 1 {
                        scope.mapping.retain(|entry| entry.kind != *kind);
                    }
                }
                ScopeChange::AddEntry(kind) => {
                    if scope.mapping.iter().all(|entry| entry.kind != *kind) {
                        scope.mapping.push(Entry::of(*kind));
                    }
                }
                ScopeChange::Nameless(kind) => {
                    entry(&mut scope.mapping, *kind, &|e| e.nameless = !e.nameless);
                }
                ScopeChange::Reorder => scope.mapping.reverse(),
                ScopeChange::Restrict(kind, region) => {
                    narrows = true;
                    entry(&mut scope.mapping, *kind, &|e| e.regions = Some(vec![*region]));
                }
                ScopeChange::Widen(kind) => entry(&mut scope.mapping, *kind, &|e| e.regions = None),
                ScopeChange::Unlist(account) => {
                    if scope.listed.len() > 1 {
                        unlists = scope.listed.remove(account).then_some(*account);
                    }
                    mapping_changed = false;
                }
                ScopeChange::List(account) => {
                    scope.listed.insert(*account);
                    mapping_changed = false;
                }
                ScopeChange::Off(account, region) => {
                    // No account is without any region.
                    let others = (0..regions).filter(|other| other != region);
                    if others.filter(|other| !scope.off.contains(&(*account, *other))).count() > 0 {
                        narrows |= scope.off.insert((*account, *region));
                    }
                    mapping_changed = false;
                }
                ScopeChange::On(account, region) => {
                    scope.off.remove(&(*account, *region));
                    mapping_changed = false;
                }
            });
            state.unlisted.extend(unlists.map(|account| (account, process + 1)));
            if narrows {
                // One that runs may do without it already.
                state.narrowed = process;
            }
        }
        if mapping_changed {
            self.publish_mapping();
        }
    }

    /// Somebody is at work in Port.
    fn act(&self, act: &Act) {
        self.state().count("changes: others in Port");
        let writers = self.port.writers();
        let ours: Vec<&EntityKey> =
            writers.iter().filter(|(_, writer)| is_ours(writer)).map(|(key, _)| key).collect();
        let pick = |number: u64| {
            let index = usize::try_from(number % ours.len().max(1) as u64).unwrap_or_default();
            ours.get(index).map(|key| (*key).clone())
        };
        let write = |key: EntityKey, writer: &str| {
            let entity = json!({"identifier": key.1, "title": "by somebody else"});
            // Port may refuse it, as when the blueprint is gone.
            if self.port.seed_entity(&key.0, &entity, writer).is_ok() {
                let held = self.port.entity(&key.0, &key.1).unwrap_or_default();
                let mut state = self.state();
                state.note(&format!("{writer} writes {key:?}"));
                state.touch(key.clone());
                state.foreign.insert(key, held);
            }
        };
        match act {
            Act::Create(key) => {
                let entity = (key.kind.blueprint().to_owned(), key.identifier());
                write(entity, "a person");
            }
            Act::Edit(number) => {
                if let Some(key) = pick(*number) {
                    write(key, "a person");
                }
            }
            Act::TakeOver(number) => {
                if let Some(key) = pick(*number) {
                    write(key, "port-ocean/aws-v3/0.1.0/other/exporter");
                }
            }
            Act::Delete(number) => {
                if let Some(key) = pick(*number)
                    && self.port.delete_entity(&key.0, &key.1).is_ok()
                {
                    let mut state = self.state();
                    state.note(&format!("a person deletes {key:?}"));
                    state.touch(key);
                }
            }
            Act::BreakBlueprint(kind) => {
                let name = kind.blueprint();
                self.edit_store(|store| {
                    let properties = &mut store["blueprints"][name]["schema"]["properties"];
                    for property in properties.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
                        *property = json!({"type": "number"});
                    }
                });
            }
            Act::DropBlueprint(kind) => {
                let name = kind.blueprint();
                self.edit_store(|store| {
                    for held in ["blueprints", "entities"] {
                        store[held].as_object_mut().and_then(|all| all.remove(name));
                    }
                });
                let mut state = self.state();
                state.touched.extend(writers.keys().filter(|key| key.0 == name).cloned());
                state.foreign.retain(|key, _| key.0 != name);
            }
        }
    }

    fn change(&self, change: &Change) {
        let mut state = self.state();
        state.count("changes: truth");
        state.note(&format!("{change:?}"));
        match change {
            Change::Put(key, shared) => state.world.put(*key, *shared),
            Change::Tag(key) => state.world.tag(*key),
            Change::Remove(key) => state.world.remove(*key),
            Change::Replace(key) => {
                state.world.remove(*key);
                state.world.put(*key, None);
            }
        }
    }

    /// Runs the processes of a round: one, and another after each time that it is killed.
    pub fn round(&self, round: usize, dir: &Path) {
        let items: Vec<What> = self
            .scenario
            .items
            .iter()
            .filter(|item| item.round == round)
            .map(|item| item.what.clone())
            .collect();
        for what in &items {
            match what {
                What::Scope(0, change) => self.change_scope(change),
                What::Change(0, change, None) => self.change(change),
                What::Act(0, act) => self.act(act),
                What::LedgerLost => {
                    self.state().count("host: ledger lost");
                    self.state().recorded.clear();
                    _ = std::fs::remove_dir_all(dir);
                }
                What::LedgerTorn => {
                    self.state().count("host: ledger torn");
                    self.state().recorded.clear();
                    tear(&dir.join("ledger.redb"));
                }
                What::Skew(seconds) => os::set_ahead(*seconds),
                What::Crash(at, after) => self.state().crash = Some((*at, *after)),
                What::Aws(..)
                | What::Role(..)
                | What::Regions(..)
                | What::Port(..)
                | What::Map(..)
                | What::DiskFull(..) => self.state().arm(what.clone()),
                _ => {}
            }
        }
        let mut later = items;
        // Something may kill it again and again; once is enough here.
        while self.process(&later, dir).is_none() {
            later.clear();
        }
        let mut state = self.state();
        state.disarm();
        drop(state);
        os::set_ahead(0);
    }

    /// Whether somebody deleted the entity of an account in the last process, and the next one cannot see that: it is in
    /// Port again, or the ledger has no record of it.
    fn account_restored(&self) -> bool {
        let state = self.state();
        let mut deleted =
            state.touched.iter().filter(|key| is_account(key) && !state.foreign.contains_key(*key));
        deleted.any(|(blueprint, identifier)| {
            let recorded = state.recorded.contains(&digest_of(blueprint, identifier));
            let has_record = recorded || !self.scenario.ledger;
            !has_record || self.port.entity(blueprint, identifier).is_some()
        })
    }

    /// Runs one process of the host; none when it is killed.
    pub fn process(&self, items: &[What], dir: &Path) -> Ended {
        let restored = self.account_restored();
        let mut state = self.state();
        state.account_restored |= restored;
        state.begin();
        drop(state);
        let Ok(runtime) =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
        else {
            self.state().violation("the stage is wrong: no runtime".into());
            return Some(Err(SyncError::Config(Problem::new(ProblemCode::Other, "no runtime"))));
        };
        let ended = runtime.block_on(async {
            os::follow_runtime();
            let killed = Arc::new(Notify::new());
            let net = Net {
                state: Arc::clone(&self.state),
                port: Arc::clone(&self.port),
                killed: Arc::clone(&killed),
                has_ledger: self.scenario.ledger,
            };
            let ended = tokio::select! {
                biased;
                () = killed.notified() => None,
                ended = self.host(items, dir, &net) => Some(ended),
            };
            os::leave_runtime();
            ended
        });
        drop(runtime);
        if self.state().dead {
            return None;
        }
        ended
    }

    /// A source, a catalog and a mapper, as one process has them.
    fn seams(&self, net: &Net) -> Result<Seams, Problem> {
        let client = HttpClient::carried_by(Arc::new(net.clone()));
        let listed: Vec<String> = self
            .state()
            .world
            .scope()
            .listed
            .iter()
            .map(|account| format!("arn:aws:iam::{}:role/Reader", account_id(*account)))
            .collect();
        let config = AwsConfig {
            static_keys: Some(StaticKeys {
                access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
                secret_access_key: "canary-aws-secret-key".into(),
                session_token: None,
            }),
            account_role_arns: listed,
            external_id: Some("canary-external-id".into()),
            ..AwsConfig::default()
        };
        let aws = AwsSource::new(config, client.clone())
            .map_err(|error| Problem::new(ProblemCode::Other, error.to_string()))?;
        let mut config = PortConfig::new("client", "canary-port-secret".to_owned().into(), INTEGRATION);
        config.base_url = url::Url::parse(&format!("https://{PORT}"))
            .map_err(|error| Problem::from_error(ProblemCode::Other, &error))?;
        config.processing_mode = ProcessingMode::OceanCore;
        config.send_raw_data_examples = false;
        let catalog = berth_port::open(config, client)?;
        let mapper = SimulatedMapper::new(Arc::clone(&self.state));
        Ok((Arc::new(AccountCache::new(Arc::new(aws))), Arc::new(catalog), Arc::new(mapper)))
    }

    async fn host(&self, items: &[What], dir: &Path, net: &Net) -> Result<Report, SyncError> {
        let (source, catalog, mapper) = self.seams(net).map_err(SyncError::Catalog)?;
        let ledger: Option<Arc<dyn Ledger>> = if self.scenario.ledger {
            let file = FileLedger::open(LedgerConfig::new(dir)).map_err(|problem| {
                self.state().violation(format!("the ledger does not open: {problem}"));
                SyncError::Config(problem)
            })?;
            Some(Arc::new(SimulatedLedger { file, net: net.clone() }))
        } else {
            None
        };
        let write_arbiter = Arc::<WriteArbiter>::default();
        let stop = CancellationToken::new();
        let live = self.scenario.live.then(|| {
            let parts = LiveParts {
                source: Arc::clone(&source),
                mapper: mapper.clone(),
                catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
                write_arbiter: Arc::clone(&write_arbiter),
                ledger: ledger.clone(),
                gate: None,
                observer: Arc::new(NullObserver),
                adoption: berth_core::Adoption::Never,
                max_deletions: None,
            };
            Arc::new(parts.follow(LiveOptions::default()))
        });
        let options = SyncOptions { ledger, write_arbiter, ..SyncOptions::default() };
        let catalog: Arc<dyn Catalog> = catalog;
        let run = berth_sync::run(source, mapper, catalog, Arc::new(NullObserver), options);
        let resync = async {
            let ended = tokio::time::timeout(LIMIT, run).await;
            if let Some(live) = &live {
                // Whatever waits is worked on before the process ends.
                for _ in 0..600 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if live.waiting() == 0 {
                        break;
                    }
                }
            }
            stop.cancel();
            ended
        };
        let following = async {
            if let Some(live) = &live {
                Arc::clone(live).run(stop.clone()).await;
            }
        };
        let happening = async {
            // What happens later than the end of the resync still happens.
            self.happen(items, live.as_deref()).await;
        };
        let (ended, (), (), ()) = futures::join!(resync, following, happening, self.second(items, net));
        let Ok(ended) = ended else {
            self.state().violation(format!("a resync has not ended after {LIMIT:?}"));
            return Err(SyncError::Config(Problem::new(ProblemCode::Other, "it has not ended")));
        };
        let reported = match &ended {
            Ok(report) => serde_json::to_string(report).unwrap_or_default(),
            Err(error) => format!("{error:?}"),
        };
        let mut state = self.state();
        state.note(&reported);
        if reported.contains(CANARY) {
            state.violation("a secret is in the report".into());
        }
        drop(state);
        match &ended {
            Ok(report) => self.check(report),
            Err(error) => self.check_problem("the resync", error.problem()),
        }
        ended
    }

    /// A second host of the same integration, without a ledger.
    async fn second(&self, items: &[What], net: &Net) {
        let Some(delay) = items.iter().find_map(|what| match what {
            What::SecondHost(delay) => Some(*delay),
            _ => None,
        }) else {
            return;
        };
        {
            let mut state = self.state();
            state.count("host: two at once");
            state.two_hosts = true;
        }
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let net = Net { has_ledger: false, ..net.clone() };
        let Ok((source, catalog, mapper)) = self.seams(&net) else { return };
        let options = SyncOptions::default();
        let run = berth_sync::run(source, mapper, catalog, Arc::new(NullObserver), options);
        if tokio::time::timeout(LIMIT, run).await.is_err() {
            self.state().violation(format!("a second resync has not ended after {LIMIT:?}"));
        }
    }

    /// Lets things happen at their time.
    async fn happen(&self, items: &[What], live: Option<&LiveEvents>) {
        let begun = tokio::time::Instant::now();
        let until = |at: u64| tokio::time::sleep_until(begun + Duration::from_millis(at));
        let deliver = |at: u64, change: Option<Change>, key: Key, delivery: Delivery| async move {
            let Some(live) = live else { return };
            let envelope = envelope(key, change, delivery);
            tokio::time::sleep_until(begun + Duration::from_millis(at + delivery.delay)).await;
            for _ in 0..delivery.times {
                self.state().count("live: events");
                live.submit(&envelope);
                tokio::time::sleep(Duration::from_millis(7)).await;
            }
        };
        let each = items.iter().map(|what| async move {
            match what {
                What::Change(0, _, None) | What::Act(0, _) => {}
                What::Change(at, change, delivery) => {
                    until(*at).await;
                    self.change(change);
                    if let Some(delivery) = delivery {
                        deliver(*at, Some(*change), change.key(), *delivery).await;
                    }
                }
                What::Event(at, key, delivery) => deliver(*at, None, *key, *delivery).await,
                What::Scope(at, change) if *at > 0 => {
                    until(*at).await;
                    self.change_scope(change);
                }
                What::Act(at, act) => {
                    until(*at).await;
                    self.act(act);
                }
                _ => {}
            }
        });
        futures::future::join_all(each).await;
    }
}

/// Damages a file in the middle.
fn tear(path: &Path) {
    let Ok(mut bytes) = std::fs::read(path) else { return };
    let middle = bytes.len() / 2;
    for byte in bytes.iter_mut().skip(middle / 2).take(middle) {
        *byte ^= 0x5a;
    }
    _ = std::fs::write(path, bytes);
}

/// An event of EventBridge about a resource.
fn envelope(key: Key, change: Option<Change>, delivery: Delivery) -> Value {
    let gone = delivery.gone || matches!(change, Some(Change::Remove(_)));
    let (source, noun, response, request) = match key.kind {
        Kind::Cluster => ("ecs", "Cluster", json!({"cluster": {"clusterArn": key.identifier()}}), json!({})),
        Kind::Table => ("dynamodb", "Table", json!({}), json!({"tableName": key.name()})),
        Kind::Subnet => {
            let id = json!(key.identifier());
            ("ec2", "Subnet", json!({"subnet": {"subnetId": id}}), json!({"subnetId": id}))
        }
        _ => ("iam", "User", json!({}), json!({"userName": key.name()})),
    };
    let account = if delivery.elsewhere { (key.account + 1) % 3 } else { key.account };
    let verb = if gone { "Delete" } else { "Create" };
    json!({
        "source": format!("aws.{source}"), "detail-type": "AWS API Call via CloudTrail",
        "account": account_id(account), "region": REGIONS[key.region],
        "detail": {"eventSource": format!("{source}.amazonaws.com"), "eventName": format!("{verb}{noun}"),
                   "awsRegion": REGIONS[key.region], "recipientAccountId": account_id(account),
                   "responseElements": response, "requestParameters": request},
    })
}
