//! `berth sync` and `berth plan`: the same run, with and without writing.

use std::{num::NonZeroUsize, sync::Arc};

use berth_embed::{Access, Mode, Problem, RecordingSource, Report, SyncError};
use indicatif::MultiProgress;

use super::host::{Build, with_host};
use crate::{
    args::{Global, RunArgs},
    exit::Exit,
    metrics::Metrics,
    output::{err, out},
    progress,
    settings::Environment,
    summary,
    telemetry::{self, Shipping},
};

/// Runs one resync and tells about it.
pub(crate) fn run(
    global: &Global,
    args: &RunArgs,
    environment: &Environment,
    mode: Mode,
    bars: &MultiProgress,
    logs: Option<Shipping>,
) -> Exit {
    let observer = progress::observer(global.log_format, bars);
    let build = Build {
        concurrency: args.concurrency.map(NonZeroUsize::get),
        state: Some(match mode {
            Mode::Apply => Access::Write,
            Mode::Plan => Access::Read,
        }),
        state_dir: args.state_dir.clone(),
        logs,
        record: args.record.clone(),
        replay: args.replay.clone(),
        ..Build::new(Arc::clone(&observer))
    };
    let metrics = Arc::new(Metrics::default());
    telemetry::export(&metrics);
    let result = with_host(global, environment, build, |made| async move {
        metrics.watch(&made.host, &made.engine);
        metrics.begun();
        let result = match mode {
            Mode::Apply => made.host.sync().await,
            Mode::Plan => made.host.plan().await,
        };
        match &result {
            Ok(report) => metrics.ended(report),
            Err(_) => metrics.ended_early("not-begun"),
        }
        (result, made.host.recording().map(recorded))
    });
    // Clears the bars before anything else is printed.
    drop(observer);
    match result {
        Ok(((Ok(mut report), recorded), notes)) => {
            report.notes.splice(0..0, notes);
            report.notes.extend(recorded);
            finish(&report, args)
        }
        Ok(((Err(error), _), _)) => {
            let (title, exit) = match &error {
                SyncError::Catalog(_) => {
                    ("Port cannot be used; nothing was read or changed", Exit::NothingRead)
                }
                SyncError::Source(_) => ("AWS cannot be read; nothing was changed", Exit::NothingRead),
                SyncError::Config(_) => ("there is nothing to do; nothing was changed", Exit::Settings),
            };
            err(&summary::problem(title, error.problem()));
            exit
        }
        Err(exit) => exit,
    }
}

/// What is to be known about a recording before it is handed on.
fn recorded(recording: &RecordingSource) -> String {
    match recording.problem() {
        Some(problem) => format!("the recording is not whole: {problem}"),
        None => format!(
            "AWS's answers were recorded; {} values that look like secrets were replaced (look it through \
             before you hand it on)",
            recording.redacted()
        ),
    }
}

fn finish(report: &Report, args: &RunArgs) -> Exit {
    let mut exit = Exit::from(report.outcome);
    let json = match serde_json::to_string_pretty(report) {
        Ok(json) => json,
        Err(error) => {
            err(&summary::problem("the report cannot be written as JSON", &Problem::from_error(&error)));
            return Exit::Internal;
        }
    };
    if let Some(path) = &args.report
        && let Err(error) = std::fs::write(path, &json)
    {
        let problem =
            Problem::new(format!("{}: {error}", path.display())).remedy("check the path given with --report");
        err(&summary::problem("the report cannot be written", &problem));
        exit = Exit::Internal;
    }
    out(&if args.json { json } else { summary::render(report) });
    exit
}
