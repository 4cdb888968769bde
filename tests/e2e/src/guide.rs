//! Tests a page of documentation: runs its commands in order, in one shell, and compares exit codes and output
//! with the page.
//!
//! Commands are in blocks of the language `console`, after `$ `. The lines below a command must be in its output,
//! in this order; `…` stands for any other output, and spaces and the lines of tables do not count. ` exits=3`
//! after the language is the exit code of the block's last command, if it is not 0.

#![expect(clippy::print_stdout, clippy::panic, reason = "a test harness: what it prints explains a failure")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::{aws::python, berth::binary};

/// A command of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its line in the page, from 1.
    pub line: usize,
    /// The command, as it would be typed.
    pub command: String,
    /// What it has to print.
    pub prints: Vec<String>,
    /// How it has to end.
    pub exits: i32,
}

/// The commands of a page, in their order.
pub fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut exits = None;
    let mut until = String::new();
    for (number, line) in page.lines().enumerate() {
        let text = line.trim_start();
        if let Some(language) = text.strip_prefix("```") {
            if let (Some(exits), Some(last)) = (exits, steps.last_mut()) {
                last.exits = exits;
            }
            exits = language.strip_prefix("console").map(|options| {
                options.trim().strip_prefix("exits=").map_or(0, |code| code.parse().expect("an exit code"))
            });
            continue;
        }
        if exits.is_none() {
            continue;
        }
        if !until.is_empty() {
            let step = steps.last_mut().expect("a command goes on");
            step.command.push('\n');
            step.command.push_str(text);
            until = goes_on(text, &until);
        } else if let Some(command) = text.strip_prefix("$ ") {
            steps.push(Step { line: number + 1, command: command.to_owned(), prints: Vec::new(), exits: 0 });
            until = goes_on(command, "");
        } else if !text.is_empty() {
            steps.last_mut().expect("output stands below a command").prints.push(text.to_owned());
        }
    }
    steps
}

/// What ends a command that has got as far as this line: nothing if it is whole.
fn goes_on(line: &str, until: &str) -> String {
    const ANOTHER_LINE: &str = "\\";
    if !matches!(until, "" | ANOTHER_LINE) {
        // The text of a file, or a loop, to its last line.
        return if line == until { String::new() } else { until.to_owned() };
    }
    if let Some((_, mark)) = line.split_once("<<'") {
        return mark.split('\'').next().unwrap_or_default().to_owned();
    }
    if line.ends_with("; do") {
        return "done".to_owned();
    }
    if line.ends_with('\\') { ANOTHER_LINE.to_owned() } else { String::new() }
}

/// A shell that keeps what it was told, as a terminal does.
pub struct Shell {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    replaced: BTreeMap<String, String>,
}

impl Shell {
    /// A shell with these variables and no others, in a folder.
    pub(crate) fn start(folder: &Path, variables: &BTreeMap<String, String>) -> Self {
        let mut process = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(folder)
            .env_clear()
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash starts");
        let input = process.stdin.take().expect("standard input is piped");
        let output = BufReader::new(process.stdout.take().expect("standard output is piped"));
        Self { process, input, output, replaced: BTreeMap::new() }
    }

    /// Puts something in the place of what a page says, as a reader does with `<client id>`.
    pub fn replace(&mut self, text: &str, with: &str) {
        self.replaced.insert(text.to_owned(), with.to_owned());
    }

    /// Follows a page from its first command to its last.
    ///
    /// # Panics
    /// When a command ends or prints otherwise than the page says.
    pub fn follow(&mut self, page: &str) {
        let text = fs::read_to_string(repository().join(page)).expect("the page exists");
        let steps = steps(&text);
        assert!(!steps.is_empty(), "{page} has no command");
        for step in steps {
            let (output, code) = self.run(&step.command);
            let at = format!("{page}:{}: {}", step.line, step.command);
            // Shown when the test fails.
            println!("{at}\n{output}");
            assert_eq!(code, step.exits, "{at}\nends otherwise");
            if let Some(missing) = missing(&step.prints, &output, |line| self.replacing(line)) {
                panic!("{at}\ndoes not print `{missing}`");
            }
            self.learn(&output);
        }
    }

    /// Runs a command: what it prints on either stream, and its exit code.
    pub fn run(&mut self, command: &str) -> (String, i32) {
        const END: &str = "\u{1}end ";
        let command = self.replacing(command);
        // In a group, so that what it sets stays set; with no input that it could wait for.
        writeln!(self.input, "{{ {command}\n}} </dev/null 2>&1; printf '\n\\001end %d\n' $?")
            .and_then(|()| self.input.flush())
            .expect("bash takes commands");
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("bash prints UTF-8");
            assert_ne!(read, 0, "the shell ended in `{command}`:\n{printed}");
            if let Some(code) = line.strip_prefix(END) {
                return (printed, code.trim().parse().expect("an exit code"));
            }
            printed.push_str(&line);
        }
    }

    /// In one pass: what is put in may hold what is replaced elsewhere.
    fn replacing(&self, text: &str) -> String {
        let mut replaced = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let here = self.replaced.iter().filter(|(from, _)| rest.starts_with(from.as_str()));
            // One may be the beginning of another.
            if let Some((from, to)) = here.max_by_key(|(from, _)| from.len()) {
                replaced.push_str(to);
                rest = &rest[from.len()..];
            } else {
                replaced.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        replaced
    }

    /// Remembers an access key that was just made, as a reader does.
    fn learn(&mut self, output: &str) {
        let made: Value = serde_json::from_str(output).unwrap_or_default();
        for (placeholder, name) in
            [("<access key id>", "AccessKeyId"), ("<secret access key>", "SecretAccessKey")]
        {
            if let Some(value) = made["AccessKey"][name].as_str() {
                self.replace(placeholder, value);
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// What stands for `docker`: the binary, with the variables that the container would have and no
/// others. (The image itself is tested by `cargo xtask test --all`.)
const DOCKER: &str = r#"#!/bin/bash
[ "$1" = run ] || { echo "only docker run" >&2; exit 125; }
shift
variables=()
while [[ "$1" = -* ]]; do
    case "$1" in
        --rm) shift ;;
        -e) [[ "$2" = *=* ]] && variables+=("$2") || variables+=("$2=${!2}"); shift 2 ;;
        -v | -p | --name) shift 2 ;;
        *) echo "unknown flag: $1" >&2; exit 125 ;;
    esac
done
shift
[ $# -gt 0 ] || set -- run
exec env -i "AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL" "BERTH_PLUGINS=$BERTH_PLUGINS" \
    "BERTH_PLUGIN_TRUST=$BERTH_PLUGIN_TRUST" "BERTH_CACHE_DIR=$BERTH_CACHE_DIR" "${variables[@]}" "${BASH_SOURCE%/*}/berth" "$@"
"#;

/// What stands for `helm`, which has no cluster here: it renders what it would install, and refuses what
/// it would refuse.
const HELM: &str = r#"#!/bin/bash
helm=$(cd '{deploy}' && '{python}' -c 'import conftest; print(conftest.helm_binary())')
[ "$1 $2" = "upgrade --install" ] || { echo "only helm upgrade --install" >&2; exit 1; }
shift 2
exec "$helm" template "$@"
"#;

/// A shell in `home`, with the programs that the pages use and a profile of the AWS CLI for each
/// account, and nothing of the machine's own.
pub(crate) fn terminal(
    home: &Path,
    mut variables: BTreeMap<String, String>,
    profiles: impl IntoIterator<Item = (String, String)>,
) -> Shell {
    let bin = home.join("bin");
    if bin.exists() {
        fs::remove_dir_all(&bin).expect("a former terminal's");
    } else {
        symlink(repository().join("examples"), home.join("examples")).expect("a link");
    }
    fs::create_dir(&bin).expect("a folder for programs");
    symlink(fs::canonicalize(binary()).expect("the binary exists"), bin.join("berth")).expect("a link");
    // Through the interpreter: the folder of the environment may have been moved.
    let aws = format!("#!/bin/sh\nexec '{}' -m awscli \"$@\"\n", python().display());
    let deploy = repository().join("tests/deploy");
    let helm = HELM.replace("{deploy}", &deploy.display().to_string());
    let helm = helm.replace("{python}", &python().display().to_string());
    for (name, script) in [("docker", DOCKER), ("aws", &aws), ("helm", &helm)] {
        let file = bin.join(name);
        fs::write(&file, script).expect("a script");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("the script is ours");
    }
    let mut config = String::from(
        "[profile root]\naws_access_key_id = AKIAROOTROOTROOTROOT\naws_secret_access_key = root\nregion = us-east-1\n",
    );
    for (name, account) in profiles {
        // Writing to a String cannot fail.
        _ = write!(
            config,
            "[profile {name}]\nregion = us-east-1\nsource_profile = root\n\
             role_arn = arn:aws:iam::{account}:role/Administrator\n"
        );
    }
    let file = home.join("aws-config");
    fs::write(&file, config).expect("a file");
    for (name, value) in [
        ("HOME", home.display().to_string()),
        ("AWS_CONFIG_FILE", file.display().to_string()),
        ("AWS_PAGER", String::new()),
        // The machine may have a role of its own.
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("PATH", format!("{}:/usr/bin:/bin", bin.display())),
    ] {
        variables.insert(name.to_owned(), value);
    }
    Shell::start(home, &variables)
}

/// The first line that is not printed, in the order of the page.
fn missing<'p>(prints: &'p [String], output: &str, replacing: impl Fn(&str) -> String) -> Option<&'p str> {
    let mut printed = output.lines().map(plain);
    prints.iter().find_map(|line| {
        let wanted = plain(&replacing(line));
        // Spaces beside it may be wherever the line was cut.
        let parts: Vec<&str> = wanted.split('…').map(str::trim).filter(|part| !part.is_empty()).collect();
        let fits = |line: &String| {
            parts.iter().try_fold(line.as_str(), |rest, part| Some(rest.split_once(part)?.1)).is_some()
        };
        (!parts.is_empty() && !printed.any(|line| fits(&line))).then_some(line.as_str())
    })
}

/// A line without the drawing of tables, and with single spaces.
fn plain(line: &str) -> String {
    let drawn = |c: char| ('\u{2500}'..='\u{257f}').contains(&c);
    let words = line.split(|c: char| c.is_whitespace() || drawn(c)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_a_reader_does() {
        let page = "# A page\n```json\n$ no command\n```\n1. Do this\n   ```console exits=3\n   $ one \\\n       --more\n   \
                    it … said\n   $ cat > file <<'END'\n   text\n   END\n   $ for x in a; do\n   b\n   done\n   ```\n";
        let found = steps(page);
        let one =
            Step { line: 7, command: "one \\\n--more".into(), prints: vec!["it … said".into()], exits: 0 };
        let two =
            Step { line: 10, command: "cat > file <<'END'\ntext\nEND".into(), prints: vec![], exits: 0 };
        let three = Step { line: 13, command: "for x in a; do\nb\ndone".into(), prints: vec![], exits: 3 };
        assert_eq!(found, [one, two, three]);
    }

    #[test]
    fn what_is_not_printed_is_found() {
        let lines = |text: &str| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
        let output = "┌────┐\n│ ✓  Port   well │\nthe end, at last\n";
        let missing =
            |wanted: &str| missing(&lines(wanted), output, ToOwned::to_owned).map(ToOwned::to_owned);
        assert_eq!(missing("✓ Port well\n…\nthe … last"), None);
        assert_eq!(missing("the end\n✓ Port well").as_deref(), Some("✓ Port well"), "in another order");
        assert_eq!(missing("✗ Port").as_deref(), Some("✗ Port"));
    }

    #[test]
    fn a_shell_keeps_what_it_is_reported() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut shell = Shell::start(folder.path(), &BTreeMap::new());
        shell.replace("<name>", "x");
        shell.replace("left", "right");
        shell.replace("right", "left");
        assert_eq!(shell.run("echo left right"), ("right left\n\n".into(), 0));
        assert_eq!(shell.run("export A=<name>; cd /"), ("\n".into(), 0));
        assert_eq!(shell.run("echo $A; pwd; (exit 3)"), ("x\n/\n\n".into(), 3));
    }
}
