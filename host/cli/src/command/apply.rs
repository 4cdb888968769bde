//! `berth apply` and `berth adopt`: a plan is made, and exactly that is carried out.

use std::{path::Path, sync::Arc};

use berth_embed::{
    Access, Approved, ChangeKind, Deletion, Mode, Outcome, PlanFile, Problem, Report,
    core::{Adoption, RemovedScope},
};
use indicatif::MultiProgress;

use super::{
    host::{Assembled, Build, assemble, with_host},
    sync::{Ended, Job, Watch, begin_failed, write_plan, written},
};
use crate::{
    args::{AdoptArgs, ApplyArgs, Global, RunArgs},
    exit::Exit,
    kept::counted,
    output::{confirm, err, out},
    settings::{Environment, Settings},
    summary,
    telemetry::Shipping,
};

/// Carries out a plan that was kept, or nothing.
pub(super) fn apply(
    global: &Global,
    args: &ApplyArgs,
    environment: &Environment,
    bars: &MultiProgress,
    logs: Option<Shipping>,
) -> Exit {
    let plan = match read(&args.file) {
        Ok(plan) => plan,
        Err(problem) => {
            err(&summary::problem("the plan cannot be used; nothing was read or changed", &problem));
            return Exit::Settings;
        }
    };
    let work = Work {
        run: &args.run,
        adoption: plan.adoption.clone(),
        confirmed: plan.confirmed_removals.iter().cloned().collect(),
    };
    let file = args.file.display().to_string();
    let decide = |planned: Ended| match plan.approve(&planned.plan()) {
        Ok(approved) => Ok((Arc::new(approved), plan.clone())),
        Err(differences) => {
            err(&summary::differences(&file, &differences));
            Err(Exit::DeletionsHeldBack)
        }
    };
    work.carry_out(global, environment, bars, logs, decide)
}

/// Takes over the entities of another integration.
pub(super) fn adopt(
    global: &Global,
    args: &AdoptArgs,
    environment: &Environment,
    bars: &MultiProgress,
    logs: Option<Shipping>,
) -> Exit {
    let adoption = Adoption::From(args.from.clone());
    let work = Work { run: &args.run, adoption, confirmed: Vec::new() };
    let decide = |mut planned: Ended| {
        // Deletions are not what was asked for: they are left to resyncs, and to their limits.
        let owned = planned.report.deletion.owned;
        planned.report.deletion = Deletion { owned, ..Deletion::default() };
        planned.report.outcome = without_deletions(&planned.report);
        let plan = planned.plan();
        let taken = plan.changes.iter().filter(|change| change.change == ChangeKind::Adopt).count() as u64;
        if let Some(path) = &args.out {
            if let Err(problem) = write_plan(&plan, path) {
                err(&summary::problem("the plan cannot be written", &problem));
                return Err(Exit::Internal);
            }
            planned.report.notes.push(written(&plan, path));
        }
        let taken_over = counted(taken, "entity", "entities");
        let from = &args.from;
        planned.report.notes.push(format!(
            "{taken_over} of the integration `{from}` would be taken over; nothing is deleted"
        ));
        if taken == 0 || args.out.is_some() && !args.yes {
            return Err(planned.finish(&args.run));
        }
        if !args.run.json {
            out(&summary::render(&planned.report, planned.deletion.removal.after));
        }
        let question = format!("Take over {taken_over} of `{from}`, and make the other changes above?");
        let remedy =
            "review the plan above, and repeat the command with --yes, or with --out FILE for `berth apply`";
        match if args.yes { Ok(true) } else { confirm(&question, remedy) } {
            Ok(true) => {}
            Ok(false) => {
                err("nothing was changed");
                return Err(Exit::Settings);
            }
            Err(problem) => {
                err(&summary::problem("nothing was taken over", &problem));
                return Err(Exit::Settings);
            }
        }
        match plan.approve(&plan) {
            Ok(approved) => Ok((Arc::new(approved), plan)),
            Err(differences) => {
                err(&summary::differences("the plan", &differences));
                Err(Exit::DeletionsHeldBack)
            }
        }
    };
    work.carry_out(global, environment, bars, logs, decide)
}

/// How a plan ended, apart from what it would delete.
fn without_deletions(report: &Report) -> Outcome {
    match report.outcome {
        Outcome::DeletionsHeldBack => Outcome::Done,
        outcome => outcome,
    }
}

fn read(path: &Path) -> Result<PlanFile, Problem> {
    let named =
        |problem: Problem| Problem { message: format!("{}: {}", path.display(), problem.message), ..problem };
    let json = std::fs::read(path).map_err(|error| {
        named(Problem::new(error.to_string()).remedy("name a file that `berth plan --out FILE` wrote"))
    })?;
    PlanFile::parse(&json).map_err(|problem| {
        let remedy = problem.remedy.clone();
        let remedy = remedy.unwrap_or_else(|| "make a new plan with `berth plan --out FILE`".into());
        named(problem.remedy(remedy))
    })
}

/// A plan that is made, decided about, and carried out.
struct Work<'a> {
    run: &'a RunArgs,
    adoption: Adoption,
    confirmed: Vec<RemovedScope>,
}

impl Work<'_> {
    fn carry_out(
        &self,
        global: &Global,
        environment: &Environment,
        bars: &MultiProgress,
        logs: Option<Shipping>,
        decide: impl FnOnce(Ended) -> Result<(Arc<Approved>, PlanFile), Exit>,
    ) -> Exit {
        let job = Job { run: self.run, removal: None, recording: None };
        let watch = Watch::new(global, self.run, bars);
        let build = |watch: &Watch| Build {
            adoption: Some(self.adoption.clone()),
            confirmed: self.confirmed.clone(),
            ..job.build(watch.observer(), Access::Write)
        };
        let planning = build(&watch);
        let result = with_host(global, environment, planning, |made| async move {
            let planned = watch.run(&made, Mode::Plan).await;
            let page = watch.page(planned.as_ref().ok());
            let Assembled { host, engine, deletion, cancel, .. } = made;
            let report = planned.map_err(|error| begin_failed(&error))?;
            let (ledger, journal) = (host.ledger(), host.journal());
            // Clears the bars before anything is printed.
            drop(host);
            let (approved, plan) = decide(Ended { report, page, deletion })?;

            let settings = Settings::load(global, environment).map_err(|issues| {
                err(&summary::issues(&issues));
                Exit::Settings
            })?;
            let watch = Watch::new(global, self.run, bars);
            // The directory of the ledger is open already, and nobody else can open it.
            let build = Build {
                state: None,
                ledger,
                journal: Some(journal),
                engine: Some(engine),
                approved: Some(approved),
                logs: logs.clone(),
                ..build(&watch)
            };
            let made = assemble(settings, build, cancel).map_err(|refusal| refusal.print())?;
            let applied = watch.run(&made, Mode::Apply).await;
            if let Some(logs) = logs {
                logs.finish().await;
            }
            let page = watch.page(applied.as_ref().ok());
            let report = applied.map_err(|error| begin_failed(&error))?;
            Ok::<_, Exit>((Ended { report, page, deletion: made.deletion }, plan))
        });
        match result {
            Ok((Ok((mut ended, plan)), notes)) => {
                ended.report.notes.splice(0..0, notes);
                let left = left_out(&plan, &ended.report);
                let exit = if left > 0 {
                    let deletions = counted(left as u64, "deletion", "deletions");
                    ended.report.notes.push(format!("{deletions} of the plan could not be carried out"));
                    ended.finish(self.run)
                } else {
                    // What else waits for a decision is not what this is about.
                    match ended.finish(self.run) {
                        Exit::DeletionsHeldBack => Exit::Done,
                        exit => exit,
                    }
                };
                exit
            }
            Ok((Err(exit), _)) | Err(exit) => exit,
        }
    }
}

/// How many deletions of the plan were not carried out.
fn left_out(plan: &PlanFile, report: &Report) -> usize {
    let gone = |entity| {
        report.deletion.deleted.iter().any(|gone| gone.entity == *entity)
            || report.deletion.dependents.iter().any(|dependent| dependent.entity == *entity)
    };
    plan.deletions.iter().filter(|deletion| !gone(&deletion.entity)).count()
}
