//! Changes tasks: cancel, rerun, mark and note.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::extract::{self, NoQuery};
use crate::api::problem::{Kind, Problem, ProblemBody, change_refused, clear_refused, not_committed, not_ended};
use crate::coordinator::ChangeError;
use crate::model::TaskState;
use crate::store::{NoteChange, Noted};

use super::Id;
use super::object::Task;
use super::read::{find, task_response};

/// Cancels a task. A guest that runs is stopped within 100 ms.
#[utoipa::path(post, path = "/tasks/{id}/cancel", tag = "tasks", params(("id" = String, Path, description = "`task_01J…`")),
    responses(
        (status = 200, description = "The task, cancelled.", body = Task),
        (status = 404, description = "There is no such task.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 409, description = "The task has ended already.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn cancel(api: State<Api>, principal: Principal, Id(id): Id, _: NoQuery) -> Result<Response, Problem> {
    let changed = api.coordinator.cancel(id, principal.name().clone()).await;
    let record = changed.map_err(|error| change_refused(id, error))?;
    task_response(&api, &record).await
}

/// Runs a task that has ended once more, with as many tries as it had at first.
#[utoipa::path(post, path = "/tasks/{id}/rerun", tag = "tasks", params(("id" = String, Path, description = "`task_01J…`")),
    responses(
        (status = 200, description = "The task, queued again.", body = Task),
        (status = 404, description = "There is no such task.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 409, description = "The task has not ended.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn rerun(api: State<Api>, principal: Principal, Id(id): Id, _: NoQuery) -> Result<Response, Problem> {
    match api.coordinator.rerun(id, principal.name().clone()).await {
        Ok(record) => task_response(&api, &record).await,
        Err(ChangeError::BelongsTo(instance)) => {
            let cleared = api.coordinator.rerun_instance(instance, principal.name().clone()).await;
            let cleared = cleared.map_err(|error| clear_refused(instance.run, error))?;
            if cleared.instances.is_empty() {
                // Its turn has not come, so there is nothing to be done again.
                return Err(not_ended(id, TaskState::Scheduled, "wait for its end"));
            }
            task_response(&api, &find(&api, id).await?).await
        }
        Err(error) => Err(change_refused(id, error)),
    }
}

/// What can be changed of a task by hand.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskPatch {
    /// Of an instance of a run that has ended or not begun: how it ended. What failed behind it is done again.
    #[serde(default)]
    state: Option<MarkedState>,
    /// A remark of at most 1 000 characters; null takes it away.
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<String>)]
    note: Option<Option<String>>,
}

/// How an instance may be said to have ended.
#[derive(Deserialize, Clone, Copy, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum MarkedState {
    Success,
    Failed,
    Skipped,
}

impl From<MarkedState> for TaskState {
    fn from(state: MarkedState) -> Self {
        match state {
            MarkedState::Success => Self::Success,
            MarkedState::Failed => Self::Failed,
            MarkedState::Skipped => Self::Skipped,
        }
    }
}

/// Marks a task of a run as ended, or writes a remark on a task.
#[utoipa::path(patch, path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path, description = "`task_01J…`")),
    request_body = TaskPatch,
    responses(
        (status = 200, description = "The task.", body = Task),
        (status = 404, description = "There is no such task.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 409, description = "It cannot be marked as it is.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "The request is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn patch(
    api: State<Api>,
    principal: Principal,
    Id(id): Id,
    _: NoQuery,
    body: Body,
) -> Result<Response, Problem> {
    let bounds = &api.bounds;
    let body = extract::body(body, bounds.max_body_bytes, "server.max_task_body_bytes", bounds.body_timeout).await?;
    let TaskPatch { state, note } = extract::json(&body)?;
    if state.is_none() && note.is_none() {
        return Err(Problem::invalid("the body", "it changes nothing", "give `state`, `note` or both"));
    }
    let note = note.map(|note| note.map(|note| extract::remark("/note", note)).transpose()).transpose()?;
    let note = note.map(|note| NoteChange { of: Noted::Task(id), note });
    let record = find(&api, id).await?;
    if let Some(state) = state {
        let instance = record.instance.ok_or_else(|| {
            let remedy = "cancel it, or run it again with POST /api/v1/tasks/{id}/rerun";
            Problem::new(Kind::NotOfARun, format!("task {id}"), "only tasks of runs can be marked", remedy)
        })?;
        let marked = api.coordinator.mark(instance, state.into(), note, principal.name().clone()).await;
        marked.map_err(|error| clear_refused(instance.run, error))?;
    } else if let Some(note) = note {
        if record.last_event == 0 {
            // It has no row to write it on yet.
            return Err(not_ended(id, record.state, "write the note when it has begun, or on its run"));
        }
        let noted = api.coordinator.note(note).await;
        noted.map_err(|error| not_committed(&format!("task {id} was not changed"), error))?;
    }
    task_response(&api, &find(&api, id).await?).await
}
