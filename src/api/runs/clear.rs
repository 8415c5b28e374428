//! Has tasks of a run done again: `POST /runs/{id}/clear`.

use axum::body::Body;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::extract::{self, NoQuery};
use crate::api::problem::{Problem, ProblemBody, clear_refused};
use crate::coordinator::{ClearRequest, Cleared, ClearedInstance};
use crate::model::{TaskId, TaskName, TaskState};

use super::Id;
use super::object::Run;

/// Which tasks are done again.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClearBody {
    /// Tasks by their ids, each as a whole, or one instance of a mapped task as `["parse", 3]`. Default all.
    #[schema(value_type = Option<Vec<Value>>, example = json!(["parse", ["load", 3]]))]
    task_ids: Option<Vec<Which>>,
    /// And all that stand before these. Default false.
    include_upstream: bool,
    /// And all that stand behind these. Default false.
    include_downstream: bool,
    /// Of all these, those that failed, were cancelled, or stood behind one that failed. Default false.
    only_failed: bool,
    /// Tell what would be done again, and do nothing. Default false.
    dry_run: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Which {
    Task(TaskName),
    Instance(TaskName, i64),
}

impl Which {
    fn read(self) -> Result<(TaskName, Option<u32>), Problem> {
        match self {
            // −1, as it is shown for what is not mapped, means the task.
            Self::Task(name) | Self::Instance(name, -1) => Ok((name, None)),
            Self::Instance(name, map_index) => match u32::try_from(map_index) {
                Ok(map_index) => Ok((name, Some(map_index))),
                Err(_) => {
                    let reason = format!("{map_index} is not the index of an instance of `{name}`");
                    Err(Problem::invalid("/task_ids", reason, "count from 0, or name the task alone"))
                }
            },
        }
    }
}

/// What was cleared.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ClearedTasks {
    dry_run: bool,
    cleared: Vec<ClearedTask>,
    run: Run,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ClearedTask {
    #[schema(value_type = String, example = "task_01KAQZ3X5T008")]
    id: TaskId,
    #[schema(value_type = String)]
    task_id: TaskName,
    /// -1 where it is not mapped.
    map_index: i64,
    /// How it had ended.
    state: TaskState,
}

impl From<ClearedInstance> for ClearedTask {
    fn from(instance: ClearedInstance) -> Self {
        let ClearedInstance { id, task, map_index, state } = instance;
        Self { id, task_id: task, map_index: map_index.map_or(-1, i64::from), state }
    }
}

/// Has tasks of a run done again.
///
/// Their tries count on and their history stays; what they had returned does not. A run that had ended goes on.
/// The setups and teardowns around a task come along.
#[utoipa::path(post, path = "/runs/{id}/clear", tag = "runs", params(("id" = String, Path, description = "`run_01J…`")),
    request_body(content = Option<ClearBody>, description = "Nothing at all means all tasks."),
    responses(
        (status = 200, description = "What was cleared, and the run as it is now.", body = ClearedTasks),
        (status = 404, description = "There is no such run.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 409, description = "One of the tasks has not ended, or the run is being stopped.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "The request is not valid, or the DAG has no such task.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn clear(
    api: State<Api>,
    principal: Principal,
    Id(id): Id,
    _: NoQuery,
    body: Body,
) -> Result<axum::Json<ClearedTasks>, Problem> {
    let bounds = &api.bounds;
    let body = extract::body(body, bounds.max_body_bytes, "server.max_task_body_bytes", bounds.body_timeout).await?;
    let asked: ClearBody = match body.trim_ascii() {
        [] => ClearBody::default(),
        text => extract::json(text)?,
    };
    let dry_run = asked.dry_run;
    let request = ClearRequest {
        tasks: asked.task_ids.map(|tasks| tasks.into_iter().map(Which::read).collect()).transpose()?,
        upstream: asked.include_upstream,
        downstream: asked.include_downstream,
        only_failed: asked.only_failed,
        dry_run,
    };
    let cleared = api.coordinator.clear_run(id, request, principal.name().clone()).await;
    let Cleared { instances, run } = cleared.map_err(|error| clear_refused(id, error))?;
    let cleared = instances.into_iter().map(Into::into).collect();
    Ok(axum::Json(ClearedTasks { dry_run, cleared, run: Run::from(&*run) }))
}
