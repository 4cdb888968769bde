//! The library of the `berth` binary: reads arguments, the environment and `berth.toml`, runs a command, and
//! exits with a documented code.
//!
//! It is a library so that the fuzzer can read settings; nothing else uses it.

mod args;
mod command;
mod exit;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod output;
mod progress;
#[cfg(feature = "oci")]
mod registry;
mod settings;
mod summary;
mod telemetry;
mod trust;

use std::process::ExitCode;

/// Runs the command of this process, and returns its exit code.
pub fn main() -> ExitCode {
    // Components are compiled each in a process of its own, and may be run in such, which is this program again.
    if let Some(exit) = berth_engine::run_child_if_asked(std::env::args_os()) {
        return exit;
    }
    let args = args::Args::of_process();
    let environment = settings::Environment::of_process();
    command::run(&args, &environment).into()
}
