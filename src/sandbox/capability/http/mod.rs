//! Outgoing HTTP requests of guests, to where their grants lead.
//!
//! In reading order: [`permission`] decides by host, port and method; [`addresses`]
//! tells public addresses from others, and [`names`] leads a name to addresses that
//! were checked and nowhere else; [`clients`] keep the connections; [`send`] carries
//! one request out, its [`bodies`] counted.
//!
//! What is absent: HTTP/2, proxies, cookies, redirects that we follow, and requests
//! that outlive their attempt.

mod addresses;
mod bodies;
mod bounds;
mod clients;
mod failure;
mod headers;
mod names;
mod permission;
mod send;
mod timeouts;

#[cfg(test)]
mod tests;

use http::{HeaderName, Request, Response};
use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

pub(in crate::sandbox) use self::clients::HttpClients;
use self::send::Sender;
use crate::sandbox::host::Host;

/// One attempt's HTTP.
pub(in crate::sandbox) struct Http {
    ctx: WasiHttpCtx,
    sender: Sender,
}

/// Links `wasi:http` for every module: without a grant, each request is denied.
pub(in crate::sandbox) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    bounds::narrow(linker)
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.meter.call();
        self.wasi();
        let wasi = self.wasi.as_mut().expect("made above");
        let http = self.http.get_or_insert_with(|| {
            let mut ctx = WasiHttpCtx::new();
            ctx.set_field_size_limit(bounds::MAX_FIELDS_BYTES);
            let sender = Sender::new(self.http_clients.clone(), self.grants.clone(), self.meter.clone());
            Box::new(Http { ctx, sender })
        });
        WasiHttpCtxView { hooks: &mut http.sender, table: &mut wasi.table, ctx: &mut http.ctx }
    }
}

/// What goes on after the head of a response: nothing of ours.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Sender {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        headers::is_forbidden(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        headers::forbidden()
    }

    /// The client sets it, from the URL that was checked.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _response_processed: Rest,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Rest), Error>> + Send> {
        // The library runs it on the runtime's threads, and aborts it when the
        // guest drops the response or the attempt ends.
        let sending = self.begin(request, options);
        Box::new(async move { Ok((sending?.send().await?, Box::new(async { Ok(()) }) as Rest)) })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        bounds::CHUNK_BYTES
    }
}
