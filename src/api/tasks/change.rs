//! Changes tasks: cancel and rerun.

use axum::extract::State;
use axum::response::Response;

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::extract::NoQuery;
use crate::api::problem::{Problem, ProblemBody, change_refused};

use super::Id;
use super::object::Task;
use super::read::task_response;

/// Cancels a task. A guest that runs is stopped within 100 ms.
#[utoipa::path(post, path = "/tasks/{id}/cancel", tag = "tasks", params(("id" = String, Path, description = "`task_01J…`")),
    responses(
        (status = 200, description = "The task, cancelled.", body = Task),
        (status = 404, description = "There is no such task.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 409, description = "The task has ended already.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn cancel(api: State<Api>, principal: Principal, Id(id): Id, _: NoQuery) -> Result<Response, Problem> {
    let changed = api.coordinator.cancel(id, principal.name().clone()).await;
    changed.map(|record| task_response(&record)).map_err(|error| change_refused(id, error))
}

/// Runs a task that has ended once more, with as many tries as it had at first.
#[utoipa::path(post, path = "/tasks/{id}/rerun", tag = "tasks", params(("id" = String, Path, description = "`task_01J…`")),
    responses(
        (status = 200, description = "The task, queued again.", body = Task),
        (status = 404, description = "There is no such task.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 409, description = "The task has not ended.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn rerun(api: State<Api>, principal: Principal, Id(id): Id, _: NoQuery) -> Result<Response, Problem> {
    let changed = api.coordinator.rerun(id, principal.name().clone()).await;
    changed.map(|record| task_response(&record)).map_err(|error| change_refused(id, error))
}
