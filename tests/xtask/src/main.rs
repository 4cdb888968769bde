//! The task runner: `cargo xtask <command>`.
//!
//! Everything here works in a clean clone with `rustup`, a C compiler and Python 3, and writes
//! nothing outside `target/` (and the target directories of the guest workspaces).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to the terminal")]

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
#[command(name = "cargo xtask", about = "Berth's task runner", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the bundled plugins into `target/components/plugins`.
    Components {
        /// Builds the hostile guests of the tests too, into `target/components/guests`.
        #[arg(long)]
        guests: bool,
        /// Builds only this bundled plugin; may be repeated.
        #[arg(long, value_name = "PLUGIN", conflicts_with = "guests")]
        package: Vec<String>,
        /// Fails when a lock file would change.
        #[arg(long)]
        locked: bool,
    },
    /// Creates the Python environment of the stand-ins in `target/venv`.
    Venv,
    /// Regenerates the service models from the pinned botocore.
    Models {
        /// Only compares with the committed table.
        #[arg(long)]
        check: bool,
    },
    /// Writes what the plugins' manifests tell into their READMEs.
    Readme {
        /// Only compares with what is committed.
        #[arg(long)]
        check: bool,
    },
    /// Checks the deployment examples: the Helm chart, CloudFormation, Terraform.
    Deploy {
        /// Writes the expected manifests and the policies in the templates instead.
        #[arg(long)]
        bless: bool,
    },
    /// Builds the container image into `target/image`, with buildah.
    Image {
        /// Builds the binary quickly instead of well.
        #[arg(long)]
        quick: bool,
    },
    /// Makes the files of the container image in `target/image/rootfs`, for the `Dockerfile`.
    Rootfs,
    /// Makes a release in `target/dist`: archive, image, checksums.
    Dist {
        /// Makes it once more, from a clone in another folder, and fails unless it is the same.
        #[arg(long)]
        verify: bool,
    },
    /// Takes the pictures of the status page in `examples/guides/images` anew, with Chromium.
    Screenshots,
    /// Checks the house rules that no compiler checks.
    Tidy,
    /// Packs the crates that are published, and checks that none needs a file outside its folder.
    Package,
    /// Checks licenses, sources, duplicates and known vulnerabilities of all dependencies.
    Deny,
    /// Shows the main job on stand-ins: three accounts × two regions into Port.
    Demo {
        /// Does not wait at the end.
        #[arg(long)]
        once: bool,
    },
    /// Measures what the sandbox and a resync cost, as ratios of one run.
    Bench {
        /// What is measured.
        #[arg(long, value_enum, ignore_case = true, default_value_t = bench::Profile::Smoke)]
        profile: bench::Profile,
        /// Measures the resyncs of this binary, such as the image's, instead of building one.
        #[arg(long, value_name = "PATH")]
        berth: Option<std::path::PathBuf>,
        /// Enforces Port's published rate limits: for profile L, which tells how it keeps to them.
        #[arg(long)]
        port_limits: bool,
    },
    /// Runs the host in simulated worlds by the thousand; lets one process resync by the hundred then, with
    /// reloads, exchanged plugins and outages of Port in between, and fails when memory, files, threads or the
    /// ledger grow; kills processes by the hundred then, at random points while AWS changes, and fails when
    /// that costs a live entity.
    Soak {
        /// How many scenarios are simulated.
        #[arg(long, default_value_t = 20_000)]
        scenarios: u32,
        /// How many resyncs are run; each takes about a second.
        #[arg(long, default_value_t = 500)]
        resyncs: u32,
        /// How many processes are killed; each takes about two seconds.
        #[arg(long, default_value_t = 200)]
        kills: u32,
        /// Repeats the choices of kills that printed this seed.
        #[arg(long)]
        kill_seed: Option<u64>,
        /// Builds as a release is built.
        #[arg(long)]
        release: bool,
        /// Runs this binary instead of building one.
        #[arg(long, value_name = "PATH")]
        berth: Option<std::path::PathBuf>,
    },
    /// Takes single protections out of a copy of the host, and fails where the simulation does not find that.
    Defects(defects::Options),
    /// Feeds what reads bytes from outside with inputs that nobody thought of, under libFuzzer.
    Fuzz(fuzz::Options),
    /// Runs the tests of the SDK under Miri, which needs a nightly compiler.
    Miri,
    /// Runs the tests of the SDK under `AddressSanitizer`, on Linux.
    Asan,
    /// Runs every test: tidy, components, models, plugins, deployment examples, host.
    Test {
        /// Builds and tests the container image too (needs buildah).
        #[arg(long)]
        all: bool,
        /// Tests the KAFKA listener against the cluster of librdkafka too, which is compiled for that.
        #[arg(long)]
        kafka: bool,
        /// Passed on to `cargo test` of the host (after `--`).
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
