//! Limits on the length of functions and files.

use std::path::Path;

/// Lines of a function, from `fn` to its closing bracket.
const FUNCTION: usize = 80;
/// Lines of a file.
const FILE: usize = 600;

/// Files and functions of the tests that are longer, with the lines that they may have. None of the host.
const LONGER: &[(&str, usize)] = &[
    ("tests/e2e/tests/e2e/live.rs a_bucket_a_function_and_an_instance_follow_their_events", 119),
    ("tests/e2e/tests/e2e/status.rs everybody_can_use_the_page", 88),
    ("tests/e2e/tests/e2e/status/example.rs data", 164),
    ("tests/model/src/rules.rs", 790),
    ("tests/model/src/scenario.rs all", 109),
    ("tests/model/src/world.rs", 1280),
    ("tests/model/src/world.rs why_live", 108),
    ("tests/model/tests/model.rs main", 90),
    ("tests/port-stand-in/src/store.rs upsert", 92),
    (
        "tests/port-stand-in/tests/strictness/reporting.rs a_resync_of_raw_data_keeps_to_its_order_and_forms",
        111,
    ),
    ("tests/simulation/src/aws.rs list", 108),
    ("tests/simulation/src/scenario.rs fault", 83),
];

/// What is too long in a file, whose path in the repository is `name`.
pub(crate) fn check(name: &str, text: &str) -> Vec<String> {
    let is_ours = name.starts_with("host/") || name.starts_with("tests/");
    if !is_ours || Path::new(name).extension().is_none_or(|extension| extension != "rs") {
        return Vec::new();
    }
    let most = |what: &str, most: usize| {
        let longer = LONGER.iter().find(|(known, _)| *known == what);
        longer.map_or(most, |(_, lines)| *lines)
    };
    let mut offences = Vec::new();
    let (lines, allowed) = (text.lines().count(), most(name, FILE));
    if lines > allowed {
        offences.push(format!("{name}: {lines} lines, of {allowed} at most: split it by subject"));
    }
    for function in functions(text) {
        let allowed = most(&format!("{name} {}", function.name), FUNCTION);
        if function.lines > allowed {
            let (line, function, lines) = (function.line, function.name, function.lines);
            offences.push(format!(
                "{name}:{line}: `{function}` has {lines} lines, of {allowed} at most: split it by meaning"
            ));
        }
    }
    offences
}

#[derive(Debug, PartialEq)]
struct Function<'t> {
    name: &'t str,
    /// Where it begins, from 1.
    line: usize,
    lines: usize,
}

/// The functions that have more than one line. Reads the text as rustfmt writes it: a function ends with the
/// first bracket that closes as far left as the function begins.
fn functions(text: &str) -> Vec<Function<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let function = |at: usize| {
        let first = lines.get(at)?;
        let (indent, name) = beginning(first)?;
        if first.ends_with([';', '}']) {
            return None;
        }
        // Without a body it ends with its signature.
        let is_last = |line: &str| line == "}" || line.starts_with(')') && line.ends_with(';');
        let rest = lines.get(at + 1..)?;
        let more = rest.iter().position(|line| line.strip_prefix(indent).is_some_and(is_last))?;
        Some(Function { name, line: at + 1, lines: more + 2 })
    };
    (0..lines.len()).filter_map(function).collect()
}

/// How far in a line is, and the name of the function that begins on it, if one does.
fn beginning(line: &str) -> Option<(&str, &str)> {
    let code = line.trim_start();
    let indent = &line[..line.len() - code.len()];
    let (before, after) = code.split_once("fn ")?;
    let is_qualifier = |word: &str| {
        matches!(word, "pub" | "const" | "async" | "unsafe" | "extern" | "default" | "\"C\"")
            || word.starts_with("pub(")
    };
    // `pub(in crate::a)` has a space of its own.
    let before = before.replace("(in ", "(");
    if !before.split_whitespace().all(is_qualifier) {
        return None;
    }
    let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    (end > 0).then(|| (indent, &after[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r"
fn short() {}

pub(crate) async fn of_three() {
    call();
}

impl Thing {
    pub(in crate::a) fn inner(
        &self,
    ) -> Result<(), Error> {
        let close = || {
        };
        Ok(())
    }
}

trait Seam {
    fn without_body(
        &self,
    ) -> bool;

    fn one_line(&self);
}

// fn in a comment, and a type of functions:
type Change = fn(&mut Config);
";

    #[test]
    fn functions_are_counted_from_their_name_to_their_last_bracket() {
        let expected = [("of_three", 4, 3), ("inner", 9, 7), ("without_body", 19, 3)]
            .map(|(name, line, lines)| Function { name, line, lines });
        assert_eq!(functions(SAMPLE), expected);
    }

    #[test]
    fn what_is_too_long_is_named_with_its_place() {
        let function = |lines: usize| format!("fn long() {{\n{}}}\n", "    call();\n".repeat(lines - 2));
        assert_eq!(check("host/core/src/a.rs", &function(FUNCTION)), [""; 0]);
        assert_eq!(
            check("host/core/src/a.rs", &format!("\n{}", function(FUNCTION + 1))),
            ["host/core/src/a.rs:2: `long` has 81 lines, of 80 at most: split it by meaning"]
        );
        assert_eq!(check("host/core/src/a.rs", &"\n".repeat(FILE)), [""; 0]);
        assert_eq!(
            check("host/core/src/a.rs", &"\n".repeat(FILE + 1)),
            ["host/core/src/a.rs: 601 lines, of 600 at most: split it by subject"]
        );
    }

    #[test]
    fn the_host_has_no_exceptions() {
        assert!(LONGER.iter().all(|(what, _)| what.starts_with("tests/")));
    }
}
