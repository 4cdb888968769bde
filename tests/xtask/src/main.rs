//! The task runner: `cargo xtask <command>`.
//!
//! Every command works in a clean clone with `rustup`, a C compiler and Python 3, and writes only to `target/`
//! and to the target directories of the guest workspaces. Commands that regenerate files of the repository say so.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task runner prints to the terminal")]

mod bench;
mod components;
mod defects;
mod demo;
mod deny;
mod deploy;
mod dist;
mod fuzz;
mod image;
mod miri;
mod models;
mod package;
mod pages;
mod readme;
mod repo;
mod screenshots;
mod security;
mod settings_page;
mod suite;
mod tidy;
mod tools;
mod venv;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use repo::Repo;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Build, test, check and release Berth",
    disable_help_subcommand = true
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the bundled plugins into `target/components/plugins`
    Components {
        /// Also build the hostile guests of the tests, into `target/components/guests`
        #[arg(long)]
        guests: bool,
        /// Build only this bundled plugin (repeatable)
        #[arg(long, value_name = "PLUGIN", conflicts_with = "guests")]
        package: Vec<String>,
        /// Fail if a lock file would change
        #[arg(long)]
        locked: bool,
    },
    /// Create the Python environment of the test servers in `target/venv`
    Venv,
    /// Regenerate the service models from the pinned botocore
    Models {
        /// Only compare with the committed models
        #[arg(long)]
        check: bool,
    },
    /// Regenerate the plugins' READMEs from their manifests, and the reference of settings
    Readme {
        /// Only compare with the committed files
        #[arg(long)]
        check: bool,
    },
    /// Check the deployment examples: the Helm chart, CloudFormation, Terraform
    Deploy {
        /// Write the expected manifests and the policies in the templates instead
        #[arg(long)]
        bless: bool,
    },
    /// Build the container image into `target/image`, with buildah
    Image {
        /// Build a slower binary in less time
        #[arg(long)]
        quick: bool,
    },
    /// Build the files of the container image into `target/image/rootfs`, for the `Dockerfile`
    Rootfs,
    /// Build a release into `target/dist`: archive, image, checksums
    Dist {
        /// Build it again from a clone in another folder, and fail if the bytes differ
        #[arg(long)]
        verify: bool,
    },
    /// Regenerate the screenshots of the status page in `examples/guides/images`, with Chromium
    Screenshots,
    /// Check the rules that no compiler checks: dependencies, names, lengths, links
    Tidy,
    /// Pack the published crates, and check that none needs a file outside its folder
    Package,
    /// Check all dependencies for licenses, sources, duplicates and known vulnerabilities
    Deny,
    /// Run a sync on test servers: three accounts × two regions into a fake Port
    Demo {
        /// Exit at the end instead of waiting
        #[arg(long)]
        once: bool,
    },
    /// Measure the cost of the sandbox and of a resync, as ratios within one run
    Bench {
        /// What to measure
        #[arg(long, value_enum, ignore_case = true, default_value_t = bench::Profile::Smoke)]
        profile: bench::Profile,
        /// Measure this binary, for example the image's, instead of building one
        #[arg(long, value_name = "PATH")]
        berth: Option<std::path::PathBuf>,
        /// Enforce Port's published rate limits (profile L reports how close the resync comes to them)
        #[arg(long)]
        port_limits: bool,
    },
    /// Run the long tests: thousands of simulated worlds, hundreds of resyncs, hundreds of kills
    ///
    /// The simulation runs the host in worlds with faults. Then one process resyncs, with reloads, replaced
    /// plugins and outages of Port in between; it fails if memory, files, threads or the ledger grow. Then
    /// processes are killed at random points while AWS changes; it fails if Port loses a live entity.
    Soak {
        /// How many worlds to simulate; 0 skips the simulation
        #[arg(long, default_value_t = 20_000)]
        scenarios: u32,
        /// How many resyncs to run, about a second each, at least 500; 0 skips them
        #[arg(long, default_value_t = 500)]
        resyncs: u32,
        /// How many processes to kill, about two seconds each; 0 skips them
        #[arg(long, default_value_t = 200)]
        kills: u32,
        /// Repeat the choices of the kills that printed this seed
        #[arg(long)]
        kill_seed: Option<u64>,
        /// Use release builds
        #[arg(long)]
        release: bool,
        /// Run this binary instead of building one
        #[arg(long, value_name = "PATH")]
        berth: Option<std::path::PathBuf>,
    },
    /// Remove single protections from a copy of the host, and fail if the simulation does not notice
    Defects(defects::Options),
    /// Fuzz every reader of bytes from outside, with libFuzzer
    Fuzz(fuzz::Options),
    /// Run the tests of the SDK under Miri (needs a nightly compiler)
    Miri,
    /// Run the tests of the SDK under `AddressSanitizer` (Linux only)
    Asan,
    /// Run every test: tidy, components, models, plugins, deployment examples, host
    Test {
        /// Also build and test the container image (needs buildah)
        #[arg(long)]
        all: bool,
        /// Also test the KAFKA listener against librdkafka's test cluster, which is compiled for that
        #[arg(long)]
        kafka: bool,
        /// Arguments for `cargo test` of the host (after `--`)
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    if let Some(code) = fuzz::wrap_rustc().or_else(image::wrap_rustc) {
        return code;
    }
    let outcome = Repo::find().and_then(|repo| match Args::parse().command {
        Command::Components { package, locked, .. } if !package.is_empty() => {
            components::build_some(&repo, &package, locked)
        }
        Command::Components { guests, locked, .. } => components::build(&repo, guests, locked),
        Command::Venv => venv::ensure(&repo).map(drop),
        Command::Models { check } => models::run_models(&repo, check, None),
        Command::Bench { profile, berth, port_limits } => bench::start(&repo, profile, berth, port_limits),
        Command::Deny => deny::check(&repo),
        Command::Soak { scenarios, resyncs, kills, kill_seed, release, berth } => {
            bench::soak(&repo, bench::Soak { scenarios, resyncs, kills, kill_seed }, release, berth)
        }
        Command::Defects(options) => defects::run_each(&repo, &options),
        Command::Demo { once } => demo::run(&repo, once),
        Command::Fuzz(options) => fuzz::run(&repo, &options),
        Command::Miri => miri::test(&repo),
        Command::Asan => miri::test_with_address_sanitizer(&repo),
        Command::Package => package::check(&repo),
        Command::Readme { check } => readme::run(&repo, check),
        Command::Screenshots => screenshots::take(&repo),
        Command::Tidy => tidy::check(&repo),
        Command::Deploy { bless } => deploy::prepare_and_check(&repo, bless),
        Command::Image { quick } => image::build(&repo, image::Build::new(quick)).map(drop),
        Command::Dist { verify } => dist::run_all(&repo, verify),
        Command::Rootfs => image::rootfs(&repo, image::Build::Release).map(drop),
        Command::Test { all, kafka, arguments } => suite::test(&repo, all, kafka, &arguments),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
