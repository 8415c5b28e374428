//! What every guest runs on: made on a thread of its own, while the server starts.
//!
//! To reserve the room of ten thousand guests takes tens of milliseconds, one
//! system call for the guard of each stack, and nobody needs it before the first
//! module is compiled or loaded.

use std::sync::{Arc, LazyLock};

use wasmtime::Engine;
use wasmtime::component::Linker;

use super::engine::{self, Allocator};
use super::host::{self, Host};
use super::pool::SandboxSettings;

/// The engine with its pool, and what is linked to guests.
pub(super) struct Machine {
    pub(super) engine: Engine,
    pub(super) linker: Linker<Host>,
    pub(super) allocator: Allocator,
}

/// A machine that is being made. Whoever needs it first waits until it is. Cheap to clone.
#[derive(Clone)]
pub(super) struct Making(Arc<LazyLock<Machine, Make>>);

type Make = Box<dyn FnOnce() -> Machine + Send>;

impl Making {
    /// Begins. Without a pool it will be `on_demand`, which was made from the same settings.
    pub(super) fn begin(settings: &SandboxSettings, address_space: Option<u64>, on_demand: Engine) -> Self {
        let settings = settings.clone();
        let make = move || {
            let (engine, allocator) = match engine::with_pool(&settings, address_space) {
                Ok(engine) => (engine, Allocator::Pooling),
                Err(reason) => {
                    engine::warn_of_no_pool(&settings, &reason);
                    (on_demand, Allocator::OnDemand)
                }
            };
            let linker = host::linker(&engine).expect("no name is linked twice");
            Machine { engine, linker, allocator }
        };
        let this = Self(Arc::new(LazyLock::new(Box::new(make))));
        let making = this.clone();
        // Where there is no thread to be had, whoever needs it first makes it.
        let _ = std::thread::Builder::new().name("sandbox-pool".to_owned()).spawn(move || {
            making.get();
        });
        this
    }

    /// Blocks for as long as it is being made.
    pub(super) fn get(&self) -> &Machine {
        &self.0
    }
}
