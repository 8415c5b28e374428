//! What does a guest write to and read from a file by a stream?
//!
//! wasmtime's own streams, bounded: what is written is charged before it is handed on,
//! and what passes is counted. A file's stream holds one pending operation at most,
//! and empty writes are not handed on at all, so no queue of them can grow.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::ledger::{Growth, Start};
use super::open::Open;
use crate::sandbox::meter::Meter;

/// Streams one attempt has at once: each may hold 64 KiB on its way.
pub(super) const MAX_STREAMS: usize = 128;

/// What both kinds hold.
pub(super) struct Stream {
    pub(super) file: Arc<Open>,
    pub(super) meter: Arc<Meter>,
    /// How many there are is how often this is held.
    pub(super) _count: Arc<()>,
}

pub(super) struct Output {
    inner: DynOutputStream,
    stream: Stream,
    start: Start,
    /// Of the write that is under way.
    growth: Option<Growth>,
}

pub(super) struct Input {
    inner: DynInputStream,
    stream: Stream,
}

impl Output {
    pub(super) fn over(inner: DynOutputStream, stream: Stream, start: Start) -> DynOutputStream {
        Box::new(Self { inner, stream, start, growth: None })
    }

    /// Called when no write is under way.
    fn begin(&mut self, bytes: usize) -> StreamResult<()> {
        let bytes = bytes as u64;
        let growth = self.stream.file.grow(self.start, bytes);
        let full = |_| StreamError::LastOperationFailed(std::io::Error::from(rustix::io::Errno::NOSPC).into());
        self.growth = Some(growth.map_err(full)?);
        if let Start::At(offset) = &mut self.start {
            *offset += bytes;
        }
        self.stream.meter.file_bytes(bytes);
        Ok(())
    }

    /// No write is under way any more.
    fn settle(&mut self) {
        if let Some(growth) = self.growth.take() {
            self.stream.file.settle(growth);
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.inner.ready().await;
        self.settle();
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Who writes more than was permitted did not ask first. wasmtime's own stream would take
        // it, and keep it in memory until the disk has it.
        if bytes.len() > self.check_write()? {
            return Err(StreamError::trap("a write larger than the stream permitted"));
        }
        self.begin(bytes.len())?;
        self.inner.write(bytes)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.ready().await;
        if bytes.is_empty() {
            return self.inner.flush();
        }
        self.begin(bytes.len())?;
        let written = self.inner.blocking_write_and_flush(bytes).await;
        self.settle();
        written
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    /// Where nothing is left one byte may be tried, which then fails: an error here
    /// would be one of the writes before, which went well.
    fn check_write(&mut self) -> StreamResult<usize> {
        let permitted = self.inner.check_write();
        if matches!(permitted, Ok(0)) {
            return permitted;
        }
        self.settle();
        let room = usize::try_from(self.stream.file.room(self.start)).unwrap_or(usize::MAX);
        Ok(permitted?.min(room.max(1)))
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
        self.settle();
    }
}

impl Input {
    pub(super) fn over(inner: DynInputStream, stream: Stream) -> DynInputStream {
        Box::new(Self { inner, stream })
    }

    fn counted(&self, read: StreamResult<Bytes>) -> StreamResult<Bytes> {
        if let Ok(bytes) = &read {
            self.stream.meter.file_bytes(bytes.len() as u64);
        }
        read
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let read = self.inner.read(size);
        self.counted(read)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let read = self.inner.blocking_read(size).await;
        self.counted(read)
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
