//! From the bytes of an upload to machine code: what is looked at, and in which order.

use std::io;

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::bounds::Bounds;
use super::{Refused, SMALLER, check_imports, system_error};
use crate::sandbox::adapt::component_of;
use crate::sandbox::host::Host;

/// Every binary begins with these bytes, then a version and a layer.
const MAGIC: &[u8; 4] = b"\0asm";

/// Checks and compiles a component, or a program that is made one first. Blocks for as long as that takes (seconds for
/// tens of megabytes), on the threads of the rayon pool it is called on.
pub(in crate::sandbox) fn machine_code(
    engine: &Engine,
    linker: &Linker<Host>,
    wasm: &[u8],
    bounds: Bounds,
) -> Result<Vec<u8>, Refused> {
    recognise(wasm)?;
    bounds.check(wasm)?;
    let component = component_of(wasm)?;
    let component = Component::from_binary(engine, &component).map_err(|error| broke(&error, bounds))?;
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
    if !bytes.starts_with(MAGIC) {
        return Err(Refused::module(
            "not_wasm",
            "is not WebAssembly: it does not begin with `\\0asm`",
            "upload the .wasm file the build made, not its text form or an archive",
        ));
    }
    Ok(())
}

fn broke(error: &wasmtime::Error, bounds: Bounds) -> Refused {
    match system_error(error) {
        Some(io::ErrorKind::OutOfMemory) => Refused::module("too_costly", "ran out of memory", SMALLER),
        _ => Refused::module("invalid_component", format!("does not compile: {error:#}"), bounds.remedy()),
    }
}
