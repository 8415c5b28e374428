//! Runs one attempt of a task.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::attempt::{Bounds, Call, Outside, attempt};
use super::capability::scratch::{Directory, Scratch};
use super::host::Host;
use super::limits::MemoryMeter;
use super::log::LogSink;
use super::meter::Meter;
use super::module::{Function, Module};
use super::stdio::{Captured, Stdio};
use super::stop::StopSignal;
use super::verdict::{Used, ending};
use super::wait::WaitListener;
use super::{Sandbox, SandboxError};
use crate::model::{Grants, Json, Limits, Outcome, RetryAdvice, TaskError, TaskId, Timestamp, Usage};

/// One attempt to run.
pub struct Job {
    pub function: Arc<str>,
    pub input: Json,
    /// Of a command-line program, without its name.
    pub args: Arc<[String]>,
    pub grants: Arc<Grants>,
    pub limits: Limits,
    pub context: TaskContext,
    pub log: Arc<dyn LogSink>,
    pub stop: StopSignal,
    /// Told when the guest waits in a host call, and when it computes again.
    pub on_wait: Option<Arc<dyn WaitListener>>,
}

/// What a guest may know about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskContext {
    pub task_id: TaskId,
    /// Counted from 1.
    pub try_number: u32,
    /// When the attempt will be stopped. Told to the guest; what stops it is
    /// `limits.execution_timeout`.
    pub deadline: Timestamp,
    /// None for a single task.
    pub run: Option<Arc<RunContext>>,
}

/// The DAG run a task belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct RunContext {
    pub run_id: String,
    pub dag_id: String,
    pub logical_date: Option<Timestamp>,
    pub data_interval_start: Option<Timestamp>,
    pub data_interval_end: Option<Timestamp>,
    pub map_index: Option<u32>,
    /// A JSON object.
    pub params: Json,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// Never `deferred` or `lost` yet.
    pub outcome: Outcome,
    /// Only of a success.
    pub result: Option<Json>,
    /// Of every other outcome.
    pub error: Option<TaskError>,
    pub advice: RetryAdvice,
    pub usage: Usage,
}

impl Sandbox {
    /// Runs one attempt. To be spawned on [`threads`](Self::threads): the guest
    /// computes inside of the future's `poll`, for a time slice at most.
    ///
    /// Waits while the pool has no room. Dropping the future drops the guest.
    pub fn run(
        &self,
        module: &Arc<Module>,
        job: Job,
    ) -> impl Future<Output = Result<Ending, SandboxError>> + Send + 'static {
        let (sandbox, module) = (self.clone(), module.clone());
        async move {
            let Some(_room) = sandbox.room_unless_stopped(module.room_needed(), &job.stop).await else {
                return Ok(Ending::cancelled());
            };
            let call = match module.function(&job.function) {
                Some(Function::Typed { export, signature }) => Call::Function { export, signature, input: &job.input },
                Some(Function::Task { run, .. }) => Call::Task { run, name: &job.function, input: &job.input },
                Some(Function::Program { run }) => Call::Program { run },
                None => {
                    let function = job.function.to_string();
                    return Err(SandboxError::NoFunction { module: module.digest(), function });
                }
            };
            let limits = &job.limits;
            let bounds = Bounds {
                wall: limits.execution_timeout.get(),
                cpu: limits.cpu_time.get(),
                answer_bytes: usize::try_from(limits.output_bytes).unwrap_or(usize::MAX),
            };
            let memory_bytes = limits.memory_bytes.min(sandbox.0.max_memory_bytes);
            let (stdio, output) = match call {
                Call::Program { .. } => {
                    let output = Captured::new(bounds.answer_bytes);
                    (Stdio::Program { input: stdin(&job.input), output: output.clone() }, Some(output))
                }
                _ => (Stdio::Log, None),
            };
            let (directory, scratch) = sandbox.scratch(&job.grants)?.unzip();
            let meter = Arc::new(Meter::new(limits));
            let host = Host {
                memory: MemoryMeter::new(memory_bytes),
                meter: meter.clone(),
                context: job.context,
                log: job.log.clone(),
                stdio,
                args: job.args,
                grants: job.grants,
                scratch,
                http_clients: sandbox.0.http_clients.clone(),
                http: None,
                wasi: None,
            };
            let outside = Outside { stop: &job.stop, on_wait: job.on_wait.as_deref() };
            let attempt = attempt(module.instance(), host, call, &bounds, outside).await;
            if let Some(directory) = directory {
                directory.remove().await;
            }
            let attempt = attempt?;
            let used = Used { input: &job.input, output, log: &*job.log, meter: &meter };
            Ok(ending(attempt, limits, used))
        }
    }

    /// A directory for an attempt that was granted one.
    fn scratch(&self, grants: &Grants) -> Result<Option<(Directory, Box<Scratch>)>, SandboxError> {
        let Some(grant) = grants.scratch else { return Ok(None) };
        let root = self.0.scratch.as_ref().ok_or(SandboxError::NoScratch)?;
        Scratch::prepare(root, grant).map(Some)
    }

    async fn room_unless_stopped(&self, needed: u32, stop: &StopSignal) -> Option<OwnedSemaphorePermit> {
        if let Ok(permits) = self.0.room.clone().try_acquire_many_owned(needed) {
            return Some(permits);
        }
        let mut room = pin!(self.room(needed));
        poll_fn(
            |cx| {
                if stop.is_stopped_or_wakes(cx.waker()) { Poll::Ready(None) } else { room.as_mut().poll(cx).map(Some) }
            },
        )
        .await
    }
}

/// What a program reads: its input as JSON, and nothing where there is none.
fn stdin(input: &Json) -> Bytes {
    match input.as_str() {
        "null" => Bytes::new(),
        text => Bytes::copy_from_slice(text.as_bytes()),
    }
}
