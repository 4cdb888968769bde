//! `berth sync` and `berth plan`: the same run, with and without writing.

use std::{
    ffi::OsStr,
    io::{BufWriter, Write},
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
};

use berth_embed::{Access, Event, Mode, Observer, Problem, ProblemCode, RecordingSource, Report, SyncError};
use berth_port::service::PortService;
use berth_service::{
    GRACE,
    metrics::Metrics,
    overdue,
    report::{html, kept::counted},
    report_aborted,
    status_page::StatusModel,
    telemetry::LogShipping,
};
use berth_sync::PlanFile;
use indicatif::MultiProgress;

use super::host::{AllowedChanges, Host, HostMemory, HostOptions, HostSource, with_host};
use crate::{
    args::{Global, PlanArgs, RecordingArgs, RemovalArgs, RunArgs, SyncArgs},
    exit::Exit,
    files::create_private,
    output::{err, out},
    progress,
    settings::{DeletionSettings, Environment},
    summary, telemetry,
};

/// `berth sync`: runs one resync and reports on it.
pub(super) fn sync(
    global: &Global,
    args: &SyncArgs,
    environment: &Environment,
    bars: &MultiProgress,
    logs: Option<LogShipping>,
) -> Exit {
    let job = ResyncJob { run: &args.run, removal: Some(&args.removal), recording: Some(&args.recording) };
    match job.run(global, environment, Mode::Apply, bars, logs) {
        Ok(ended) => ended.finish(&args.run),
        Err(exit) => exit,
    }
}

/// `berth plan`: runs the same resync without writing, and saves the plan.
pub(super) fn plan(
    global: &Global,
    args: &PlanArgs,
    environment: &Environment,
    bars: &MultiProgress,
) -> Exit {
    let job = ResyncJob { run: &args.run, removal: Some(&args.removal), recording: Some(&args.recording) };
    let mut ended = match job.run(global, environment, Mode::Plan, bars, None) {
        Ok(ended) => ended,
        Err(exit) => return exit,
    };
    if let Some(path) = &args.out {
        let plan = ended.plan();
        if let Err(problem) = write_plan(&plan, path) {
            err(&summary::problem("cannot write the plan", &problem));
            return Exit::Internal;
        }
        ended.report.notes.push(written(&plan, path));
    }
    ended.finish(&args.run)
}

/// One resync, as the command line requests it.
pub(super) struct ResyncJob<'a> {
    pub(super) run: &'a RunArgs,
    pub(super) removal: Option<&'a RemovalArgs>,
    pub(super) recording: Option<&'a RecordingArgs>,
}

impl ResyncJob<'_> {
    /// Returns how to build its host.
    pub(super) fn options(&self, observer: Arc<dyn Observer>, access: Access) -> HostOptions {
        let confirmed = self.removal.map(|removal| removal.confirmed.clone()).unwrap_or_default();
        HostOptions {
            observer,
            concurrency: self.run.concurrency.map(NonZeroUsize::get),
            memory: HostMemory::Directory { access, given: self.run.state.state_dir.clone() },
            reads: self.reads(),
            changes: AllowedChanges { confirmed, ..AllowedChanges::default() },
            ..HostOptions::default()
        }
    }

    fn reads(&self) -> HostSource {
        match self.recording {
            Some(RecordingArgs { replay: Some(directory), .. }) => HostSource::Replayed(directory.clone()),
            Some(RecordingArgs { record: Some(directory), .. }) => HostSource::Recorded(directory.clone()),
            _ => HostSource::Aws,
        }
    }

    fn run(
        &self,
        global: &Global,
        environment: &Environment,
        mode: Mode,
        bars: &MultiProgress,
        logs: Option<LogShipping>,
    ) -> Result<FinishedResync, Exit> {
        let watch = Watch::new(global, self.run, bars);
        let access = match mode {
            Mode::Apply => Access::Write,
            Mode::Plan => Access::Read,
        };
        let options = HostOptions { logs, ..self.options(watch.observer(), access) };
        let (result, notes) = with_host(global, environment, options, |made| async move {
            let result = watch.run(&made, mode).await;
            let recorded = made.sync.recording().map(recorded);
            // Clears the progress bars before anything else is printed.
            let page = watch.page(result.as_ref().ok());
            (result, recorded, page, made.deletion)
        })?;
        let (result, recorded, page, deletion) = result;
        let mut report = result.map_err(|error| begin_failed(&error))?;
        report.notes.splice(0..0, notes);
        report.notes.extend(recorded);
        Ok(FinishedResync { report, page, deletion })
    }
}

/// Why there is no report of a resync.
#[derive(Debug)]
pub(super) enum NoReport {
    /// It could not start.
    NotBegun(SyncError),
    /// It was stopped and did not end in time, because something hangs.
    GivenUp,
}

/// Prints why there is no report of a resync.
pub(super) fn begin_failed(error: &NoReport) -> Exit {
    let NoReport::NotBegun(error) = error else {
        err("gave up: the resync did not stop in time, because AWS or Port does not respond");
        return Exit::Partial;
    };
    let (title, exit) = match error {
        SyncError::Catalog(_) => ("Port cannot be used; nothing was read or changed", Exit::NothingRead),
        SyncError::Source(_) => ("AWS cannot be read; nothing was changed", Exit::NothingRead),
        SyncError::Config(_) => ("there is nothing to do; nothing was changed", Exit::Settings),
    };
    err(&summary::problem(title, error.problem()));
    exit
}

/// The observers of one resync: progress, the page of a report, metrics.
pub(super) struct Watch {
    metrics: Arc<Metrics>,
    model: Option<Arc<StatusModel>>,
    observer: Arc<dyn Observer>,
}

impl Watch {
    pub(super) fn new(global: &Global, args: &RunArgs, bars: &MultiProgress) -> Self {
        let metrics = Arc::new(Metrics::default());
        let shown = args.reports.iter().any(|file| is_page(file));
        let model = shown.then(|| Arc::new(StatusModel::new(Arc::clone(&metrics))));
        let progress = progress::observer(global.log_format, bars);
        let observer: Arc<dyn Observer> = match &model {
            Some(model) => Arc::new(Both(progress, Arc::clone(model))),
            None => progress,
        };
        telemetry::export(&metrics);
        Self { metrics, model, observer }
    }

    pub(super) fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.observer)
    }

    /// Runs the resync.
    ///
    /// # Errors
    /// [`NoReport`]. Berth reports an aborted resync to Port.
    pub(super) async fn run(&self, made: &Host, mode: Mode) -> Result<Report, NoReport> {
        self.metrics.watch(&made.sync, Some(&made.engine));
        self.metrics.begun();
        if let Some(model) = &self.model {
            model.begun("");
        }
        let work = async {
            match mode {
                Mode::Apply => made.sync.sync().await,
                Mode::Plan => made.sync.plan().await,
            }
        };
        let result = tokio::select! {
            result = work => result.map_err(NoReport::NotBegun),
            () = overdue(&made.cancel, GRACE) => {
                if let Some(port) = made.sync.port().filter(|port| PortService::of(port).running().is_some()) {
                    report_aborted(port).await;
                }
                Err(NoReport::GivenUp)
            }
        };
        match &result {
            Ok(report) => {
                self.metrics.ended(report);
                if let Some(model) = &self.model {
                    model.ended(report, made.deletion.removal.after);
                }
            }
            Err(NoReport::NotBegun(_)) => self.metrics.ended_early("not-begun"),
            Err(NoReport::GivenUp) => self.metrics.ended_early("aborted"),
        }
        result
    }

    /// Returns the HTML page of the report, if one is requested. Ends the progress bars.
    pub(super) fn page(self, report: Option<&Report>) -> Option<String> {
        report.and(self.model).map(|model| html::page(Some(&model.whole())))
    }
}

/// A resync that ended.
pub(super) struct FinishedResync {
    pub(super) report: Report,
    pub(super) page: Option<String>,
    pub(super) deletion: DeletionSettings,
}

impl FinishedResync {
    /// Returns the plan, if this was a plan.
    pub(super) fn plan(&self) -> PlanFile {
        let DeletionSettings { removal, adoption, .. } = &self.deletion;
        PlanFile::of(&self.report, adoption.clone(), removal.confirmed.clone())
    }

    /// Writes the reports and prints the summary.
    pub(super) fn finish(&self, args: &RunArgs) -> Exit {
        let Self { report, page, deletion } = self;
        let mut exit = Exit::from(report.outcome);
        for path in &args.reports {
            let written = match page.as_ref().filter(|_| is_page(path)) {
                Some(page) => create_private(path).and_then(|mut file| file.write_all(page.as_bytes())),
                None => create_private(path).and_then(|file| write_json(report, file)),
            };
            if let Err(error) = written {
                let problem =
                    Problem::new(ProblemCode::FileUnwritable, format!("{}: {error}", path.display()))
                        .remedy("check the path given with --report");
                err(&summary::problem("cannot write the report", &problem));
                exit = Exit::Internal;
            }
        }
        if args.json {
            // The reader may have closed the pipe.
            _ = write_json(report, std::io::stdout().lock());
        } else {
            out(&summary::render(report, deletion.removal.after));
        }
        exit
    }
}

/// Writes a plan, readable by its owner only: it names resources of the accounts.
///
/// # Errors
/// A [`Problem`] that names the file.
pub(super) fn write_plan(plan: &PlanFile, path: &Path) -> Result<(), Problem> {
    let failed = |error: &dyn std::fmt::Display| {
        Problem::new(ProblemCode::FileUnwritable, format!("{}: {error}", path.display()))
            .remedy("check the path given with --out")
    };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(|error| failed(&error))?;
    let mut to = BufWriter::new(file.as_file_mut());
    serde_json::to_writer_pretty(&mut to, plan).map_err(|error| failed(&error))?;
    to.write_all(b"\n").and_then(|()| to.flush()).map_err(|error| failed(&error))?;
    drop(to);
    file.persist(path).map(drop).map_err(|error| failed(&error.error))
}

/// Returns the message about a plan that was written.
pub(super) fn written(plan: &PlanFile, path: &Path) -> String {
    let (changes, deletions) = plan.counts();
    let held = plan.deletions.iter().filter(|deletion| deletion.held_back.is_some()).count();
    let held = match held {
        0 => String::new(),
        1 => "; 1 of the deletions exceeds a limit, and applying the plan approves it".into(),
        held => {
            format!("; {held} of the deletions exceed limits, and applying the plan approves them")
        }
    };
    let (changes, deletions) =
        (counted(changes as u64, "change", "changes"), counted(deletions as u64, "deletion", "deletions"));
    let path = path.display();
    format!("the plan is in {path}: {changes}, {deletions}{held}. Review it, then run `berth apply {path}`")
}

/// Returns the message about a recording: what to know before sharing it.
fn recorded(recording: &RecordingSource) -> String {
    match recording.problem() {
        Some(problem) => format!("the recording is incomplete: {problem}"),
        None => format!(
            "recorded AWS's responses, and replaced {} values that look like secrets (review the recording \
            before you share it)",
            recording.redacted()
        ),
    }
}

/// Two observers.
struct Both(Arc<dyn Observer>, Arc<StatusModel>);

impl Observer for Both {
    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
        self.1.event(event);
    }
}

/// Writes a report as a stream: with ten thousand accounts it has hundreds of megabytes.
fn write_json(report: &Report, to: impl Write) -> std::io::Result<()> {
    let mut to = BufWriter::new(to);
    serde_json::to_writer_pretty(&mut to, report)?;
    to.write_all(b"\n")?;
    to.flush()
}

/// Returns whether to write a report as an HTML page.
fn is_page(file: &Path) -> bool {
    let ending = file.extension().map(OsStr::to_ascii_lowercase);
    ending.is_some_and(|ending| ending == "html" || ending == "htm")
}
