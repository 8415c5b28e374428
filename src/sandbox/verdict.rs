//! Decides how an attempt ended: its outcome, and what is said of it.

use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use super::attempt::{Answer, Attempt, End, Stopped};
use super::compile::{cut, shortened};
use super::host::{GuestRetryAdvice, Interruption};
use super::log::LogSink;
use super::meter::Meter;
use super::run::Ending;
use super::stdio::{Captured, OutputFull};
use super::values::{InputProblem, LiftError, Returned};
use crate::model::{Json, Limits, Outcome, RetryAdvice, TaskError, Usage};

/// Longest message of a task that is kept; longer ones are cut.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// Longest function name in a backtrace.
const MAX_FRAME_BYTES: usize = 300;

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
    /// Of an attempt that never began.
    pub(super) fn cancelled() -> Self {
        Self::of(Verdict::cancelled())
    }

    fn of(verdict: Verdict) -> Self {
        let Verdict { outcome, result, error, advice } = verdict;
        Self { outcome, result, error, advice, usage: Usage::default() }
    }
}

/// What passed between an attempt and its host.
pub(super) struct Used<'a> {
    pub(super) input: &'a Json,
    /// What a program printed.
    pub(super) output: Option<Captured>,
    pub(super) log: &'a dyn LogSink,
    pub(super) meter: &'a Meter,
}

pub(super) fn ending(attempt: Attempt, limits: &Limits, used: Used<'_>) -> Ending {
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
