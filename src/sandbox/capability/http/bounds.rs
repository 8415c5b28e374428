//! Bounds what a guest may keep in the library's resources, which are the host's memory.
//!
//! The library bounds the number of resources and the size of header fields. Of a
//! request's method, authority and path it takes any length, thousands of times.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

use crate::sandbox::host::Host;

/// As the library links it. A test holds that a long authority is refused.
const TYPES: &str = "wasi:http/types@0.2.12";

/// Bytes of a guest's header fields, with what the host needs to keep them.
pub(super) const MAX_FIELDS_BYTES: usize = 32 << 10;

/// Of a write to a request's body; two of them are buffered.
pub(super) const CHUNK_BYTES: usize = 16 << 10;

const MAX_METHOD_BYTES: usize = 32;
/// The longest name, and a port.
const MAX_AUTHORITY_BYTES: usize = 260;
const MAX_PATH_BYTES: usize = 16 << 10;

type Request = Resource<HostOutgoingRequest>;

/// Puts a bound before each function that takes a text of the guest.
pub(super) fn narrow(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, Host>, (request, method): (Request, Method)| {
            store.data().meter.call();
            if matches!(&method, Method::Other(name) if name.len() > MAX_METHOD_BYTES) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, Host>, (request, authority): (Request, Option<String>)| {
            store.data().meter.call();
            if authority.as_ref().is_some_and(|authority| authority.len() > MAX_AUTHORITY_BYTES) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_authority(request, authority)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: StoreContextMut<'_, Host>, (request, path): (Request, Option<String>)| {
            store.data().meter.call();
            if path.as_ref().is_some_and(|path| path.len() > MAX_PATH_BYTES) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_path_with_query(request, path)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
