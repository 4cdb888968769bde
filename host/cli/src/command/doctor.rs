//! `berth doctor`: checks whether a resync would work.

use std::fmt::Write;

use berth_embed::{Check, Finding, Problem};
use berth_engine::ProcessLockdown;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;

use super::host::{HostOptions, with_host};
use crate::{
    args::Global,
    exit::Exit,
    output::{CommandOutput, hang, safe},
    settings::Environment,
};

/// Runs all checks and shows a table, with the remedies below it.
pub(crate) fn run(global: &Global, all_kinds: bool, as_json: bool, environment: &Environment) -> Exit {
    // The checks are few and fast: progress bars would only distract.
    let checked = with_host(global, environment, HostOptions::default(), |made| async move {
        let mut checks = made.sync.check(all_kinds).await;
        checks.extend(made.engine.isolation().map(isolation));
        checks
    });
    let checks = match checked {
        Ok((checks, _)) => checks,
        Err(exit) => return exit,
    };
    let said = if as_json {
        CommandOutput::from(json!({ "checks": checks }))
    } else {
        safe(&render(&checks)).into()
    };
    said.print();
    match checks.iter().filter(|check| check.is_good()).count() {
        good if good == checks.len() => Exit::Done,
        _ => Exit::Partial,
    }
}

/// Describes how plugin processes are isolated. Whether they are isolated at all was decided at the start.
fn isolation(lockdown: ProcessLockdown) -> Check {
    let found = if lockdown.landlock {
        "separate processes, confined by a seccomp filter and Landlock"
    } else {
        "separate processes, confined by a seccomp filter; this kernel has no Landlock"
    };
    Check { subject: "third-party plugins".into(), finding: Finding::Good(found.into()) }
}

fn render(checks: &[Check]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["", "checked", "found"]);
    let mut remedies: Vec<(&Problem, Vec<&str>)> = Vec::new();
    for check in checks {
        match &check.finding {
            Finding::Good(seen) => _ = table.add_row(["✓", &check.subject, seen]),
            Finding::Bad(problem) => {
                table.add_row(["✗", &check.subject, "see below"]);
                match remedies.iter_mut().find(|(known, _)| *known == problem) {
                    Some((_, subjects)) => subjects.push(&check.subject),
                    None => remedies.push((problem, vec![&check.subject])),
                }
            }
        }
    }
    let mut text = table.to_string();
    for (problem, subjects) in remedies {
        text.push_str("\n\n✗ ");
        text.push_str(&subjects.join(", "));
        text.push_str("\n  ");
        text.push_str(&hang(&problem.message, "  "));
        if let Some(remedy) = &problem.remedy {
            text.push_str("\n  → ");
            text.push_str(&hang(remedy, "    "));
        }
    }
    let bad = checks.iter().filter(|check| !check.is_good()).count();
    // Writing to a String cannot fail.
    _ = match bad {
        0 => write!(text, "\n\nAll {} checks passed.", checks.len()),
        bad => write!(text, "\n\n{bad} of {} checks failed.", checks.len()),
    };
    text
}
