//! One module per command.

mod doctor;
mod host;
mod plugin;
mod policy;
mod sync;

use berth_embed::Mode;

use crate::{
    args::{Args, Command},
    exit::Exit,
    settings::Environment,
    telemetry,
};

/// Runs the command and says how the program ends.
pub(crate) fn run(args: &Args, environment: &Environment) -> Exit {
    telemetry::install(&args.global, environment);
    match &args.command {
        Command::Sync(run) => sync::run(&args.global, run, environment, Mode::Apply),
        Command::Plan(run) => sync::run(&args.global, run, environment, Mode::Plan),
        Command::Doctor { json } => doctor::run(&args.global, *json, environment),
        Command::Policy(policy) => policy::run(&args.global, policy, environment),
        Command::Plugin { command } => plugin::run(&args.global, command, environment),
    }
}
