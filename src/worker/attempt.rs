//! One attempt: module, guest, large output, log, report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::engine::{Assignment, Ending};
use crate::model::task::{AttemptReport, TaskResult};
use crate::model::{Json, TaskError, Timestamp};
use crate::sandbox::{self, Job, Module, SandboxError, StopSignal, TaskContext};

use super::Shared;
use super::live::Live;
use super::log::LogBuffer;

/// Results above this go to the artifacts.
const INLINE_RESULT_BYTES: usize = 64 << 10;

/// Pause before an attempt that our side could not carry out is tried again.
const PAUSE_AFTER_OUR_FAILURE: Duration = Duration::from_secs(2);

pub(super) fn spawn(shared: &Arc<Shared>, assignment: Assignment) {
    let live = Live {
        stop: StopSignal::new(),
        handed_back: Arc::new(AtomicBool::new(false)),
        log: Arc::new(LogBuffer::new(assignment.spec.terms.limits.log_bytes, shared.segments.clone())),
    };
    shared.live.add(assignment.task, assignment.fence, live.clone());
    let worker = shared.clone();
    let run = async move {
        let Assignment { host, task, fence, .. } = assignment;
        let ending = run(&worker, &assignment, &live).await;
        worker.live.remove(task, fence);
        worker.reports.report(host, task, fence, ending);
    };
    shared.sandbox.threads().spawn(run).detach();
}

async fn run(worker: &Shared, assignment: &Assignment, live: &Live) -> Ending {
    let spec = &assignment.spec;
    let started_at = Timestamp::now();
    let module: Arc<Module> = match worker.modules.module(spec.module).await {
        Ok(module) => module,
        Err(error) => return handed_back(&format!("the module could not be loaded: {error}")),
    };
    let limits = spec.terms.limits.clone();
    let job = Job {
        function: spec.function.clone(),
        input: spec.input.clone(),
        context: TaskContext {
            task_id: assignment.task,
            try_number: assignment.try_number,
            deadline: started_at + limits.execution_timeout.get(),
            run: None,
        },
        limits,
        log: live.log.clone(),
        stop: live.stop.clone(),
    };
    let ended = match worker.sandbox.run(&module, job).await {
        _ if live.handed_back.load(Ordering::Acquire) => {
            return Ending::HandedBack { reason: "the server stopped".into(), pause: Duration::ZERO };
        }
        Ok(ended) => ended,
        Err(error @ SandboxError::Panicked(_)) => {
            tracing::error!(task = %assignment.task, %error, "an attempt was lost");
            return Ending::Lost { reason: error.to_string().into() };
        }
        Err(error) => return handed_back(&format!("the sandbox failed: {error}")),
    };
    close(worker, assignment, live, started_at, ended).await
}

/// Makes durable what must be before the row that closes the attempt.
async fn close(
    worker: &Shared,
    assignment: &Assignment,
    live: &Live,
    started_at: Timestamp,
    ended: sandbox::Ending,
) -> Ending {
    let ended_at = Timestamp::now();
    let log = match live.log.close(ended_at).await {
        Ok(log) => log,
        Err(error) => return handed_back(&format!("the log could not be kept: {error}")),
    };
    let result = match ended.result {
        None => None,
        Some(result) => match keep(worker, assignment, result).await {
            Ok(result) => Some(result),
            Err(error) => return handed_back(&format!("the result could not be kept: {error}")),
        },
    };
    Ending::Reported(Box::new(AttemptReport {
        outcome: ended.outcome,
        result,
        error: ended.error.map(bounded).map(Arc::new),
        advice: ended.advice,
        log,
        usage: ended.usage,
        started_at,
        ended_at,
    }))
}

async fn keep(worker: &Shared, assignment: &Assignment, result: Json) -> std::io::Result<TaskResult> {
    if result.as_str().len() <= INLINE_RESULT_BYTES {
        return Ok(TaskResult::Inline(result));
    }
    let bytes = bytes::Bytes::copy_from_slice(result.as_str().as_bytes());
    worker.artifacts.put_result(assignment.task, assignment.fence, bytes).await.map(TaskResult::Artifact)
}

/// An error stands in the task's row: what is too long for it is left out.
fn bounded(error: TaskError) -> TaskError {
    match &error.data {
        Some(data) if data.as_str().len() > INLINE_RESULT_BYTES => TaskError {
            message: format!("{} (its data, {} bytes, was too long to keep)", error.message, data.as_str().len()),
            data: None,
            ..error
        },
        _ => error,
    }
}

fn handed_back(reason: &str) -> Ending {
    tracing::warn!(reason, "an attempt was handed back");
    Ending::HandedBack { reason: reason.into(), pause: PAUSE_AFTER_OUR_FAILURE }
}
