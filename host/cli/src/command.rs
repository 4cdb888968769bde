//! One module per command.

mod doctor;
mod host;
mod plugin;
mod policy;
mod reload;
mod run;
mod sync;

use berth_embed::Mode;
use indicatif::MultiProgress;

use crate::{
    args::{Args, Command},
    exit::Exit,
    settings::Environment,
    telemetry,
};

/// Runs the command and says how the program ends.
pub(crate) fn run(args: &Args, environment: &Environment) -> Exit {
    // Log and progress share standard error.
    let bars = MultiProgress::new();
    // A service has no progress bars, and a summary only at the end of each resync.
    let service = matches!(args.command, Command::Run(_));
    telemetry::install(&args.global, environment, &bars, service);
    let exit = match &args.command {
        Command::Run(service) => run::run(&args.global, service, environment, &bars),
        Command::Sync(run) => sync::run(&args.global, run, environment, Mode::Apply, &bars),
        Command::Plan(run) => sync::run(&args.global, run, environment, Mode::Plan, &bars),
        Command::Doctor { all_kinds, json } => doctor::run(&args.global, *all_kinds, *json, environment),
        Command::Policy(policy) => policy::run(&args.global, policy, environment),
        Command::Plugin { command } => plugin::run(&args.global, command, environment),
    };
    telemetry::flush();
    exit
}
