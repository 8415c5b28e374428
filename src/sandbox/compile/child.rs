//! The child that compiles one module and ends: `tradewind compile-module ORDERS`.
//!
//! The module is on stdin, the code goes to stdout, a refusal to stderr. The process
//! binds itself before it reads a byte of the module, and does nothing else: no
//! settings, no log, no network.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::str::FromStr;

use rustix::process::{Pid, Resource, Rlimit, Signal, setrlimit};
use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use super::{CODES, CompileLimits, Refused, machine_code};
use crate::sandbox::{engine, host};

/// The subcommand that [`compile_module`] is.
pub(super) const SUBCOMMAND: &str = "compile-module";

/// Exit code of a refusal, which is then on stderr as one JSON object.
pub(super) const REFUSED: u8 = 3;

/// Below the server's threads, and those of guests.
const NICENESS: i32 = 10;

/// Threads that compile. Each needs memory for the function it is at, so that more
/// would need a higher limit.
const MAX_THREADS: usize = 8;

const CPU_GRACE_SECONDS: u64 = 5;

/// Files the child may have open: three, and what wasmtime looks at in /proc and /sys.
const MAX_FILES: u64 = 32;

/// What the child is told, as JSON in its only argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    /// Whoever has started it; it does not outlive that process.
    parent: u32,
    memory_bytes: u64,
    cpu_seconds: u64,
    max_memory_bytes: u64,
}

/// A refusal on its way from the child.
#[derive(Serialize, Deserialize)]
pub(super) struct Refusal {
    code: String,
    thing: String,
    reason: String,
    remedy: String,
}

/// Does what the orders say, in this process. Call it first thing in `main`: the
/// limits it sets are for the whole process and cannot be lifted again.
pub fn compile_module(orders: Orders) -> ExitCode {
    match bind(orders).and_then(|()| compile(orders)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(refused)) => {
            // When nobody listens any more, nobody will miss it.
            let _ = serde_json::to_writer(io::stderr(), &Refusal::from(refused));
            REFUSED.into()
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn bind(orders: Orders) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32) != Some(orders.parent) {
        return Err(io::Error::other("the process that ordered this is gone"));
    }
    limit(Resource::As, orders.memory_bytes)?;
    // The signal of the lower limit says what was met; that of the higher is for who ignores it.
    limit_to(Resource::Cpu, orders.cpu_seconds, orders.cpu_seconds.saturating_add(CPU_GRACE_SECONDS))?;
    limit(Resource::Core, 0)?;
    // The code is in memory before it is written, so it cannot be larger.
    limit(Resource::Fsize, orders.memory_bytes)?;
    limit(Resource::Nofile, MAX_FILES)?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::setpriority_process(None::<Pid>, NICENESS)?;
    // Where memory is short for everybody, this process goes first. Without /proc it takes its chances.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

fn limit(resource: Resource, wanted: u64) -> io::Result<()> {
    limit_to(resource, wanted, wanted)
}

fn limit_to(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    // Only root could go above what it was born with.
    let maximum = rustix::process::getrlimit(resource).maximum.map_or(maximum, |most| most.min(maximum));
    Ok(setrlimit(resource, Rlimit { current: Some(current.min(maximum)), maximum: Some(maximum) })?)
}

fn compile(orders: Orders) -> io::Result<Result<(), Refused>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(io::Error::other)?;
    let engine = engine::on_demand().map_err(io::Error::other)?;
    let linker = host::linker(&engine).map_err(io::Error::other)?;
    let wasm = read_all(io::stdin().as_fd())?;
    let bounds = Bounds { max_memory_bytes: orders.max_memory_bytes };
    match machine_code(&engine, &linker, &wasm, bounds) {
        // Not through `Stdout`, which looks for lines.
        Ok(code) => file(io::stdout().as_fd())?.write_all(&code).map(Ok),
        Err(refused) => Ok(Err(refused)),
    }
}

/// In one piece: growing a buffer would take the memory of the module twice.
fn read_all(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut file = file(fd)?;
    let mut bytes = Vec::with_capacity(file.metadata()?.len() as usize + 1);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn file(fd: BorrowedFd<'_>) -> io::Result<File> {
    Ok(fd.try_clone_to_owned()?.into())
}

impl Orders {
    /// For a child of this process.
    pub(super) fn new(limits: CompileLimits, max_memory_bytes: u64) -> Self {
        Self {
            parent: std::process::id(),
            memory_bytes: limits.memory.get(),
            // A part of a second counts whole: the system counts in seconds.
            cpu_seconds: limits.cpu_time.get().as_millis().div_ceil(1000).max(1) as u64,
            max_memory_bytes,
        }
    }

    pub(super) fn cpu_seconds(&self) -> u64 {
        self.cpu_seconds
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }
}

impl FromStr for Orders {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

impl From<Refused> for Refusal {
    fn from(Refused { code, thing, reason, remedy }: Refused) -> Self {
        Self { code: code.to_owned(), thing, reason, remedy }
    }
}

impl Refusal {
    /// `None`: with a code we do not know, it is not one of ours.
    pub(super) fn into_refused(self) -> Option<Refused> {
        let code = CODES.iter().find(|code| **code == self.code)?;
        Some(Refused { code, thing: self.thing, reason: self.reason, remedy: self.remedy })
    }
}
