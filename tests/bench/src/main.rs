//! Benchmarks: what the sandbox costs, and what a resync costs, as ratios of one run. Started by
//! `cargo xtask bench`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that tells what it measured")]

mod allocator;
mod clock;
mod micro;
mod natives;
mod process;
mod report;
mod resync;
mod wire;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Single steps: loading, mapping with and without the sandbox, decoding, comparing.
    Micro {
        /// The directory with the bundled components.
        #[arg(long)]
        components: PathBuf,
        /// How many rounds are run; the median counts.
        #[arg(long, default_value_t = 41)]
        rounds: usize,
        /// Only mapping in batches of 100.
        #[arg(long)]
        brief: bool,
        /// Writes the tables as JSON, too.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Fails when mapping in the sandbox takes more than this many times as long as without.
        #[arg(long, value_name = "RATIO")]
        fail_above: Option<f64>,
    },
    /// Whole resyncs between the simulator of AWS and the stand-in for Port.
    Resync {
        /// How large: S, M, or slow.
        profile: String,
        /// The binary that is measured.
        #[arg(long)]
        berth: PathBuf,
        /// The simulator of AWS.
        #[arg(long)]
        simulator: PathBuf,
        /// The stand-in for Port.
        #[arg(long)]
        port: PathBuf,
        /// The directory with the bundled components.
        #[arg(long)]
        components: PathBuf,
    },
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
        Command::Micro { components, rounds, brief, json, fail_above } => {
            let tables = micro::run(&micro::Options { components: &components, rounds, brief }, |table| {
                println!("{table}");
            })?;
            if let Some(file) = json {
                micro::write(&tables, &file)?;
            }
            judge(&tables, |target| fail_above.is_none_or(|most| target.measured <= most))
        }
        Command::Resync { profile, berth, simulator, port, components } => {
            let known = [resync::S, resync::M, resync::SLOW];
            let profile = known
                .into_iter()
                .find(|known| known.name.eq_ignore_ascii_case(&profile))
                .with_context(|| format!("no profile `{profile}`"))?;
            let absolute = |path: PathBuf| path.canonicalize().with_context(|| path.display().to_string());
            let programs = resync::Programs {
                berth: absolute(berth)?,
                simulator: absolute(simulator)?,
                port: absolute(port)?,
                components: absolute(components)?,
            };
            let table = resync::table(profile, &resync::run(&programs, profile)?);
            println!("{table}");
            judge(&[table], report::Target::is_reached)
        }
    }
}

/// Fails with the targets that are not good enough.
fn judge(tables: &[report::Table], is_good: impl Fn(&report::Target) -> bool) -> Result<()> {
    let targets = tables.iter().flat_map(report::Table::targets);
    let missed: Vec<String> = targets.filter(|target| !is_good(target)).map(ToString::to_string).collect();
    anyhow::ensure!(missed.is_empty(), "worse than it was:\n{}", missed.join("\n"));
    Ok(())
}
