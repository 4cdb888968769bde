//! The world of one test: its own accounts, gate and Port.

mod guides;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use port_stand_in::{PortStandIn, StandInOptions};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{
    answers::Answers,
    aws::Aws,
    berth::{Run, binary, cache, components},
    collector::Collector,
    gate::Gate,
    network::{Authority, ForwardProxy},
    registry::Registry,
    tools::left_out,
};

/// The external ID that every role asks for.
pub const EXTERNAL_ID: &str = "berth-e2e";

/// The regions that are enabled in every account.
pub const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];

/// The account of the base identity, as the pages have it.
const BASE: &str = "999999999999";

/// The identifier of the integration at Port.
const INTEGRATION: &str = "aws-e2e";

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct WorldBuilder {
    accounts: usize,
    buckets: usize,
    instances: usize,
    clusters: usize,
    guests: Vec<&'static str>,
    own_aws: bool,
}

impl WorldBuilder {
    /// Buckets in each region of each account.
    #[must_use]
    pub fn buckets(self, buckets: usize) -> Self {
        Self { buckets, ..self }
    }

    /// Instances in each region of each account.
    #[must_use]
    pub fn instances(self, instances: usize) -> Self {
        Self { instances, ..self }
    }

    /// Clusters in each region of each account.
    #[must_use]
    pub fn clusters(self, clusters: usize) -> Self {
        Self { clusters, ..self }
    }

    /// Adds a hostile guest to the plugins.
    #[must_use]
    pub fn guest(mut self, name: &'static str) -> Self {
        self.guests.push(name);
        self
    }

    /// Gives the world an AWS that no other test uses.
    #[must_use]
    pub fn own_aws(self) -> Self {
        Self { own_aws: true, ..self }
    }

    /// Makes it so.
    pub fn build(self) -> World {
        World::new(&self)
    }
}

/// A world: fields drop in order, the runtime last.
pub struct World {
    accounts: Vec<String>,
    variables: BTreeMap<String, String>,
    plugins: Vec<PathBuf>,
    folder: TempDir,
    gate: Gate,
    port: PortStandIn,
    aws: &'static Aws,
    runtime: Runtime,
}

impl World {
    /// A world with that many accounts, and nothing in them.
    pub fn with_accounts(accounts: usize) -> WorldBuilder {
        WorldBuilder { accounts, buckets: 0, instances: 0, clusters: 0, guests: Vec::new(), own_aws: false }
    }

    fn new(builder: &WorldBuilder) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(100_000_000_001);
        let accounts: Vec<String> =
            (0..builder.accounts).map(|_| NEXT.fetch_add(1, Ordering::Relaxed).to_string()).collect();
        let aws = if builder.own_aws { Aws::own() } else { Aws::shared() };
        let contents = [
            format!("--buckets={}", builder.buckets),
            format!("--instances={}", builder.instances),
            format!("--clusters={}", builder.clusters),
        ];
        if builder.buckets + builder.instances + builder.clusters > 0 {
            aws.seed(&accounts, &["seed", &contents[0], &contents[1], &contents[2]]);
        }

        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (gate, port) = runtime.block_on(async {
            let gate = Gate::open(aws, &REGIONS).await;
            // As Port does, integrations name addresses for metrics and logs.
            let options = StandInOptions { reporting: true, ..StandInOptions::default() };
            let port = PortStandIn::start(options).await.expect("the Port stand-in starts");
            (gate, port)
        });
        for account in &accounts {
            gate.require_external_id(&role(account), EXTERNAL_ID);
        }

        let folder = TempDir::new().expect("a temporary folder");
        let mut plugins = vec![components("plugins")];
        if !builder.guests.is_empty() {
            let hostile = folder.path().join("hostile");
            fs::create_dir(&hostile).expect("a folder for guests");
            for guest in &builder.guests {
                copy_guest(guest, &hostile);
            }
            plugins.push(hostile);
        }
        let options = port.options();
        let variables = seed_command(&accounts, &options, port.base_url().as_str().trim_end_matches('/'));
        Self { accounts, variables, plugins, folder, gate, port, aws, runtime }
    }

    /// The accounts' ids.
    pub fn accounts(&self) -> &[String] {
        &self.accounts
    }

    /// The gate in front of AWS.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Port.
    pub fn port(&self) -> &PortStandIn {
        &self.port
    }

    /// The working directory of all runs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes a setting of the runs to come.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.variables.insert(variable.to_owned(), value.to_owned());
    }

    /// Writes a file into the working directory of the runs to come.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, text).expect("a file");
        file
    }

    /// A setting of the runs to come.
    pub fn variable(&self, name: &str) -> String {
        self.variables.get(name).cloned().unwrap_or_default()
    }

    /// Where AWS is asked in the runs to come.
    pub fn aws_url(&self) -> String {
        self.variables.get("AWS_ENDPOINT_URL").cloned().unwrap_or_else(|| self.gate_url())
    }

    /// The gate's address, with moto behind it: no call may have to wait for its start.
    fn gate_url(&self) -> String {
        self.aws.authority();
        self.gate.url()
    }

    /// Puts a gateway before Port and AWS that speaks TLS, with a certificate of an authority that
    /// nobody knows. Returns the file with the authority's own certificate, alone in its folder.
    pub fn serve_tls(&mut self) -> PathBuf {
        let authority = Authority::new();
        let file = self.keep(&authority);
        for (variable, plain) in [
            ("OCEAN__PORT__BASE_URL", self.variable("OCEAN__PORT__BASE_URL")),
            ("AWS_ENDPOINT_URL", self.gate_url()),
        ] {
            let upstream = plain.trim_start_matches("http://").trim_end_matches('/').to_owned();
            let port = self.runtime.block_on(authority.serve(upstream));
            self.set(variable, &format!("https://localhost:{port}"));
        }
        file
    }

    /// Puts such a gateway before a server, as `berth.test`, whose name only the forward proxy knows.
    /// Returns its port, and the file with the authority's certificate.
    pub fn serve_far_away(&self, upstream: &str) -> (u16, PathBuf) {
        let authority = Authority::new();
        let port = self.runtime.block_on(authority.serve(upstream.to_owned()));
        (port, self.keep(&authority))
    }

    fn keep(&self, authority: &Authority) -> PathBuf {
        let folder = self.folder.path().join("roots");
        fs::create_dir(&folder).expect("a folder");
        let file = folder.join("authority.pem");
        fs::write(&file, authority.pem()).expect("a file");
        file
    }

    /// Runs something on the world's own threads.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Starts an OpenTelemetry collector. Nothing is sent there unless it is set.
    pub fn start_collector(&self) -> Collector {
        self.runtime.block_on(Collector::start())
    }

    /// Starts an OCI registry that wants this name and password.
    pub fn start_registry(&self, username: &str, password: &str) -> Registry {
        self.runtime.block_on(Registry::start(username, password))
    }

    /// Starts a forward proxy. Nothing goes through it unless it is set.
    pub fn start_proxy(&self) -> ForwardProxy {
        self.runtime.block_on(ForwardProxy::start())
    }

    /// Leaves a setting out of the runs to come.
    pub fn unset(&mut self, variable: &str) {
        self.variables.remove(variable);
    }

    /// Makes the role of an account ask for another external ID than the one that is set.
    pub fn break_external_id(&self, account: &str) {
        self.gate.require_external_id(&role(account), "changed-in-the-trust-policy");
    }

    /// Removes a bucket from AWS.
    pub fn delete_bucket(&self, account: &str, bucket: &str) {
        self.aws.seed(&[account.to_owned()], &["delete-bucket", bucket]);
    }

    /// Adds more to an account.
    pub fn seed(&self, account: &str, arguments: &[&str]) {
        self.aws.seed(&[account.to_owned()], &[&["seed"], arguments].concat());
    }

    /// Runs `berth sync`.
    pub fn sync(&self) -> Run {
        self.berth(&["sync"])
    }

    /// Runs `berth plugin …`.
    pub fn plugin(&self, arguments: &[&str]) -> Run {
        self.tool(&[&["plugin"], arguments].concat())
    }

    /// Runs a command that writes no report, as `berth doctor`.
    pub fn tool(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments), &self.report())
    }

    /// Runs a line of shell in a folder, as an author does who has `berth` on the path.
    pub fn shell(&self, folder: &Path, line: &str) -> Run {
        let mut command = Command::new("sh");
        let mut path = vec![binary().parent().expect("a folder").to_owned()];
        path.extend(std::env::split_paths(&self.variable("PATH")));
        command
            .args(["-c", line])
            .current_dir(folder)
            .env_clear()
            .env("AWS_ENDPOINT_URL", self.aws_url())
            .env("BERTH_CACHE_DIR", cache())
            .env("OCEAN__STATE_DIR", "none")
            .env("BERTH_PLUGINS", std::env::join_paths(&self.plugins).expect("paths"))
            .env("BERTH_PLUGIN_TRUST", "any")
            .envs(&self.variables)
            .env("PATH", std::env::join_paths(path).expect("paths"));
        Run::of(&mut command, &self.report())
    }

    /// Runs `berth …` on a terminal, which `script` plays, and gives all that is drawn there; none where
    /// that is not installed, which is told.
    pub fn on_terminal(&self, arguments: &[&str]) -> Option<String> {
        let command = self.command(arguments);
        let quoted = |text: &OsStr| format!("'{}'", text.display());
        let line: Vec<String> =
            [command.get_program()].into_iter().chain(command.get_args()).map(quoted).collect();
        let mut terminal = Command::new("script");
        terminal
            .args(["-qec", &format!("stty cols 100; {}", line.join(" ")), "/dev/null"])
            .current_dir(self.folder.path())
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("TERM", "xterm")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null());
        match terminal.output() {
            Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
            Err(error) => {
                left_out(&format!("no terminal can be played with `script` (bsdutils): {error}"));
                None
            }
        }
    }

    /// Starts `berth …` and lets it run; its log is piped.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("the binary starts")
    }

    /// Runs `berth …`, and has the report written.
    pub fn berth(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).arg("--report").arg(self.report()), &self.report())
    }

    /// The secrets among the settings.
    pub fn secrets(&self) -> Vec<String> {
        let secret = |name: &str| name.contains("SECRET_ACCESS_KEY") || name.ends_with("CLIENT_SECRET");
        self.variables.iter().filter(|(name, _)| secret(name)).map(|(_, value)| value.clone()).collect()
    }

    fn report(&self) -> PathBuf {
        self.folder.path().join("report.json")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // A run that fails early must not be taken for the one before.
        _ = fs::remove_file(self.report());
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("AWS_ENDPOINT_URL", self.aws_url())
            .env("BERTH_CACHE_DIR", cache())
            // Tests of trust say otherwise.
            .env("BERTH_PLUGIN_TRUST", "any");
        // Tests of the ledger name a directory, or where the user's state is.
        if !self.variables.contains_key("XDG_STATE_HOME") {
            command.env("OCEAN__STATE_DIR", "none");
        }
        command.envs(&self.variables);
        for plugins in &self.plugins {
            command.arg("--plugins").arg(plugins);
        }
        command
    }

    /// The entities that the accounts must give, told by boto3.
    pub fn expected(&self) -> Entities {
        self.aws.expected(&self.accounts).iter().map(comparable).collect()
    }

    /// The entities at Port, of the blueprints that the bundled plugins fill.
    pub fn entities(&self) -> Entities {
        let all = self.port.entities();
        let blueprints = all.as_object().into_iter().flat_map(Map::values);
        blueprints.filter_map(Value::as_object).flat_map(Map::values).map(comparable).collect()
    }

    /// Changes the integration's mapping at Port, as a user does in its editor.
    pub fn edit_mapping(&self, edit: impl FnOnce(&mut Value)) {
        let mut state = self.port.state();
        edit(&mut state["integrations"][INTEGRATION]["config"]);
        self.port.load_state(state).expect("a changed mapping");
    }

    /// Changes a blueprint at Port, as a user does in its editor.
    pub fn edit_blueprint(&self, blueprint: &str, edit: impl FnOnce(&mut Value)) {
        let mut state = self.port.state();
        edit(&mut state["blueprints"][blueprint]);
        self.port.load_state(state).expect("a changed blueprint");
    }
}

impl World {
    /// Fills AWS with resources of every kind that moto can seed.
    pub fn seed_kinds(&self) {
        self.aws.run("kinds.py", &self.accounts, &["--regions", &REGIONS.join(","), "seed"]);
    }

    /// The entities that resources of every kind must give, told by boto3 and jq.
    pub fn expected_kinds(&self) -> Entities {
        let regions = REGIONS.join(",");
        let printed = self.aws.run("kinds.py", &self.accounts, &["--regions", &regions, "expected"]);
        // The URL of a queue names the host that was asked.
        let printed = printed.replace(&format!("http://{}", self.aws.authority()), &self.gate.url());
        let entities: Vec<Value> = serde_json::from_str(&printed).expect("the script prints JSON");
        entities.iter().map(comparable).collect()
    }

    /// Makes a call to AWS in an account, past the gate, as boto3 spells it: the answer.
    pub fn call(
        &self,
        account: &str,
        region: &str,
        service: &str,
        method: &str,
        parameters: &Value,
    ) -> Value {
        let parameters = parameters.to_string();
        let printed = self.aws.run("call.py", &[account.to_owned()], &[region, service, method, &parameters]);
        serde_json::from_str(&printed).expect("the script prints JSON")
    }

    /// The resources of every kind, as `kinds.py` tells them: with `kind`, `account` and `region`.
    pub fn resources_of_kinds(&self) -> Vec<Value> {
        let regions = REGIONS.join(",");
        let printed = self.aws.run("kinds.py", &self.accounts, &["--regions", &regions, "expected"]);
        serde_json::from_str(&printed).expect("the script prints JSON")
    }

    /// The kinds that moto can seed.
    pub fn seeded_kinds(&self) -> Vec<String> {
        let printed = self.aws.run("kinds.py", &[], &["--regions", "", "kinds"]);
        serde_json::from_str(&printed).expect("the script prints JSON")
    }

    /// Lets the services that have a folder in `answers` be answered from there, in the runs to
    /// come. Only the first account is answered to.
    pub fn serve_answers(&mut self) -> Answers {
        let answers = self.runtime.block_on(Answers::serve(&self.accounts[0]));
        self.variables.extend(answers.variables());
        answers
    }

    /// Installs the integration at Port with these resources in its mapping.
    pub fn install(&self, resources: &[Value]) {
        let config = json!({
            "deleteDependentEntities": true,
            "createMissingRelatedEntities": true,
            "resources": resources,
        });
        let document =
            json!({"installationId": INTEGRATION, "installationAppType": "aws-v3", "config": config});
        self.port.seed_integration(&document).expect("a new integration");
    }
}

/// Puts a guest into a folder of plugins.
pub fn copy_guest(name: &str, folder: &Path) {
    let file = format!("{name}.wasm");
    fs::copy(components("guests").join(&file), folder.join(&file)).expect("a guest");
}

/// Entities by `<blueprint>/<identifier>`.
pub type Entities = BTreeMap<String, Value>;

/// The role that Berth assumes in an account.
pub(crate) fn role(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/PortOceanReadRole")
}

/// The variables of the command that people copy, and no other.
fn seed_command(accounts: &[String], options: &StandInOptions, base_url: &str) -> BTreeMap<String, String> {
    let roles: Vec<String> = accounts.iter().map(|account| role(account)).collect();
    [
        ("OCEAN__PORT__CLIENT_ID", options.client_id.clone()),
        ("OCEAN__PORT__CLIENT_SECRET", options.client_secret.clone()),
        ("OCEAN__PORT__BASE_URL", base_url.to_owned()),
        ("OCEAN__INITIALIZE_PORT_RESOURCES", "true".to_owned()),
        ("OCEAN__INTEGRATION__IDENTIFIER", INTEGRATION.to_owned()),
        ("OCEAN__EVENT_LISTENER", r#"{"type":"ONCE"}"#.to_owned()),
        ("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".to_owned()),
        ("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfi".to_owned()),
        ("OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS", json!(roles).to_string()),
        ("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID", EXTERNAL_ID.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// What is compared of an entity: what the mapping sets. Null and absent are the same to Port.
fn comparable(entity: &Value) -> (String, Value) {
    let set = |part: &str| -> Map<String, Value> {
        let fields = entity[part].as_object().cloned().unwrap_or_default();
        fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
    };
    let text = |part: &str| entity[part].as_str().unwrap_or_default();
    let value = json!({
        "title": entity["title"], "properties": set("properties"), "relations": set("relations"),
    });
    (format!("{}/{}", text("blueprint"), text("identifier")), value)
}
