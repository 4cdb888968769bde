//! Takes everything that it can get from WASI. The first resource says what.

use std::io::Write as _;

use wasip2::{
    clocks::monotonic_clock,
    filesystem::types::Descriptor,
    io::poll::{Pollable, poll},
    random::random::get_random_bytes,
};

support::guest!("wasi-hostile", "Hostile::Taker", |context, resources| {
    let text = String::from_utf8_lossy(&resources).into_owned();
    match support::values(&text, "Name").first().copied() {
        Some("poll") => loop {
            let pollable = monotonic_clock::subscribe_duration(1);
            poll(&[&pollable]);
        },
        Some("sleep") => {
            monotonic_clock::subscribe_duration(u64::MAX).block();
            monotonic_clock::subscribe_instant(u64::MAX).block();
            // The clock stands at its end, and does not run over.
            assert!(monotonic_clock::now() <= monotonic_clock::now());
        }
        Some("random") => drop(get_random_bytes(64 << 20)),
        Some("stderr") => loop {
            std::io::stderr().write_all(&[b'x'; 1000]).unwrap_or_default();
        },
        Some("pollables") => {
            let all: Vec<Pollable> = (0..1_000_000).map(|_| monotonic_clock::subscribe_duration(0)).collect();
            drop(all);
        }
        Some("descriptor") => {
            // The preview that core modules use hands out descriptors from 3 on.
            let guessed = unsafe { Descriptor::from_handle(3) };
            let _ = guessed.get_type();
        }
        _ => {}
    }
    Ok(support::map("wasi-hostile", &resources, context.output))
});
