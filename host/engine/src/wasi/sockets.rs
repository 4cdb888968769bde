//! Sockets and name lookup, all denied. Nothing is opened.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    DynPollable, Network, SocketError, SocketResult, TcpSocket, UdpSocket,
    bindings::{
        sockets::{
            instance_network, ip_name_lookup,
            network::{self, ErrorCode, IpAddress, IpAddressFamily},
            tcp_create_socket,
        },
        sync::sockets::udp_create_socket,
    },
};

use crate::sandbox::Guest;

/// There is one network, in which nothing is reachable.
const NETWORK: u32 = 0;

impl instance_network::Host for Guest {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        self.wasi().hand_out(NETWORK)
    }
}

impl network::Host for Guest {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, _: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(None)
    }
}

impl network::HostNetwork for Guest {
    fn drop(&mut self, _: Resource<Network>) -> wasmtime::Result<()> {
        self.wasi().take_back();
        Ok(())
    }
}

impl tcp_create_socket::Host for Guest {
    fn create_tcp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        Err(ErrorCode::AccessDenied.into())
    }
}

impl udp_create_socket::Host for Guest {
    fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        Err(ErrorCode::AccessDenied.into())
    }
}

impl ip_name_lookup::Host for Guest {
    fn resolve_addresses(
        &mut self,
        _: Resource<Network>,
        _: String,
    ) -> SocketResult<Resource<ip_name_lookup::ResolveAddressStream>> {
        Err(ErrorCode::AccessDenied.into())
    }
}

impl ip_name_lookup::HostResolveAddressStream for Guest {
    fn resolve_next_address(
        &mut self,
        _: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> SocketResult<Option<IpAddress>> {
        Err(ErrorCode::AccessDenied.into())
    }

    fn subscribe(
        &mut self,
        _: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.wasi().ready()
    }

    fn drop(&mut self, _: Resource<ip_name_lookup::ResolveAddressStream>) -> wasmtime::Result<()> {
        Ok(())
    }
}
