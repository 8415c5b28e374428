//! What is refused of DAGs, their runs, and variables.

use crate::coordinator::{ClearError, DagChangeError, ModuleRef, RunChangeError, TriggerError};
use crate::model::{DagId, RunId};

use super::modules::module_not_found;
use super::tasks::{key_mismatch, not_ended};
use super::{Kind, Problem, unavailable};

pub fn dag_not_found(name: &str) -> Problem {
    Problem::new(
        Kind::DagNotFound,
        format!("DAG `{name}`"),
        "no DAG has this name",
        "send it with PUT /api/v1/dags/{name}, or list the DAGs with GET /api/v1/dags",
    )
}

pub fn run_not_found(id: &str) -> Problem {
    Problem::new(
        Kind::RunNotFound,
        format!("run {id}"),
        "no run has this id, or its time of retention is over",
        "list the runs with GET /api/v1/runs",
    )
}

pub fn variable_not_found(key: &str) -> Problem {
    Problem::new(
        Kind::VariableNotFound,
        format!("variable `{key}`"),
        "no variable has this key",
        "set it with PUT /api/v1/variables/{key}, or list the variables with GET /api/v1/variables",
    )
}

pub fn trigger_refused(dag: &DagId, error: TriggerError) -> Problem {
    match error {
        TriggerError::NotFound => dag_not_found(dag.as_str()),
        TriggerError::ModuleGone(digest) => module_not_found(&ModuleRef::Digest(digest)),
        TriggerError::Busy { retry_after } => Problem::new(
            Kind::Busy,
            "the run was not accepted",
            "more tasks wait for acceptance than the server holds",
            "try again after the pause in Retry-After",
        )
        .retry_after(retry_after),
        TriggerError::IdempotencyMismatch { became } => key_mismatch(became, "send the same body to the same DAG"),
        TriggerError::Unavailable { reason } => unavailable("the run was not accepted", reason),
    }
}

/// A change of a DAG that was refused.
pub fn dag_change_refused(dag: &DagId, error: DagChangeError) -> Problem {
    match error {
        DagChangeError::NotFound => dag_not_found(dag.as_str()),
        DagChangeError::Busy { runs } => Problem::new(
            Kind::DagBusy,
            format!("DAG `{dag}`"),
            format!("{runs} of its runs have not ended"),
            "let them end, or cancel them with POST /api/v1/runs/{id}/cancel",
        ),
        DagChangeError::Unavailable { reason } => unavailable(&format!("DAG `{dag}` was not changed"), reason),
    }
}

/// A change of a run that was refused.
pub fn run_change_refused(id: RunId, error: RunChangeError) -> Problem {
    match error {
        RunChangeError::NotFound => run_not_found(&id.to_string()),
        RunChangeError::AlreadyEnded(record) => Problem::new(
            Kind::RunEnded,
            format!("run {id}"),
            format!("it has ended already; its state is {}", record.state),
            "there is nothing left to cancel",
        ),
        RunChangeError::Unavailable { reason } => unavailable(&format!("run {id} was not changed"), reason),
    }
}

/// Tasks of a run that cannot be done again, or marked.
pub fn clear_refused(id: RunId, error: ClearError) -> Problem {
    match error {
        ClearError::NotFound => run_not_found(&id.to_string()),
        ClearError::NoTask { name, known } => {
            let reason = format!("the DAG of run {id} has no task `{name}`");
            Problem::invalid("/task_ids", reason, format!("name some of {known}"))
        }
        ClearError::Active { id, state } => not_ended(id, state, "cancel it first, or wait for its end"),
        ClearError::Stopping => Problem::new(
            Kind::RunStopping,
            format!("run {id}"),
            "it is being stopped",
            "wait for its end; GET /api/v1/runs/{id}/events tells of it",
        ),
        ClearError::NotBegun => Problem::new(
            Kind::RunQueued,
            format!("run {id}"),
            "it has not begun",
            "wait until it has; a DAG that is paused begins no runs",
        ),
        ClearError::CannotMark(reason) => {
            Problem::new(Kind::CannotMark, format!("the task of run {id}"), reason, "let it run, or clear it")
        }
        ClearError::Unavailable { reason } => unavailable(&format!("run {id} was not changed"), reason),
    }
}
