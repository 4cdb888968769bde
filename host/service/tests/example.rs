//! Runs `examples/service` unchanged.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests; clippy.toml exempts only functions with #[test]")]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// The example's process, which ends with the test.
struct RunningService {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl RunningService {
    /// Cargo builds the examples before it runs the tests of a package, into a folder next to the tests'.
    fn start(arguments: &[&Path]) -> Self {
        let test = env::current_exe().unwrap();
        let built = test.parent().and_then(Path::parent).unwrap().join("examples/service");
        assert!(
            built.is_file(),
            "{} is missing: run `cargo build --workspace --examples` first",
            built.display()
        );
        let mut command = Command::new(built);
        let mut process = command.args(arguments).env_clear().stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Self { process, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for RunningService {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn plugins() -> PathBuf {
    let components = env::var_os("BERTH_TEST_COMPONENTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components"), PathBuf::from);
    let plugins = components.join("plugins");
    assert!(plugins.is_dir(), "{} is missing: run `cargo xtask components` first", plugins.display());
    plugins
}

/// Returns the response to a request, with its head.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_example_resyncs_when_it_is_asked_and_stops_in_order() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/embed/recording");
    let mut service = RunningService::start(&[&plugins(), &recording]);
    let mut line = service.line();
    let address =
        line.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/status")).unwrap().to_owned();
    while line.starts_with("http://") {
        line = service.line();
    }
    assert_eq!(line, "Done: 1 units", "the resync at the start");
    assert!(ask(&address, "GET /health/ready").starts_with("HTTP/1.1 200"));
    assert!(ask(&address, "GET /status").contains("<title>"));
    // A client on this machine gets the response when the resync has ended.
    assert!(ask(&address, "POST /resync").starts_with("HTTP/1.1 200"));
    assert_eq!(service.line(), "Done: 1 units");
    let metrics = ask(&address, "GET /metrics");
    assert!(metrics.contains(r#"berth_resyncs_total{outcome="done"} 2"#), "{metrics}");
    assert!(metrics.contains("berth_plugin_batches_total"), "{metrics}");

    let interrupt = Command::new("kill").args(["-INT", &service.process.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(service.line(), "stopped");
    assert!(service.process.wait().unwrap().success());
}
