//! Runs guests: bytes, grants and limits in; an outcome out. Knows nothing of
//! leases, HTTP or SQL.
//!
//! In reading order:
//!
//! 1. At upload, [`compile`] has a child process make machine code of a component,
//!    and refuses what is none or too much; [`inspect`] finds out which functions it has; [`compiled`] keeps the
//!    code so that nobody else can have written what is loaded.
//! 2. Before the first attempt, [`cache`] loads the [`module`]: mapped, linked to
//!    the [`host`] (context, log, [`wasi`] in an empty world) and looked through
//!    once, for all attempts.
//! 3. An attempt is one [`run`]: a fresh store with its [`limits`], on a guest
//!    thread ([`threads`]), for slices of time ([`ticker`]), until it ends, is
//!    stopped ([`stop`]) or meets a bound. Its lines go to the [`log`].
//!
//! The guest's failure is a value, ours is an error: [`run`] answers
//! `Result<Ending, SandboxError>` and never mixes the two.

mod attempt;
mod cache;
pub mod calibration;
mod compile;
mod compiled;
mod engine;
pub mod guests;
mod host;
mod inspect;
mod limits;
mod log;
mod module;
mod run;
mod schema;
mod stop;
mod threads;
mod ticker;
pub mod values;
mod wasi;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Engine;
use wasmtime::component::Linker;

pub use self::cache::{CacheBounds, LoadError, ModuleCache};
use self::compile::Turns;
pub use self::compile::{
    CompileLimits, CompileStage, Compiler, Orders, Refused, TellCompileStage, UploadError, compile_module,
};
pub use self::compiled::{CompiledFile, CompiledStore};
use self::engine::Allocator;
pub use self::engine::SandboxSettings;
use self::host::Host;
pub use self::log::{LogLevel, LogLine, LogSink, LogStream, MAX_LINE_BYTES, NoLog};
pub use self::module::Module;
pub use self::run::{Ending, Job, RunContext, TaskContext};
pub use self::stop::StopSignal;
pub use self::threads::{GuestTask, GuestThreads};
use self::ticker::Ticker;
pub use self::values::InputProblem;

/// Everything needed to compile, load and run modules. Cheap to clone; made once.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<Host>,
    allocator: Allocator,
    compatibility: String,
    /// One permit for each guest the pool has room for: who finds none waits.
    room: Arc<Semaphore>,
    compiler: Compiler,
    /// Modules are compiled one at a time.
    turns: Turns,
    threads: GuestThreads,
    max_memory_bytes: u64,
}

/// Our failure, not the guest's.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// wasmtime, or the system below it, failed. Another try may succeed.
    #[error("could not {doing}: {reason}")]
    Engine { doing: &'static str, reason: String },
    /// A thread could not be started.
    #[error("could not start a guest thread: {0}")]
    Thread(#[from] std::io::Error),
    /// A defect of ours or of a library, met while running a guest; the attempt is gone.
    #[error("the host panicked while it ran the guest: {0}")]
    Panicked(String),
    /// The module has no such function: it was not checked when the task was accepted.
    #[error("module {module} has no callable function `{function}`")]
    NoFunction { module: crate::model::Digest, function: String },
    /// The guest threads have been shut down.
    #[error("the sandbox is shutting down")]
    Closed,
}

impl SandboxError {
    /// For `map_err`: says what was being done.
    fn engine(doing: &'static str) -> impl FnOnce(wasmtime::Error) -> Self {
        move |error| Self::Engine { doing, reason: format!("{error:#}") }
    }

    /// The same for what the system refused.
    fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Engine { doing, reason: error.to_string() }
    }
}

impl Sandbox {
    /// Reserves the pool and starts the guest threads; timers of guests run on `runtime`.
    pub fn new(settings: &SandboxSettings, runtime: &tokio::runtime::Handle) -> Result<Self, SandboxError> {
        Self::within(engine::address_space_limit(), settings, runtime)
    }

    fn within(
        address_space: Option<u64>,
        settings: &SandboxSettings,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, SandboxError> {
        let (engine, allocator) = engine::build(settings, address_space)?;
        let linker = host::linker(&engine)?;
        let threads = GuestThreads::start(settings.guest_threads, Ticker::start(engine.clone())?, runtime)?;
        Ok(Self(Arc::new(Inner {
            compatibility: engine::compatibility(&engine),
            linker,
            allocator,
            room: Arc::new(Semaphore::new(engine::capacity(settings))),
            compiler: settings.compiler.clone(),
            turns: Turns::new(),
            threads,
            max_memory_bytes: settings.max_memory_bytes,
            engine,
        })))
    }

    /// Where guests' memory comes from: `pooling`, or `on_demand` where address
    /// space is short and every start costs ten times as much.
    pub fn allocator(&self) -> &'static str {
        self.0.allocator.as_str()
    }

    /// Names everything compiled code depends on. Code compiled under another key
    /// is not loaded.
    pub fn compatibility(&self) -> &str {
        &self.0.compatibility
    }

    /// The threads guests run on.
    pub fn threads(&self) -> &GuestThreads {
        &self.0.threads
    }

    /// Stops and joins the guest threads; guests under way are dropped.
    pub fn shut_down(&self) {
        self.0.threads.shut_down();
    }

    /// Room for one guest in the pool. Waits while there is none.
    async fn room(&self) -> OwnedSemaphorePermit {
        self.0.room.clone().acquire_owned().await.expect("the semaphore of the pool is never closed")
    }
}
