//! AWS, emulated by moto: one process for all tests of a run, which use different accounts.

use std::{
    env,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};

/// A moto, which starts when it is first asked for something: many tests read another AWS.
pub(crate) struct Aws {
    managed_policies: bool,
    moto: OnceLock<Moto>,
}

/// A running moto. It ends with this process: its standard input is held open by us alone.
struct Moto {
    port: u16,
    _process: Child,
}

impl Aws {
    /// The moto of this test run.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: Aws = Aws { managed_policies: false, moto: OnceLock::new() };
        &SHARED
    }

    /// A moto of one's own, for a test that changes more than its accounts. It knows AWS's own
    /// policies, and lives as long as the test run.
    pub(crate) fn own() -> &'static Self {
        Box::leak(Box::new(Self { managed_policies: true, moto: OnceLock::new() }))
    }

    /// Where moto listens. Blocks until it has started.
    pub(crate) fn authority(&self) -> String {
        let moto = self.moto.get_or_init(|| Moto::start(self.managed_policies));
        format!("127.0.0.1:{}", moto.port)
    }

    /// Runs the seeding script, past the gate.
    pub(crate) fn seed(&self, accounts: &[String], arguments: &[&str]) -> String {
        self.run("seed.py", accounts, arguments)
    }

    /// Runs a script that speaks with moto, past the gate.
    pub(crate) fn run(&self, name: &str, accounts: &[String], arguments: &[&str]) -> String {
        let endpoint = format!("http://{}", self.authority());
        let accounts = accounts.join(",");
        let known = [name, "--endpoint", &endpoint, "--accounts", &accounts];
        Scripts::shared().run(&[&known, arguments].concat())
    }

    /// The entities that the accounts must give, told by boto3.
    pub(crate) fn expected(&self, accounts: &[String]) -> Vec<Value> {
        serde_json::from_str(&self.seed(accounts, &["expected"])).expect("the script prints JSON")
    }
}

impl Moto {
    fn start(managed_policies: bool) -> Self {
        let mut command = Command::new(python());
        command
            .arg(script("serve_aws.py"))
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", managed_policies.to_string());
        let (process, port) = serve(&mut command);
        Self { port, _process: process }
    }
}

/// A process that runs scripts which speak with AWS: it has boto3 loaded. It ends as moto does.
struct Scripts {
    port: u16,
    _process: Child,
}

impl Scripts {
    /// The one of this test run.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Scripts> = OnceLock::new();
        SHARED.get_or_init(|| {
            let mut command = Command::new(python());
            command.arg(script("serve_scripts.py")).env("NO_PROXY", "127.0.0.1");
            let (process, port) = serve(&mut command);
            Self { port, _process: process }
        })
    }

    /// Runs a script with its arguments, and gives what it prints.
    fn run(&self, line: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the scripts' process listens");
        writeln!(stream, "{}", json!(line)).expect("the scripts' process reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the script ends");
        let done: Value = serde_json::from_str(&answer).expect("the scripts' process answers with JSON");
        let text = |name: &str| done[name].as_str().unwrap_or_default().to_owned();
        assert!(done["code"] == 0, "{line:?}: {} {}", done["code"], text("stderr"));
        text("stdout")
    }
}

/// Starts a process whose first line is the port that it serves, and which ends with its standard input.
fn serve(command: &mut Command) -> (Child, u16) {
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the process starts");
    let mut line = String::new();
    let output = process.stdout.take().expect("standard output is piped");
    BufReader::new(output).read_line(&mut line).expect("the process says its port");
    let port = line.trim().parse().expect("the first line is the port");
    (process, port)
}

/// Runs a script that needs no AWS, and gives what it prints.
pub(crate) fn python_script(name: &str, arguments: &[String]) -> String {
    let done = Command::new(python()).arg(script(name)).args(arguments).output().expect("the script starts");
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("the script prints UTF-8")
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) fn python() -> PathBuf {
    let python = prepared("BERTH_TEST_PYTHON", "target/venv/bin/python");
    assert!(python.exists(), "no {}: run `cargo xtask venv`", python.display());
    python
}

/// What the task runner prepared: where it says, else where it usually is.
pub(crate) fn prepared(variable: &str, usual: &str) -> PathBuf {
    env::var_os(variable)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(usual), PathBuf::from)
}
