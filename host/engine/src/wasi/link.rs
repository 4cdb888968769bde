//! Links what a component imports of WASI with the state of its instance.

use wasmtime::component::{
    Component, HasData, HasSelf, Linker, ResourceTable, ResourceType, types::ComponentItem,
};
use wasmtime_wasi::{
    WasiCtxView, WasiView,
    cli::{WasiCli, WasiCliView as _},
    clocks::{WasiClocks, WasiClocksView as _},
    filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _},
    p2::{DynInputStream, DynOutputStream, DynPollable, IoError, Network, TcpSocket, UdpSocket, bindings},
    random::WasiRandom,
};

use super::{Inputs, Seed, WasiState};
use crate::{
    imports::is_wasi,
    limits::Wasi,
    sandbox::{Denied, Guest},
};

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
