//! The summary of a run for people.

use std::{collections::BTreeMap, fmt::Write};

use berth_embed::{
    Change, HeldBack, Misconfiguration, Outcome, Problem, RemovalAfter, Report, SecondLook, UnitReport,
    core::{AccountId, Dependent, EntityKey, Kind, Processing},
};
use berth_service::report::{
    kept::{self, Group, KeptScope, counted},
    model::{ProblemGroup, ProblemGroups},
};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::HumanCount;

use crate::output::{hang, safe, wrap};

/// Entities of one list that are shown before "and N more".
const SHOWN: usize = 20;
/// Limits, and accounts, regions or units with the same reason, that are shown before "and N more".
const SHOWN_SCOPES: usize = 5;

/// Renders a report. `after` says after how many resyncs the entities of removed scopes are deleted.
pub(crate) fn render(report: &Report, after: RemovalAfter) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    _ = write(report, after, &mut out);
    safe(&out)
}

fn write(report: &Report, after: RemovalAfter, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{}", table(report))?;
    match (report.processing, report.dry_run) {
        (Processing::Documents, dry_run) => port_maps(report, dry_run, out)?,
        (_, true) => changes(report, out)?,
        (_, false) => {}
    }
    problems(report, out)?;
    misconfigurations(report, out)?;
    foreign(report, out)?;
    deletion(report, out)?;
    held_back(report, out)?;
    kept(report, after, out)?;
    if !report.notes.is_empty() {
        writeln!(out, "\nNotes")?;
        for note in &report.notes {
            writeln!(out, "  - {}", wrap(note, 4, "    "))?;
        }
    }
    let totals = report.totals();
    let verb = if report.dry_run { "planned" } else { "done" };
    let end = match report.outcome {
        Outcome::Done => format!("{verb}: everything was read"),
        Outcome::Partial => {
            format!("{verb} in part: see the problems above; their entities were left unchanged")
        }
        Outcome::NothingRead => "nothing could be read; nothing was deleted".to_owned(),
        Outcome::DeletionsHeldBack => {
            format!("{verb}, but deletions wait for your decision (see above)")
        }
        Outcome::Aborted => "stopped before the end; nothing was deleted".to_owned(),
    };
    write!(
        out,
        "\n{} of {} units complete in {:.1} s; {end}.",
        totals.complete,
        totals.units,
        report.duration.as_secs_f64()
    )
}

/// Explains what Port does with raw data, and what that means for the numbers above.
fn port_maps(report: &Report, dry_run: bool, out: &mut String) -> std::fmt::Result {
    let documents = report.totals().counts.documents;
    if dry_run {
        writeln!(out, "\n{documents} documents of raw data would be sent to Port.")?;
    }
    writeln!(
        out,
        "\nPort maps the raw data of this integration itself (processing mode `dsp`): Port decides by its \
        mapping what to create, update and delete, and shows it there."
    )?;
    let incomplete = report.units.iter().any(|unit| !unit.state.is_complete());
    if incomplete && !dry_run {
        writeln!(
            out,
            "Berth reported to Port that the kinds with the problems below, and so the resync, failed, so \
            that Port does not treat unread resources as gone. To skip a region or account, use the \
            selector's `regionPolicy` or the settings."
        )?;
    }
    Ok(())
}

/// Rows of kinds and accounts; if there are more, there is one row for each kind.
const ROWS: usize = 60;

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    let counted: &[&str] = match report.processing {
        Processing::Documents => &["documents"],
        Processing::Entities | Processing::EntitiesAndDocuments => {
            &["mapped", "created", "updated", "unchanged", "deleted"]
        }
    };
    table.set_header([&["kind", "account", "units", "fetched"], counted, &["failed"]].concat());
    let mut deleted: BTreeMap<(Option<Kind>, Option<AccountId>), u64> = BTreeMap::new();
    for gone in &report.deletion.deleted {
        *deleted.entry((gone.kind.clone(), gone.account.clone())).or_default() += 1;
    }
    let mut groups = report.by_kind_and_account().into_iter().peekable();
    let by_kind = groups.len() > ROWS;
    while let Some((kind, account, mut units)) = groups.next() {
        let mut gone = deleted.remove(&(Some(kind.clone()), Some(account.clone()))).unwrap_or(0);
        let mut accounts = 1_usize;
        while let Some((_, account, more)) = groups.next_if(|(next, ..)| by_kind && *next == kind) {
            gone += deleted.remove(&(Some(kind.clone()), Some(account))).unwrap_or(0);
            units.extend(more);
            accounts += 1;
        }
        let account = if accounts > 1 { format!("{accounts} accounts") } else { account.to_string() };
        table.add_row(row(report, kind.to_string(), account, &units, gone));
    }
    // Deletions without a row above: a kind that is no longer mapped, or an unknown account.
    for ((kind, account), gone) in deleted {
        let name = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        table.add_row(row(report, name(kind.map(Into::into)), name(account.map(Into::into)), &[], gone));
    }
    let all: Vec<&UnitReport> = report.units.iter().collect();
    table.add_row(row(report, "total".into(), String::new(), &all, report.deletion.deleted.len() as u64));
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(report: &Report, kind: String, account: String, units: &[&UnitReport], deleted: u64) -> Vec<String> {
    let mut counts = berth_embed::UnitCounts::default();
    let complete = units.iter().filter(|unit| unit.state.is_complete()).count();
    for unit in units {
        counts.add(&unit.counts);
    }
    let failed = counts.failed + counts.refused;
    let blocked = units.len() - complete;
    let failed = match (failed, blocked) {
        (0, 0) => "0".to_owned(),
        (0, units) => format!("{units} units"),
        (items, 0) => items.to_string(),
        (items, units) => format!("{items} + {units} units"),
    };
    let units = format!("{complete}/{}", units.len());
    let counted = match report.processing {
        Processing::Documents => vec![counts.documents],
        Processing::Entities | Processing::EntitiesAndDocuments => {
            vec![counts.mapped, counts.created, counts.updated, counts.unchanged, deleted]
        }
    };
    let mut row = vec![kind, account, units, counts.fetched.to_string()];
    row.extend(counted.iter().map(ToString::to_string));
    row.push(failed);
    row
}

/// Lists problems, each once, with everything it affects.
fn problems(report: &Report, out: &mut String) -> std::fmt::Result {
    let problems = ProblemGroups::of(report);
    for (index, ProblemGroup { problem, concerns, count, .. }) in problems.iter().enumerate() {
        if index == 0 {
            writeln!(out, "\nProblems")?;
        }
        writeln!(out, "  ✗ {}", list(concerns, *count))?;
        writeln!(out, "    {}", hang(&problem.message, "    "))?;
        if let Some(remedy) = &problem.remedy {
            writeln!(out, "    → {}", hang(remedy, "      "))?;
        }
    }
    match problems.omitted {
        0 => Ok(()),
        more => writeln!(out, "  … and {more} more (all with --json)"),
    }
}

/// Lists the mapping's fields that gave no value: certain mistakes first.
fn misconfigurations(report: &Report, out: &mut String) -> std::fmt::Result {
    let mut found: Vec<&Misconfiguration> = report.misconfigurations.iter().collect();
    if found.is_empty() {
        return Ok(());
    }
    let serious = |found: &Misconfiguration| found.required || found.drops();
    found.sort_by_key(|found| (!serious(found), std::cmp::Reverse(found.count)));
    writeln!(out, "\nFields of the mapping that gave no value")?;
    for found in found.iter().take(SHOWN) {
        let Misconfiguration { resource, kind, field, expression, blueprint, count, of, reason, .. } = found;
        let mark = if serious(found) { '✗' } else { '-' };
        let required = match blueprint.as_ref().filter(|_| found.required) {
            Some(blueprint) => format!("; {blueprint} requires it"),
            None => String::new(),
        };
        writeln!(
            out,
            "  {mark} resources[{resource}] ({kind}) {field}: {count} of {of} resources{required}\n    `{}`: \
             {}",
            expression.as_deref().unwrap_or("null"),
            hang(reason, "    ")
        )?;
    }
    if found.len() > SHOWN {
        writeln!(out, "  … and {} more (all with --json)", found.len() - SHOWN)?;
    }
    Ok(())
}

/// Lists the entities that belong to another owner.
fn foreign(report: &Report, out: &mut String) -> std::fmt::Result {
    let count = report.foreign.len();
    if count == 0 {
        return Ok(());
    }
    writeln!(out, "\nNot written, because another owner has the entity: {}", HumanCount(count as u64))?;
    for foreign in report.foreign.iter().take(kept::EXAMPLES) {
        writeln!(out, "  - {} ({})", foreign.entity, foreign.unit)?;
    }
    if count > kept::EXAMPLES {
        writeln!(out, "  … and {} more (all with --json)", HumanCount((count - kept::EXAMPLES) as u64))?;
    }
    let remedy = "rename or delete these entities in Port, map another identifier, or take them over: \
                  `adopt_existing_entities = true`, or `berth adopt --from <integration>`";
    writeln!(out, "    → {}", hang(remedy, "      "))
}

fn list(items: &[String], count: u64) -> String {
    let shown = items.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    match count {
        0..=5 => shown,
        more => format!("{shown} and {} more", more - 5),
    }
}

/// Whether a change only puts right what another tool wrote.
fn is_correction(change: &Change) -> bool {
    matches!(change, Change::Update { fields } if !fields.is_empty() && fields.iter().all(|field| field.correction.is_some()))
}

fn changes(report: &Report, out: &mut String) -> std::fmt::Result {
    if report.changes.is_empty() {
        return writeln!(out, "\nNothing to create or update.");
    }
    writeln!(out, "\nChanges")?;
    let adopted = report.changes.iter().filter(|record| record.change == Change::Adopt).count() as u64;
    if adopted > 0 {
        let what = counted(adopted, "entity of another owner", "entities of another owner");
        writeln!(out, "  {what} would be taken over")?;
    }
    let corrections = report.changes.iter().filter(|record| is_correction(&record.change)).count() as u64;
    if corrections > 0 {
        let what = counted(corrections, "update", "updates");
        let text =
            format!("{what} only correct an ARN: Port's own integration leaves out its region and account");
        writeln!(out, "  {}", wrap(&text, 2, "  "))?;
    }
    // Entities of other owners first.
    let (taken, own): (Vec<_>, Vec<_>) =
        report.changes.iter().partition(|record| record.change == Change::Adopt);
    for record in taken.into_iter().chain(own).take(SHOWN) {
        match &record.change {
            Change::Create => writeln!(out, "  + {}", record.entity)?,
            Change::Update { fields } => {
                writeln!(out, "  ~ {}", record.entity)?;
                for field in fields {
                    writeln!(out, "      {}: {} → {}", field.field, field.from, field.to)?;
                }
            }
            Change::Adopt => writeln!(out, "  > {} (another owner's, taken over)", record.entity)?,
            Change::Foreign | Change::Unchanged => {}
        }
    }
    if report.changes.len() > SHOWN {
        writeln!(out, "  … and {} more (all with --json)", report.changes.len() - SHOWN)?;
    }
    Ok(())
}

/// Lists what is deleted, including dependent entities.
fn deletion(report: &Report, out: &mut String) -> std::fmt::Result {
    let deletion = &report.deletion;
    if !deletion.deleted.is_empty() {
        let of = counted(deletion.owned, "entity", "entities");
        let verb = if report.dry_run { "Would delete" } else { "Deleted" };
        writeln!(out, "\n{verb} {} of {of}", HumanCount(deletion.deleted.len() as u64))?;
        for gone in deletion.deleted.iter().take(SHOWN) {
            writeln!(out, "  - {}", gone.entity)?;
        }
        more(deletion.deleted.len(), SHOWN, out)?;
    }
    if !deletion.dependents.is_empty() {
        let count = counted(deletion.dependents.len() as u64, "dependent", "dependents");
        let verb = if report.dry_run { "Would delete" } else { "Deleted" };
        let foreign = deletion.dependents.iter().filter(|dependent| !dependent.owned).count() as u64;
        let foreign = match foreign {
            0 => String::new(),
            foreign => format!(" ({} of another owner)", HumanCount(foreign)),
        };
        writeln!(out, "\n{verb} with them: {count}{foreign}")?;
        // Entities of others first: nobody expects Berth to delete them.
        let (own, foreign): (Vec<_>, Vec<_>) =
            deletion.dependents.iter().partition(|dependent| dependent.owned);
        for Dependent { entity, depends_on, owned } in foreign.into_iter().chain(own).take(SHOWN) {
            let whose = if *owned { "" } else { " (another owner's)" };
            writeln!(out, "  - {entity}{whose}\n    depends on {depends_on}")?;
        }
        more(deletion.dependents.len(), SHOWN, out)?;
    }
    let SecondLook { units, found } = deletion.second_look;
    if units > 0 {
        let verb = if units == 1 { "was" } else { "were" };
        let units = counted(units, "unit", "units");
        let there = match found {
            0 => "none of the missing entities was there after all".to_owned(),
            1 => "1 entity was there after all, and stays".to_owned(),
            found => format!("{} were there after all, and stay", counted(found, "entity", "entities")),
        };
        let text = format!("{units} {verb} listed a second time before anything was deleted: {there}.");
        writeln!(out, "\n{}", wrap(&text, 0, ""))?;
    }
    Ok(())
}

/// Lists the deletions that limits skip.
fn held_back(report: &Report, out: &mut String) -> std::fmt::Result {
    let deletion = &report.deletion;
    let known = |problem: &Problem| deletion.held_back.iter().any(|held| held.problem == *problem);
    if let Some(problem) = deletion.stopped.as_ref().filter(|problem| !known(problem)) {
        writeln!(out, "\nNothing was deleted\n  ✗ {}", wrap(&problem.message, 4, "    "))?;
        remedy(problem, out)?;
    }
    if deletion.held_back.is_empty() {
        return Ok(());
    }
    let count: usize = deletion.held_back.iter().map(|held| held.entities.len()).sum();
    let count = counted(count as u64, "deletion", "deletions");
    writeln!(out, "\nSkipped: {count} that may be a mistake")?;
    for HeldBack { entities, problem, dependents } in deletion.held_back.iter().take(SHOWN) {
        writeln!(out, "  ✗ {}", wrap(&problem.message, 4, "    "))?;
        examples(entities.iter().take(kept::EXAMPLES), entities.len(), out)?;
        if !dependents.is_empty() {
            let count = counted(dependents.len() as u64, "dependent", "dependents");
            writeln!(out, "      would also delete {count}:")?;
            let entities = dependents.iter().map(|dependent| &dependent.entity);
            examples(entities.take(kept::EXAMPLES), dependents.len(), out)?;
        }
        remedy(problem, out)?;
    }
    more(deletion.held_back.len(), SHOWN, out)
}

/// Lists what was not found and is kept, by reason.
fn kept(report: &Report, after: RemovalAfter, out: &mut String) -> std::fmt::Result {
    let groups = kept::groups(report, after);
    if groups.is_empty() {
        return Ok(());
    }
    let count = counted(report.deletion.kept.len() as u64, "entity", "entities");
    writeln!(out, "\nKept: {count}, although not found")?;
    for group in groups {
        let Group { waits, scopes, examples: shown, steps, count, .. } = &group;
        let sign = if *waits { '✗' } else { '·' };
        writeln!(out, "  {sign} {}", wrap(&group.title(), 4, "    "))?;
        for KeptScope { name, count, remark, .. } in scopes.iter().take(SHOWN_SCOPES) {
            let count = counted(*count, "entity", "entities");
            let remark = remark.as_ref().map(|remark| format!("; {remark}")).unwrap_or_default();
            writeln!(out, "      {}", wrap(&format!("{name}: {count}{remark}"), 6, "        "))?;
        }
        if scopes.len() > SHOWN_SCOPES {
            writeln!(out, "      … and {} more (all with --json)", scopes.len() - SHOWN_SCOPES)?;
        }
        examples(shown.iter(), usize::try_from(*count).unwrap_or(0), out)?;
        for step in steps {
            writeln!(out, "    → {}", wrap(step, 6, "      "))?;
        }
    }
    Ok(())
}

/// Lists some of many entities.
fn examples<'e>(
    shown: impl ExactSizeIterator<Item = &'e EntityKey>,
    count: usize,
    out: &mut String,
) -> std::fmt::Result {
    let more = count.saturating_sub(shown.len());
    for entity in shown {
        writeln!(out, "      - {entity}")?;
    }
    if more > 0 { writeln!(out, "      … and {more} more (all with --json)") } else { Ok(()) }
}

fn remedy(problem: &Problem, out: &mut String) -> std::fmt::Result {
    match &problem.remedy {
        Some(remedy) => writeln!(out, "    → {}", wrap(remedy, 6, "      ")),
        None => Ok(()),
    }
}

fn more(count: usize, shown: usize, out: &mut String) -> std::fmt::Result {
    match count.saturating_sub(shown) {
        0 => Ok(()),
        more => writeln!(out, "  … and {more} more (all with --json)"),
    }
}

/// Lists why a plan is out of date.
pub(crate) fn differences(file: &str, differences: &[String]) -> String {
    let mut out = format!("✗ {file} was not applied, because it is out of date; nothing was changed\n");
    for difference in differences.iter().take(SHOWN) {
        _ = writeln!(out, "  - {}", wrap(difference, 4, "    "));
    }
    if differences.len() > SHOWN {
        _ = writeln!(out, "  … and {} more, {} in all", differences.len() - SHOWN, differences.len());
    }
    _ = write!(out, "  → make a new plan with `berth plan --out FILE`, and review it");
    safe(&out)
}

/// Renders the problems of the settings.
pub(crate) fn issues(issues: &[crate::settings::Issue]) -> String {
    let mut out = match issues.len() {
        1 => "1 setting is wrong; nothing was read or changed.\n".to_owned(),
        count => format!("{count} settings are wrong; nothing was read or changed.\n"),
    };
    for issue in issues {
        _ = write!(
            out,
            "\n  ✗ {}\n    {}\n    → {}\n",
            issue.setting,
            hang(&issue.problem, "    "),
            hang(&issue.remedy, "      ")
        );
    }
    safe(&out)
}

/// Renders one problem that ended the run.
pub(crate) fn problem(title: &str, problem: &Problem) -> String {
    let mut out = format!("✗ {title}\n  {}", hang(&problem.message, "  "));
    if let Some(remedy) = &problem.remedy {
        _ = write!(out, "\n  → {}", hang(remedy, "    "));
    }
    safe(&out)
}

#[cfg(test)]
mod tests;
