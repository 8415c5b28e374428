//! WASI 0.2 in an empty world: clocks, randomness and a log, but no directory, no
//! socket, no environment and no input.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::host::Host;
use super::log::{LineCutter, LogLevel, LogLine, LogSink, LogStream};
use crate::model::Timestamp;

/// Random bytes a guest may ask for in one call.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// Streams, pollables and other handles a guest may hold at once.
pub(super) const MAX_HANDLES: usize = 4_096;

/// Bytes a guest may print in one call before it is asked to come again.
const WRITE_BUDGET: usize = 64 << 10;

/// One attempt's WASI.
pub(super) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
    stdout: Printer,
    stderr: Printer,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| Box::new(Wasi::new(&self.log)));
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

impl Wasi {
    fn new(log: &Arc<dyn LogSink>) -> Self {
        let stdout = Printer::new(LogStream::Stdout, log);
        let stderr = Printer::new(LogStream::Stderr, log);
        let ctx = WasiCtxBuilder::new()
            .max_random_size(MAX_RANDOM_BYTES)
            // Denied by the crate's default too; said here because it is a promise.
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self { ctx, table, stdout, stderr }
    }

    /// Hands on what the guest printed without a line break at its end.
    pub(super) fn flush(&self) {
        self.stdout.flush_line();
        self.stderr.flush_line();
    }
}

/// Turns what a guest prints into lines of its log. Clones share one buffer.
#[derive(Clone)]
struct Printer(Arc<Shared>);

struct Shared {
    stream: LogStream,
    log: Arc<dyn LogSink>,
    cutter: Mutex<LineCutter>,
}

impl Printer {
    fn new(stream: LogStream, log: &Arc<dyn LogSink>) -> Self {
        Self(Arc::new(Shared { stream, log: log.clone(), cutter: Mutex::default() }))
    }

    fn print(&self, bytes: &[u8]) {
        self.0.cutter.lock().push(bytes, |line| self.line(line));
    }

    fn flush_line(&self) {
        self.0.cutter.lock().flush(|line| self.line(line));
    }

    fn line(&self, message: &str) {
        self.0.log.write(LogLine { at: Timestamp::now(), stream: self.0.stream, level: LogLevel::Info, message });
    }
}

impl IsTerminal for Printer {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printer {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, which is not linked.
        Box::new(tokio::io::sink())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printer {
    async fn ready(&mut self) {}
}

impl OutputStream for Printer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BUDGET)
    }
}
