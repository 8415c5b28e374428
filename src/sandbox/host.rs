//! What a guest finds on the other side of its imports: its context and its log.
//!
//! Everything here is free for everyone and answers from memory. What needs a
//! grant gets a file of its own under `capability/`.

use std::sync::Arc;

use wasmtime::component::Linker;

use super::capability::http::{self, Http, HttpClients};
use super::capability::scratch::{self, Scratch};
use super::capability::sockets;
use super::limits::MemoryMeter;
use super::log::{LogLevel, LogLine, LogSink, LogStream};
use super::meter::Meter;
use super::stdio::Stdio;
use super::wasi::Wasi;
use super::{SandboxError, TaskContext};
use crate::model::{Grants, Timestamp};

pub(super) use bindings::exports::tradewind::task::tasks::{Descriptor, Interruption};
pub(super) use bindings::tradewind::task::types::RetryAdvice as GuestRetryAdvice;
use bindings::tradewind::task::{context, log, types};

mod bindings {
    wasmtime::component::bindgen!({ path: "wit", world: "task" });
}

/// The interface a module of the SDK world exports. Looked up by its major
/// version: any 1.x is found.
pub(super) const TASKS_INTERFACE: &str = "tradewind:task/tasks@1.0.0";

/// What belongs to one attempt, in its store.
pub(super) struct Host {
    pub(super) memory: MemoryMeter,
    pub(super) meter: Arc<Meter>,
    pub(super) context: TaskContext,
    pub(super) log: Arc<dyn LogSink>,
    pub(super) stdio: Stdio,
    pub(super) args: Arc<[String]>,
    pub(super) grants: Arc<Grants>,
    /// Of an attempt with the grant.
    pub(super) scratch: Option<Box<Scratch>>,
    pub(super) http_clients: HttpClients,
    /// Before `wasi`, and so dropped before it: an end of the guest's streams is
    /// not taken for an end that the guest meant.
    pub(super) http: Option<Box<Http>>,
    pub(super) wasi: Option<Box<Wasi>>,
}

/// Everything a guest may import. Built once.
pub(super) fn linker(engine: &wasmtime::Engine) -> Result<Linker<Host>, SandboxError> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(SandboxError::engine("link WASI"))?;
    http::link(&mut linker).map_err(SandboxError::engine("link wasi:http"))?;
    scratch::link(&mut linker).map_err(SandboxError::engine("link wasi:filesystem"))?;
    sockets::link(&mut linker).map_err(SandboxError::engine("link wasi:sockets"))?;
    bindings::Task::add_to_linker::<Host, wasmtime::component::HasSelf<Host>>(&mut linker, called)
        .map_err(SandboxError::engine("link tradewind:task"))?;
    Ok(linker)
}

/// A guest that calls one of the host's functions asks for the host first.
fn called(host: &mut Host) -> &mut Host {
    host.meter.call();
    host
}

impl types::Host for Host {}

impl context::Host for Host {
    fn task_id(&mut self) -> String {
        self.context.task_id.to_string()
    }

    fn run_id(&mut self) -> Option<String> {
        self.context.run.as_ref().map(|run| run.run_id.clone())
    }

    fn dag_id(&mut self) -> Option<String> {
        self.context.run.as_ref().map(|run| run.dag_id.clone())
    }

    fn logical_date(&mut self) -> Option<String> {
        self.context.run.as_ref().and_then(|run| run.logical_date).map(|moment| moment.to_string())
    }

    fn data_interval_start(&mut self) -> Option<String> {
        self.context.run.as_ref().and_then(|run| run.data_interval_start).map(|moment| moment.to_string())
    }

    fn data_interval_end(&mut self) -> Option<String> {
        self.context.run.as_ref().and_then(|run| run.data_interval_end).map(|moment| moment.to_string())
    }

    fn try_number(&mut self) -> u32 {
        self.context.try_number
    }

    fn map_index(&mut self) -> Option<u32> {
        self.context.run.as_ref().and_then(|run| run.map_index)
    }

    fn params(&mut self) -> String {
        self.context.run.as_ref().map_or_else(|| "{}".to_owned(), |run| run.params.as_str().to_owned())
    }

    fn deadline(&mut self) -> String {
        self.context.deadline.to_string()
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Trace => LogLevel::Trace,
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.log.write(LogLine { at: Timestamp::now(), stream: LogStream::Log, level, message: &message });
    }
}
