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
mod sockets;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chacha20::{ChaCha12Rng, rand_core::SeedableRng as _};
use sha2::{Digest as _, Sha256};
use wasmtime::component::{
    Component, HasData, HasSelf, Linker, Resource, ResourceTable, ResourceType, types::ComponentItem,
};
use wasmtime_wasi::{
    HostWallClock, WasiCtx, WasiCtxView, WasiView,
    cli::{WasiCli, WasiCliView as _},
    clocks::{WasiClocks, WasiClocksView as _},
    filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _},
    p2::{DynInputStream, DynOutputStream, DynPollable, IoError, Network, TcpSocket, UdpSocket, bindings},
    random::WasiRandom,
};

pub(crate) use self::io::CapturedOutput;
use crate::{
    config::Wasi,
    imports::is_wasi,
    sandbox::{Denied, Guest},
};

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

impl Guest {
    /// Created at the first call: most plugins make none.
    pub(crate) fn wasi(&mut self) -> &mut WasiState {
        let inputs = self.inputs;
        self.wasi.get_or_insert_with(|| {
            // Only plugins with inputs are linked with these functions.
            Box::new(WasiState::new(inputs.unwrap_or_else(|| Inputs::of_manifest(Seed([0; 32])))))
        })
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let WasiState { ctx, table, .. } = self.wasi();
        WasiCtxView { ctx, table }
    }
}

/// Links the WASI imports of a component.
///
/// # Errors
/// If the linker already has an interface.
pub(crate) fn link(
    wasi: Wasi,
    linker: &mut Linker<Guest>,
    engine: &wasmtime::Engine,
    component: &Component,
    imports: &[String],
) -> wasmtime::Result<()> {
    let mut imports = imports.iter().filter(|import| is_wasi(import)).peekable();
    if imports.peek().is_none() {
        return Ok(());
    }
    if wasi == Wasi::Deny {
        return imports.try_for_each(|import| deny(linker, engine, component, import));
    }
    link_empty(linker)?;
    let of_nothing = |import: &&String| OF_NOTHING.iter().any(|interface| import.starts_with(interface));
    imports.filter(of_nothing).try_for_each(|import| deny(linker, engine, component, import))
}

/// Interfaces of resources that never exist: the plugin never gets a descriptor or a socket, so it cannot
/// call their functions. The functions that open files and sockets are not even linked.
const OF_NOTHING: [&str; 3] = ["wasi:filesystem/types@", "wasi:sockets/tcp@", "wasi:sockets/udp@"];

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

fn link_empty(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use bindings::{cli, clocks, filesystem, random, sockets, sync};

    let l = linker;
    // Implemented by `wasmtime-wasi`.
    cli::environment::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::exit::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_input::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_output::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    clocks::wall_clock::add_to_linker::<Guest, WasiClocks>(l, Guest::clocks)?;
    filesystem::preopens::add_to_linker::<Guest, WasiFilesystem>(l, Guest::filesystem)?;
    random::random::add_to_linker::<Guest, WasiRandom>(l, |guest| guest.ctx().ctx.random())?;
    random::insecure::add_to_linker::<Guest, WasiRandom>(l, |guest| guest.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<Guest, WasiRandom>(l, |guest| guest.ctx().ctx.random())?;
    sync::io::error::add_to_linker::<Guest, Table>(l, |guest| guest.ctx().table)?;
    // Implemented by this module.
    clocks::monotonic_clock::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    sync::io::poll::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    sync::io::streams::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    cli::stdin::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    cli::stdout::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    cli::stderr::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<Guest, HasSelf<Guest>>(l, &options, |guest| guest)?;
    sockets::instance_network::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    sockets::ip_name_lookup::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    sockets::tcp_create_socket::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    sync::sockets::udp_create_socket::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    Ok(())
}

/// Links an imported interface so that every call of it fails.
fn deny(
    linker: &mut Linker<Guest>,
    engine: &wasmtime::Engine,
    component: &Component,
    import: &str,
) -> wasmtime::Result<()> {
    let component = component.component_type();
    let Some(item) = component.get_import(engine, import) else { return Ok(()) };
    let ComponentItem::ComponentInstance(interface) = item.ty else { return Ok(()) };
    let mut linked = linker.instance(import)?;
    for (name, item) in interface.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(_) => {
                let called = format!("{import}#{name}");
                linked.func_new(name, move |_, _, _, _| Err(Denied(called.clone()).into()))?;
            }
            ComponentItem::Resource(_) => {
                linked.resource(name, resource(name), |_, _| Ok(()))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the type of a resource, the same in all interfaces that mention it.
fn resource(name: &str) -> ResourceType {
    match name {
        "descriptor" => ResourceType::host::<Descriptor>(),
        "error" => ResourceType::host::<IoError>(),
        "input-stream" => ResourceType::host::<DynInputStream>(),
        "network" => ResourceType::host::<Network>(),
        "output-stream" => ResourceType::host::<DynOutputStream>(),
        "pollable" => ResourceType::host::<DynPollable>(),
        "tcp-socket" => ResourceType::host::<TcpSocket>(),
        "udp-socket" => ResourceType::host::<UdpSocket>(),
        _ => ResourceType::host::<()>(),
    }
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
