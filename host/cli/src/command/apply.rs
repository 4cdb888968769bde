//! `berth apply` and `berth adopt`: plan again, and make exactly the planned changes.

use std::{path::Path, sync::Arc};

use berth_embed::{
    Access, Approved, Deletion, Mode, Outcome, Problem, ProblemCode, Report,
    core::{Adoption, EntityKey, RemovedScope},
};
use berth_service::{report::kept::counted, telemetry::LogShipping};
use berth_sync::{ChangeKind, PlanFile};
use indicatif::MultiProgress;

use super::{
    host::{AllowedChanges, Host, HostMemory, HostOptions, assemble, refused, with_host},
    sync::{FinishedResync, ResyncJob, Watch, begin_failed, write_plan, written},
};
use crate::{
    args::{AdoptArgs, ApplyArgs, Global, RunArgs},
    exit::Exit,
    output::{confirm, err, out},
    settings::{Environment, Settings},
    summary,
};

/// Applies a saved plan, or changes nothing if the plan is out of date.
pub(super) fn apply(
    global: &Global,
    args: &ApplyArgs,
    environment: &Environment,
    bars: &MultiProgress,
    logs: Option<LogShipping>,
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
    let decide = |planned: FinishedResync| match plan.approve(&planned.plan()) {
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
    logs: Option<LogShipping>,
) -> Exit {
    let adoption = Adoption::From(args.from.clone());
    let work = Work { run: &args.run, adoption, confirmed: Vec::new() };
    let decide = |mut planned: FinishedResync| {
        // An adoption deletes nothing: deletions are left to resyncs and their limits.
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
        named(
            Problem::new(ProblemCode::PlanUnusable, error.to_string())
                .remedy("name a file that `berth plan --out FILE` wrote"),
        )
    })?;
    PlanFile::parse(&json).map_err(|problem| {
        let remedy = problem.remedy.clone();
        let remedy = remedy.unwrap_or_else(|| "make a new plan with `berth plan --out FILE`".into());
        named(problem.remedy(remedy))
    })
}

/// A plan that is made, approved and applied.
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
        logs: Option<LogShipping>,
        decide: impl FnOnce(FinishedResync) -> Result<(Arc<Approved>, PlanFile), Exit>,
    ) -> Exit {
        let job = ResyncJob { run: self.run, removal: None, recording: None };
        let watch = Watch::new(global, self.run, bars);
        let options = |watch: &Watch, approved| HostOptions {
            changes: AllowedChanges {
                confirmed: self.confirmed.clone(),
                adoption: Some(self.adoption.clone()),
                approved,
            },
            ..job.options(watch.observer(), Access::Write)
        };
        let planning = options(&watch, None);
        let result = with_host(global, environment, planning, |made| async move {
            let planned = watch.run(&made, Mode::Plan).await;
            let page = watch.page(planned.as_ref().ok());
            let Host { sync: host, engine, deletion, cancel, .. } = made;
            let report = planned.map_err(|error| begin_failed(&error))?;
            let memory = HostMemory::of(&host);
            // Clears the progress bars before anything is printed.
            drop(host);
            let (approved, plan) = decide(FinishedResync { report, page, deletion })?;

            let settings = Settings::load(global, environment).map_err(|issues| {
                err(&summary::issues(&issues));
                Exit::Settings
            })?;
            let watch = Watch::new(global, self.run, bars);
            // This process has the state directory open already, and no other process can open it.
            let options = HostOptions {
                memory,
                engine: Some(engine),
                logs: logs.clone(),
                ..options(&watch, Some(approved))
            };
            let made = assemble(settings, options, cancel).map_err(|error| refused(&error))?;
            let applied = watch.run(&made, Mode::Apply).await;
            if let Some(logs) = logs {
                logs.finish().await;
            }
            let page = watch.page(applied.as_ref().ok());
            let report = applied.map_err(|error| begin_failed(&error))?;
            Ok::<_, Exit>((FinishedResync { report, page, deletion: made.deletion }, plan))
        });
        match result {
            Ok((Ok((mut ended, plan)), notes)) => {
                ended.report.notes.splice(0..0, notes);
                let left = left_out(&plan, &ended.report);
                if left > 0 {
                    let deletions = counted(left as u64, "deletion", "deletions");
                    ended.report.notes.push(format!("{deletions} of the plan failed"));
                    ended.finish(self.run)
                } else {
                    // Other deletions that wait for a decision are not part of this command.
                    match ended.finish(self.run) {
                        Exit::DeletionsHeldBack => Exit::Done,
                        exit => exit,
                    }
                }
            }
            Ok((Err(exit), _)) | Err(exit) => exit,
        }
    }
}

/// Returns how many deletions of the plan were not made.
fn left_out(plan: &PlanFile, report: &Report) -> usize {
    let gone = |entity: &EntityKey| {
        report.deletion.deleted.iter().any(|gone| gone.entity == *entity)
            || report.deletion.dependents.iter().any(|dependent| dependent.entity == *entity)
    };
    plan.deletions.iter().filter(|deletion| !gone(&deletion.entity)).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use berth_embed::core::Dependent;
    use berth_sync::{PlannedChange, PlannedDeletion};
    use serde_json::{Map, Value, json};

    use super::*;

    const SCHEMA: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/config/plan.schema.json"));

    fn entity(name: &str) -> EntityKey {
        EntityKey { blueprint: "ec2Volume".parse().unwrap(), identifier: name.into() }
    }

    /// A plan with a value in every field.
    fn plan(adoption: Adoption) -> PlanFile {
        let change = |name: &str, change| PlannedChange {
            entity: entity(name),
            change,
            digest: "d1".into(),
            fields: Vec::new(),
        };
        let fields = json!([{"field": "properties.size", "from": 8, "to": null}]);
        let update = PlannedChange {
            fields: serde_json::from_value(fields).unwrap(),
            ..change("updated", ChangeKind::Update)
        };
        let deletion = |name: &str, held_back: Option<&str>| PlannedDeletion {
            entity: entity(name),
            kind: Some("AWS::EC2::Volume".parse().unwrap()),
            account: Some("111111111111".parse().unwrap()),
            held_back: held_back.map(Into::into),
        };
        let plain = PlannedDeletion { kind: None, account: None, ..deletion("plain", None) };
        let confirmed = ["account=222222222222", "region=111111111111/eu-west-1"];
        PlanFile {
            format: 1,
            catalog: "acme/aws-v3/aws".into(),
            adoption,
            confirmed_removals: confirmed.iter().map(|scope| scope.parse().unwrap()).collect(),
            changes: vec![change("new", ChangeKind::Create), update, change("other", ChangeKind::Adopt)],
            deletions: vec![deletion("gone", None), deletion("many", Some("19 of 20")), plain],
            dependents: vec![Dependent { entity: entity("a"), depends_on: entity("gone"), owned: false }],
        }
    }

    /// Returns how a value violates a schema. Supports the part of JSON Schema that our schema uses.
    fn violations(schema: &Value, value: &Value, root: &Value, at: &str, found: &mut Vec<String>) {
        let known = [
            "$schema",
            "$defs",
            "$ref",
            "title",
            "description",
            "type",
            "const",
            "enum",
            "oneOf",
            "pattern",
            "items",
            "properties",
            "required",
            "additionalProperties",
        ];
        let rules = schema.as_object().unwrap();
        assert!(rules.keys().all(|rule| known.contains(&rule.as_str())), "{at}: {rules:?}");
        if let Some(name) = schema["$ref"].as_str() {
            let target = root.pointer(name.strip_prefix('#').unwrap()).unwrap();
            violations(target, value, root, at, found);
        }
        let mut expect = |fits: bool, rule: &str| {
            if !fits {
                found.push(format!("{at}: {rule}"));
            }
        };
        match schema["type"].as_str() {
            Some("object") => expect(value.is_object(), "object"),
            Some("array") => expect(value.is_array(), "array"),
            Some("string") => expect(value.is_string(), "string"),
            Some("boolean") => expect(value.is_boolean(), "boolean"),
            Some(other) => panic!("{other}"),
            None => {}
        }
        if let Some(constant) = rules.get("const") {
            expect(value == constant, "const");
        }
        if let Some(values) = schema["enum"].as_array() {
            expect(values.contains(value), "enum");
        }
        if let Some(kinds) = schema["oneOf"].as_array() {
            let fitting = kinds.iter().filter(|kind| {
                let mut found = Vec::new();
                violations(kind, value, root, at, &mut found);
                found.is_empty()
            });
            expect(fitting.count() == 1, "oneOf");
        }
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        for name in schema["required"].as_array().into_iter().flatten() {
            expect(value.get(name.as_str().unwrap()).is_some(), "required");
        }
        for (name, member) in value.as_object().unwrap_or(&none) {
            match properties.get(name) {
                Some(schema) => violations(schema, member, root, &format!("{at}.{name}"), found),
                None if schema["additionalProperties"] == false => found.push(format!("{at}: {name}")),
                None => {}
            }
        }
        if let (Some(items), Some(schema)) = (value.as_array(), rules.get("items")) {
            for (index, item) in items.iter().enumerate() {
                violations(schema, item, root, &format!("{at}[{index}]"), found);
            }
        }
    }

    fn check(value: &Value) -> Vec<String> {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let mut found = Vec::new();
        violations(&schema, value, &schema, "plan", &mut found);
        found
    }

    #[test]
    fn plans_have_the_form_of_their_schema() {
        for adoption in [Adoption::Never, Adoption::Any, Adoption::From("other".into())] {
            let plan = serde_json::to_value(plan(adoption)).unwrap();
            assert_eq!(check(&plan), [""; 0], "{plan:#}");
            // Each member has a rule, so that the schema misses none.
            let schema: Value = serde_json::from_str(SCHEMA).unwrap();
            let members: BTreeSet<&String> = plan.as_object().unwrap().keys().collect();
            assert_eq!(members, schema["properties"].as_object().unwrap().keys().collect());
        }
    }

    #[test]
    fn the_schema_refuses_what_is_no_plan() {
        let good = serde_json::to_value(plan(Adoption::Never)).unwrap();
        for (pointer, wrong) in [
            ("/format", json!(2)),
            ("/adoption", json!("sometimes")),
            ("/changes/0/change", json!("delete")),
            ("/changes/0", json!({"entity": {"blueprint": "a", "identifier": "b"}, "change": "create"})),
            ("/deletions/0/entity", json!("ec2Volume/gone")),
            ("/dependents/0/owned", json!("no")),
        ] {
            let mut plan = good.clone();
            *plan.pointer_mut(pointer).unwrap() = wrong;
            assert!(!check(&plan).is_empty(), "{pointer}");
            let parsed = PlanFile::parse(&serde_json::to_vec(&plan).unwrap());
            assert!(parsed.is_err(), "{pointer}");
        }
    }

    #[test]
    fn a_plan_is_read_as_it_was_written_and_by_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan.json");
        let plan = plan(Adoption::From("other".into()));
        write_plan(&plan, &file).unwrap();
        assert_eq!(read(&file).unwrap(), plan);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let note = written(&plan, &file);
        assert!(note.contains("3 changes, 3 deletions; 1 of the deletions exceeds a limit"), "{note}");
    }

    #[test]
    fn what_is_no_plan_is_named_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan.json");
        for (text, expected) in [
            ("", "plan.json"),
            (
                r#"{"format": 1, "catalog": "a", "changes": [{"entity": 3}], "deletions": []}"#,
                "changes[0].entity",
            ),
            (r#"{"format": 9, "catalog": "a", "changes": [], "deletions": []}"#, "format 9"),
        ] {
            std::fs::write(&file, text).unwrap();
            let problem = read(&file).unwrap_err();
            assert!(problem.message.contains(expected) && problem.remedy.is_some(), "{problem:?}");
        }
        let problem = read(&dir.path().join("nothing.json")).unwrap_err();
        assert!(problem.message.contains("nothing.json"), "{problem:?}");
        assert!(write_plan(&plan(Adoption::Never), &dir.path().join("no/plan.json")).is_err());
    }
}
