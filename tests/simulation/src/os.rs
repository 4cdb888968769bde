//! The system's time and randomness, as far as this process gets them from the C library.
//!
//! The executable defines `clock_gettime` and `getrandom`, which replace those of the C library. On a thread that
//! simulates, the clock follows Tokio's paused clock, and random bytes come from the seed. This covers what no
//! trait of the host can: the clocks of the SDK, of chrono and of the standard library, the keys of hash maps,
//! identifiers, salts, and the jitter of retries. The host needs no change for it, and nothing of it is in the
//! released binary. `turmoil` and `madsim` do the same for whole programs. `madsim` replaces Tokio, and everything
//! that is built on it; `turmoil` simulates sockets and hosts, but the models here are called at the level of HTTP.
//! So only this part is needed.
#![expect(unsafe_code, reason = "functions of the C library are replaced")]

use std::{cell::Cell, slice};

use tokio::time::Instant;

/// When every scenario begins, in seconds since 1970.
pub const EPOCH: u64 = 1_800_000_000;
/// What the monotonic clock shows then.
const MONOTONIC: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

thread_local! {
    static SIMULATES: Cell<bool> = const { Cell::new(false) };
    /// Nanoseconds since the beginning, as far as earlier processes of the host took them.
    static PASSED: Cell<u64> = const { Cell::new(0) };
    /// When the running process of the host began, by Tokio's clock.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
    static ASKING: Cell<bool> = const { Cell::new(false) };
    /// How many seconds the machine's clock is ahead of the world's.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Has this thread simulate, until it ends.
pub fn simulate(seed: u64) {
    STATE.set(seed);
    fastrand::seed(seed);
    SIMULATES.set(true);
}

/// Sets the machine's clock so many seconds ahead of the world's.
pub fn set_ahead(seconds: i64) {
    AHEAD.set(seconds);
}

/// Nanoseconds since the beginning of the scenario.
pub fn elapsed() -> u64 {
    let Some(begun) = BEGUN.get() else { return PASSED.get() };
    // Tokio asks the system where it has no clock of its own.
    if ASKING.replace(true) {
        return PASSED.get();
    }
    let passed = Instant::now().saturating_duration_since(begun);
    ASKING.set(false);
    PASSED.get() + u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
}

/// The world's time in seconds since 1970.
pub fn world_seconds() -> u64 {
    EPOCH + elapsed() / SECOND
}

/// The clock follows the runtime that this is called in.
pub fn follow_runtime() {
    BEGUN.set(Some(Instant::now()));
}

/// The clock stands still until the next runtime.
pub fn leave_runtime() {
    PASSED.set(elapsed());
    BEGUN.set(None);
}

/// Lets time pass between two processes of the host.
pub fn pass(seconds: u64) {
    PASSED.set(PASSED.get() + seconds * SECOND);
}

fn random() -> u64 {
    // SplitMix64.
    let state = STATE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set(state);
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Takes the place of the C library's.
#[expect(clippy::cast_possible_truncation, reason = "the system's own answer, in the form of the C library")]
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    if !SIMULATES.get() {
        // SAFETY: the same arguments, as the system takes them.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as libc::c_int;
    }
    let elapsed = elapsed();
    let seconds = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => EPOCH.saturating_add_signed(AHEAD.get()),
        _ => MONOTONIC,
    };
    let reported = libc::timespec {
        tv_sec: (seconds + elapsed / SECOND).cast_signed(),
        tv_nsec: (elapsed % SECOND).cast_signed(),
    };
    // SAFETY: whoever calls gives a place for the time.
    unsafe { time.write(reported) };
    0
}

/// Takes the place of the C library's.
#[expect(clippy::cast_possible_truncation, reason = "the system's own answer, in the form of the C library")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut libc::c_void, length: usize, flags: libc::c_uint) -> isize {
    if !SIMULATES.get() {
        // SAFETY: the same arguments, as the system takes them.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as isize;
    }
    if length > 0 {
        // SAFETY: whoever calls gives a place for that many bytes.
        let bytes = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
        for chunk in bytes.chunks_mut(8) {
            let random = random().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
    length.cast_signed()
}
