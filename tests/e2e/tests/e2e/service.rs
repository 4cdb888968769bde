//! `berth run`: the service from its start to its signal.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use berth_e2e::World;
use port_stand_in::{Fault, LoggedRequest};
use serde_json::{Value, json};

pub(crate) const INTEGRATION: &str = "aws-e2e";
/// What everything that is waited for must happen in; generous, because machines are busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running service. Dropping it kills it.
pub(crate) struct Service {
    process: Child,
    pub(super) address: String,
    log: Option<thread::JoinHandle<String>>,
}

impl Service {
    pub(crate) fn start(world: &World) -> Self {
        let mut process = world.start(&["run"]);
        let mut log = BufReader::new(process.stderr.take().expect("the log is piped"));
        let mut logged = String::new();
        let address = loop {
            let read = log.read_line(&mut logged).expect("the log is UTF-8");
            assert!(read > 0, "the service ended: {logged}");
            // By whatever address it listens at: that of this machine is always among them.
            let listening = logged.trim_end().rsplit_once("listening address=");
            if let Some((_, port)) = listening.and_then(|(_, address)| address.rsplit_once(':')) {
                break format!("127.0.0.1:{port}");
            }
        };
        let log = thread::spawn(move || {
            log.read_to_string(&mut logged).expect("the log is UTF-8");
            logged
        });
        Self { process, address, log: Some(log) }
    }

    /// Asks for a path: status line and body.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (String, String) {
        let (head, body) = self.ask_for(method, path, "*/*");
        (head.lines().next().unwrap_or_default().to_owned(), body)
    }

    /// Asks for a path in a form: head and body.
    pub(crate) fn ask_for(&self, method: &str, path: &str, accept: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("the service listens");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: berth\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        )
        .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains("x-request-id: ") && head.contains("x-process-time: "), "{head}");
        (head.to_owned(), body.to_owned())
    }

    /// Posts a body: status line and body of the answer.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("the service listens");
        let headers: String =
            headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: berth\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
        .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGTERM and waits for the end: the exit code and the log.
    pub(crate) fn terminate(mut self) -> (Option<i32>, String) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill starts").success());
        let start = Instant::now();
        let code = loop {
            if let Some(status) = self.process.try_wait().expect("the service is ours") {
                break status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the service does not end");
            thread::sleep(Duration::from_millis(50));
        };
        let log = self.log.take().expect("the log is read once").join().expect("the log is read");
        (code, log)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[track_caller]
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// The states that the service has reported to Port, in order.
pub(crate) fn reported(world: &World) -> Vec<Value> {
    let requests = world.port().requests();
    let states = requests.iter().filter(|request| request.path.ends_with("/resync-state"));
    states.map(|request| request.body["status"].clone()).collect()
}

/// Sets the listener, and lets the system choose the port.
pub(crate) fn listen(world: &mut World, listener: &Value) {
    world.set("OCEAN__EVENT_LISTENER", &listener.to_string());
    world.set("APPLICATION__PORT", "0");
}

/// Makes the next resync last, between its start and its first unit.
pub(crate) fn slow_down(world: &World) {
    world.port().fail(Fault::on("datasource-entities").latency(Duration::from_secs(3)));
}

#[test]
fn what_somebody_deletes_in_port_is_not_installed_again_by_a_service_that_runs() {
    let mut world = World::with_accounts(1).buckets(1).build();
    listen(&mut world, &json!({"type": "WEBHOOK", "app_host": "https://berth.example"}));
    let service = Service::start(&world);
    wait_for("the first resync", || reported(&world).len() == 2);
    world.port().delete_integration(INTEGRATION);
    world.port().clear_requests();
    for number in 1..=2 {
        assert_eq!(service.ask("POST", "/resync").0, "HTTP/1.1 200 OK");
        let counted = format!("berth_resyncs_total{{outcome=\"deleted-in-port\"}} {number}");
        assert!(service.ask("GET", "/metrics").1.contains(&counted), "{counted}");
    }
    assert_eq!(service.ask("GET", "/health/ready").0, "HTTP/1.1 200 OK");
    let api = |request: &&LoggedRequest| {
        request.writes() && request.path.starts_with("/v1/") && !request.path.contains("/auth/")
    };
    assert_eq!(world.port().requests().iter().filter(api).count(), 0);
    assert_eq!(world.port().integration(INTEGRATION), None);
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("someone deleted the data source"), "{log}");

    // Another start does.
    let service = Service::start(&world);
    wait_for("the resync of the start", || json!(reported(&world)) == json!(["running", "completed"]));
    assert!(world.port().integration(INTEGRATION).is_some());
    drop(service);
}

#[test]
fn polling_resyncs_at_the_start_and_when_port_is_asked_to() {
    let mut world = World::with_accounts(1).buckets(1).build();
    listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
    let service = Service::start(&world);
    assert_eq!(service.ask("GET", "/health/live").0, "HTTP/1.1 200 OK");
    let done = json!(["running", "completed"]);
    wait_for("the first resync", || json!(reported(&world)) == done);
    assert_eq!(world.entities(), world.expected());

    // Looks that find nothing new trigger nothing.
    let looks = || world.port().count("/resync-request");
    let before = looks();
    wait_for("two looks", || looks() >= before + 2);
    assert_eq!(json!(reported(&world)), done);

    world.seed(&world.accounts()[0], &["--buckets=0", "--instances=1", "--clusters=0"]);
    world.port().request_resync(INTEGRATION);
    let done = json!(["running", "completed", "running", "completed"]);
    wait_for("the second resync", || json!(reported(&world)) == done);
    assert_eq!(world.entities(), world.expected());
    let before = looks();
    wait_for("two more looks", || looks() >= before + 2);
    assert_eq!(json!(reported(&world)), done, "a request is served once");

    let (status, body) = service.ask("GET", "/health/ready");
    let body: Value = serde_json::from_str(&body).expect("health is JSON");
    assert_eq!((status.as_str(), &body["status"]), ("HTTP/1.1 200 OK", &json!("healthy")));
    let (_, metrics) = service.ask("GET", "/metrics");
    for line in [
        r#"object_count{kind="AWS::EC2::Instance",phase="load",object_count_type="loaded"} 2"#,
        r#"success{kind="AWS::S3::Bucket",phase="resync"} 1"#,
        r#"berth_resyncs_total{outcome="done"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    assert_eq!(service.ask("POST", "/resync").0, "HTTP/1.1 404 Not Found", "there is no webhook");

    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(json!(reported(&world)), done);
}

#[test]
fn polling_stops_a_running_resync_for_a_newer_request() {
    let mut world = World::with_accounts(1).buckets(1).build();
    listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
    // Until it is stopped.
    world.port().fail(Fault::on("datasource-entities").latency(Duration::from_mins(1)));
    let service = Service::start(&world);
    wait_for("the start of the first resync", || !reported(&world).is_empty());
    world.port().request_resync(INTEGRATION);
    let done = json!(["running", "aborted", "running", "completed"]);
    wait_for("the second resync", || json!(reported(&world)) == done);
    assert_eq!(world.entities(), world.expected());
    let looks = || world.port().count("/resync-request");
    let before = looks();
    wait_for("two more looks", || looks() >= before + 2);
    assert_eq!(json!(reported(&world)), done, "a request is served once");
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
}

/// With nothing to write or report, nothing holds up the end: neither a Port that hangs, nor whoever
/// looks at the page, nor half of a request.
#[test]
fn a_signal_ends_an_idle_service_whatever_hangs() {
    let mut world = World::with_accounts(1).buckets(1).build();
    listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
    let service = Service::start(&world);
    wait_for("the first resync", || reported(&world).len() == 2);
    let connect = |text: &str| {
        let mut stream = TcpStream::connect(&service.address).expect("the service listens");
        stream.write_all(text.as_bytes()).expect("a request");
        stream
    };
    let mut looks = connect("GET /status/events HTTP/1.1\r\nHost: berth\r\n\r\n");
    _ = looks.read(&mut [0; 64]).expect("the first event");
    let _half = connect("GET /metrics HTTP/1.1\r\nHost: be");
    world.port().fail(Fault::on("").times(1000).latency(Duration::from_mins(1)));
    thread::sleep(Duration::from_secs(2));
    let begun = Instant::now();
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}: {log}", begun.elapsed());
}

#[test]
fn a_signal_stops_a_running_resync_in_order() {
    let mut world = World::with_accounts(1).buckets(1).build();
    listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
    world.sync().exits(0);
    world.port().clear_requests();
    slow_down(&world);
    let service = Service::start(&world);
    wait_for("the start of the resync", || !reported(&world).is_empty());
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(json!(reported(&world)), json!(["running", "aborted"]), "{log}");
    assert_eq!(world.entities(), world.expected(), "nothing is deleted");
}

#[test]
fn the_webhook_stops_a_running_resync_and_replies_after_its_own() {
    let mut world = World::with_accounts(1).buckets(1).build();
    listen(&mut world, &json!({"type": "WEBHOOK", "app_host": "https://berth.example/"}));
    slow_down(&world);
    let service = Service::start(&world);
    wait_for("the start of the first resync", || !reported(&world).is_empty());
    let integration = world.port().integration(INTEGRATION).expect("the integration is there");
    let logged = json!({"type": "WEBHOOK", "url": "https://berth.example/resync"});
    assert_eq!(integration["changelogDestination"], logged);

    let (status, body) = service.ask("POST", "/resync");
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "null"));
    assert_eq!(json!(reported(&world)), json!(["running", "aborted", "running", "completed"]));
    assert_eq!(world.entities(), world.expected());
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn the_webhook_wants_its_key_where_it_has_one() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let webhook = json!({"type": "WEBHOOK", "app_host": "https://berth.example/", "resync_key": "hush-key"});
    listen(&mut world, &webhook);
    let service = Service::start(&world);
    wait_for("the first resync", || reported(&world).len() == 2);
    for headers in [&[][..], &[("authorization", "Bearer another")], &[("x-port-signature", "v1,aGVsbG8=")]] {
        assert_eq!(service.post("/resync", headers, "{}").0, "HTTP/1.1 401 Unauthorized", "{headers:?}");
    }
    assert_eq!(reported(&world).len(), 2);
    let right = service.post("/resync", &[("authorization", "Bearer hush-key")], "{}");
    assert_eq!(right, ("HTTP/1.1 200 OK".to_owned(), "null".to_owned()));
    assert_eq!(reported(&world).len(), 4);
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("hush-key"), "{log}");
}

#[test]
fn a_process_for_live_events_alone_serves_its_health_and_leaves_port_alone() {
    for (listener, logged) in [("WEBHOOKS_ONLY", "is ignored"), ("ACTIONS_ONLY", "no actions to run")] {
        let mut world = World::with_accounts(1).buckets(1).build();
        listen(&mut world, &json!({"type": listener}));
        world.set("OCEAN__SCHEDULED_RESYNC_INTERVAL", "1");
        let service = Service::start(&world);
        wait_for("readiness", || service.ask("GET", "/health/ready").0 == "HTTP/1.1 200 OK");
        assert_eq!(service.ask("POST", "/resync").0, "HTTP/1.1 404 Not Found");
        let (code, log) = service.terminate();
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(log.matches(logged).count(), 1, "{log}");
        assert_eq!(world.port().requests().len(), 0, "nothing is asked of Port, which another process keeps");
    }
}

#[test]
fn a_listener_that_there_is_not_is_refused_with_those_that_there_are() {
    let mut world = World::with_accounts(0).build();
    world.set("OCEAN__EVENT_LISTENER", r#"{"type": "SOMETIMES"}"#);
    let ended = world.start(&["run"]).wait_with_output().expect("the service ends");
    let log = String::from_utf8(ended.stderr).expect("the log is UTF-8");
    assert_eq!(ended.status.code(), Some(2), "{log}");
    assert!(log.contains("SOMETIMES") && log.contains("`POLLING`, `ONCE`, `WEBHOOK`, `KAFKA`"), "{log}");
    assert_eq!(world.port().requests().len(), 0, "nothing is asked of Port");
}
