//! A guest's standard streams: to its log, and for a program from its input and to its output.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::log::{LineCutter, LogLevel, LogLine, LogSink, LogStream};
use crate::model::Timestamp;

/// Bytes a guest may print in one call before it is asked to come again.
const WRITE_BUDGET: usize = 64 << 10;

/// Where a guest's standard streams lead. What it prints to stderr is its log in any case.
#[derive(Clone)]
pub(super) enum Stdio {
    /// Nothing to read, and stdout is its log too.
    Log,
    /// A command-line program's.
    Program { input: Bytes, output: Captured },
}

/// Turns what a guest prints into lines of its log. Clones share one buffer.
#[derive(Clone)]
pub(super) struct Printer(Arc<Lines>);

struct Lines {
    stream: LogStream,
    log: Arc<dyn LogSink>,
    cutter: Mutex<LineCutter>,
}

impl Printer {
    pub(super) fn new(stream: LogStream, log: &Arc<dyn LogSink>) -> Self {
        Self(Arc::new(Lines { stream, log: log.clone(), cutter: Mutex::default() }))
    }

    fn print(&self, bytes: &[u8]) {
        self.0.cutter.lock().push(bytes, |line| self.line(line));
    }

    /// Hands on what was printed without a line break at its end.
    pub(super) fn flush_line(&self) {
        self.0.cutter.lock().flush(|line| self.line(line));
    }

    fn line(&self, message: &str) {
        self.0.log.write(LogLine { at: Timestamp::now(), stream: self.0.stream, level: LogLevel::Info, message });
    }
}

/// Keeps what a program prints, up to its limit. Clones share one buffer.
#[derive(Clone)]
pub(super) struct Captured(Arc<Output>);

struct Output {
    limit: usize,
    bytes: Mutex<Vec<u8>>,
}

/// A program printed more than its result may hold; the attempt ends there.
#[derive(Debug, thiserror::Error)]
#[error("the program printed more than its result may hold")]
pub(super) struct OutputFull;

impl Captured {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self(Arc::new(Output { limit: limit_bytes, bytes: Mutex::default() }))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.bytes.lock())
    }
}

/// Where a stream of a guest ends.
pub(super) trait Sink: Clone + Send + Sync + 'static {
    fn take(&self, bytes: &[u8]) -> StreamResult<()>;
}

impl Sink for Printer {
    fn take(&self, bytes: &[u8]) -> StreamResult<()> {
        self.print(bytes);
        Ok(())
    }
}

impl Sink for Captured {
    fn take(&self, bytes: &[u8]) -> StreamResult<()> {
        let mut kept = self.0.bytes.lock();
        if kept.len() + bytes.len() > self.0.limit {
            return Err(StreamError::Trap(OutputFull.into()));
        }
        kept.extend_from_slice(bytes);
        Ok(())
    }
}

/// A guest's stream into a sink, which takes what it is given at once: it never makes a guest wait.
#[derive(Clone)]
pub(super) struct Prompt<S>(pub(super) S);

impl<S> IsTerminal for Prompt<S> {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl<S: Sink> StdoutStream for Prompt<S> {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, which is not linked.
        Box::new(tokio::io::sink())
    }
}

#[wasmtime_wasi::async_trait]
impl<S: Sink> Pollable for Prompt<S> {
    async fn ready(&mut self) {}
}

impl<S: Sink> OutputStream for Prompt<S> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // Or one call would keep its thread for seconds.
        if bytes.len() > WRITE_BUDGET {
            return Err(StreamError::trap("a print larger than the stream permitted"));
        }
        self.0.take(&bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BUDGET)
    }
}
