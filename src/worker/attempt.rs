//! One attempt: module, guest, large output, log, report.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;

use crate::artifacts::INLINE_RESULT_BYTES;
use crate::coordinator::{FetchError, ModuleError, Reports};
use crate::dag::plan::Node;
use crate::engine::graph::InstanceContext;
use crate::engine::{Assignment, Ending, HostId};
use crate::evaluate::{Attempt, Given, input_of};
use crate::model::task::{AttemptLog, AttemptReport, TaskResult};
use crate::model::{Json, Outcome, RetryAdvice, TaskError, TaskId, Timestamp, Usage};
use crate::sandbox::{
    self, InputProblem, Job, Module, RunContext, SandboxError, StopSignal, TaskContext, WaitListener,
};

use super::Shared;
use super::live::Live;
use super::log::LogBuffer;

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
        // Whatever goes wrong in here, the slot comes back.
        let run = AssertUnwindSafe(run(&worker, &assignment, &live)).catch_unwind();
        let ending = run.await.unwrap_or_else(|_| {
            // The panic itself is in the log already, by the process's panic hook.
            tracing::error!(%task, "an attempt was lost to a panic of ours");
            Ending::Lost { reason: "the worker panicked".into() }
        });
        worker.live.remove(task, fence, &live);
        worker.reports.report(host, task, fence, ending);
    };
    shared.sandbox.threads().spawn(run).detach();
}

async fn run(worker: &Shared, assignment: &Assignment, live: &Live) -> Ending {
    let spec = &assignment.spec;
    let started_at = Timestamp::now();
    let module: Arc<Module> = match worker.modules.module(spec.module).await {
        Ok(module) => module,
        Err(ModuleError::Unavailable { reason }) => {
            return handed_back(&format!("the module could not be loaded: {reason}"));
        }
        // Another try would find the same.
        Err(error @ (ModuleError::NotFound(_) | ModuleError::Unusable { .. })) => {
            return cannot_run(started_at, &error.to_string());
        }
    };
    let given = match given(worker, assignment, &module).await {
        Ok(given) => given,
        Err(NotGiven::Wrong(error)) => return could_not_begin(started_at, error),
        Err(NotGiven::Unavailable(reason)) => return handed_back(&format!("its input could not be made: {reason}")),
    };
    let limits = spec.terms.limits.clone();
    let job = Job {
        function: spec.function.clone(),
        input: given.input,
        args: given.args,
        grants: spec.terms.grants.clone(),
        context: TaskContext {
            task_id: assignment.task,
            try_number: assignment.try_number,
            deadline: started_at + limits.execution_timeout.get(),
            run: assignment.instance.as_deref().map(run_context),
        },
        limits,
        log: live.log.clone(),
        stop: live.stop.clone(),
        on_wait: Some(Arc::new(Waits::of(worker, assignment))),
    };
    let ended = match worker.sandbox.run(&module, job).await {
        _ if live.handed_back.load(Ordering::Acquire) => return stopped(),
        Ok(ended) => ended,
        Err(error @ SandboxError::NoFunction { .. }) => return cannot_run(started_at, &error.to_string()),
        Err(error @ SandboxError::Panicked(_)) => {
            tracing::error!(task = %assignment.task, %error, "an attempt was lost");
            return Ending::Lost { reason: error.to_string().into() };
        }
        Err(error) => return handed_back(&format!("the sandbox failed: {error}")),
    };
    close(worker, assignment, live, started_at, ended).await
}

enum NotGiven {
    /// By its templates, or because what they name is damaged: a failed try.
    Wrong(Arc<TaskError>),
    Unavailable(String),
}

/// Of a single task what it was submitted with; of a run's what its templates make of the run.
async fn given(worker: &Shared, assignment: &Assignment, module: &Module) -> Result<Given, NotGiven> {
    let spec = &assignment.spec;
    let Some(instance) = &assignment.instance else {
        return Ok(Given { input: spec.input.clone(), args: spec.args.clone() });
    };
    let fetched = worker.inputs.for_instance(instance).await.map_err(|error| match error {
        FetchError::Unavailable(reason) => NotGiven::Unavailable(reason),
        error @ (FetchError::TooLarge { .. } | FetchError::Damaged(_)) => {
            NotGiven::Wrong(Arc::new(TaskError::message(error.to_string())))
        }
    })?;
    let Assignment { task, try_number, .. } = *assignment;
    let made = input_of(&Attempt { context: instance, spec, task, try_number }, &fetched.inputs);
    // Others may wait for its room.
    drop(fetched);
    let given = made.map_err(|error| NotGiven::Wrong(Arc::new(error)))?;
    let node = instance.plan.node(instance.node);
    // What was known beforehand was checked when the DAG was applied.
    if node.templates.make_input() || instance.map_index.is_some() {
        module
            .check_input(&spec.function, &given.input)
            .map_err(|problems| NotGiven::Wrong(does_not_fit(node, &problems)))?;
    }
    Ok(given)
}

fn does_not_fit(node: &Node, problems: &[InputProblem]) -> Arc<TaskError> {
    const NAMED: usize = 5;
    let one = |problem: &InputProblem| match problem.path.as_str() {
        "" => problem.message.clone(),
        path => format!("at `{path}`: {}", problem.message),
    };
    let said: Vec<String> = problems.iter().take(NAMED).map(one).collect();
    let (task, function) = (&node.name, &node.spec.function);
    let message =
        format!("the input that the templates of `{task}` made does not fit `{function}`: {}", said.join("; "));
    Arc::new(TaskError::message(message))
}

fn run_context(instance: &InstanceContext) -> Arc<RunContext> {
    Arc::new(RunContext {
        run_id: instance.spec.run_id.to_string(),
        dag_id: instance.spec.dag_id.to_string(),
        logical_date: instance.spec.logical_date,
        data_interval_start: instance.spec.data_interval_start,
        data_interval_end: instance.spec.data_interval_end,
        map_index: instance.map_index,
        params: instance.spec.params.clone(),
    })
}

/// Tells the coordinator when the guest waits, so that its slot is another's meanwhile.
struct Waits {
    reports: Reports,
    host: HostId,
    task: TaskId,
    fence: u32,
}

impl Waits {
    fn of(worker: &Shared, assignment: &Assignment) -> Self {
        let Assignment { host, task, fence, .. } = *assignment;
        Self { reports: worker.reports.clone(), host, task, fence }
    }
}

impl WaitListener for Waits {
    fn parked(&self) {
        self.reports.parked(self.host, self.task, self.fence);
    }

    fn resumed(&self) {
        self.reports.resumed(self.host, self.task, self.fence);
    }
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
    // Given up meanwhile: another attempt may have the same fence, and its result the same name.
    if live.handed_back.load(Ordering::Acquire) {
        return stopped();
    }
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

/// The attempt ends as failed before it began, and for good.
fn cannot_run(started_at: Timestamp, reason: &str) -> Ending {
    ended_before(started_at, Arc::new(TaskError::message(reason)), RetryAdvice::Never)
}

/// The templates fail: variables and outputs may be others at another try.
fn could_not_begin(started_at: Timestamp, error: Arc<TaskError>) -> Ending {
    ended_before(started_at, error, RetryAdvice::ByPolicy)
}

fn ended_before(started_at: Timestamp, error: Arc<TaskError>, advice: RetryAdvice) -> Ending {
    Ending::Reported(Box::new(AttemptReport {
        outcome: Outcome::Failed,
        result: None,
        error: Some(error),
        advice,
        log: AttemptLog::Empty,
        usage: Usage::default(),
        started_at,
        ended_at: Timestamp::now(),
    }))
}

fn stopped() -> Ending {
    Ending::HandedBack { reason: "the server stopped".into(), pause: Duration::ZERO }
}

fn handed_back(reason: &str) -> Ending {
    tracing::warn!(reason, "an attempt was handed back");
    Ending::HandedBack { reason: reason.into(), pause: PAUSE_AFTER_OUR_FAILURE }
}
