//! What a program can still do after it was isolated like a mapping process.

use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    process::{Command, ExitCode},
};

use berth_engine::close_up_this_process;

/// The attempts, and their results.
const ATTEMPTS: [(&str, Ends); 12] = [
    ("nothing", Ends::Works),
    ("memory", Ends::Works),
    ("read-file", Ends::Fails),
    ("write-file", Ends::Fails),
    ("list-directory", Ends::Fails),
    ("remove-file", Ends::Fails),
    ("start-thread", Ends::Fails),
    ("connect", Ends::Killed),
    ("listen", Ends::Killed),
    ("send-datagram", Ends::Killed),
    ("unix-socket", Ends::Killed),
    ("execute", Ends::FailsOrIsKilled),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ends {
    Works,
    Fails,
    Killed,
    FailsOrIsKilled,
}

/// Isolates the process and makes the attempt.
pub(super) fn run(what: &str) -> ExitCode {
    close_up_this_process().unwrap();
    if attempt(what) { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

fn attempt(what: &str) -> bool {
    match what {
        "nothing" => true,
        "memory" => {
            vec![1_u8; 64 << 20].iter().step_by(4096).map(|byte| usize::from(*byte)).sum::<usize>() > 0
        }
        "read-file" => fs::read("/etc/hostname").is_ok() || fs::read("/proc/self/environ").is_ok(),
        "write-file" => fs::write("/dev/null", "x").is_ok(),
        "list-directory" => fs::read_dir("/").is_ok(),
        "remove-file" => {
            fs::remove_file("/no-such-file").map_err(|error| error.kind())
                != Err(std::io::ErrorKind::PermissionDenied)
        }
        "start-thread" => std::thread::Builder::new().spawn(|| ()).is_ok(),
        "connect" => TcpStream::connect("127.0.0.1:1").is_ok(),
        "listen" => TcpListener::bind("127.0.0.1:0").is_ok(),
        "send-datagram" => UdpSocket::bind("127.0.0.1:0").is_ok(),
        "unix-socket" => UnixStream::connect("/no-such-socket").is_ok(),
        "execute" => Command::new("/bin/true").status().is_ok(),
        other => panic!("{other}"),
    }
}

pub(super) fn a_process_can_do_nothing() {
    for (what, ends) in ATTEMPTS {
        let output = Command::new(std::env::current_exe().unwrap())
            .arg(format!("probe-{what}"))
            .env_clear()
            .output()
            .unwrap();
        let found = match (output.status.code(), output.status.signal()) {
            (Some(0), _) => Ends::Works,
            (Some(3), _) => Ends::Fails,
            // SIGSYS
            (_, Some(31)) => Ends::Killed,
            _ => panic!("{what}: {output:?}"),
        };
        let either = ends == Ends::FailsOrIsKilled && found != Ends::Works;
        assert!(found == ends || either, "{what}: {found:?}, not {ends:?}");
    }
}
