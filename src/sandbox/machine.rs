//! What every guest runs on: made when the server is ready, or by the first who needs it.
//!
//! To reserve the room of ten thousand guests takes tens of milliseconds: one system
//! call for the guard of each stack, under the lock that whatever else maps memory
//! wants too. So it is not done while the server starts.

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

/// A machine to be made when it is first needed. Cheap to clone.
#[derive(Clone)]
pub(super) struct Promised(Arc<LazyLock<Machine, Make>>);

type Make = Box<dyn FnOnce() -> Machine + Send>;

impl Promised {
    /// Without a pool it will be `on_demand`, which was made from the same settings.
    pub(super) fn new(settings: &SandboxSettings, address_space: Option<u64>, on_demand: Engine) -> Self {
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
        Self(Arc::new(LazyLock::new(Box::new(make))))
    }

    /// Blocks while it is made.
    pub(super) fn get(&self) -> &Machine {
        &self.0
    }

    /// The machine, if there is one by now.
    pub(super) fn if_made(&self) -> Option<&Machine> {
        LazyLock::get(&self.0)
    }

    /// Makes it in the background.
    pub(super) fn make_soon(&self) {
        let promised = self.clone();
        // Where there is no thread to be had, whoever needs it first makes it.
        let _ = std::thread::Builder::new().name("sandbox-pool".to_owned()).spawn(move || {
            promised.get();
        });
    }
}
