//! Benchmarks: the cost of the sandbox and of a resync, as ratios within one run. `cargo xtask bench` starts
//! them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints what it measured")]

mod allocator;
mod catalog;
mod clock;
mod edited;
mod huge;
mod ideal;
mod large;
mod line;
mod micro;
mod native;
mod natives;
mod overload;
mod process;
mod profile;
mod report;
mod resync;
mod soak;
mod stage;
mod wire;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure single steps: load, map with and without the sandbox, decode, compare
    Micro {
        /// The directory with the bundled components
        #[arg(long)]
        components: PathBuf,
        /// How many rounds to run; the median counts
        #[arg(long, default_value_t = 41)]
        rounds: usize,
        /// Measure only mapping in batches of 100
        #[arg(long)]
        brief: bool,
        /// Measure only mappings that users edited, compared with the defaults
        #[arg(long, conflicts_with = "brief")]
        edited: bool,
        /// Also write the tables as JSON to this file
        #[arg(long)]
        json: Option<PathBuf>,
        /// Fail if mapping in the sandbox takes more than this many times as long as without
        #[arg(long, value_name = "RATIO")]
        fail_above: Option<f64>,
    },
    /// Measure whole resyncs between the AWS simulator and the fake Port server
    Resync(Resync),
    /// Run hundreds of resyncs of one service, with reloads, replaced plugins and outages of Port
    Soak {
        #[command(flatten)]
        binaries: Binaries,
        /// How many resyncs to run
        #[arg(long, default_value_t = 500)]
        resyncs: u32,
    },
    /// Run one resync without a sandbox, as the baseline for others
    NativeSync {
        /// The address of AWS
        #[arg(long)]
        aws: String,
        /// The address of Port
        #[arg(long)]
        port: String,
        /// How many accounts to read
        #[arg(long)]
        accounts: u32,
        /// The state directory
        #[arg(long)]
        state: PathBuf,
    },
}

/// The programs of a measurement.
#[derive(clap::Args)]
struct Binaries {
    /// The binary to measure
    #[arg(long)]
    berth: PathBuf,
    /// The AWS simulator
    #[arg(long)]
    simulator: PathBuf,
    /// The fake Port server
    #[arg(long)]
    port: PathBuf,
    /// The directory with the bundled components
    #[arg(long)]
    components: PathBuf,
}

impl Binaries {
    /// Adds a folder for compiled plugins.
    fn programs(self, cache: &Path, port_limits: bool) -> Result<stage::Programs> {
        let absolute = |path: PathBuf| path.canonicalize().with_context(|| path.display().to_string());
        Ok(stage::Programs {
            berth: absolute(self.berth)?,
            simulator: absolute(self.simulator)?,
            port: absolute(self.port)?,
            components: absolute(self.components)?,
            bench: std::env::current_exe()?,
            cache: cache.join("compiled"),
            port_limits,
        })
    }
}

#[derive(clap::Args)]
struct Resync {
    /// The size: S, M, slow, L, X, or overload
    profile: String,
    #[command(flatten)]
    binaries: Binaries,
    /// S, M, slow: how many rounds to run; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// L, X, overload: the number of accounts (default: the profile's)
    #[arg(long)]
    accounts: Option<u32>,
    /// X: the numbers of accounts of the complete resyncs, which the lines go through
    #[arg(long, value_delimiter = ',', default_value = "250,500,1000")]
    complete: Vec<u32>,
    /// X: how many seconds the resync of all accounts runs; fewer than it needs
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Enforce Port's published rate limits. L reports how many responses were 429, and how close the first
    /// resync comes to the time that the limits allow
    #[arg(long)]
    port_limits: bool,
    /// Fail if a resync writes although nothing changed, or if memory exceeds a bound
    #[arg(long)]
    strict: bool,
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Micro { components, rounds, brief, edited, json, fail_above } => {
            let tables =
                micro::run(&micro::Options { components: &components, rounds, brief, edited }, |table| {
                    println!("{table}");
                })?;
            if let Some(file) = json {
                micro::write(&tables, &file)?;
            }
            judge(&tables, |target| fail_above.is_none_or(|most| target.measured <= most))
        }
        Command::Resync(options) => resync(options),
        Command::Soak { binaries, resyncs } => {
            let cache = tempfile::tempdir()?;
            let programs = binaries.programs(cache.path(), false)?;
            let table = soak::run(&programs, resyncs, |line| eprintln!("{line}"))?;
            println!("{table}");
            judge(&[table], report::Target::is_reached)
        }
        Command::NativeSync { aws, port, accounts, state } => {
            native::run(&native::Options { aws, port, accounts, state })
        }
    }
}

fn resync(options: Resync) -> Result<()> {
    let cache = tempfile::tempdir()?;
    let programs = options.binaries.programs(cache.path(), options.port_limits)?;
    let progress: fn(&str) = |line| eprintln!("{line}");
    let tables = match options.profile.to_uppercase().as_str() {
        "S" => resync::run(&programs, profile::S, options.rounds)?,
        "M" => resync::run(&programs, profile::M, options.rounds)?,
        "SLOW" => resync::run(&programs, profile::SLOW, options.rounds)?,
        "L" => large::run(&programs, options.accounts.unwrap_or(profile::L.accounts), progress)?,
        "X" => {
            let options = huge::Options {
                accounts: options.accounts.unwrap_or(profile::X.accounts),
                complete: options.complete,
                time: Duration::from_secs(options.seconds),
            };
            huge::run(&programs, &options, progress)?
        }
        "OVERLOAD" => {
            let accounts = options.accounts.unwrap_or(profile::OVERLOAD.accounts);
            vec![overload::run(&programs, accounts, progress)?]
        }
        other => anyhow::bail!("no profile `{other}`: use S, M, slow, L, X or overload"),
    };
    for table in &tables {
        println!("{table}");
    }
    judge(&tables, |target| !(options.strict && target.required) || target.is_reached())
}

/// Fails with the missed targets.
fn judge(tables: &[report::Table], is_good: impl Fn(&report::Target) -> bool) -> Result<()> {
    let targets = tables.iter().flat_map(report::Table::targets);
    let missed: Vec<String> = targets.filter(|target| !is_good(target)).map(ToString::to_string).collect();
    anyhow::ensure!(missed.is_empty(), "worse than it was:\n{}", missed.join("\n"));
    Ok(())
}
