//! Kafka as Port offers it: a third-party broker with TLS and SCRAM.

use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::aws::{python, script};

/// A running broker and its gate. It ends with this process: its standard input is held open by us
/// alone.
pub struct Kafka {
    broker: String,
    authority: PathBuf,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    _process: Child,
    _folder: TempDir,
}

impl Kafka {
    /// The name that gets in.
    pub const USERNAME: &str = "port-e2e";
    /// And its password.
    pub const PASSWORD: &str = "kafka-hush-hush";

    /// Starts a broker with one topic of one partition.
    pub fn start(topic: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut process = Command::new(python())
            .arg(script("serve_kafka.py"))
            .arg(folder.path())
            .args([Self::USERNAME, Self::PASSWORD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker's script starts");
        let input = process.stdin.take().expect("standard input is piped");
        let mut output = BufReader::new(process.stdout.take().expect("standard output is piped"));
        let reported = line(&mut output);
        let text = |name: &str| reported[name].as_str().expect("a text").to_owned();
        let kafka = Self {
            broker: text("broker"),
            authority: text("authority").into(),
            pipes: RefCell::new((input, output)),
            _process: process,
            _folder: folder,
        };
        kafka.has(&json!({"do": "topic", "name": topic, "partitions": 1}));
        kafka
    }

    /// Its address.
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// The file with the certificate of the authority that vouches for it.
    pub fn authority(&self) -> &str {
        self.authority.to_str().expect("a path in UTF-8")
    }

    /// Sends a message; it is there when this returns.
    pub fn send(&self, topic: &str, message: &Value) {
        self.has(&json!({"do": "send", "topic": topic, "message": message}));
    }

    /// How many messages a group has confirmed, if any.
    pub fn confirmed(&self, group: &str) -> Option<u64> {
        self.has(&json!({"do": "committed", "group": group})).as_u64()
    }

    /// Cuts Berth off, as when the brokers restart, or lets it in again.
    pub fn set_away(&self, away: bool) {
        self.has(&json!({"do": "away", "away": away}));
    }

    /// Lets the password expire: from now on Berth gets in with this one, and stays in until it is cut off.
    pub fn rotate(&self, password: &str) {
        self.has(&json!({"do": "rotate", "password": password}));
    }

    /// How often Berth came while it was cut off.
    pub fn turned_away(&self) -> u64 {
        self.has(&json!({"do": "turned_away"})).as_u64().expect("a number")
    }

    fn has(&self, command: &Value) -> Value {
        let (input, output) = &mut *self.pipes.borrow_mut();
        writeln!(input, "{command}").expect("the broker's script listens");
        line(output)
    }
}

fn line(output: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    output.read_line(&mut line).expect("the broker's script answers");
    serde_json::from_str(&line).expect("the broker's script answers in JSON")
}
