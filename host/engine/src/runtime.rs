//! The wasmtime setup that all plugins of an engine share.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use target_lexicon::Triple;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::{EngineError, Limits, Wasi, limits::KEPT_MAPPINGS, log_lines::Lines};

/// The resolution of deadlines.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// The stack of compiled code. Enough for JSON with the maximum nesting that parsers allow.
const WASM_STACK: usize = 1 << 20;
/// The stack of a thread that runs plugins: theirs, and the host's own below it.
pub(crate) const THREAD_STACK: usize = WASM_STACK + (2 << 20);
/// Tables hold a plugin's function pointers. The largest known guest (a Python interpreter) needs a tenth
/// of this.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;
/// Memory of an ended instance that is zeroed and kept instead of returned to the system, which saves the
/// next instance its page faults.
const KEEP_RESIDENT: usize = 1 << 20;

/// The setup of an engine. Code that was compiled for one setup does not run in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// For this machine, with instances from a pool.
    Pooled,
    /// For any machine of this architecture.
    Portable,
    /// For this machine, if there is too little address space for a pool.
    OnDemand,
}

impl Setup {
    const ALL: [Self; 3] = [Self::Pooled, Self::Portable, Self::OnDemand];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pooled => "pooled",
            Self::Portable => "portable",
            Self::OnDemand => "on-demand",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setup| setup.name() == name)
    }

    /// Creates an engine that only compiles: it reserves no memory for instances.
    pub(crate) fn compiler(self) -> wasmtime::Result<wasmtime::Engine> {
        wasmtime::Engine::new(&match self {
            Self::Pooled => base(),
            Self::Portable => for_any_machine(base())?,
            Self::OnDemand => on_demand(),
        })
    }
}

/// The state that all plugins of an engine share.
pub(crate) struct Runtime {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) setup: Setup,
    pub(crate) limits: Limits,
    pub(crate) wasi: Wasi,
    /// The destination of plugins' log lines.
    pub(crate) lines: Lines,
    _ticker: Ticker,
}

impl Runtime {
    /// Starts wasmtime for `workers` concurrent instances.
    pub(crate) fn new(limits: Limits, workers: usize, wasi: Wasi) -> Result<Self, EngineError> {
        let (engine, setup) = match wasmtime::Engine::new(&pooled(&limits, workers, Enabled::Auto)) {
            Ok(engine) => (engine, Setup::Pooled),
            Err(error) => {
                tracing::warn!(
                    "could not reserve address space for {workers} pooled plugin instances, so each is \
                     allocated on demand, and plugins run slower: {error:#}"
                );
                let engine =
                    wasmtime::Engine::new(&on_demand()).map_err(|error| EngineError::start(&error))?;
                (engine, Setup::OnDemand)
            }
        };
        let ticker = Ticker::start(engine.clone()).map_err(EngineError::Thread)?;
        Ok(Self { engine, setup, limits, wasi, lines: Lines::Log, _ticker: ticker })
    }

    /// Starts wasmtime in a mapping process for code of the same setup, one instance at a time, without
    /// opening a file.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_setup(
        setup: Setup,
        limits: Limits,
        wasi: Wasi,
        lines: Lines,
    ) -> Result<Self, EngineError> {
        let config = match setup {
            Setup::Pooled => Ok(pooled(&limits, 1, Enabled::No)),
            Setup::Portable => for_any_machine(pooled(&limits, 1, Enabled::No)),
            Setup::OnDemand => Ok(on_demand()),
        };
        let engine = config.and_then(|config| wasmtime::Engine::new(&config));
        let engine = engine.map_err(|error| EngineError::start(&error))?;
        let ticker = Ticker::start(engine.clone()).map_err(EngineError::Thread)?;
        Ok(Self { engine, setup, limits, wasi, lines, _ticker: ticker })
    }

    /// Starts wasmtime for code that runs on any processor of this architecture, one instance at a time.
    pub(crate) fn portable(limits: Limits) -> Result<Self, EngineError> {
        let engine = portable(&limits).map_err(|error| EngineError::start(&error))?;
        let ticker = Ticker::start(engine.clone()).map_err(EngineError::Thread)?;
        Ok(Self {
            engine,
            setup: Setup::Portable,
            limits,
            wasi: Wasi::default(),
            lines: Lines::Log,
            _ticker: ticker,
        })
    }

    /// Converts a duration to ticks, rounded up.
    pub(crate) fn ticks(duration: Duration) -> u64 {
        u64::try_from(duration.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX)
    }
}

/// Creates an engine that uses only the baseline processor features of its architecture. Its code runs in
/// the engine of any such machine, which uses all features for code that it compiles itself.
pub(crate) fn portable(limits: &Limits) -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&for_any_machine(pooled(limits, 1, Enabled::Auto))?)
}

fn for_any_machine(mut config: Config) -> wasmtime::Result<Config> {
    config.target(&Triple::host().to_string())?;
    Ok(config)
}

fn base() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        // The same batch has the same entities on every machine.
        .relaxed_simd_deterministic(true)
        // Calls into plugins are synchronous; support for concurrency would cost time in each call.
        .concurrency_support(false)
        // Only debuggers use these; without them the compiled code is a quarter smaller.
        .generate_address_map(false);
    config
}

fn pooled(limits: &Limits, workers: usize, pagemap_scan: Enabled) -> Config {
    // Each worker may use one instance, some are kept, and a plugin may be inspected at the same time.
    let kept = workers.max(KEPT_MAPPINGS);
    let slots = u32::try_from(workers.saturating_add(kept)).unwrap_or(u32::MAX).saturating_add(2);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        // One component contains several modules: the standard library's adapters, an interpreter.
        .total_core_instances(slots.saturating_mul(64))
        .total_memories(slots.saturating_mul(2))
        .total_tables(slots.saturating_mul(8))
        .table_elements(TABLE_ELEMENTS)
        // Plugins run on the stacks of the workers.
        .total_stacks(0)
        .max_memory_size(limits.memory_bytes)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        // Since Linux 6.7 the kernel reports which pages were touched, so that only those are zeroed.
        .pagemap_scan(pagemap_scan);
    let mut config = base();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// Returns the configuration for systems with little address space: instructions check bounds instead of
/// unmapped memory, which costs about 40 % of speed.
fn on_demand() -> Config {
    let mut config = base();
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .memory_reservation(0)
        .memory_reservation_for_growth(16 << 20)
        .memory_guard_size(64 << 10);
    config
}

/// Advances the clock of the deadlines until it is dropped.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("berth-deadline".into()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic, and there is no way to report it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    use super::*;

    #[test]
    fn an_engine_starts_without_a_pool() {
        let engine = wasmtime::Engine::new(&on_demand()).unwrap();
        assert!(Ticker::start(engine).is_ok());
    }

    #[test]
    fn a_compile_only_engine_compiles_for_the_running_one() {
        let limits = Limits::default();
        for (setup, runs) in [
            (Setup::Pooled, wasmtime::Engine::new(&pooled(&limits, 2, Enabled::Auto))),
            (Setup::Portable, portable(&limits)),
            (Setup::OnDemand, wasmtime::Engine::new(&on_demand())),
        ] {
            let key = |engine: &wasmtime::Engine| {
                let mut hasher = DefaultHasher::new();
                engine.precompile_compatibility_hash().hash(&mut hasher);
                hasher.finish()
            };
            assert_eq!(key(&setup.compiler().unwrap()), key(&runs.unwrap()), "{setup:?}");
            assert_eq!(Setup::of_name(setup.name()), Some(setup));
        }
    }

    #[test]
    fn deadlines_are_rounded_up_to_ticks() {
        for (millis, ticks) in [(0, 0), (1, 1), (10, 1), (11, 2), (10_000, 1000)] {
            assert_eq!(Runtime::ticks(Duration::from_millis(millis)), ticks, "{millis} ms");
        }
    }
}
