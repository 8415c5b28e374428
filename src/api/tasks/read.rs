//! Shows tasks: lists, one task, its result, its attempts and events.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::api::events::Event;
use crate::api::extract::{NoQuery, Query, text};
use crate::api::health::with_type;
use crate::api::page::{self, List, read_cursor};
use crate::api::problem::{Kind, Problem, ProblemBody, load_refused, not_ended, task_not_found, unreadable};
use crate::api::runs::names::Names;
use crate::api::runs::tasks::to_come;
use crate::coordinator::ModuleRef;
use crate::model::task::TaskResult;
use crate::model::{Outcome, QueueName, TaskError, TaskId, TaskRecord, TaskState, Timestamp, Usage};
use crate::store::{AttemptRecord, TaskFilter};

use super::Id;
use super::object::{Task, TaskObject};

#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TaskListQuery {
    state: Option<TaskState>,
    /// Of the last attempt.
    outcome: Option<Outcome>,
    /// A digest, or a name that stands for the digest it points at now.
    #[serde(default, deserialize_with = "text")]
    #[param(value_type = Option<String>)]
    module: Option<ModuleRef>,
    #[param(value_type = Option<String>)]
    queue: Option<QueueName>,
    /// `key:value`.
    label: Option<String>,
    /// Default 50, at most 1 000.
    #[serde(default, deserialize_with = "text")]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists tasks, newest first.
///
/// All filters given must hold. Where few tasks match, a page may be short or empty and yet have a next one.
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(TaskListQuery),
    responses(
        (status = 200, description = "A page of tasks.", body = List<Task>),
        (status = 404, description = "There is no such module.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn list(api: State<Api>, Query(query): Query<TaskListQuery>) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = read_cursor(query.cursor.as_deref())?;
    let label = query.label.as_deref().map(|label| {
        let pair = label.split_once(':').map(|(key, value)| (key.to_owned(), value.to_owned()));
        pair.ok_or_else(|| Problem::invalid("label", "it has no colon", "write key:value"))
    });
    let module = match &query.module {
        None => None,
        Some(ModuleRef::Digest(digest)) => Some(*digest),
        Some(name) => Some(api.modules.resolve(name).await.map_err(|error| load_refused(name, error))?),
    };
    let filter = TaskFilter {
        state: query.state,
        outcome: query.outcome,
        module,
        queue: query.queue,
        label: label.transpose()?,
    };
    let page = api.reads.run(move |r| r.tasks(&filter, cursor, limit)).await?;
    let names = Names::of(&api, &page.items).await?;
    let objects = List {
        items: page.items.iter().map(|record| TaskObject { record, names: names.get(record) }).collect(),
        next_cursor: page.next_cursor.map(page::write_cursor),
    };
    let text = serde_json::to_vec(&objects).expect("a record is plain data");
    Ok(with_type("application/json", text))
}

/// Shows a task.
#[utoipa::path(get, path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path, description = "`task_01J…`")),
    responses(
        (status = 200, description = "The task as it is stored.", body = Task),
        (status = 404, description = "There is no such task.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn show(api: State<Api>, Id(id): Id, _: NoQuery) -> Result<Response, Problem> {
    task_response(&api, &find(&api, id).await?).await
}

/// Gives a task's result as it was returned.
#[utoipa::path(get, path = "/tasks/{id}/result", tag = "tasks", params(("id" = String, Path, description = "`task_01J…`")),
    responses(
        (status = 200, description = "The result, whatever its size.", body = serde_json::Value),
        (status = 404, description = "There is no such task, or it ended without a result.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 409, description = "The task has not ended.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn result(api: State<Api>, Id(id): Id, _: NoQuery) -> Result<Response, Problem> {
    let record = find(&api, id).await?;
    if !record.state.is_final() {
        return Err(not_ended(id, record.state, "wait for its end, and ask again"));
    }
    match record.result {
        Some(TaskResult::Inline(value)) => Ok(with_type("application/json", value.as_str().to_owned())),
        Some(TaskResult::Artifact(artifact)) => {
            let bytes = api.artifacts.result(id, record.fence, artifact).await;
            let bytes = bytes.map_err(|error| unreadable(format!("the result of task {id}"), &error))?;
            Ok(with_type("application/json", bytes))
        }
        None => Err(Problem::new(
            Kind::NoResult,
            format!("task {id}"),
            format!("it ended as {} and returned nothing", record.state),
            "see `error` of the task, and its log",
        )),
    }
}

/// An attempt of a task.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Attempt {
    /// Counted from 1. Attempts that our side lost share a number with the one after them.
    try_number: u32,
    /// Counts every attempt, lost ones included.
    fence: u32,
    /// Null while it runs, and where our side gave it up at no cost.
    outcome: Option<Outcome>,
    #[schema(value_type = String, format = DateTime)]
    start_date: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    end_date: Option<Timestamp>,
    duration_ms: Option<f64>,
    #[schema(value_type = Option<TaskError>)]
    error: Option<Arc<TaskError>>,
    usage: Usage,
}

impl From<AttemptRecord> for Attempt {
    fn from(record: AttemptRecord) -> Self {
        let AttemptRecord { try_number, fence, outcome, start_date, end_date, error, usage } = record;
        let duration_ms = end_date.map(|end| end.since(start_date).as_micros() as f64 / 1_000.0);
        Self { try_number, fence, outcome, start_date, end_date, duration_ms, error, usage }
    }
}

/// Lists a task's attempts, oldest first.
#[utoipa::path(get, path = "/tasks/{id}/attempts", tag = "tasks", params(("id" = String, Path, description = "`task_01J…`")),
    responses(
        (status = 200, description = "All attempts.", body = List<Attempt>),
        (status = 404, description = "There is no such task.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn attempts(api: State<Api>, Id(id): Id) -> Result<axum::Json<List<Attempt>>, Problem> {
    let record = find(&api, id).await?;
    let attempts = match record.last_event {
        // A task of a run whose turn has not come.
        0 => Vec::new(),
        _ => api.reads.run(move |r| r.attempts(id)).await?,
    };
    Ok(axum::Json(List::whole(attempts.into_iter().map(Attempt::from).collect())))
}

/// Lists a task's events, oldest first.
#[utoipa::path(get, path = "/tasks/{id}/events", tag = "tasks", params(("id" = String, Path, description = "`task_01J…`")),
    responses(
        (status = 200, description = "All events.", body = List<Event>),
        (status = 404, description = "There is no such task.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn events(api: State<Api>, Id(id): Id) -> Result<axum::Json<List<Event>>, Problem> {
    let record = find(&api, id).await?;
    let events = match record.last_event {
        0 => Vec::new(),
        _ => api.reads.run(move |r| r.task_events(id)).await?,
    };
    Ok(axum::Json(List::whole(events.into_iter().map(Event::from).collect())))
}

pub(super) async fn find(api: &Api, id: TaskId) -> Result<TaskRecord, Problem> {
    let found = api.reads.run(move |r| match r.task(id)? {
        Some(record) => Ok(Some(Ok(record))),
        None => Ok(r.run_of_node(id)?.map(Err)),
    });
    let record = match found.await? {
        Some(Ok(record)) => Some(record),
        // A task of a run whose turn has not come has no row yet.
        Some(Err((run, node))) => {
            let definition = api.definitions().get(&api.reads, run.spec.version).await?;
            definition.and_then(|definition| to_come(&run, node, &definition))
        }
        None => None,
    };
    record.ok_or_else(|| task_not_found(&id.to_string()))
}

pub(super) async fn task_response(api: &Api, record: &TaskRecord) -> Result<Response, Problem> {
    let names = Names::of(api, std::slice::from_ref(record)).await?;
    let text = serde_json::to_vec(&TaskObject { record, names: names.get(record) });
    Ok(with_type("application/json", text.expect("a record is plain data")))
}
