//! The only place that prints.

use std::{
    borrow::Cow,
    io::{BufRead as _, IsTerminal, Write},
    sync::OnceLock,
};

use berth_embed::{Problem, ProblemCode};

use crate::{args::Colour, settings::Environment};

/// Whether standard output and standard error are colored.
static COLOURS: OnceLock<(bool, bool)> = OnceLock::new();

/// Status signs and their colors.
const SIGNS: [(char, &str); 4] = [('✓', "32"), ('✗', "31"), ('→', "36"), ('·', "2")];

/// Columns of a line of prose.
const WIDTH: usize = 80;

/// Decides, once, whether all further output is colored.
pub(crate) fn colours(choice: Colour, environment: &Environment) {
    let of = |terminal: bool| coloured(choice, environment, terminal);
    _ = COLOURS.set((of(std::io::stdout().is_terminal()), of(std::io::stderr().is_terminal())));
}

/// Returns whether standard error is colored.
pub(crate) fn stderr_is_coloured() -> bool {
    COLOURS.get().is_some_and(|(_, stderr)| *stderr)
}

/// Decides by the arguments, then by the well-known variables (<https://no-color.org>,
/// <https://bixense.com/clicolors>), then by whether the stream is a terminal.
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

/// Colors the signs in a text.
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

/// The output of a command.
#[derive(Debug)]
pub(crate) enum CommandOutput {
    /// For people.
    Text(String),
    /// For programs.
    Json(serde_json::Value),
}

impl From<String> for CommandOutput {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<serde_json::Value> for CommandOutput {
    fn from(value: serde_json::Value) -> Self {
        Self::Json(value)
    }
}

impl CommandOutput {
    /// Prints the output to standard output.
    pub(crate) fn print(&self) {
        match self {
            Self::Text(text) => out(text),
            Self::Json(value) => data(&value.to_string()),
        }
    }
}

/// Prints text for people on standard output. Ignores a closed pipe.
pub(crate) fn out(text: &str) {
    data(&paint(text, COLOURS.get().is_some_and(|(stdout, _)| *stdout)));
}

/// Prints data for programs on standard output: never colored.
pub(crate) fn data(text: &str) {
    let mut stdout = std::io::stdout().lock();
    _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
}

/// Prints text for people on standard error.
pub(crate) fn err(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let text = paint(text, stderr_is_coloured());
    _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.write_all(b"\n"));
}

/// Escapes the control characters of text from outside, so that it is safe on a terminal.
pub(crate) fn safe(text: &str) -> String {
    text.chars()
        .flat_map(
            |c| {
                if c.is_control() && c != '\n' { c.escape_default().collect::<Vec<_>>() } else { vec![c] }
            },
        )
        .collect()
}

/// Wraps a text at spaces, so that its lines end before column 80. The first line starts after `first`
/// columns, the others after `indent`. Never breaks words or commands (between backticks, or on lines of
/// their own), because users copy them.
pub(crate) fn wrap(text: &str, first: usize, indent: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for (number, line) in text.lines().enumerate() {
        let mut column = if number == 0 { first } else { indent.len() };
        if number > 0 {
            out.push('\n');
            out.push_str(indent);
        }
        // An indented line keeps its indent: it may be a command.
        let trimmed = line.trim_start();
        out.push_str(&line[..line.len() - trimmed.len()]);
        column += line.len() - trimmed.len();
        if number > 0 && ["berth ", "--"].iter().any(|start| trimmed.starts_with(start)) {
            out.push_str(trimmed);
            continue;
        }
        let mut quoted = false;
        let outside = |c: char| {
            quoted ^= c == '`';
            c == ' ' && !quoted
        };
        for (position, word) in trimmed.split(outside).enumerate() {
            let width = word.chars().count();
            if position > 0 && column + 1 + width > WIDTH {
                out.push('\n');
                out.push_str(indent);
                column = indent.len();
            } else if position > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += width;
        }
    }
    out
}

/// Asks for confirmation on the terminal.
///
/// # Errors
/// A [`Problem`] with this remedy if standard input is not a terminal.
pub(crate) fn confirm(question: &str, remedy: &str) -> Result<bool, Problem> {
    if !std::io::stdin().is_terminal() {
        return Err(Problem::new(
            ProblemCode::CommandArgument,
            "cannot prompt for approval: standard input is not a terminal",
        )
        .remedy(remedy));
    }
    err(&format!("\n{question} [y/N]"));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| {
        Problem::new(
            ProblemCode::CommandArgument,
            format!(
                "cannot read standard input: \
        {error}"
            ),
        )
    })?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
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
    fn prose_is_wrapped_and_words_are_not() {
        let text = format!("{} {} end", "word ".repeat(20).trim_end(), "x".repeat(100));
        let wrapped = wrap(&text, 6, "    ");
        let lines: Vec<&str> = wrapped.lines().collect();
        assert_eq!(lines.len(), 4, "{wrapped}");
        assert!(lines[0].len() + 6 <= WIDTH && lines[1].starts_with("    word"), "{wrapped}");
        assert_eq!((lines[2].trim(), lines[3]), ("x".repeat(100).as_str(), "    end"));
        assert_eq!(wrap("a\n  b", 0, "> "), "a\n>   b");
        let command = format!("{} `berth apply FILE`.", "x".repeat(70));
        assert_eq!(wrap(&command, 0, "").lines().nth(1), Some("`berth apply FILE`."));
        let scope = "region=111111111111/ap-southeast-1/AWS::ElasticLoadBalancingV2::LoadBalancer";
        let command =
            format!("To delete:\nberth sync --confirm-removal {scope} \\\n  --confirm-removal {scope}");
        assert_eq!(wrap(&command, 0, ""), command);
    }

    #[test]
    fn signs_are_painted_and_the_rest_is_left() {
        assert_eq!(paint("✗ a\n  → b", false), "✗ a\n  → b");
        assert_eq!(paint("✗ a\n  → b", true), "\u{1b}[31m✗\u{1b}[0m a\n  \u{1b}[36m→\u{1b}[0m b");
    }
}
