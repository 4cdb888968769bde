//! The only place that prints.

use std::io::Write;

/// Prints to standard output. A reader that went away is no error.
pub(crate) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
}

/// Prints to standard error.
pub(crate) fn err(text: &str) {
    let mut stderr = std::io::stderr().lock();
    _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.write_all(b"\n"));
}

/// Text that came from outside, safe to show on a terminal: control characters are escaped.
pub(crate) fn safe(text: &str) -> String {
    text.chars()
        .flat_map(
            |c| {
                if c.is_control() && c != '\n' { c.escape_default().collect::<Vec<_>>() } else { vec![c] }
            },
        )
        .collect()
}

/// Indents every line after the first.
pub(crate) fn hang(text: &str, indent: &str) -> String {
    text.lines().collect::<Vec<_>>().join(&format!("\n{indent}"))
}
