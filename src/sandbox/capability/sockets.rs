//! Sockets and name lookup: imported by ordinary components, and denied to all.

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{self, HostResolveAddressStream, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, IoError, Network, SocketError, SocketResult, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::sandbox::host::Host;

/// Longest name of a host that is shown.
const MAX_NAME: usize = 100;

/// Puts these in the place of wasmtime's, which answer the same but do not tell.
pub(in crate::sandbox) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    tcp_create_socket::add_to_linker::<Host, Denied<'static>>(linker, |host| Denied(host))?;
    udp_create_socket::add_to_linker::<Host, Denied<'static>>(linker, |host| Denied(host))?;
    ip_name_lookup::add_to_linker::<Host, Denied<'static>>(linker, |host| Denied(host))?;
    linker.allow_shadowing(false);
    Ok(())
}

/// A guest that asks for the network.
struct Denied<'a>(&'a mut Host);

impl HasData for Denied<'static> {
    type Data<'a> = Denied<'a>;
}

impl Denied<'_> {
    fn deny(&self, call: impl FnOnce() -> String) -> SocketError {
        self.0.meter.call();
        self.0.meter.deny(call);
        ErrorCode::AccessDenied.into()
    }
}

impl tcp_create_socket::Host for Denied<'_> {
    fn create_tcp_socket(&mut self, _family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        Err(self.deny(|| "a TCP socket; use HTTP, with a grant".to_owned()))
    }
}

impl udp_create_socket::Host for Denied<'_> {
    async fn create_udp_socket(&mut self, _family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        Err(self.deny(|| "a UDP socket".to_owned()))
    }
}

impl ip_name_lookup::Host for Denied<'_> {
    fn resolve_addresses(
        &mut self,
        _network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<ResolveAddressStream>> {
        Err(self.deny(|| format!("the addresses of {:?}", name.chars().take(MAX_NAME).collect::<String>())))
    }
}

/// Nobody has such a stream.
impl HostResolveAddressStream for Denied<'_> {
    fn resolve_next_address(&mut self, of: Resource<ResolveAddressStream>) -> SocketResult<Option<IpAddress>> {
        self.0.sockets().resolve_next_address(of)
    }

    fn subscribe(&mut self, of: Resource<ResolveAddressStream>) -> wasmtime::Result<Resource<DynPollable>> {
        HostResolveAddressStream::subscribe(&mut self.0.sockets(), of)
    }

    fn drop(&mut self, of: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        HostResolveAddressStream::drop(&mut self.0.sockets(), of)
    }
}

impl network::Host for Denied<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        self.0.sockets().network_error_code(error)
    }
}

impl network::HostNetwork for Denied<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.0.sockets(), network)
    }
}
