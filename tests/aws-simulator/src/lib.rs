//! Simulates AWS: any number of accounts, regions and resources of every kind that the plugins read, over the
//! real wire protocols. It runs inside a test's process ([`AwsSimulator::start`]) or as the binary
//! `aws-simulator`.
//!
//! It stores nothing. The resources follow from the seed and from the fetch plans in the plugins' manifests: a
//! plan says which operation lists a kind's resources and which operations describe them, and AWS's service
//! models say what responses look like. A new kind needs no change here. An id or ARN contains the position of
//! its resource, so a call about a resource gets a response that fits the list.
//!
//! Two routes are not AWS's: `GET /_simulator/stats` returns [`Stats`] as JSON, `POST /_simulator/reset` clears
//! the counts and fills the token buckets.
//!
//! Requests must be signed, but the simulator does not verify signatures. The access key id from `AssumeRole`
//! determines the account; long-lived keys belong to the first account.

mod answer;
mod caller;
mod catalog;
mod error;
mod hash;
mod latency;
mod noun;
mod own;
mod pages;
mod protocol;
mod server;
mod stats;
mod template;
mod throttle;
mod values;
mod world;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{Router, serve::ListenerExt as _};
use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

use crate::{catalog::Catalog, server::Server, world::Place};

pub use latency::Latency;
pub use stats::Stats;
pub use throttle::Throttle;

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder with the plugins, whose `*/manifest.json` are read.
    pub plugins: PathBuf,
    /// The same seed gives the same world.
    pub seed: u64,
    /// The id of the first account, which is the organization's management account. The others follow.
    pub first_account: u64,
    /// How many accounts there are.
    pub accounts: usize,
    /// The regions that are enabled in every account.
    pub regions: Vec<String>,
    /// Resources in each account, region and kind.
    pub resources: u32,
    /// Kinds with another number of resources.
    pub kinds: Vec<(String, u32)>,
    /// The share of accounts, regions and kinds without any resources, from 0 to 1.
    pub empty_share: f64,
    /// How long answers take.
    pub latency: Latency,
    /// Whether requests are throttled.
    pub throttle: Throttle,
    /// The only role that may be assumed; any if there is none.
    pub role_name: Option<String>,
    /// The external ID that `AssumeRole` asks for.
    pub external_id: Option<String>,
    /// Regions that a policy denies.
    pub denied_regions: Vec<String>,
    /// Operations (`ecs:ListClusters`) that fail, each with the code.
    pub faults: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            plugins: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins"),
            seed: 0,
            first_account: 100_000_000_001,
            accounts: 1,
            regions: vec!["us-east-1".to_owned(), "eu-west-1".to_owned()],
            resources: 3,
            kinds: Vec::new(),
            empty_share: 0.0,
            latency: Latency::default(),
            throttle: Throttle::Off,
            role_name: None,
            external_id: None,
            denied_regions: Vec::new(),
            faults: Vec::new(),
        }
    }
}

/// Why the simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A manifest, or the folder of plugins, cannot be read.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A fetch plan names an operation that AWS's models do not have.
    #[error(transparent)]
    Model(#[from] berth_aws_protocol::ModelError),
    /// A fetch plan names an operation of a protocol that the simulator does not speak.
    #[error("{operation} speaks a protocol that the simulator does not")]
    Protocol {
        /// The operation.
        operation: String,
    },
    /// An option makes no sense.
    #[error("{0}")]
    Option(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

/// A running simulator. Dropping it stops it.
#[derive(Debug)]
pub struct AwsSimulator {
    base_url: Url,
    server: Arc<Server>,
    task: JoinHandle<()>,
}

impl AwsSimulator {
    /// Starts a simulator in this process. It answers as soon as this returns.
    ///
    /// # Errors
    /// [`StartError`] when the manifests or the options are wrong, or the address is taken.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        check(&options)?;
        let (catalog, kinds) = Catalog::read(&options.plugins)?;
        for (kind, _) in &options.kinds {
            if !kinds.iter().any(|known| known.kind.as_str() == kind) {
                return Err(StartError::Option(format!("no plugin maps the kind `{kind}`")));
            }
        }
        for (operation, _) in &options.faults {
            let is_known = catalog.operations.iter().any(|known| known.name == *operation);
            if !is_known && !operation.starts_with("sts:") {
                return Err(StartError::Option(format!("`{operation}` is never asked for")));
            }
        }
        let listen = |error| StartError::Listen { address: options.listen, error };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let base_url =
            Url::parse(&format!("http://{address}/")).map_err(|error| listen(io::Error::other(error)))?;
        let server = Arc::new(Server::new(&options, catalog));
        let app = Router::new().fallback(server::handle).with_state(Arc::clone(&server));
        // Small answers must not wait for more of them.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let task = tokio::spawn(async move {
            // Serving ends with the task only.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { base_url, server, task })
    }

    /// What goes into `AWS_ENDPOINT_URL`.
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// What was asked so far.
    pub fn stats(&self) -> Stats {
        self.server.counters.read()
    }

    /// Forgets counts and fills the token buckets.
    pub fn reset(&self) {
        self.server.reset();
    }

    /// The ids of all accounts.
    pub fn accounts(&self) -> Vec<String> {
        let id = |account: u64| format!("{account:012}");
        self.server.world.account_ids().map(id).collect()
    }

    /// How many resources of a kind there are in an account and region; of kinds that are in no region, in
    /// the account.
    pub fn resources(&self, kind: &str, account: &str, region: &str) -> u32 {
        let world = &self.server.world;
        let Ok(account) = account.parse() else { return 0 };
        let collection =
            world.catalog.collections.iter().position(|known| known.kinds.iter().any(|name| name == kind));
        collection.map_or(0, |collection| world.count(collection, Place { account, region }))
    }

    /// Stops answering.
    pub fn stop(self) {}
}

impl Drop for AwsSimulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn check(options: &Options) -> Result<(), StartError> {
    let refuse = |reason: &str| Err(StartError::Option(reason.to_owned()));
    let last = options.first_account.checked_add(options.accounts as u64);
    if options.accounts == 0 || last.is_none_or(|last| last > 1_000_000_000_000) {
        return refuse("accounts: at least one, and all ids of twelve digits");
    }
    if options.regions.is_empty() {
        return refuse("regions: at least one");
    }
    if !(0.0..=1.0).contains(&options.empty_share) {
        return refuse("empty share: from 0 to 1");
    }
    if options.kinds.iter().map(|(_, count)| *count).chain([options.resources]).any(|count| count >= 1 << 24)
    {
        return refuse("resources: less than 16 million in a unit");
    }
    Ok(())
}
