//! Tables of results, each with its targets.

use std::fmt;

use serde_json::{Value, json};

/// A target beside what was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) at_most: f64,
    pub(crate) measured: f64,
    /// Whether it is a defect, and not only a pity, when it is missed.
    pub(crate) required: bool,
}

impl Target {
    pub(crate) fn at_most(name: impl Into<String>, at_most: f64, measured: f64) -> Self {
        Self { name: name.into(), at_most, measured, required: false }
    }

    /// One that must not be missed.
    pub(crate) fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.measured <= self.at_most
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_reached() { '✓' } else { '✗' };
        write!(f, "{mark} {}: {:.2} (target ≤ {})", self.name, self.measured, self.at_most)
    }
}

/// A row of a table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    pub(crate) target: Option<Target>,
}

impl Row {
    /// A row without a target.
    pub(crate) fn plain<const N: usize>(cells: [String; N]) -> Self {
        Self { cells: cells.into(), target: None }
    }
}

/// A table in Markdown.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Row>,
    /// Of the table as a whole.
    targets: Vec<Target>,
    /// How figures come about, below the table.
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, head: &[&str]) -> Self {
        let head = head.iter().map(|name| (*name).to_owned()).collect();
        Self { title: title.into(), head, rows: Vec::new(), targets: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a target of the table as a whole.
    pub(crate) fn target(&mut self, target: Target) {
        self.targets.push(target);
    }

    /// Adds how something comes about.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The targets of its rows, then its own.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.rows.iter().filter_map(|row| row.target.as_ref()).chain(&self.targets)
    }

    pub(crate) fn json(&self) -> Value {
        let targets: Vec<Value> = self
            .targets()
            .map(
                |target| json!({"name": target.name, "at_most": target.at_most, "measured": target.measured}),
            )
            .collect();
        let rows: Vec<&Vec<String>> = self.rows.iter().map(|row| &row.cells).collect();
        json!({"title": self.title, "head": self.head, "rows": rows, "targets": targets, "notes": self.notes})
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| &row.cells).chain([&self.head]);
                cells
                    .filter_map(|cells| cells.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let line = |cells: &[String]| -> String {
            let padded: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("| {} |", padded.join(" | "))
        };
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        writeln!(f, "### {}\n\n{}\n{}", self.title, line(&self.head), line(&rule))?;
        for row in &self.rows {
            writeln!(f, "{}", line(&row.cells))?;
        }
        for note in &self.notes {
            writeln!(f, "\n{note}")?;
        }
        let targets: Vec<String> = self.targets().map(|target| format!("- {target}")).collect();
        if targets.is_empty() { Ok(()) } else { writeln!(f, "\n{}", targets.join("\n")) }
    }
}
