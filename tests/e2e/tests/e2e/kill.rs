//! `kill -9` at random points of the process while AWS changes. At no time is a live entity deleted or an entity
//! of another owner changed. A killed process does not block the next one, and one undisturbed resync makes Port
//! match AWS.
//!
//! `BERTH_KILLS` sets the number of kills (10). `BERTH_KILL_SEED` repeats the choices of a run, which prints its
//! seed. The exact point of a kill also depends on the speed of the machine.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![expect(clippy::print_stdout, reason = "the seed, and what was counted")]

mod living;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use berth_e2e::{Kinds, REGIONS, Resource, World};
use living::{KINDS, Living, VOLUMES};
use port_stand_in::{Fault, LoggedRequest};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    live::{KEY, switch_on},
    service::listen,
};

/// What everything that is waited for must happen in; generous, because machines are busy.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often is looked whether a phase is reached.
const LOOK: Duration = Duration::from_millis(2);
/// How often something is tried that may come too late, for each kill that is wanted.
const ATTEMPTS: usize = 6;
const DATASOURCE: &str = "port-ocean/aws-v3/0.1.0";

#[test]
fn a_killed_sync_with_a_ledger_harms_nothing() {
    kill_often(0, "sync", "state");
}

#[test]
fn a_killed_service_with_a_ledger_harms_nothing() {
    kill_often(1, "run", "state");
}

#[test]
fn a_killed_sync_without_a_ledger_harms_nothing() {
    kill_often(2, "sync", "none");
}

#[test]
fn a_killed_service_without_a_ledger_harms_nothing() {
    kill_often(3, "run", "none");
}

/// Kills a fourth of all times, then lets one resync end.
fn kill_often(case: usize, command: &'static str, state: &'static str) {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let kills = usize::try_from(number("BERTH_KILLS").unwrap_or(10)).unwrap();
    let kills = (kills + 3 - case) / 4;
    let seed = number("BERTH_KILL_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    println!("{command}, state {state}: BERTH_KILL_SEED={seed}");
    let mut case = Case::new(seed.wrapping_add(case as u64), command, state);
    let begun = Instant::now();
    for _ in 0..kills * ATTEMPTS {
        if case.struck.values().sum::<usize>() == kills {
            break;
        }
        case.run_and_kill();
    }
    case.converges();
    let struck: Vec<String> = case.struck.iter().map(|(phase, count)| format!("{phase} {count}")).collect();
    println!(
        "{command}, state {state}, seed {seed}: killed while {}; {} ended before; {} entities deleted; {} live events taken; {} ledgers set aside; {:.0} s",
        struck.join(", "),
        case.ended,
        case.deleted,
        case.events,
        case.set_aside,
        begun.elapsed().as_secs_f64()
    );
    assert_eq!(case.struck.values().sum::<usize>(), kills, "too many ended before they were killed");
}

/// What a process was doing when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Starting,
    Reading,
    Writing,
    Deleting,
    Ending,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Reading => "reading",
            Self::Writing => "writing",
            Self::Deleting => "deleting",
            Self::Ending => "ending",
        })
    }
}

/// One world whose processes are killed.
struct Case {
    world: World,
    living: Living,
    random: StdRng,
    command: &'static str,
    state: &'static str,
    /// The keys of entities that were at Port once.
    seen: BTreeSet<String>,
    /// Entities of others, as they must stay.
    others: BTreeMap<(&'static str, String), Value>,
    /// How long a process took to its first read.
    start: Duration,
    struck: BTreeMap<Phase, usize>,
    ended: usize,
    set_aside: usize,
    /// Entities that requests deleted.
    deleted: usize,
    /// Live events that were taken.
    events: usize,
}

impl Case {
    fn new(seed: u64, command: &'static str, state: &'static str) -> Self {
        let mut world = World::with_accounts(3).build();
        let aws = world.script_aws();
        let kinds = Kinds::bundled();
        for blueprint in kinds.blueprints() {
            world.port().seed_blueprint(blueprint).unwrap();
        }
        let kinds = kinds.only(&KINDS.map(ToOwned::to_owned).into());
        let mappings: Vec<Value> = kinds.manifests().iter().map(|kind| kind["mapping"].clone()).collect();
        world.install(&mappings);
        if command == "run" {
            listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
            switch_on(&mut world);
        }
        world.set("OCEAN__UPSERT_ENTITIES_BATCH_MAX_LENGTH", "5");
        let account = world.accounts()[0].clone();
        let living = Living::new(aws, world.accounts());
        // A volume whose identifier somebody else uses; it is no part of what is expected.
        living.aws().add(&account, REGIONS[0], Resource::Volume, &["vol-of-a-person"]);
        let mut others = BTreeMap::new();
        for (identifier, writer) in [
            ("vol-of-a-person", "Mozilla/5.0 somebody".to_owned()),
            ("vol-gone-long-ago", "Mozilla/5.0 somebody".to_owned()),
            ("vol-of-another", format!("{DATASOURCE}/another/exporter")),
            ("vol-of-one-that-ends-alike", format!("{DATASOURCE}/team/aws-e2e/exporter")),
        ] {
            let entity = json!({"identifier": identifier, "title": "mine", "properties": {"size": 1}});
            world.port().seed_entity(VOLUMES, &entity, &writer).unwrap();
            let held = world.port().entity(VOLUMES, identifier).unwrap();
            others.insert((VOLUMES, identifier.to_owned()), held);
        }
        Self {
            world,
            living,
            random: StdRng::seed_from_u64(seed),
            command,
            state,
            seen: BTreeSet::new(),
            others,
            start: Duration::from_millis(500),
            struck: BTreeMap::new(),
            ended: 0,
            set_aside: 0,
            deleted: 0,
            events: 0,
        }
    }

    /// Starts a process, changes AWS meanwhile, kills it somewhere, and looks at what it left.
    fn run_and_kill(&mut self) {
        let mut events = self.change(6);
        self.slow_down();
        self.world.port().clear_requests();
        self.living.aws().take_counts();
        let aim = match self.random.random_range(0..8) {
            0 => Phase::Starting,
            1 | 2 => Phase::Reading,
            3 | 4 => Phase::Writing,
            5 | 6 => Phase::Deleting,
            _ => Phase::Ending,
        };
        let calls = self.random.random_range(1..=12);
        let begun = Instant::now();
        let mut process = Process::start(&self.world, self.command, self.state);
        if aim == Phase::Starting {
            thread::sleep(self.start.mul_f64(self.random.random_range(0.0..1.0)));
        }
        let mut read = None;
        while !self.has_come_to(aim, calls) && process.runs() {
            if read.is_none() && self.living.aws().reads() > 0 {
                read = Some(begun.elapsed());
            }
            if !events.is_empty() && process.post(&events) {
                self.events += events.len();
                events = self.change(2);
            }
            assert!(begun.elapsed() < PATIENCE, "{aim} is never reached: {}", process.log());
            thread::sleep(LOOK);
        }
        self.start = read.unwrap_or(self.start);
        events.extend(self.change(2));
        if process.post(&events) {
            self.events += events.len();
        }
        thread::sleep(Duration::from_millis(self.random.random_range(0..40)));
        if aim == Phase::Ending && self.command == "run" && self.random.random_bool(0.7) {
            process.terminate();
            thread::sleep(Duration::from_millis(self.random.random_range(0..250)));
        }
        match process.kill().code() {
            None => *self.struck.entry(self.phase()).or_default() += 1,
            Some(code) => {
                self.ended += 1;
                assert_eq!(code, 0, "{}", process.log());
            }
        }
        self.examine(&process.log());
    }

    /// Changes AWS, so many times at most; the events that tell of it.
    fn change(&mut self, most: usize) -> Vec<Value> {
        let changes = self.random.random_range(0..=most);
        let change = |_| match self.random.random_range(0..5) {
            0 | 1 => self.living.add_any(&mut self.random),
            2 => self.living.resize_any(&mut self.random),
            _ => {
                let key = self.living.any(&mut self.random);
                // Until now it is there, and must not have been deleted.
                no_live_entity_was_deleted(&self.world, &self.living);
                self.living.remove(&key)
            }
        };
        (0..changes).filter_map(change).collect()
    }

    /// Makes every phase long enough to be hit.
    fn slow_down(&self) {
        let port = self.world.port();
        port.clear_faults();
        for (route, latency) in [("bulk/entities/delete", 40), ("entities/bulk", 12), ("", 2)] {
            port.fail(Fault::on(route).times(u32::MAX).latency(Duration::from_millis(latency)));
        }
        self.living.aws().slow_down(Duration::from_millis(8));
    }

    /// Whether the process has got to where it shall be killed, or past it.
    fn has_come_to(&self, aim: Phase, calls: usize) -> bool {
        let port = self.world.port();
        match aim {
            Phase::Starting => true,
            Phase::Reading => self.living.aws().reads() >= calls,
            Phase::Writing => port.count("entities/bulk") >= calls.min(3) || self.resync_has_ended(),
            Phase::Deleting => port.count("bulk/entities/delete") > 0 || self.resync_has_ended(),
            Phase::Ending => self.resync_has_ended(),
        }
    }

    /// Whether Port was told how the resync ended.
    fn resync_has_ended(&self) -> bool {
        // The log is copied to be read, which is too much while it only says that a resync runs.
        if self.world.port().count("/resync-state") < 2 {
            return false;
        }
        let requests = self.world.port().requests();
        let mut states = requests.iter().filter(|request| request.path.ends_with("/resync-state"));
        states.any(|request| request.body["status"] != "running")
    }

    /// Where the process was when it was killed, by what it had asked.
    fn phase(&self) -> Phase {
        let port = self.world.port();
        if self.resync_has_ended() {
            Phase::Ending
        } else if port.count("bulk/entities/delete") > 0 {
            Phase::Deleting
        } else if port.count("entities/bulk") > 0 {
            Phase::Writing
        } else if self.living.aws().reads() > 0 {
            Phase::Reading
        } else {
            Phase::Starting
        }
    }

    /// What must hold whenever the process died.
    fn examine(&mut self, log: &str) {
        no_live_entity_was_deleted(&self.world, &self.living);
        self.deleted += self.world.port().requests().iter().flat_map(deleted).count();
        let held = keys(&self.world);
        let lost: Vec<&String> =
            self.seen.iter().filter(|key| self.living.is_live(key) && !held.contains(*key)).collect();
        assert!(lost.is_empty(), "live entities are gone: {lost:?}\n{log}");
        self.seen.extend(held);
        for ((blueprint, identifier), entity) in &self.others {
            let now = self.world.port().entity(blueprint, identifier);
            assert_eq!(now.as_ref(), Some(entity), "somebody else's entity\n{log}");
        }
        for fault in ["in use by another process", "panicked", "cannot be read", "cannot read the ledger"] {
            assert!(!log.contains(fault), "{fault}: {log}");
        }
        self.set_aside += log.matches("was damaged").count();
        let known = ["ledger.redb", "ledger.damaged.redb", "live-events.json", "live-events.json.part"];
        let left = files(&self.world.folder().join("state"));
        let unknown: Vec<&String> = left.iter().filter(|name| !known.contains(&name.as_str())).collect();
        assert!(unknown.is_empty(), "left in the state directory: {unknown:?}");
        let unknown: Vec<String> = files(self.world.folder())
            .into_iter()
            .filter(|name| !["state", "report.json"].contains(&name.as_str()))
            .collect();
        assert!(unknown.is_empty(), "left in the working directory: {unknown:?}");
    }

    /// One undisturbed resync makes Port exactly as AWS is, and the one after it has nothing to do.
    fn converges(&mut self) {
        self.world.port().clear_faults();
        self.living.aws().slow_down(Duration::ZERO);
        self.world.set("OCEAN__EVENT_LISTENER", r#"{"type":"ONCE"}"#);
        let run = self.world.berth(&["sync", "--state-dir", self.state]);
        run.exits(0);
        self.examine(&run.stderr);
        let others = self.others.keys().map(|(blueprint, name)| format!("{blueprint}/{name}"));
        let mut expected = self.living.keys();
        expected.extend(others);
        assert_eq!(keys(&self.world), expected, "{run}");
        for (key, entity) in self.world.entities() {
            if let Some((size, account)) = self.living.volume(&key) {
                assert_eq!(entity["properties"]["size"], size, "{key}");
                assert_eq!(entity["relations"]["account"], account, "{key}");
            }
        }
        self.world.port().clear_requests();
        self.world.berth(&["sync", "--state-dir", self.state]).exits(0);
        let port = self.world.port();
        assert_eq!((port.count("entities/bulk"), port.count("entities/delete")), (0, 0));
    }
}

/// No request so far asked to delete something that is there.
#[track_caller]
fn no_live_entity_was_deleted(world: &World, living: &Living) {
    let requests = world.port().requests();
    let live: Vec<String> = requests.iter().flat_map(deleted).filter(|key| living.is_live(key)).collect();
    assert!(live.is_empty(), "deleted while they live: {live:?}");
}

/// The keys of the entities that a request deletes.
fn deleted(request: &LoggedRequest) -> Vec<String> {
    let mut path = request.path.trim_start_matches("/v1/blueprints/").split('/');
    let blueprint = path.next().unwrap_or_default();
    let listed = request.body["entities"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if request.route.ends_with("/bulk/entities/delete") {
        listed.map(|identifier| key(blueprint, identifier)).collect()
    } else if request.method == "DELETE" {
        path.nth(1).map(|identifier| key(blueprint, identifier)).into_iter().collect()
    } else {
        Vec::new()
    }
}

/// Blueprint and name: many identifiers are ARNs that end with it.
fn key(blueprint: &str, identifier: &str) -> String {
    format!("{blueprint}/{}", identifier.rsplit(['/', ':']).next().unwrap_or_default())
}

/// The keys of all entities at Port.
fn keys(world: &World) -> BTreeSet<String> {
    let entities = world.entities();
    entities.keys().filter_map(|held| held.split_once('/')).map(|(at, name)| key(at, name)).collect()
}

/// The names of what is in a folder.
fn files(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).into_iter().flatten();
    found.map(|file| file.expect("a file").file_name().into_string().expect("a UTF-8 name")).collect()
}

/// A process that is going to be killed.
struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Process {
    fn start(world: &World, command: &str, state: &str) -> Self {
        let mut child = world.start(&[command, "--state-dir", state]);
        let mut lines = BufReader::new(child.stderr.take().expect("the log is piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        let reader = thread::spawn(move || {
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let mut log = written.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().expect("the process is ours").is_none()
    }

    /// Posts live events, if the process takes them by now.
    fn post(&self, events: &[Value]) -> bool {
        let log = self.log();
        let Some((_, rest)) = log.split_once("listening address=") else { return false };
        let Some(port) = rest.lines().next().and_then(|line| line.trim().rsplit(':').next()) else {
            return false;
        };
        let body = json!(events).to_string();
        let post = || {
            let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
            write!(
                stream,
                "POST /integration/webhook HTTP/1.1\r\nHost: berth\r\nConnection: close\r\n\
                 X-Port-Aws-Ocean-Api-Key: {KEY}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            std::io::Result::Ok(answer)
        };
        post().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Asks it to end.
    fn terminate(&self) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill starts");
    }

    /// Kills it, as the kernel's out-of-memory killer does. It has an exit code if it ended before.
    fn kill(&mut self) -> ExitStatus {
        self.child.kill().expect("the process is ours");
        let status = self.child.wait().expect("the process is ours");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log is read");
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
