//! Makes machine code of an uploaded component, or says why not.
//!
//! Compiling is work on a stranger's text, so the server has it done by a child
//! process ([`process`] is the parent's side, [`child`] the child's), one module at a
//! time ([`turns`]). The work itself is [`machine_code`]: the [`bounds`] first, then
//! Cranelift, then the [`imports`].

mod bounds;
mod child;
mod imports;
mod machine_code;
mod process;
mod turns;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::compiled::{CompiledFile, CompiledStore};
use super::threads::be_nice;
use super::{Sandbox, SandboxError};
use crate::model::{ByteSize, Digest, Span};

pub(super) use self::bounds::Bounds;
pub use self::child::{Orders, compile_module};
#[cfg(test)]
pub(super) use self::imports::OFFERED;
pub(super) use self::imports::check_imports;
pub(super) use self::machine_code::machine_code;
pub(super) use self::turns::Turns;

/// Why an upload is not accepted. The caller's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{thing} {reason}; {remedy}")]
pub struct Refused {
    /// Stable: one of [`CODES`].
    pub code: &'static str,
    pub thing: String,
    pub reason: String,
    pub remedy: String,
}

/// Every [`code`](Refused::code).
const CODES: &[&str] = &[
    "not_wasm",
    "precompiled",
    "core_module",
    "invalid_component",
    "unknown_imports",
    "too_large",
    "too_costly",
    "no_functions",
    "invalid_descriptors",
];

/// Why an upload did not succeed: the caller's fault, or ours.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Failed(#[from] SandboxError),
}

/// Who compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// A process for each module, so that a hostile one costs a bounded amount and
    /// takes nothing with it. The server has no other.
    Child {
        /// The program whose subcommand `compile-module` is [`compile_module`]: our own.
        program: PathBuf,
        limits: CompileLimits,
    },
    /// This process, without limits: for tests and benchmarks of the library, which
    /// have no program to start.
    InProcess,
}

/// What one compilation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space of the child, stacks and the program itself included. Default 2 GiB.
    pub memory: ByteSize,
    /// Processor time of all its threads together, in whole seconds. Default 300 s.
    pub cpu_time: Span,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { memory: ByteSize::mib(2048), cpu_time: Span::from_secs(300) }
    }
}

/// How far a compilation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompileStage {
    /// `ahead` others come first; 1: only the one being compiled now.
    Waiting { ahead: usize },
    /// Processor time used so far, and what may be used; both zero in this process.
    Compiling { cpu: Duration, cpu_limit: Duration },
}

/// Is told of every change, and about once a second. Must not block.
pub type TellCompileStage<'a> = &'a (dyn Fn(CompileStage) + Send + Sync);

/// Pause between two tellings while nothing changes.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// What to do about a module that is too large.
pub(super) const SMALLER: &str = "make it smaller, or split it into several modules";

/// Text of a library's error shown to the caller.
const MAX_REASON_BYTES: usize = 1_000;

impl Refused {
    pub(super) fn module(code: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, thing: "the module".to_owned(), reason: shortened(reason.into()), remedy: remedy.into() }
    }
}

impl Sandbox {
    /// Compiles the component that `wasm` holds from its beginning and keeps the code
    /// in `store`, under the digest of `module`. Waits for its turn: modules are
    /// compiled one at a time.
    ///
    /// Refuses what is no component, what exceeds a bound or costs too much, what
    /// cannot be linked, and code that somebody else has compiled: it would run
    /// without any check. Dropping the future kills the child; nothing is kept.
    pub async fn compile_into(
        &self,
        store: &Arc<CompiledStore>,
        module: Digest,
        wasm: File,
        tell: TellCompileStage<'_>,
    ) -> Result<CompiledFile, UploadError> {
        let turn = self.0.turns.take(|ahead| tell(CompileStage::Waiting { ahead })).await;
        match &self.0.compiler {
            Compiler::Child { program, limits } => {
                let orders = Orders::new(*limits, self.0.max_memory_bytes);
                let code = process::compile(program, orders, wasm, store, turn, tell).await?;
                let store = store.clone();
                let kept = in_background("module-store", move || store.put_written(module, code)).await?;
                Ok(kept.map_err(SandboxError::io("keep compiled code"))?)
            }
            Compiler::InProcess => {
                tell(CompileStage::Compiling { cpu: Duration::ZERO, cpu_limit: Duration::ZERO });
                let (sandbox, store) = (self.clone(), store.clone());
                let compiled = in_background("compile", move || {
                    let _turn = turn;
                    let mut bytes = Vec::new();
                    (&wasm).read_to_end(&mut bytes).map_err(SandboxError::io("read a module"))?;
                    let code = sandbox.compile(&bytes)?;
                    Ok(store.put(module, &code).map_err(SandboxError::io("keep compiled code"))?)
                });
                compiled.await?
            }
        }
    }

    /// Compiles in this process, on low-priority threads, and blocks meanwhile. For
    /// tests and benchmarks: nothing bounds what it costs.
    pub fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, Refused> {
        let bounds = Bounds { max_memory_bytes: self.0.max_memory_bytes };
        nicely(|| machine_code(&self.machine().engine, &self.machine().linker, wasm, bounds))
    }
}

/// Runs `work` on low-priority threads of its own. wasmtime compiles with rayon,
/// whose global pool would compete with the server.
fn nicely<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new()
        .thread_name(|number| format!("compile-{number}"))
        .start_handler(|_| be_nice())
        .build();
    match pool {
        Ok(pool) => pool.install(work),
        Err(error) => {
            tracing::warn!(%error, "no threads to compile on; compiling at the server's priority");
            work()
        }
    }
}

/// Runs blocking work on a low-priority thread. The work goes on when the future
/// is dropped.
pub(super) async fn in_background<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SandboxError> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        be_nice();
        let _ = done.send(work());
    })?;
    // The sender is only lost to a panic.
    result.await.map_err(|_| SandboxError::Panicked(format!("on the thread `{name}`")))
}

/// What the system has refused wasmtime, if that is why it failed.
pub(super) fn system_error(error: &wasmtime::Error) -> Option<io::ErrorKind> {
    if error.is::<wasmtime::OutOfMemory>() {
        return Some(io::ErrorKind::OutOfMemory);
    }
    error.chain().find_map(|cause| {
        let of_std = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        of_std.or_else(|| cause.downcast_ref::<rustix::io::Errno>().map(|errno| errno.kind()))
    })
}

/// At most so many bytes, and whole characters, of a text.
pub(super) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

/// A library's message is bounded and becomes one line.
pub(super) fn shortened(text: String) -> String {
    let text = cut(text, MAX_REASON_BYTES);
    if text.contains('\n') { text.split_whitespace().collect::<Vec<_>>().join(" ") } else { text }
}
