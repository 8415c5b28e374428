//! Changes runs: cancel and note.

use axum::body::Body;
use axum::extract::State;
use serde::Deserialize;

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::extract::{self, NoQuery};
use crate::api::problem::{Problem, ProblemBody, not_committed, run_change_refused};
use crate::store::{NoteChange, Noted};

use super::Id;
use super::object::Run;
use super::read::find;

/// Cancels a run.
///
/// What runs is stopped, what waits is skipped, teardowns still do their work; a second call stops these as well.
/// Answers when that is stored: a run that has something left to stop is still `running` then.
#[utoipa::path(post, path = "/runs/{id}/cancel", tag = "runs", params(("id" = String, Path, description = "`run_01J…`")),
    responses(
        (status = 200, description = "The run.", body = Run),
        (status = 404, description = "There is no such run.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 409, description = "The run has ended already.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn cancel(api: State<Api>, principal: Principal, Id(id): Id, _: NoQuery) -> Result<axum::Json<Run>, Problem> {
    let changed = api.coordinator.cancel_run(id, principal.name().clone()).await;
    changed.map(|record| axum::Json(Run::from(&*record))).map_err(|error| run_change_refused(id, error))
}

/// What can be changed of a run at any time.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunPatch {
    /// A remark of at most 1 000 characters; null takes it away.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
    note: Option<String>,
}

/// Writes a remark on a run.
#[utoipa::path(patch, path = "/runs/{id}", tag = "runs", params(("id" = String, Path, description = "`run_01J…`")),
    request_body = RunPatch,
    responses(
        (status = 200, description = "The run.", body = Run),
        (status = 404, description = "There is no such run.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "The request is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn patch(api: State<Api>, Id(id): Id, _: NoQuery, body: Body) -> Result<axum::Json<Run>, Problem> {
    let bounds = &api.bounds;
    let body = extract::body(body, bounds.max_body_bytes, "server.max_task_body_bytes", bounds.body_timeout).await?;
    let RunPatch { note } = extract::json(&body)?;
    find(&api, id).await?;
    let note = note.map(|note| extract::remark("/note", note)).transpose()?;
    let noted = api.coordinator.note(NoteChange { of: Noted::Run(id), note }).await;
    noted.map_err(|error| not_committed(&format!("run {id} was not changed"), error))?;
    find(&api, id).await.map(|record| axum::Json(Run::from(&record)))
}
