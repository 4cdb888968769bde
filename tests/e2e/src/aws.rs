//! AWS as moto emulates it: one process for all tests of a run, which use different accounts.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

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
        let done = Command::new(python())
            .arg(script(name))
            .args(["--endpoint", &format!("http://{}", self.authority())])
            .args(["--accounts", &accounts.join(",")])
            .args(arguments)
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .expect("the seeding script starts");
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("the script prints UTF-8")
    }

    /// The entities that the accounts must give, told by boto3.
    pub(crate) fn expected(&self, accounts: &[String]) -> Vec<Value> {
        serde_json::from_str(&self.seed(accounts, &["expected"])).expect("the script prints JSON")
    }
}

impl Moto {
    fn start(managed_policies: bool) -> Self {
        let mut process = Command::new(python())
            .arg(script("serve_aws.py"))
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", managed_policies.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("moto starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("standard output is piped");
        BufReader::new(output).read_line(&mut line).expect("moto says its port");
        let port = line.trim().parse().expect("moto's first line is its port");
        Self { port, _process: process }
    }
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
