//! The only place that prints.

use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
    sync::OnceLock,
};

use crate::{args::Colour, settings::Environment};

/// Whether standard output and standard error are coloured.
static COLOURS: OnceLock<(bool, bool)> = OnceLock::new();

/// Signs at which one sees how something went, and their colours.
const SIGNS: [(char, &str); 4] = [('✓', "32"), ('✗', "31"), ('→', "36"), ('·', "2")];

/// Decides, once, whether what is printed from now on is coloured.
pub(crate) fn colours(choice: Colour, environment: &Environment) {
    let of = |terminal: bool| coloured(choice, environment, terminal);
    _ = COLOURS.set((of(std::io::stdout().is_terminal()), of(std::io::stderr().is_terminal())));
}

/// Whether standard error is coloured.
pub(crate) fn stderr_is_coloured() -> bool {
    COLOURS.get().is_some_and(|(_, stderr)| *stderr)
}

/// What was asked for by the argument rules, then the variables that everybody knows
/// (<https://no-color.org>, <https://bixense.com/clicolors>), then whether somebody looks at it.
fn coloured(choice: Colour, environment: &Environment, terminal: bool) -> bool {
    match choice {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto if environment.get("NO_COLOR").is_some() => false,
        Colour::Auto if environment.get("CLICOLOR_FORCE").is_some_and(|force| force != "0") => true,
        Colour::Auto => {
            terminal && environment.get("CLICOLOR") != Some("0") && environment.get("TERM") != Some("dumb")
        }
    }
}

/// Colours the signs in a text.
fn paint(text: &str, coloured: bool) -> Cow<'_, str> {
    if !coloured {
        return Cow::Borrowed(text);
    }
    let mut painted = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        match SIGNS.iter().find(|(sign, _)| *sign == c) {
            Some((sign, colour)) => {
                painted.extend(["\x1b[", colour, "m", sign.encode_utf8(&mut [0; 4]), "\x1b[0m"]);
            }
            None => painted.push(c),
        }
    }
    Cow::Owned(painted)
}

/// What a command has to say.
#[derive(Debug)]
pub(crate) enum Said {
    /// To people.
    Text(String),
    /// To programs.
    Json(serde_json::Value),
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<serde_json::Value> for Said {
    fn from(value: serde_json::Value) -> Self {
        Self::Json(value)
    }
}

impl Said {
    /// Prints it to standard output.
    pub(crate) fn print(&self) {
        match self {
            Self::Text(text) => out(text),
            Self::Json(value) => data(&value.to_string()),
        }
    }
}

/// Tells people something, on standard output. A reader that went away is no error.
pub(crate) fn out(text: &str) {
    data(&paint(text, COLOURS.get().is_some_and(|(stdout, _)| *stdout)));
}

/// Gives a program something to read, on standard output: never coloured.
pub(crate) fn data(text: &str) {
    let mut stdout = std::io::stdout().lock();
    _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
}

/// Tells people something, on standard error.
pub(crate) fn err(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let text = paint(text, stderr_is_coloured());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_there_when_somebody_looks_or_asks() {
        use Colour::{Always, Auto, Never};
        for (choice, variables, terminal, expected) in [
            (Auto, &[][..], true, true),
            (Auto, &[], false, false),
            (Auto, &[("NO_COLOR", "1")], true, false),
            (Auto, &[("NO_COLOR", "")], true, true),
            (Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true, false),
            (Auto, &[("CLICOLOR_FORCE", "1")], false, true),
            (Auto, &[("CLICOLOR_FORCE", "0")], false, false),
            (Auto, &[("CLICOLOR", "0")], true, false),
            (Auto, &[("TERM", "dumb")], true, false),
            (Always, &[("NO_COLOR", "1")], false, true),
            (Never, &[("CLICOLOR_FORCE", "1")], true, false),
        ] {
            let found = coloured(choice, &Environment::of(variables), terminal);
            assert_eq!(found, expected, "{choice:?} {variables:?} {terminal}");
        }
    }

    #[test]
    fn signs_are_painted_and_the_rest_is_left() {
        assert_eq!(paint("✗ a\n  → b", false), "✗ a\n  → b");
        assert_eq!(paint("✗ a\n  → b", true), "\u{1b}[31m✗\u{1b}[0m a\n  \u{1b}[36m→\u{1b}[0m b");
    }
}
