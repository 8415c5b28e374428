//! Pauses, unpauses and deletes DAGs.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::api::Api;
use crate::api::extract::{self, NoQuery};
use crate::api::problem::{Problem, ProblemBody, dag_change_refused};

use super::Name;
use super::object::Dag;
use super::read::find;

/// What can be changed of a DAG without a new version.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DagPatch {
    /// A DAG that is paused begins no runs and no tasks; what runs may end.
    is_paused: bool,
}

/// Pauses or unpauses a DAG.
#[utoipa::path(patch, path = "/dags/{name}", tag = "dags", params(("name" = String, Path, description = "`etl`")),
    request_body = DagPatch,
    responses(
        (status = 200, description = "The DAG as it is now.", body = Dag),
        (status = 404, description = "There is no such DAG.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "The request is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn patch(api: State<Api>, Name(name): Name, _: NoQuery, body: Body) -> Result<axum::Json<Dag>, Problem> {
    let bounds = &api.bounds;
    let body = extract::body(body, bounds.max_body_bytes, "server.max_task_body_bytes", bounds.body_timeout).await?;
    let DagPatch { is_paused } = extract::json(&body)?;
    let paused = api.coordinator.pause_dag(name.clone(), is_paused).await;
    paused.map_err(|error| dag_change_refused(&name, error))?;
    find(&api, &name).await.map(axum::Json)
}

/// Deletes a DAG.
///
/// Its runs stay readable until retention takes them.
#[utoipa::path(delete, path = "/dags/{name}", tag = "dags", params(("name" = String, Path, description = "`etl`")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "There is no such DAG.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 409, description = "Some of its runs have not ended.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn delete(api: State<Api>, Name(name): Name, _: NoQuery) -> Result<StatusCode, Problem> {
    let deleted = api.coordinator.delete_dag(name.clone()).await;
    deleted.map(|()| StatusCode::NO_CONTENT).map_err(|error| dag_change_refused(&name, error))
}
