//! Shows runs and their tasks.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use crate::api::Api;
use crate::api::dags::Name;
use crate::api::dags::read::PageQuery;
use crate::api::extract::{NoQuery, Query, text};
use crate::api::health::with_type;
use crate::api::page::{self, List, read_cursor};
use crate::api::problem::{Kind, Problem, ProblemBody, dag_not_found, run_not_found};
use crate::api::tasks::object::{InstanceNames, Task, TaskObject};
use crate::model::{DagId, RunId, RunName, RunRecord, RunState, TaskRecord};
use crate::store::run_reads::{RunFilter, RunTask, TaskPage};

use super::Id;
use super::object::Run;
use super::tasks::to_come;

#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunListQuery {
    state: Option<RunState>,
    #[param(value_type = Option<String>)]
    dag_id: Option<DagId>,
    /// Default 50, at most 1 000.
    #[serde(default, deserialize_with = "text")]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists runs, newest first.
///
/// All filters given must hold. Where few runs match, a page may be short or empty and yet have a next one.
#[utoipa::path(get, path = "/runs", tag = "runs", params(RunListQuery),
    responses(
        (status = 200, description = "A page of runs.", body = List<Run>),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn list(api: State<Api>, Query(query): Query<RunListQuery>) -> Result<axum::Json<List<Run>>, Problem> {
    let RunListQuery { state, dag_id, limit, cursor } = query;
    page_of(&api, RunFilter { state, dag_id }, limit, cursor.as_deref()).await
}

#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsOfDagQuery {
    /// The one run of this name, if there is one.
    #[param(value_type = Option<String>)]
    run_id: Option<RunName>,
    state: Option<RunState>,
    /// Default 50, at most 1 000.
    #[serde(default, deserialize_with = "text")]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists the runs of a DAG, newest first.
///
/// Those of a DAG that was deleted stay until retention takes them.
#[utoipa::path(get, path = "/dags/{name}/runs", tag = "runs",
    params(("name" = String, Path, description = "`etl`"), RunsOfDagQuery),
    responses(
        (status = 200, description = "A page of runs.", body = List<Run>),
        (status = 404, description = "There is no such DAG.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn list_of_dag(
    api: State<Api>,
    Name(name): Name,
    Query(query): Query<RunsOfDagQuery>,
) -> Result<axum::Json<List<Run>>, Problem> {
    let RunsOfDagQuery { run_id, state, limit, cursor } = query;
    let page = match run_id {
        Some(run_id) => {
            let dag = name.clone();
            let found = api.reads.run(move |reader| reader.run_by_name(&dag, &run_id)).await?;
            let fits = |record: &RunRecord| state.is_none_or(|state| state == record.state);
            let found = found.filter(fits).iter().map(Run::from).collect();
            axum::Json(List::whole(found))
        }
        None => {
            let filter = RunFilter { state, dag_id: Some(name.clone()) };
            page_of(&api, filter, limit, cursor.as_deref()).await?
        }
    };
    if page.items.is_empty() {
        let wanted = name.clone();
        let is_known = api.reads.run(move |reader| {
            let stands = reader.dag_standing(&wanted)?.is_some();
            Ok(stands || !reader.versions(&wanted, None, 1)?.items.is_empty())
        });
        if !is_known.await? {
            return Err(dag_not_found(name.as_str()));
        }
    }
    Ok(page)
}

async fn page_of(
    api: &Api,
    filter: RunFilter,
    limit: Option<usize>,
    cursor: Option<&str>,
) -> Result<axum::Json<List<Run>>, Problem> {
    let limit = page::limit(limit)?;
    let before = read_cursor(cursor)?;
    let page = api.reads.run(move |reader| reader.runs(&filter, before, limit)).await?;
    Ok(axum::Json(List::of(page, |record| Run::from(&record))))
}

/// Shows a run.
#[utoipa::path(get, path = "/runs/{id}", tag = "runs", params(("id" = String, Path, description = "`run_01J…`")),
    responses(
        (status = 200, description = "The run as it is stored.", body = Run),
        (status = 404, description = "There is no such run.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn show(api: State<Api>, Id(id): Id, _: NoQuery) -> Result<axum::Json<Run>, Problem> {
    find(&api, id).await.map(|record| axum::Json(Run::from(&record)))
}

pub(super) async fn find(api: &Api, id: RunId) -> Result<RunRecord, Problem> {
    let record = api.reads.run(move |reader| reader.run(id)).await?;
    record.ok_or_else(|| run_not_found(&id.to_string()))
}

/// Lists the tasks of a run, in the order of its DAG and of their map index.
///
/// A task that has not begun is `scheduled`; one that never will, because the run has ended without it, `skipped`.
#[utoipa::path(get, path = "/runs/{id}/tasks", tag = "runs",
    params(("id" = String, Path, description = "`run_01J…`"), PageQuery),
    responses(
        (status = 200, description = "A page of tasks.", body = List<Task>),
        (status = 404, description = "There is no such run.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn tasks(api: State<Api>, Id(id): Id, Query(query): Query<PageQuery>) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let after = read_cursor(query.cursor.as_deref())?;
    let version = find(&api, id).await?.spec.version;
    let definition = api.definitions().get(&api.reads, version).await?;
    let definition = definition.ok_or_else(|| {
        let reason = "it is not stored any more; the tasks are, under their own addresses";
        Problem::new(Kind::VersionNotFound, format!("version {version} of run {id}"), reason, "list GET /api/v1/tasks")
    })?;
    let nodes = definition.tasks.len() as u32;
    let found = api.reads.run(move |reader| {
        // The tasks first: a run that has ended by then has all of its own.
        let page = reader.run_tasks(TaskPage { run: id, nodes, after, limit })?;
        Ok(reader.run(id)?.map(|run| (run, page)))
    });
    let (run, page) = found.await?.ok_or_else(|| run_not_found(&id.to_string()))?;
    let next_cursor = page.next_cursor.map(page::write_cursor);
    let record = |task: RunTask| match task {
        RunTask::Begun(record) => Some(*record),
        RunTask::ToCome { node } => to_come(&run, node, &definition),
    };
    let shown = |record: TaskRecord| {
        let task = record.instance.and_then(|instance| definition.tasks.get(instance.node as usize));
        let (dag_id, run_id) = (run.spec.dag_id.clone(), run.spec.run_id.clone());
        (record, InstanceNames { dag_id, run_id, task_id: task.map(|task| task.id.clone()) })
    };
    let shown: Vec<(TaskRecord, InstanceNames)> = page.items.into_iter().filter_map(record).map(shown).collect();
    let items = shown.iter().map(|(record, names)| TaskObject { record, names: Some(names) }).collect();
    let text = serde_json::to_vec(&List { items, next_cursor }).expect("a record is plain data");
    Ok(with_type("application/json", text))
}
