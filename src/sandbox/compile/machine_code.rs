//! From the bytes of an upload to machine code: what is looked at, and in which order.

use std::io;

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::bounds::Bounds;
use super::{Refused, SMALLER, check_imports, system_error};
use crate::sandbox::host::Host;

/// Every binary begins with these bytes, then a version and a layer.
const MAGIC: &[u8; 4] = b"\0asm";
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];

/// Checks and compiles a component. Blocks for as long as that takes (seconds for
/// tens of megabytes), on the threads of the rayon pool it is called on.
pub(in crate::sandbox) fn machine_code(
    engine: &Engine,
    linker: &Linker<Host>,
    wasm: &[u8],
    bounds: Bounds,
) -> Result<Vec<u8>, Refused> {
    recognise(wasm)?;
    // What has to be made a component first is made one here: whatever follows sees
    // the component that will run.
    bounds.check(wasm)?;
    let component = Component::from_binary(engine, wasm).map_err(|error| broke(&error, bounds))?;
    if let Some(needed) = component.resources_required() {
        bounds.check_needed(&needed)?;
    }
    check_imports(engine, linker, &component)?;
    component.serialize().map_err(|error| broke(&error, bounds))
}

/// Tells by the first bytes what an upload is.
fn recognise(bytes: &[u8]) -> Result<(), Refused> {
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(Refused::module(
            "precompiled",
            "is already compiled to machine code, which is never loaded from outside",
            "upload the WebAssembly component it was made from",
        ));
    }
    match bytes.strip_prefix(MAGIC) {
        None => Err(Refused::module(
            "not_wasm",
            "is not WebAssembly: it does not begin with `\\0asm`",
            "upload the .wasm file the build made, not its text form or an archive",
        )),
        Some(rest) if rest.starts_with(&CORE_MODULE) => Err(Refused::module(
            "core_module",
            "is a core module, not a component",
            "build it for the target wasm32-wasip2, or wrap it with `wasm-tools component new`",
        )),
        Some(_) => Ok(()),
    }
}

fn broke(error: &wasmtime::Error, bounds: Bounds) -> Refused {
    match system_error(error) {
        Some(io::ErrorKind::OutOfMemory) => Refused::module("too_costly", "ran out of memory", SMALLER),
        _ => Refused::module("invalid_component", format!("does not compile: {error:#}"), bounds.remedy()),
    }
}
