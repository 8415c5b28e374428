//! What is refused of tasks.

use crate::coordinator::{ChangeError, KeyOf, ModuleRef, SubmitError};
use crate::model::run::Instance;
use crate::model::{TaskId, TaskState};

use super::modules::module_not_found;
use super::{Kind, Problem, unavailable};

pub fn task_not_found(id: &str) -> Problem {
    Problem::new(
        Kind::TaskNotFound,
        format!("task {id}"),
        "no task has this id, or its time of retention is over",
        "list the tasks with GET /api/v1/tasks",
    )
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Unavailable { reason } => unavailable("the task was not accepted", reason),
            SubmitError::Busy { retry_after } => Self::new(
                Kind::Busy,
                "the task was not accepted",
                "more tasks wait for acceptance than the server holds",
                "try again after the pause in Retry-After",
            )
            .retry_after(retry_after),
            SubmitError::IdempotencyMismatch { became } => key_mismatch(became, "send the same body"),
            SubmitError::ModuleGone(digest) => module_not_found(&ModuleRef::Digest(digest)),
            SubmitError::TooLarge { bytes, limit } => Self::new(
                Kind::BodyTooLarge,
                "the task",
                format!("it takes {bytes} bytes to store, the limit is {limit}"),
                "pass large data by reference",
            ),
        }
    }
}

/// A key that was used for something else.
pub(super) fn key_mismatch(became: KeyOf, remedy: &str) -> Problem {
    let reason = format!("it was used in the last 24 h for another request, which became {became}");
    Problem::new(Kind::IdempotencyMismatch, "the idempotency key", reason, format!("{remedy}, or take a new key"))
}

/// A change of a task that was refused.
pub fn change_refused(id: TaskId, error: ChangeError) -> Problem {
    match error {
        ChangeError::NotFound => task_not_found(&id.to_string()),
        ChangeError::NotEnded(state) => not_ended(id, state, "wait for its end, or cancel it first"),
        ChangeError::AlreadyEnded(record) => Problem::new(
            Kind::TaskEnded,
            format!("task {id}"),
            format!("it has ended already; its state is {}", record.state),
            "there is nothing left to cancel",
        ),
        ChangeError::BelongsTo(Instance { run, .. }) => Problem::new(
            Kind::BelongsToRun,
            format!("task {id}"),
            format!("it waits for its turn in {run}"),
            "cancel the run, or wait for the task's turn",
        ),
        ChangeError::Unavailable { reason } => unavailable(&format!("task {id} was not changed"), reason),
    }
}

pub fn not_ended(id: TaskId, state: TaskState, remedy: &str) -> Problem {
    Problem::new(Kind::TaskNotEnded, format!("task {id}"), format!("it has not ended; its state is {state}"), remedy)
}
