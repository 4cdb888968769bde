//! Calls what a standard library offers, and returns the results as titles of the resources.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    io::Read as _,
    net::{TcpStream, ToSocketAddrs as _, UdpSocket},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

support::guest!("wasi-caller", "Hostile::Wasi", |context, resources| {
    let text = String::from_utf8_lossy(&resources).into_owned();
    let answers: Vec<String> = support::values(&text, "Id")
        .into_iter()
        .zip(support::values(&text, "Name"))
        .map(|(id, name)| format!(r#"{{"Id": "{id}", "Name": "{}"}}"#, attempt(name)))
        .collect();
    Ok(support::map("wasi-caller", answers.join(",").as_bytes(), context.output))
});

fn kind<T>(result: std::io::Result<T>) -> String {
    result.map_or_else(|error| format!("{:?}", error.kind()), |_| "granted".to_owned())
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn attempt(name: &str) -> String {
    match name {
        "file" => kind(std::fs::read("/etc/passwd")),
        "folder" => kind(std::fs::read_dir(".")),
        "write" => kind(std::fs::write("note.txt", "x")),
        "variables" => std::env::vars().count().to_string(),
        "arguments" => std::env::args().count().to_string(),
        "stdin" => kind(std::io::stdin().read(&mut [0])).replace("granted", "nothing"),
        "connect" => kind(TcpStream::connect("127.0.0.1:80")),
        "bind" => kind(UdpSocket::bind("127.0.0.1:0")),
        "look-up" => kind("example.com:80".to_socket_addrs()),
        "time" => seconds().to_string(),
        "clock" => (SystemTime::now() == SystemTime::now()).to_string(),
        "sleep" => {
            let begun = Instant::now();
            std::thread::sleep(Duration::from_secs(60));
            begun.elapsed().as_secs().to_string()
        }
        "random" => RandomState::new().hash_one("x").to_string(),
        "print" => {
            println!("hello\nwor\u{1b}[2Jld");
            eprintln!("beware");
            eprint!("unfinished");
            "printed".to_owned()
        }
        "exit" => std::process::exit(3),
        "panic" => {
            // As without the SDK.
            drop(std::panic::take_hook());
            panic!("no mood for mapping");
        }
        other => other.to_owned(),
    }
}
