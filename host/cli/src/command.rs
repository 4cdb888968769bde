//! One module per command.

mod apply;
mod doctor;
mod host;
mod manual;
mod plugin;
mod policy;
mod reload;
mod run;
mod service_host;
mod sync;

use berth_service::telemetry::LogShipping;
use indicatif::MultiProgress;

use crate::{
    args::{Args, Command},
    exit::Exit,
    output,
    settings::Environment,
    telemetry,
};

/// Runs the command and returns how the program ends.
pub(crate) fn run(args: &Args, environment: &Environment) -> Exit {
    output::colours(args.global.colour, environment);
    // The log and the progress bars share standard error.
    let bars = MultiProgress::new();
    // A service has no progress bars, and a summary only at the end of each resync.
    let service = matches!(args.command, Command::Run(_));
    // Port gets metrics and logs only of commands that write to it.
    let writes =
        matches!(args.command, Command::Run(_) | Command::Sync(_) | Command::Apply(_) | Command::Adopt(_));
    let logs = writes.then(LogShipping::new);
    telemetry::install(&args.global, environment, &bars, service, logs.as_ref());
    let exit = match &args.command {
        Command::Run(service) => run::run(&args.global, service, environment, &bars, logs),
        Command::Sync(sync) => sync::sync(&args.global, sync, environment, &bars, logs),
        Command::Plan(plan) => sync::plan(&args.global, plan, environment, &bars),
        Command::Apply(apply) => apply::apply(&args.global, apply, environment, &bars, logs),
        Command::Adopt(adopt) => apply::adopt(&args.global, adopt, environment, &bars, logs),
        Command::Doctor { all_kinds, json } => doctor::run(&args.global, *all_kinds, *json, environment),
        Command::Policy(policy) => policy::run(&args.global, policy, environment),
        Command::Plugin { command } => plugin::run(&args.global, command, environment),
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { to } => manual::pages(to),
    };
    telemetry::flush();
    exit
}
