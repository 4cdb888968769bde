//! The AWS simulator as a program.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use aws_simulator::{AwsSimulator, Latency, Options, Throttle};
use clap::Parser;

/// The regions for `--regions NUMBER`, the most common first.
const REGIONS: [&str; 30] = [
    "us-east-1",
    "eu-west-1",
    "us-west-2",
    "eu-central-1",
    "ap-southeast-1",
    "us-east-2",
    "ap-northeast-1",
    "ap-southeast-2",
    "ap-south-1",
    "eu-west-2",
    "eu-north-1",
    "eu-west-3",
    "us-west-1",
    "ca-central-1",
    "sa-east-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "eu-south-1",
    "af-south-1",
    "me-south-1",
    "ap-east-1",
    "ap-southeast-3",
    "eu-central-2",
    "eu-south-2",
    "ap-south-2",
    "me-central-1",
    "il-central-1",
    "ap-southeast-4",
    "ca-west-1",
    "ap-southeast-5",
];

/// Simulate AWS: any number of accounts, regions and resources of every kind that the plugins read
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The address to listen on; port 0 selects a free port, which the first line of output shows
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The folder with the plugins' `*/manifest.json`
    #[arg(long, default_value = "plugins")]
    plugins: PathBuf,
    /// The seed; the same seed gives the same resources
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The number of accounts
    #[arg(long, default_value_t = 1)]
    accounts: usize,
    /// The id of the first account, which is the organization's management account
    #[arg(long, default_value_t = 100_000_000_001)]
    first_account: u64,
    /// The enabled regions: names separated by commas, or a number
    #[arg(long, default_value = "2", value_parser = regions)]
    regions: Regions,
    /// The number of resources in each account, region and kind
    #[arg(long, default_value_t = 3)]
    resources: u32,
    /// The number of resources of one kind, for example `AWS::EC2::Instance=25` (repeatable)
    #[arg(long = "kind", value_parser = kind)]
    kinds: Vec<(String, u32)>,
    /// The share of accounts, regions and kinds without resources
    #[arg(long, default_value_t = 0.0)]
    empty_share: f64,
    /// The latency of responses: `constant:20ms`, `normal:20ms,5ms` (mean, standard deviation) or
    /// `lognormal:20ms,200ms` (median, 99th percentile)
    #[arg(long, default_value = "constant:0ms")]
    latency: Latency,
    /// Throttling: `aws` for token buckets of the documented sizes, or `off`
    #[arg(long, default_value = "off")]
    throttle: Throttle,
    /// The only role that callers may assume
    #[arg(long)]
    role_name: Option<String>,
    /// The external ID that the roles require
    #[arg(long)]
    external_id: Option<String>,
    /// A region that a policy denies (repeatable)
    #[arg(long)]
    deny_region: Vec<String>,
    /// An operation that fails, for example `ecs:ListClusters=AccessDeniedException` (repeatable)
    #[arg(long, value_parser = fault)]
    fail: Vec<(String, String)>,
    /// The number of threads; the simulator shares the machine with the program under test
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// A list; clap would treat a plain `Vec` as a repeatable flag.
#[derive(Debug, Clone)]
struct Regions(Vec<String>);

fn regions(text: &str) -> Result<Regions, String> {
    if let Ok(count) = text.parse::<usize>() {
        if count == 0 || count > REGIONS.len() {
            return Err(format!("from 1 to {}", REGIONS.len()));
        }
        return Ok(Regions(REGIONS[..count].iter().map(ToString::to_string).collect()));
    }
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let is_name = |name: &String| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if names.iter().all(is_name) {
        Ok(Regions(names))
    } else {
        Err("names with commas between, or a number".to_owned())
    }
}

fn kind(text: &str) -> Result<(String, u32), String> {
    let pair = text.split_once('=').and_then(|(kind, count)| Some((kind.to_owned(), count.parse().ok()?)));
    pair.ok_or_else(|| "write a kind and a number, as in `AWS::EC2::Instance=25`".to_owned())
}

fn fault(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(operation, code)| operation.contains(':') && !code.is_empty());
    pair.map(|(operation, code)| (operation.to_owned(), code.to_owned())).ok_or_else(|| {
        "write an operation and a code, as in `ecs:ListClusters=AccessDeniedException`".to_owned()
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.threads.max(1))
        .enable_all()
        .build();
    let ended = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(arguments)));
    let Err(error) = ended else { return ExitCode::SUCCESS };
    // There is nobody left to tell when this fails.
    let _ = writeln!(std::io::stderr(), "aws-simulator: {error}");
    ExitCode::FAILURE
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let simulator = AwsSimulator::start(Options {
        listen: arguments.listen,
        plugins: arguments.plugins,
        seed: arguments.seed,
        first_account: arguments.first_account,
        accounts: arguments.accounts,
        regions: arguments.regions.0,
        resources: arguments.resources,
        kinds: arguments.kinds,
        empty_share: arguments.empty_share,
        latency: arguments.latency,
        throttle: arguments.throttle,
        role_name: arguments.role_name,
        external_id: arguments.external_id,
        denied_regions: arguments.deny_region,
        faults: arguments.fail,
    })
    .await?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", simulator.base_url().as_str().trim_end_matches('/'))?;
    out.flush()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    simulator.stop();
    Ok(())
}
