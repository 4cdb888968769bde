//! A process that an attacker has taken over: it speaks the protocol, and lies.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::fs::symlink,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use berth_engine::{Engine, EngineConfig, Isolation, IsolationProcess};

use super::{config, failure, honest_still_works, plugins};

const PREFIX: &str = "hostile-";

/// What the process does with a batch, and the resulting message.
const LIES: [(&str, &str); 8] = [
    ("ends", "failed because of its process: it exited (exit status: 0)"),
    ("body", "failed because of its process: it sent invalid data: a body of 4294967295 bytes"),
    ("header", "failed because of its process: it sent invalid data: a header of 4294967295 bytes"),
    ("json", "failed because of its process: it sent invalid data: "),
    ("flood", "failed because of its process: it sent too many log lines"),
    ("unread", "ran longer than 1 s, the limit for a batch"),
    ("silence", "ran longer than 1 s, the limit for a batch"),
    (
        "entities",
        "returned invalid output: at `entities[0].blueprint`: the mapping allows only `honest`, not `service`",
    ),
];

fn name() -> String {
    let program = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn is_asked() -> bool {
    name().starts_with(PREFIX)
}

fn say(header: &str, body: &[u8]) {
    let mut frame = Vec::new();
    frame.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    frame.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    frame.extend(header.as_bytes());
    frame.extend(body);
    io::stdout().write_all(&frame).unwrap();
    io::stdout().flush().unwrap();
}

fn hear() -> Option<()> {
    let mut lengths = [0; 8];
    io::stdin().read_exact(&mut lengths).ok()?;
    let length = |at: usize| u64::from(u32::from_le_bytes(lengths[at..at + 4].try_into().unwrap()));
    io::copy(&mut io::stdin().take(length(0) + length(4)), &mut io::sink()).ok()?;
    Some(())
}

pub(super) fn run() -> ExitCode {
    let name = name();
    let lie = name.trim_start_matches(PREFIX);
    let entities = br#"{"entities": [{"identifier": "i", "blueprint": "service"}]}"#;
    let done = r#"{"Done": {"outcome": "Returned", "peak_memory": 99999999999, "memory": 0, "dropped": 0}}"#;
    _ = hear();
    say(r#"{"Ready": {"landlock": true}}"#, b"");
    let forever = || std::thread::sleep(Duration::from_mins(1));
    if lie == "unread" {
        forever();
    }
    while hear().is_some() {
        match lie {
            "ends" => return ExitCode::SUCCESS,
            "body" => io::stdout().write_all(&[2, 0, 0, 0, 255, 255, 255, 255, b'{', b'}']).unwrap(),
            "header" => io::stdout().write_all(&[255; 64]).unwrap(),
            "json" => say("{\"Done\": 7}", b""),
            "flood" => (0..1000).for_each(|_| {
                // It may be killed at any time.
                let line = r#"{"Line": {"level": "Error", "message": "forged\nline"}}"#;
                let length = u32::try_from(line.len()).unwrap().to_le_bytes();
                _ = io::stdout().write_all(&[&length[..], &[0; 4], line.as_bytes()].concat());
            }),
            "entities" => say(done, entities),
            _ => forever(),
        }
        _ = io::stdout().flush();
    }
    ExitCode::SUCCESS
}

pub(super) fn a_hostile_process_costs_its_batch_alone() {
    let (dir, cache) = (plugins(&["honest"]), tempfile::tempdir().unwrap());
    let with = |program: PathBuf| {
        let isolation = Isolation::Process(IsolationProcess::new(program));
        let cache_dir = Some(cache.path().join("code"));
        Engine::new(EngineConfig { cache_dir, ..config(dir.path(), isolation) }).unwrap()
    };
    let program = std::env::current_exe().unwrap();
    // The facts about a plugin are cached, so the next engines start its process with the first batch.
    honest_still_works(&with(program.clone()));
    for (lie, said) in LIES {
        let hostile = cache.path().join(format!("{PREFIX}{lie}"));
        symlink(&program, &hostile).unwrap();
        let engine = with(hostile);
        let begun = Instant::now();
        // More than the capacity of a pipe.
        let name = "n".repeat(200 << 10);
        let message = failure(&engine, "Guests::Honest", &[&name]);
        assert!(message.starts_with(said), "{lie}: {message}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{lie} took {:?}", begun.elapsed());
        assert!(engine.plugins()[0].peak_memory <= 32 << 20);
    }
}
