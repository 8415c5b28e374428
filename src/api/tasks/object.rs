//! The task object: how a task instance is shown everywhere.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::model::task::{ArtifactRef, TaskResult, Terms};
use crate::model::{
    DagId, Digest, Grants, Json, Limits, Outcome, QueueName, RunId, RunName, Span, TaskError, TaskName, TaskRecord,
    TaskState, Timestamp, Usage,
};

/// A record as the task object. Borrowed and written straight to the answer:
/// tens of thousands of them leave every second.
#[derive(Clone, Copy)]
pub struct TaskObject<'a> {
    pub record: &'a TaskRecord,
    /// Of an instance of a run.
    pub names: Option<&'a InstanceNames>,
}

/// What an instance of a run is called.
#[derive(Debug, Clone)]
pub struct InstanceNames {
    pub dag_id: DagId,
    pub run_id: RunName,
    /// None where the run's version is not stored any more.
    pub task_id: Option<TaskName>,
}

impl<'a> TaskObject<'a> {
    /// That of a task without a run.
    pub fn single(record: &'a TaskRecord) -> Self {
        Self { record, names: None }
    }
}

impl Serialize for TaskObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_entries(self, &mut map)?;
        map.end()
    }
}

/// One line of a batch's answer: the place of the line, then the task object.
pub struct IndexedTask<'a> {
    pub index: u32,
    pub record: &'a TaskRecord,
}

impl Serialize for IndexedTask<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("index", &self.index)?;
        write_entries(&TaskObject::single(self.record), &mut map)?;
        map.end()
    }
}

/// Kept in step with `Task`, which describes the same for OpenAPI, by a test.
fn write_entries<M: SerializeMap>(object: &TaskObject<'_>, map: &mut M) -> Result<(), M::Error> {
    let TaskObject { record, names } = object;
    let spec = &*record.spec;
    let (result, result_ref) = match &record.result {
        None => (None, None),
        Some(TaskResult::Inline(value)) => (Some(value), None),
        Some(TaskResult::Artifact(artifact)) => (None, Some(artifact)),
    };
    map.serialize_entry("id", &record.id)?;
    map.serialize_entry("state", record.state.as_str())?;
    map.serialize_entry("outcome", &record.outcome.map(Outcome::as_str))?;
    map.serialize_entry("result", &result)?;
    map.serialize_entry("result_ref", &result_ref)?;
    map.serialize_entry("error", &record.error)?;
    map.serialize_entry("try_number", &record.try_number)?;
    map.serialize_entry("module", &spec.module)?;
    map.serialize_entry("function", &*spec.function)?;
    map.serialize_entry("labels", &spec.labels)?;
    map.serialize_entry("priority_weight", &spec.priority_weight)?;
    map.serialize_entry("queue", &spec.queue)?;
    map.serialize_entry("queued_at", &record.queued_at)?;
    map.serialize_entry("start_date", &record.start_date)?;
    map.serialize_entry("end_date", &record.end_date)?;
    map.serialize_entry("duration_ms", &duration_ms(record))?;
    map.serialize_entry("usage", &record.usage)?;
    map.serialize_entry("max_tries", &record.max_tries)?;
    map.serialize_entry("not_before", &spec.not_before)?;
    map.serialize_entry("args", &spec.args)?;
    if *spec.terms == DEFAULT_TERMS.terms { DEFAULT_TERMS.write(map) } else { TermsText::of(&spec.terms).write(map) }?;
    map.serialize_entry("task_id", &names.and_then(|names| names.task_id.as_ref()))?;
    map.serialize_entry("map_index", &record.instance.map(|instance| instance.map_index.map_or(-1, i64::from)))?;
    map.serialize_entry("rendered_map_index", &record.label)?;
    map.serialize_entry("run", &record.instance.map(|instance| instance.run))?;
    map.serialize_entry("run_id", &names.map(|names| &names.run_id))?;
    map.serialize_entry("dag_id", &names.map(|names| &names.dag_id))?;
    map.serialize_entry("note", &record.note)
}

/// From the start of the last attempt to its end.
fn duration_ms(record: &TaskRecord) -> Option<f64> {
    let (start, end) = record.start_date.zip(record.end_date)?;
    Some(end.since(start).as_micros() as f64 / 1_000.0)
}

/// Terms as they are written. Those of most tasks are the defaults, written once.
struct TermsText {
    terms: Terms,
    grants: Json,
    limits: Json,
    retry_delay: String,
    max_retry_delay: String,
    retry_on: Json,
}

static DEFAULT_TERMS: LazyLock<TermsText> = LazyLock::new(|| TermsText::of(&Terms::default()));

impl TermsText {
    fn of(terms: &Terms) -> Self {
        let text = |value: serde_json::Result<Json>| value.expect("terms are plain data");
        Self {
            grants: text(Json::of(&*terms.grants)),
            limits: text(Json::of(&terms.limits)),
            retry_delay: terms.retry.retry_delay.to_string(),
            max_retry_delay: terms.retry.max_retry_delay.to_string(),
            retry_on: text(Json::of(&terms.retry.retry_on)),
            terms: terms.clone(),
        }
    }

    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("grants", &self.grants)?;
        map.serialize_entry("limits", &self.limits)?;
        map.serialize_entry("retries", &self.terms.retry.retries)?;
        map.serialize_entry("retry_delay", &self.retry_delay)?;
        map.serialize_entry("retry_exponential_backoff", &self.terms.retry.retry_exponential_backoff)?;
        map.serialize_entry("max_retry_delay", &self.max_retry_delay)?;
        map.serialize_entry("retry_on", &self.retry_on)
    }
}

/// A task instance.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what `TaskObject` writes")]
pub struct Task {
    #[schema(value_type = String, example = "task_01KAQZ3X5T008")]
    id: String,
    state: TaskState,
    /// How the last attempt ended; null before the first has ended.
    #[schema(required)]
    outcome: Option<Outcome>,
    /// What the function returned; null also where it is kept as an artifact.
    #[schema(value_type = Option<Value>, required)]
    result: Option<Json>,
    /// Where a large result is kept; `GET /tasks/{id}/result` gives it.
    #[schema(required)]
    result_ref: Option<ArtifactRef>,
    #[schema(required)]
    error: Option<TaskError>,
    /// The current or last try, counted from 1; 0 before the first.
    try_number: u32,
    #[schema(value_type = String, example = "sha256:9f86…")]
    module: Digest,
    function: String,
    labels: BTreeMap<String, String>,
    priority_weight: i32,
    #[schema(value_type = String)]
    queue: QueueName,
    #[schema(value_type = String, format = DateTime)]
    queued_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    start_date: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    end_date: Option<Timestamp>,
    /// Of the last attempt.
    #[schema(required)]
    duration_ms: Option<f64>,
    usage: Usage,
    /// How many tries there may be.
    max_tries: u32,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    not_before: Option<Timestamp>,
    /// Of a command-line program, without its name.
    args: Vec<String>,
    grants: Grants,
    limits: Limits,
    retries: u32,
    #[schema(value_type = String)]
    retry_delay: Span,
    retry_exponential_backoff: f64,
    #[schema(value_type = String)]
    max_retry_delay: Span,
    retry_on: Vec<Outcome>,
    /// What the DAG calls the task; null where it has no run, as all below.
    #[schema(value_type = Option<String>, required)]
    task_id: Option<TaskName>,
    /// Which instance of a mapped task; -1 where it is not mapped.
    #[schema(required)]
    map_index: Option<i64>,
    /// What `map_index_template` made for the instance; null where it cannot be rendered or comes to nothing. It knows
    /// the element and the run, not the result of the task.
    #[schema(required)]
    rendered_map_index: Option<String>,
    /// The id of the run.
    #[schema(value_type = Option<String>, required, example = "run_01KAQZ3X5T008")]
    run: Option<RunId>,
    /// The caller's name for the run.
    #[schema(value_type = Option<String>, required)]
    run_id: Option<RunName>,
    #[schema(value_type = Option<String>, required)]
    dag_id: Option<DagId>,
    /// Somebody's remark.
    #[schema(required)]
    note: Option<String>,
}

/// Defaults that a submission shares instead of owning a copy.
pub fn shared_terms(terms: Terms) -> std::sync::Arc<Terms> {
    static SHARED: LazyLock<std::sync::Arc<Terms>> = LazyLock::new(std::sync::Arc::default);
    if terms == **SHARED { SHARED.clone() } else { std::sync::Arc::new(terms) }
}

/// None at all, as most tasks have them, likewise.
pub fn shared_grants(grants: Grants) -> std::sync::Arc<Grants> {
    static NONE: LazyLock<std::sync::Arc<Grants>> = LazyLock::new(std::sync::Arc::default);
    if grants.is_empty() { NONE.clone() } else { std::sync::Arc::new(grants) }
}
