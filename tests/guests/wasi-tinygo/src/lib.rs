//! Imports what TinyGo imports for `-target=wasip2`: what `src/runtime/runtime_wasip2.go` and
//! `src/syscall/libc_wasip2.go` of tinygo-org/tinygo call, and what a program needs that opens a file.

use wasip2::{
    cli::{environment, stderr, stdin, stdout},
    clocks::{monotonic_clock, wall_clock},
    filesystem::{
        preopens,
        types::{DescriptorFlags, OpenFlags, PathFlags},
    },
    io::streams::StreamError,
    random::random,
};

support::guest!("wasi-tinygo", "Hostile::TinyGo", |context, resources| {
    let text = String::from_utf8_lossy(&resources).into_owned();
    let ids = support::values(&text, "Id");
    let found = start();
    let answers: Vec<String> =
        ids.iter().map(|id| format!(r#"{{"Id": "{id}", "Name": "{found}"}}"#)).collect();
    Ok(support::map("wasi-tinygo", answers.join(",").as_bytes(), context.output))
});

fn start() -> String {
    let (input, output, errors) = (stdin::get_stdin(), stdout::get_stdout(), stderr::get_stderr());
    let arguments = environment::get_arguments().len();
    let variables = environment::get_environment().len();
    assert!(environment::initial_cwd().is_none());
    for (folder, _) in preopens::get_directories() {
        let file = folder.open_at(PathFlags::empty(), "x", OpenFlags::CREATE, DescriptorFlags::WRITE);
        if let Ok(file) = file {
            file.write(&file.read(1, 0).unwrap_or_default().0, file.stat().map_or(0, |found| found.size))
                .ok();
        }
        folder.create_directory_at("y").ok();
        folder.unlink_file_at("x").ok();
        folder.read_directory().ok();
    }
    assert!(wall_clock::now().seconds > 0);
    let begun = monotonic_clock::now();
    monotonic_clock::subscribe_duration(1_000_000).block();
    assert!(monotonic_clock::now() >= begun + 1_000_000);
    assert_ne!(random::get_random_u64(), random::get_random_u64());
    assert_eq!(random::get_random_bytes(16).len(), 16);
    assert!(matches!(input.blocking_read(1), Err(StreamError::Closed)));
    assert!(output.blocking_write_and_flush(b"started\n").is_ok());
    assert!(errors.blocking_flush().is_ok());
    format!("{arguments} arguments, {variables} variables")
}
