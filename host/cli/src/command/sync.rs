//! `berth sync` and `berth plan`: the same run, with and without writing.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufWriter, Write},
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
};

use berth_embed::{Access, Event, Mode, Observer, Problem, RecordingSource, Report, SyncError};
use indicatif::MultiProgress;

use super::host::{Build, with_host};
use crate::{
    args::{Global, RunArgs},
    board::{self, Board},
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
    let metrics = Arc::new(Metrics::default());
    let board =
        args.reports.iter().any(|file| is_page(file)).then(|| Arc::new(Board::new(Arc::clone(&metrics))));
    let progress = progress::observer(global.log_format, bars);
    let observer: Arc<dyn Observer> = match &board {
        Some(board) => Arc::new(Both(progress, Arc::clone(board))),
        None => progress,
    };
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
    telemetry::export(&metrics);
    let watching = board.clone();
    let result = with_host(global, environment, build, |made| async move {
        metrics.watch(&made.host, &made.engine);
        metrics.begun();
        if let Some(board) = &watching {
            board.begun("");
        }
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
            let page = board.map(|board| {
                board.ended(&report);
                board::page(Some(&board.whole()))
            });
            finish(&report, page.as_deref(), args)
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

/// Two that listen.
struct Both(Arc<dyn Observer>, Arc<Board>);

impl Observer for Both {
    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
        self.1.event(event);
    }
}

/// Writes a report bit by bit: of ten thousand accounts it has hundreds of megabytes.
fn write_json(report: &Report, to: impl Write) -> std::io::Result<()> {
    let mut to = BufWriter::new(to);
    serde_json::to_writer_pretty(&mut to, report)?;
    to.write_all(b"\n")?;
    to.flush()
}

/// Whether a report is written as a page for people.
fn is_page(file: &Path) -> bool {
    let ending = file.extension().map(OsStr::to_ascii_lowercase);
    ending.is_some_and(|ending| ending == "html" || ending == "htm")
}

fn finish(report: &Report, page: Option<&str>, args: &RunArgs) -> Exit {
    let mut exit = Exit::from(report.outcome);
    for path in &args.reports {
        let written = match page.filter(|_| is_page(path)) {
            Some(page) => std::fs::write(path, page),
            None => File::create(path).and_then(|file| write_json(report, file)),
        };
        if let Err(error) = written {
            let problem = Problem::new(format!("{}: {error}", path.display()))
                .remedy("check the path given with --report");
            err(&summary::problem("the report cannot be written", &problem));
            exit = Exit::Internal;
        }
    }
    if args.json {
        // Whoever reads it may have had enough.
        _ = write_json(report, std::io::stdout().lock());
    } else {
        out(&summary::render(report));
    }
    exit
}
