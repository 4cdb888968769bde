//! The summary of a run, for people.

use std::{collections::BTreeMap, fmt::Write};

use berth_embed::{
    Change, Misconfiguration, Outcome, Report, UnitReport,
    core::{AccountId, Kind, Problem, Processing},
};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::{
    board::{Trouble, Troubles},
    output::{hang, safe},
};

/// Entities of one list that are shown before "and N more".
const SHOWN: usize = 20;

/// Renders a report.
pub(crate) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    _ = write(report, &mut out);
    safe(&out)
}

fn write(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{}", table(report))?;
    match (report.processing, report.dry_run) {
        (Processing::Documents, dry_run) => port_maps(report, dry_run, out)?,
        (_, true) => changes(report, out)?,
        (_, false) => {}
    }
    problems(report, out)?;
    misconfigurations(report, out)?;
    deletion(report, out)?;
    if !report.notes.is_empty() {
        writeln!(out, "\nNotes")?;
        for note in &report.notes {
            writeln!(out, "  - {}", hang(note, "    "))?;
        }
    }
    let totals = report.totals();
    let verb = if report.dry_run { "planned" } else { "done" };
    let end = match report.outcome {
        Outcome::Done => format!("{verb}: everything was read"),
        Outcome::Partial => {
            format!("{verb} in part: see the problems above; what they concern was left as it is")
        }
        Outcome::NothingRead => "nothing could be read; nothing was deleted".to_owned(),
        Outcome::DeletionsHeldBack => format!("{verb}, but deletions were held back"),
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

/// What Port does with raw data, and what that means for the numbers above.
fn port_maps(report: &Report, dry_run: bool, out: &mut String) -> std::fmt::Result {
    let documents = report.totals().counts.documents;
    if dry_run {
        writeln!(out, "\n{documents} documents of raw data would be handed over to Port.")?;
    }
    writeln!(
        out,
        "\nPort maps the raw data of this integration itself (processing mode `dsp`): what is created, updated and \
         deleted is decided there, by the mapping in Port, and shown there."
    )?;
    let incomplete = report.units.iter().any(|unit| !unit.state.is_complete());
    if incomplete && !dry_run {
        writeln!(
            out,
            "Port was told that the kinds with the problems below, and so the resync, have failed: it must not take for \
             gone what was not read. If a region or account is not to be read at all, leave it out by the selector's \
             `regionPolicy` or the settings."
        )?;
    }
    Ok(())
}

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
    for (kind, account, units) in report.by_kind_and_account() {
        let gone = deleted.remove(&(Some(kind.clone()), Some(account.clone()))).unwrap_or(0);
        table.add_row(row(report, kind.to_string(), account.to_string(), &units, gone));
    }
    // Deletions that no row above stands for: a kind that is mapped no more, an account unknown.
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

/// Problems, each told once with all it concerns.
fn problems(report: &Report, out: &mut String) -> std::fmt::Result {
    let troubles = Troubles::of(report);
    for (index, Trouble { problem, concerns, count, .. }) in troubles.iter().enumerate() {
        if index == 0 {
            writeln!(out, "\nProblems")?;
        }
        writeln!(out, "  ✗ {}", list(concerns, *count))?;
        writeln!(out, "    {}", hang(&problem.message, "    "))?;
        if let Some(remedy) = &problem.remedy {
            writeln!(out, "    → {}", hang(remedy, "      "))?;
        }
    }
    match troubles.untold {
        0 => Ok(()),
        more => writeln!(out, "  … and {more} more (all with --json)"),
    }
}

/// Fields of mappings that gave nothing: first what is certainly a mistake.
fn misconfigurations(report: &Report, out: &mut String) -> std::fmt::Result {
    let mut found: Vec<&Misconfiguration> = report.misconfigurations.iter().collect();
    if found.is_empty() {
        return Ok(());
    }
    let serious = |found: &Misconfiguration| found.required || found.drops();
    found.sort_by_key(|found| (!serious(found), std::cmp::Reverse(found.count)));
    writeln!(out, "\nFields of the mapping that gave nothing")?;
    for found in found.iter().take(SHOWN) {
        let Misconfiguration { resource, kind, field, expression, blueprint, count, of, reason, .. } = found;
        let mark = if serious(found) { '✗' } else { '-' };
        let required = match blueprint.as_ref().filter(|_| found.required) {
            Some(blueprint) => format!("; {blueprint} requires it"),
            None => String::new(),
        };
        writeln!(
            out,
            "  {mark} resources[{resource}] ({kind}) {field}: {count} of {of} resources{required}\n    `{}`: {}",
            expression.as_deref().unwrap_or("null"),
            hang(reason, "    ")
        )?;
    }
    if found.len() > SHOWN {
        writeln!(out, "  … and {} more (all with --json)", found.len() - SHOWN)?;
    }
    Ok(())
}

fn list(items: &[String], count: u64) -> String {
    let shown = items.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    match count {
        0..=5 => shown,
        more => format!("{shown} and {} more", more - 5),
    }
}

fn changes(report: &Report, out: &mut String) -> std::fmt::Result {
    if report.changes.is_empty() {
        return writeln!(out, "\nNothing to create or update.");
    }
    writeln!(out, "\nChanges")?;
    for record in report.changes.iter().take(SHOWN) {
        match &record.change {
            Change::Create => writeln!(out, "  + {}", record.entity)?,
            Change::Update { fields } => {
                writeln!(out, "  ~ {}", record.entity)?;
                for field in fields {
                    writeln!(out, "      {}: {} → {}", field.field, field.from, field.to)?;
                }
            }
            Change::Unchanged => {}
        }
    }
    if report.changes.len() > SHOWN {
        writeln!(out, "  … and {} more (all with --json)", report.changes.len() - SHOWN)?;
    }
    Ok(())
}

fn deletion(report: &Report, out: &mut String) -> std::fmt::Result {
    let deletion = &report.deletion;
    if !deletion.deleted.is_empty() {
        writeln!(out, "\n{}", if report.dry_run { "Would delete" } else { "Deleted" })?;
        for gone in deletion.deleted.iter().take(SHOWN) {
            writeln!(out, "  - {}", gone.entity)?;
        }
        if deletion.deleted.len() > SHOWN {
            writeln!(out, "  … and {} more", deletion.deleted.len() - SHOWN)?;
        }
    }
    if let Some(problem) = &deletion.held_back {
        writeln!(out, "\nDeletions held back: {}", problem.message)?;
        if let Some(remedy) = &problem.remedy {
            writeln!(out, "  → {}", hang(remedy, "    "))?;
        }
    }
    if !deletion.protected.is_empty() {
        writeln!(
            out,
            "\n{} entities were not found but are protected, because what might own them was not read completely.",
            deletion.protected.len()
        )?;
    }
    if !deletion.related.is_empty() {
        writeln!(
            out,
            "\n{} entities were not found but are kept, because other entities relate to them.",
            deletion.related.len()
        )?;
    }
    Ok(())
}

/// Renders what is wrong with the settings.
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
