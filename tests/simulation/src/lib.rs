//! Runs the whole host against models of AWS and Port, in virtual time. A seed draws everything that may go wrong:
//! one seed, one scenario, one trace.
//!
//! Real are the driver of resyncs, live events, the clients of AWS and Port with all their retries and limits, the
//! SDK that assumes roles, and the ledger on a disk. Models are AWS, Port (the fake server, called without a
//! socket), and the mapping, which is native code instead of plugins in a sandbox.
//!
//! A process of the host is a separate runtime with Tokio's paused clock. Killing it means dropping that runtime,
//! with every task in it. The system's clock and random numbers follow the simulation ([`os`]), so the same seed
//! gives the same requests, byte by byte.

pub mod aws;
pub mod ledger;
pub mod mapper;
pub mod os;
pub mod process;
pub mod scenario;
pub mod shrink;
pub mod sim;
pub mod world;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use port_stand_in::{PortStandIn, StandInOptions};
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    process::Stage,
    scenario::{Scenario, ScopeChange, What},
    sim::CANARY,
    world::{Entry, Kind},
};

/// What a scenario came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What must not have happened.
    pub violations: Vec<String>,
    /// What happened, by name.
    pub counts: BTreeMap<String, u64>,
    /// A digest of every request and answer.
    pub digest: String,
    /// All of them as text, where that was wanted.
    pub reported: Option<String>,
}

/// Runs a scenario, in a thread of its own.
pub fn run(scenario: &Scenario, traces: bool) -> Outcome {
    let scenario = scenario.clone();
    let thread = std::thread::spawn(move || {
        os::simulate(scenario.seed);
        run_here(&scenario, traces)
    });
    thread.join().unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something");
        Outcome { violations: vec![format!("it panics: {said}")], ..Outcome::default() }
    })
}

/// What is logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn run_here(scenario: &Scenario, traces: bool) -> Outcome {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .with_max_level(if traces { tracing::Level::DEBUG } else { tracing::Level::INFO })
        .finish();
    let _logs = tracing::subscriber::set_default(subscriber);
    let shared_memory = Path::new("/dev/shm");
    let dir = if shared_memory.is_dir() { tempfile::tempdir_in(shared_memory) } else { tempfile::tempdir() };
    let dir = match dir {
        Ok(dir) => dir,
        Err(error) => return Outcome { violations: vec![error.to_string()], ..Outcome::default() },
    };
    let options = StandInOptions {
        client_id: "client".into(),
        client_secret: "canary-port-secret".into(),
        ..StandInOptions::default()
    };
    let Ok(base) = url::Url::parse(&format!("https://{}", sim::PORT)) else { return Outcome::default() };
    let stage = Stage::new(scenario, PortStandIn::unserved(options, base), traces);
    stage.publish_mapping();
    let state = dir.path().join("state");
    for round in 0..scenario.rounds {
        stage.round(round, &state);
        os::pass(600);
    }
    last(&stage, scenario, &state);

    let log = String::from_utf8_lossy(&log.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
    if let Some(line) = log.lines().find(|line| line.contains(CANARY)) {
        stage.state().violation(format!("a secret is logged: {line}"));
    }
    let mut state = stage.state();
    Outcome {
        violations: std::mem::take(&mut state.violations),
        counts: std::mem::take(&mut state.counts),
        digest: state.digest(),
        reported: state.reported.take().map(|reported| format!("{reported}\n{log}")),
    }
}

/// Without any fault, and with everything read, Port comes to say what is true.
fn last(stage: &Stage, scenario: &Scenario, dir: &Path) {
    stage.restore_blueprints();
    stage.state().world.change_scope(|scope| {
        scope.mapping = Kind::ALL.into_iter().map(Entry::of).collect();
    });
    // What a ledger believes is looked at again by then.
    os::pass(25 * 3600);
    {
        let mut state = stage.state();
        state.touched.clear();
        state.account_restored = false;
        state.tags_unknown = false;
        state.two_hosts = false;
    }
    stage.publish_mapping();
    // A removed account or region is removed for good after some resyncs, if there is a ledger.
    let narrow = scenario.items.iter().any(|item| {
        matches!(
            item.what,
            What::Scope(_, ScopeChange::Unlist(_) | ScopeChange::Off(..) | ScopeChange::Restrict(..))
        )
    });
    for _ in 0..if narrow { 4 } else { 1 } {
        match stage.process(&[], dir) {
            Some(Ok(_)) => {}
            Some(Err(error)) => stage.state().violation(format!("a resync without faults fails: {error}")),
            None => stage.state().violation("a resync without faults is killed".into()),
        }
        os::pass(600);
    }
    let recorded = scenario.ledger && !stage.state().lost_records;
    stage.check_all(narrow && !recorded);
}
