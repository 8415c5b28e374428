//! Runs guests: bytes, grants and limits in; an outcome out. Knows nothing of
//! leases, HTTP or SQL.
//!
//! In reading order:
//!
//! 1. At upload, [`compile`] makes machine code of a component in a child process and
//!    refuses what is none or too much; a program for wasip1 is made one first
//!    ([`adapt`]). [`inspect`] finds out which functions it has; [`compiled`] keeps the
//!    code so that nobody else can have written what is loaded.
//! 2. Before the first attempt, [`cache`] loads the [`module`] on the [`machine`], whose
//!    [`pool`] has room for so many guests: mapped, linked to the [`host`] and looked
//!    through once, for all attempts.
//! 3. An attempt is one [`run`]: a fresh store with its [`limits`] and its [`meter`], on
//!    a guest thread ([`threads`]), for slices of time ([`ticker`]), until it ends, is
//!    stopped ([`stop`]) or meets a bound. One that waits says so ([`wait`]); of one that
//!    has ended, the [`verdict`] says how.
//! 4. What it finds on the other side: its context and [`log`], [`wasi`] with its
//!    [`stdio`], and what it was granted ([`capability`]).
//!
//! The guest's failure is a value, ours is an error: [`run`] answers
//! `Result<Ending, SandboxError>` and never mixes the two.

mod adapt;
mod attempt;
mod cache;
pub mod calibration;
mod capability;
mod compile;
mod compiled;
mod engine;
pub mod guests;
mod host;
mod inspect;
mod limits;
mod log;
mod machine;
mod mappings;
mod meter;
mod module;
mod pool;
mod run;
mod schema;
mod stdio;
mod stop;
mod threads;
mod ticker;
pub mod values;
mod verdict;
mod wait;
mod wasi;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::cache::{CacheBounds, LoadError, ModuleCache};
use self::capability::http::HttpClients;
use self::capability::scratch::ScratchRoot;
use self::compile::Turns;
pub use self::compile::{
    CompileLimits, CompileStage, Compiler, Orders, Refused, TellCompileStage, UploadError, compile_module,
};
pub use self::compiled::{CompiledFile, CompiledStore};
pub use self::log::{LogLevel, LogLine, LogSink, LogStream, MAX_LINE_BYTES, NoLog};
use self::machine::{Machine, Promised};
pub use self::mappings::most_guests_here;
pub use self::module::Module;
pub use self::pool::SandboxSettings;
pub use self::run::{Ending, Job, RunContext, TaskContext};
pub use self::stop::StopSignal;
pub use self::threads::{GuestTask, GuestThreads, be_nice};
use self::ticker::Ticker;
pub use self::values::InputProblem;
pub use self::wait::WaitListener;

/// Everything needed to compile, load and run modules. Cheap to clone; made once.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    machine: Promised,
    compatibility: String,
    /// One permit for each guest with one memory that the pool has room for; one with
    /// more takes more ([`pool::room_needed`]). Who finds too few waits.
    room: Arc<Semaphore>,
    compiler: Compiler,
    /// Modules are compiled one at a time.
    turns: Turns,
    threads: GuestThreads,
    http_clients: HttpClients,
    max_memory_bytes: u64,
    /// Where attempts' directories are made.
    scratch: Option<ScratchRoot>,
}

/// Our failure, not the guest's.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// wasmtime, or the system below it, failed. Another try may succeed.
    #[error("could not {doing}: {reason}")]
    Engine { doing: &'static str, reason: String },
    #[error(
        "worker.slots ({slots}) and worker.waiting ({waiting}) need {needed} memory mappings, and the system allows a \
         process {allowed}, enough for {most} guests; lower worker.waiting, or raise the limit with \
         `sysctl -w vm.max_map_count={needed}`"
    )]
    TooManyGuests { slots: usize, waiting: usize, most: u64, needed: u64, allowed: u64 },
    /// A thread could not be started.
    #[error("could not start a guest thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The disk failed, or the process has too many files open.
    #[error("could not make a scratch directory: {0}")]
    Scratch(std::io::Error),
    /// This sandbox was made without a place for them.
    #[error("an attempt with scratch files was started in a sandbox without a directory for them")]
    NoScratch,
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
    /// Starts the guest threads; timers of guests run on `runtime`. The pool is reserved
    /// by the first who needs it, or before by [`prepare`](Self::prepare).
    pub fn new(settings: &SandboxSettings, runtime: &tokio::runtime::Handle) -> Result<Self, SandboxError> {
        Self::within(pool::address_space_limit(), settings, runtime)
    }

    fn within(
        address_space: Option<u64>,
        settings: &SandboxSettings,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, SandboxError> {
        mappings::check(settings, mappings::allowed())?;
        let on_demand = engine::on_demand()?;
        let compatibility = engine::compatibility(&on_demand);
        let machine = Promised::new(settings, address_space, on_demand);
        let scratch = settings.scratch.as_deref().map(|path| ScratchRoot::open(path, runtime)).transpose();
        let scratch = scratch.map_err(SandboxError::Scratch)?;
        let threads = GuestThreads::start(settings.guest_threads, Ticker::start(machine.clone())?, runtime)?;
        Ok(Self(Arc::new(Inner {
            machine,
            compatibility,
            room: Arc::new(Semaphore::new(pool::places(settings) as usize)),
            compiler: settings.compiler.clone(),
            turns: Turns::new(),
            threads,
            http_clients: HttpClients::default(),
            max_memory_bytes: settings.max_memory_bytes,
            scratch,
        })))
    }

    /// Reserves the pool in the background, which takes some microseconds a guest.
    pub fn prepare(&self) {
        self.0.machine.make_soon();
    }

    /// Where guests' memory comes from: `pooling`, or `on_demand` where address
    /// space is short and every start costs ten times as much. Makes the pool if there is none yet.
    pub fn allocator(&self) -> &'static str {
        self.machine().allocator.as_str()
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

    /// Blocks while the pool is made, for tens of milliseconds at most.
    fn machine(&self) -> &Machine {
        self.0.machine.get()
    }

    /// Room for one guest in the pool. Waits while there is none.
    async fn room(&self, needed: u32) -> OwnedSemaphorePermit {
        self.0.room.clone().acquire_many_owned(needed).await.expect("the semaphore of the pool is never closed")
    }
}
