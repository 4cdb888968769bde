//! An empty implementation of WASI, for plugins of ordinary toolchains, whose standard libraries always
//! import it.
//!
//! `wasmtime-wasi` provides the types and the empty parts: environment, arguments, files, exit. Everything
//! in it that would wait, read a clock, open a socket or start threads is implemented here:
//!
//! | what | result |
//! | --- | --- |
//! | wall clock | the time of the batch; it stands still |
//! | monotonic clock | advances by 1 µs with each read, and by the time that is slept; sleeping returns at once |
//! | random numbers | derived from the digest of the plugin: the same for each batch |
//! | standard output and error | the plugin's log, within its limits |
//! | standard input | closed |
//! | sockets and name lookup | denied |
//!
//! # Invariants
//! - No call waits, so that a deadline stops every loop.
//! - No handle refers to a host object, and the number of handles is limited.

mod clock;
mod io;
mod link;
mod sockets;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chacha20::{ChaCha12Rng, rand_core::SeedableRng as _};
use sha2::{Digest as _, Sha256};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{HostWallClock, WasiCtx};

pub(crate) use self::link::link;
use crate::{imports::is_wasi, limits::Wasi};

/// The maximum number of streams, pollables and similar handles that a plugin may hold at once. Runtimes
/// need a dozen.
const HANDLES: usize = 10_000;
/// The maximum number of random bytes per call. The host holds them in memory.
const RANDOM_BYTES: u64 = 1 << 20;
/// The step of the monotonic clock with each read, in nanoseconds.
const TICK: u64 = 1_000;

/// The seed of a plugin's random numbers.
#[derive(Clone, Copy)]
pub(crate) struct Seed([u8; 32]);

impl Seed {
    /// Returns the seed of the plugin with this digest.
    pub(crate) fn of(wasi: Wasi, sha256: &str) -> Self {
        let variant = match wasi {
            Wasi::Empty | Wasi::Deny => 0,
            Wasi::Variant(variant) => variant,
        };
        let hasher = Sha256::new().chain_update(sha256).chain_update(variant.to_le_bytes());
        Self(hasher.finalize().into())
    }

    /// Returns the seed; `None` for a plugin that imports no WASI interface, or gets none.
    pub(crate) fn of_plugin(wasi: Wasi, sha256: &str, imports: &[String]) -> Option<Self> {
        let answered = wasi != Wasi::Deny && imports.iter().any(|import| is_wasi(import));
        answered.then(|| Self::of(wasi, sha256))
    }

    fn part(self, name: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.0).chain_update(name).finalize().into()
    }

    fn number(self, name: &str) -> u128 {
        self.part(name).iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
    }
}

/// The data from which all results are derived.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    pub(crate) seed: Seed,
    /// The wall clock, since 1970.
    pub(crate) time: Duration,
}

impl Inputs {
    /// For requesting the manifest, which is a constant.
    pub(crate) fn of_manifest(seed: Seed) -> Self {
        Self { seed, time: Duration::ZERO }
    }

    /// For mapping a batch.
    pub(crate) fn of_batch(wasi: Wasi, seed: Seed) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = match wasi {
            Wasi::Empty | Wasi::Deny => now,
            // About 3 years, 1 day, 1 hour and 1.001 seconds: every part of the time differs.
            Wasi::Variant(variant) => now + Duration::from_millis(94_701_601_001) * u32::from(variant),
        };
        Self { seed, time }
    }
}

/// The host's side of WASI for one instance.
pub(crate) struct WasiState {
    ctx: WasiCtx,
    /// The table that `wasmtime-wasi` requires. It stays empty.
    table: ResourceTable,
    /// The monotonic clock, in nanoseconds.
    monotonic: u64,
    handles: usize,
}

impl WasiState {
    fn new(inputs: Inputs) -> Self {
        let Inputs { seed, time } = inputs;
        let generator = |name| ChaCha12Rng::from_seed(seed.part(name));
        let ctx = WasiCtx::builder()
            .wall_clock(StoppedClock(time))
            .secure_random(generator("random"))
            .insecure_random(generator("insecure"))
            .insecure_random_seed(seed.number("insecure-seed"))
            .max_random_size(RANDOM_BYTES)
            .build();
        // Some runtimes interpret 0 as a missing clock.
        let start = 1 + u64::try_from(seed.number("monotonic-clock") % (1 << 40)).unwrap_or(0);
        Self { ctx, table: ResourceTable::new(), monotonic: start, handles: 0 }
    }

    /// Creates a handle for the plugin. The number distinguishes streams; no object is behind it.
    fn hand_out<T: 'static>(&mut self, number: u32) -> wasmtime::Result<Resource<T>> {
        if self.handles >= HANDLES {
            return Err(TooManyHandles.into());
        }
        self.handles += 1;
        Ok(Resource::new_own(number))
    }

    fn take_back(&mut self) {
        self.handles = self.handles.saturating_sub(1);
    }
}

/// A plugin holds more streams and pollables than allowed.
#[derive(Debug, thiserror::Error)]
#[error("has more than {HANDLES} streams and pollables open")]
pub(crate) struct TooManyHandles;

struct StoppedClock(Duration);

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(TICK)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

/// Output since the last complete line.
#[derive(Default)]
pub(crate) struct CapturedOutput {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_depend_only_on_the_digest_and_the_variant() {
        let start = |wasi, sha256| {
            let seed = Seed::of(wasi, sha256);
            WasiState::new(Inputs::of_batch(wasi, seed)).monotonic
        };
        assert_eq!(start(Wasi::Empty, "ab"), start(Wasi::Empty, "ab"));
        assert_ne!(start(Wasi::Empty, "ab"), start(Wasi::Empty, "cd"));
        assert_ne!(start(Wasi::Variant(1), "ab"), start(Wasi::Variant(2), "ab"));
        assert_ne!(Seed::of(Wasi::Empty, "ab").part("random"), Seed::of(Wasi::Empty, "ab").part("insecure"));
    }

    #[test]
    fn only_plugins_with_wasi_have_a_seed() {
        let log = "berth:plugin/log@1.0.0".to_owned();
        let clock = "wasi:clocks/wall-clock@0.2.0".to_owned();
        let has = |wasi, imports: &[String]| Seed::of_plugin(wasi, "ab", imports).is_some();
        assert!(!has(Wasi::Empty, &[]));
        assert!(!has(Wasi::Empty, std::slice::from_ref(&log)));
        assert!(has(Wasi::Empty, &[log.clone(), clock.clone()]));
        assert!(has(Wasi::Variant(1), &[log.clone(), clock.clone()]));
        assert!(!has(Wasi::Deny, &[log, clock]));
    }

    #[test]
    fn a_variant_has_another_time() {
        let time = |variant| {
            let wasi = Wasi::Variant(variant);
            Inputs::of_batch(wasi, Seed::of(wasi, "ab")).time
        };
        assert!(time(2) > time(1) + Duration::from_hours(24 * 365));
    }
}
