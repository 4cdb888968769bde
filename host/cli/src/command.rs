//! One module per command.

mod doctor;
mod host;
mod manual;
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
    output,
    settings::Environment,
    telemetry::{self, Shipping},
};

/// Runs the command and says how the program ends.
pub(crate) fn run(args: &Args, environment: &Environment) -> Exit {
    output::colours(args.global.colour, environment);
    // Log and progress share standard error.
    let bars = MultiProgress::new();
    // A service has no progress bars, and a summary only at the end of each resync.
    let service = matches!(args.command, Command::Run(_));
    // Port is told only of what writes to it.
    let logs = matches!(args.command, Command::Run(_) | Command::Sync(_)).then(Shipping::new);
    telemetry::install(&args.global, environment, &bars, service, logs.as_ref());
    let exit = match &args.command {
        Command::Run(service) => run::run(&args.global, service, environment, &bars, logs),
        Command::Sync(run) => sync::run(&args.global, run, environment, Mode::Apply, &bars, logs),
        Command::Plan(run) => sync::run(&args.global, run, environment, Mode::Plan, &bars, logs),
        Command::Doctor { all_kinds, json } => doctor::run(&args.global, *all_kinds, *json, environment),
        Command::Policy(policy) => policy::run(&args.global, policy, environment),
        Command::Plugin { command } => plugin::run(&args.global, command, environment),
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { to } => manual::pages(to),
    };
    telemetry::flush();
    exit
}
