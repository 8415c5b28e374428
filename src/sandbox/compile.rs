//! Makes machine code of an uploaded component, or says why not.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::adapt::component_of;
use super::threads::be_nice;
use super::{Sandbox, SandboxError};

/// Why an upload is not accepted. The caller's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{thing} {reason}; {remedy}")]
pub struct Refused {
    /// Stable: `not_wasm`, `precompiled`, `core_module`, `invalid_component`,
    /// `unknown_imports`, `too_large`, `no_functions`, `invalid_descriptors`.
    pub code: &'static str,
    pub thing: String,
    pub reason: String,
    pub remedy: String,
}

/// Why an upload did not succeed: the caller's fault, or ours.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Failed(#[from] SandboxError),
}

/// Every binary begins with these bytes, then a version and a layer.
const MAGIC: &[u8; 4] = b"\0asm";

/// Text of a library's error shown to the caller.
const MAX_REASON_BYTES: usize = 1_000;

impl Refused {
    pub(super) fn module(code: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, thing: "the module".to_owned(), reason: shortened(reason.into()), remedy: remedy.into() }
    }
}

impl Sandbox {
    /// Compiles a component. Blocks for as long as that takes (seconds for tens of
    /// megabytes), on low-priority threads of its own, one a processor.
    ///
    /// Refuses what is no component, what cannot be linked, and code that somebody
    /// else has compiled: it would run without any check.
    pub fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, Refused> {
        recognise(wasm)?;
        let component = component_of(wasm)?;
        let component = nicely(|| Component::from_binary(&self.machine().engine, &component)).map_err(|error| {
            let remedy = format!(
                "upload a complete component without threads, GC, exceptions or 64-bit memories, \
                 whose memory begins with at most {} bytes",
                self.0.max_memory_bytes
            );
            Refused::module("invalid_component", format!("does not compile: {error:#}"), remedy)
        })?;
        self.check_imports(&component)?;
        component.serialize().map_err(|error| {
            Refused::module("invalid_component", format!("could not be stored: {error:#}"), "report this")
        })
    }

    /// [`compile`](Self::compile) without blocking, one module at a time. Dropping
    /// the future does not stop the compilation.
    pub async fn compile_in_background(&self, wasm: bytes::Bytes) -> Result<Vec<u8>, UploadError> {
        let sandbox = self.clone();
        // A compilation takes a gigabyte for a large module; two would not be faster.
        let turn = self.0.compiling.clone().acquire_owned().await.map_err(|_| SandboxError::Closed)?;
        let compiled = in_background("compile", move || {
            let _turn = turn;
            sandbox.compile(&wasm)
        });
        Ok(compiled.await??)
    }

    /// Names every import that is not offered, one by one.
    pub(super) fn check_imports(&self, component: &Component) -> Result<(), Refused> {
        let unknown: Vec<String> = component
            .component_type()
            .imports(component.engine())
            .map(|(name, _)| name)
            .filter(|name| !is_offered(name))
            .map(|name| format!("`{name}`"))
            .collect();
        if !unknown.is_empty() {
            return Err(Refused::module(
                "unknown_imports",
                format!("imports what is not offered here: {}", unknown.join(", ")),
                "build it for wasi 0.2 and tradewind:task 1.x only",
            ));
        }
        // What is left: a known interface in a shape we do not have.
        self.machine().linker.instantiate_pre(component).map(drop).map_err(|error| {
            Refused::module(
                "unknown_imports",
                format!("cannot be linked: {error:#}"),
                "build it against the WIT packages this version offers",
            )
        })
    }
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

/// The interfaces that are linked, without their minor versions. `wasi:*` as of
/// wasmtime-wasi 48; a test holds this list to the linker.
pub(super) const OFFERED: &[(&str, &str)] = &[
    ("tradewind:task/context", "1."),
    ("tradewind:task/log", "1."),
    ("tradewind:task/types", "1."),
    ("wasi:cli/environment", "0.2."),
    ("wasi:cli/exit", "0.2."),
    ("wasi:cli/stderr", "0.2."),
    ("wasi:cli/stdin", "0.2."),
    ("wasi:cli/stdout", "0.2."),
    ("wasi:cli/terminal-input", "0.2."),
    ("wasi:cli/terminal-output", "0.2."),
    ("wasi:cli/terminal-stderr", "0.2."),
    ("wasi:cli/terminal-stdin", "0.2."),
    ("wasi:cli/terminal-stdout", "0.2."),
    ("wasi:clocks/monotonic-clock", "0.2."),
    ("wasi:clocks/wall-clock", "0.2."),
    ("wasi:filesystem/preopens", "0.2."),
    ("wasi:filesystem/types", "0.2."),
    ("wasi:http/outgoing-handler", "0.2."),
    ("wasi:http/types", "0.2."),
    ("wasi:io/error", "0.2."),
    ("wasi:io/poll", "0.2."),
    ("wasi:io/streams", "0.2."),
    ("wasi:random/insecure", "0.2."),
    ("wasi:random/insecure-seed", "0.2."),
    ("wasi:random/random", "0.2."),
    ("wasi:sockets/instance-network", "0.2."),
    ("wasi:sockets/ip-name-lookup", "0.2."),
    ("wasi:sockets/network", "0.2."),
    ("wasi:sockets/tcp", "0.2."),
    ("wasi:sockets/tcp-create-socket", "0.2."),
    ("wasi:sockets/udp", "0.2."),
    ("wasi:sockets/udp-create-socket", "0.2."),
];

fn is_offered(import: &str) -> bool {
    import.split_once('@').is_some_and(|(interface, version)| {
        OFFERED.iter().any(|(name, major)| *name == interface && version.starts_with(major))
    })
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

/// A library's message is bounded and becomes one line.
pub(super) fn shortened(mut text: String) -> String {
    if text.len() > MAX_REASON_BYTES {
        let end = (0..=MAX_REASON_BYTES).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    if text.contains('\n') { text.split_whitespace().collect::<Vec<_>>().join(" ") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_matched_by_major_version() {
        for offered in
            ["wasi:cli/stdout@0.2.0", "wasi:cli/stdout@0.2.99", "tradewind:task/log@1.0.0", "tradewind:task/log@1.9.0"]
        {
            assert!(is_offered(offered), "{offered}");
        }
        for other in
            ["wasi:cli/stdout@0.3.0", "tradewind:task/log@2.0.0", "wasi:http/types@0.3.0", "log", "tradewind:task/log"]
        {
            assert!(!is_offered(other), "{other}");
        }
    }
}
