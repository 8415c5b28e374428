//! Runs one attempt of a task and decides how it ended.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{Trap, WasmBacktrace};

use super::attempt::{Answer, Attempt, Bounds, Call, End, Outside, Stopped, attempt};
use super::capability::scratch::{Directory, Scratch};
use super::compile::{cut, shortened};
use super::host::{GuestRetryAdvice, Host, Interruption};
use super::limits::MemoryMeter;
use super::log::LogSink;
use super::meter::Meter;
use super::module::{Function, Module};
use super::stdio::{Captured, OutputFull, Stdio};
use super::stop::StopSignal;
use super::values::{InputProblem, LiftError, Returned};
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

/// Longest message of a task that is kept; longer ones are cut.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// Longest function name in a backtrace.
const MAX_FRAME_BYTES: usize = 300;

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
                return Ok(Ending::of(Verdict::cancelled()));
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

/// Outcome, result, error and advice: what is decided about an attempt.
struct Verdict {
    outcome: Outcome,
    result: Option<Json>,
    error: Option<TaskError>,
    advice: RetryAdvice,
}

impl Verdict {
    fn success(result: Json) -> Self {
        Self { outcome: Outcome::Success, result: Some(result), error: None, advice: RetryAdvice::ByPolicy }
    }

    fn not(outcome: Outcome, error: TaskError) -> Self {
        Self { outcome, result: None, error: Some(error), advice: RetryAdvice::ByPolicy }
    }

    fn cancelled() -> Self {
        Self::not(Outcome::Cancelled, TaskError::message("the attempt was cancelled"))
    }

    fn too_large(limits: &Limits) -> Self {
        let message = format!(
            "the result is larger than {} bytes; return less, or raise the limit output_bytes",
            limits.output_bytes
        );
        Self::not(Outcome::OutputTooLarge, TaskError::message(message))
    }

    fn never_again(self) -> Self {
        Self { advice: RetryAdvice::Never, ..self }
    }
}

impl Ending {
    fn of(verdict: Verdict) -> Self {
        let Verdict { outcome, result, error, advice } = verdict;
        Self { outcome, result, error, advice, usage: Usage::default() }
    }
}

/// What a program reads: its input as JSON, and nothing where there is none.
fn stdin(input: &Json) -> Bytes {
    match input.as_str() {
        "null" => Bytes::new(),
        text => Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// What passed between an attempt and its host.
struct Used<'a> {
    input: &'a Json,
    /// What a program printed.
    output: Option<Captured>,
    log: &'a dyn LogSink,
    meter: &'a Meter,
}

fn ending(attempt: Attempt, limits: &Limits, used: Used<'_>) -> Ending {
    let Used { input, output, log, meter } = used;
    let verdict = match attempt.end {
        End::Answered(Answer::Exited(0)) => match printed(output) {
            // As JSON, a text is longer than what was printed.
            result if result.as_str().len() as u64 > limits.output_bytes => Verdict::too_large(limits),
            result => Verdict::success(result),
        },
        End::Answered(answer) => judge_answer(answer, limits),
        End::Broke(error) => judge_error(&error, limits),
        End::Stopped(why) => judge_stop(why, limits),
    };
    let verdict = match verdict.outcome {
        // Its failure follows from the memory it did not get.
        Outcome::Trapped | Outcome::Failed if attempt.memory_denied => out_of_memory(verdict, limits),
        Outcome::Trapped | Outcome::Failed => denied(verdict, meter.denied_calls()),
        _ => verdict,
    };
    let log_bytes = log.bytes();
    let output_bytes = verdict.result.as_ref().map_or(0, |json| json.as_str().len()) as u64;
    let usage = Usage {
        cpu_us: u64::try_from(attempt.cpu.as_micros()).unwrap_or(u64::MAX),
        peak_memory_bytes: attempt.peak_memory_bytes,
        host_bytes: input.as_str().len() as u64 + output_bytes + log_bytes + meter.bytes(),
        log_bytes,
        host_calls: meter.calls(),
    };
    Ending { usage, ..Ending::of(verdict) }
}

fn judge_answer(answer: Answer, limits: &Limits) -> Verdict {
    match answer {
        Answer::Returned(Ok(Returned::Value(value))) => Verdict::success(value),
        Answer::Returned(Ok(Returned::Error(data))) => {
            let message = data.as_ref().map_or_else(|| "the function returned an error".to_owned(), message_of);
            Verdict::not(Outcome::Failed, TaskError { data, ..TaskError::message(message) })
        }
        Answer::Returned(Err(LiftError::TooLarge)) => Verdict::too_large(limits),
        Answer::Returned(Err(LiftError::Unsupported(reason))) => {
            let message = format!("the result cannot be shown as JSON: {}", shortened(reason));
            Verdict::not(Outcome::Failed, TaskError::message(message)).never_again()
        }
        Answer::InputRefused(problems) => {
            Verdict::not(Outcome::Failed, TaskError::message(input_message(&problems))).never_again()
        }
        Answer::Task(Ok(text)) if text.len() as u64 > limits.output_bytes => Verdict::too_large(limits),
        Answer::Task(Ok(text)) => match Json::parse(text) {
            Ok(result) => Verdict::success(result),
            Err(error) => {
                let message = format!("the task returned what is not JSON: {error}");
                Verdict::not(Outcome::Failed, TaskError::message(message))
            }
        },
        Answer::Task(Err(Interruption::Skipped(why))) => {
            Verdict::not(Outcome::Skipped, TaskError::message(cut(why, MAX_MESSAGE_BYTES)))
        }
        Answer::Task(Err(Interruption::Failed(failure))) => {
            if failure.data.as_ref().is_some_and(|data| data.len() as u64 > limits.output_bytes) {
                return Verdict::too_large(limits);
            }
            // Data that is not JSON is kept as a text.
            let data = failure.data.and_then(|text| Json::parse(text.clone()).or_else(|_| Json::of(&text)).ok());
            let error = TaskError { data, ..TaskError::message(cut(failure.message, MAX_MESSAGE_BYTES)) };
            let advice = match failure.retry {
                GuestRetryAdvice::ByPolicy => RetryAdvice::ByPolicy,
                GuestRetryAdvice::Never => RetryAdvice::Never,
                GuestRetryAdvice::After(millis) => RetryAdvice::After(Duration::from_millis(millis)),
            };
            Verdict { advice, ..Verdict::not(Outcome::Failed, error) }
        }
        Answer::Exited(code) => {
            let message = format!("the program ended with exit code {code}");
            Verdict::not(Outcome::Failed, TaskError { exit_code: Some(code), ..TaskError::message(message) })
        }
        // A run is never answered with descriptors.
        Answer::Descriptors(_) => Verdict::not(Outcome::Failed, TaskError::message("the module answered another call")),
    }
}

/// What a program printed: as the JSON it is, else as text.
fn printed(output: Option<Captured>) -> Json {
    let text = match String::from_utf8(output.map(|output| output.bytes()).unwrap_or_default()) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    match Json::parse(text.trim().to_owned()) {
        Ok(json) => json,
        Err(_) => Json::of(&text).expect("a text is JSON"),
    }
}

fn judge_error(error: &wasmtime::Error, limits: &Limits) -> Verdict {
    if answer_was_too_large(error) || error.is::<OutputFull>() {
        return Verdict::too_large(limits);
    }
    let backtrace = frames(error);
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        let message = format!("the guest ended itself with exit code {} before the function returned", exit.0);
        let error = TaskError { exit_code: Some(exit.0), backtrace, ..TaskError::message(message) };
        return Verdict::not(Outcome::Failed, error);
    }
    let message = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        // A host function refused what the guest asked, or the answer cannot be read.
        None => shortened(error.root_cause().to_string()),
    };
    Verdict::not(Outcome::Trapped, TaskError { backtrace, ..TaskError::message(message) })
}

fn judge_stop(why: Stopped, limits: &Limits) -> Verdict {
    let timed_out = |limit: &str, span: &dyn std::fmt::Display| {
        let message = format!("the attempt took longer than its {limit} of {span}");
        Verdict::not(Outcome::TimedOut, TaskError::message(message))
    };
    match why {
        Stopped::BySignal => Verdict::cancelled(),
        Stopped::WallTime => timed_out("execution_timeout", &limits.execution_timeout),
        Stopped::CpuTime => timed_out("cpu_time", &limits.cpu_time),
        Stopped::HostCalls => {
            let message =
                format!("the guest made more calls of the host than its limit host_calls of {}", limits.host_calls);
            Verdict::not(Outcome::Trapped, TaskError::message(message))
        }
    }
}

/// A guest that did not succeed after it was refused a call: that is the reason to name.
fn denied(verdict: Verdict, denied_calls: Vec<String>) -> Verdict {
    if denied_calls.is_empty() {
        return verdict;
    }
    let mut error = verdict.error.unwrap_or_default();
    let asked = denied_calls.first().map_or("", String::as_str);
    error.message =
        format!("the guest asked for what it was not granted ({asked}), and then did not succeed: {}", error.message);
    error.denied_calls = denied_calls;
    Verdict { outcome: Outcome::Denied, error: Some(error), ..verdict }
}

fn out_of_memory(verdict: Verdict, limits: &Limits) -> Verdict {
    let mut error = verdict.error.unwrap_or_default();
    error.message = format!(
        "the guest was refused memory at its limit memory_bytes of {}, and then did not succeed: {}",
        limits.memory_bytes, error.message
    );
    Verdict { outcome: Outcome::OutOfMemory, error: Some(error), ..verdict }
}

/// wasmtime bounds what it copies from a guest, and says so with an error of a
/// private type: its text is all there is, and a test holds it. Inside of a call
/// to a host function there would be a backtrace.
fn answer_was_too_large(error: &wasmtime::Error) -> bool {
    !error.is::<WasmBacktrace>() && error.root_cause().to_string().starts_with("too much data is being copied")
}

/// The guest's frames, innermost first, by the names in its name section.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    frames
        .iter()
        .take(super::engine::MAX_FRAMES)
        .map(|frame| {
            let name = match frame.func_name() {
                Some(name) => cut(format!("{:#}", rustc_demangle::demangle(name)), MAX_FRAME_BYTES),
                None => format!("<function {}>", frame.func_index()),
            };
            match frame.module_offset() {
                Some(offset) => format!("{name} at {offset:#x}"),
                None => name,
            }
        })
        .collect()
}

/// An error value that is a text is its own message.
fn message_of(data: &Json) -> String {
    match serde_json::from_str::<String>(data.as_str()) {
        Ok(text) => cut(text, MAX_MESSAGE_BYTES),
        Err(_) => "the function returned an error; `data` holds it".to_owned(),
    }
}

fn input_message(problems: &[InputProblem]) -> String {
    let first = problems.first().map_or_else(String::new, |problem| format!("{}: {}", problem.path, problem.message));
    format!("the input does not fit the function: {first}")
}
