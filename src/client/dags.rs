//! DAGs, runs and variables: what the server shows of them, as far as the command line reads it, and the calls for it.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::{Method, header};
use serde::{Deserialize, Serialize};

use super::events::Events;
use super::{Answer, Body, Call, Client, ClientError, new_idempotency_key};
use crate::model::{
    Digest, Grants, Json, Limits, Outcome, RunState, RunType, Span, TaskError, TaskState, Timestamp, Usage,
};

/// The most that one page holds.
const PAGE: usize = 1000;

/// A DAG file as it is sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DagFile {
    /// What it is called where mistakes are told.
    pub path: String,
    pub content: String,
}

/// What became of one DAG of those sent.
#[derive(Debug, Clone, Deserialize)]
pub struct Applied {
    pub dag_id: String,
    pub version: Digest,
    /// Whether this version was not the current one before.
    pub created: bool,
    /// Whether there was a DAG of this name before.
    #[serde(default)]
    pub existed: bool,
    #[serde(default)]
    pub tasks: u32,
    #[serde(default)]
    pub is_paused: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct AppliedAll {
    pub dags: Vec<Applied>,
}

/// A DAG with its current version, or without `definition` and `source` as an item of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Dag {
    pub dag_id: String,
    pub version: Digest,
    pub is_paused: bool,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub max_active_runs: Option<u32>,
    #[serde(default)]
    pub tasks: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a version of a DAG is, and the text it was made of.
#[derive(Debug, Clone, Deserialize)]
pub struct DagContent {
    #[serde(default)]
    pub version: Option<Digest>,
    pub definition: Json,
    pub source: String,
}

/// A definition, as far as it is drawn and listed.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct DagGraph {
    pub dag_id: String,
    #[serde(default)]
    pub params: BTreeMap<String, DagParam>,
    #[serde(default)]
    pub tasks: Vec<DagTask>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DagParam {
    #[serde(deserialize_with = "some")]
    pub default: Option<serde_json::Value>,
    pub schema: Option<serde_json::Value>,
    pub description: Option<String>,
}

/// What kinds and scopes there are grows from version to version, hence the plain values.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DagTask {
    pub id: String,
    pub group: Option<String>,
    pub upstream: Vec<String>,
    pub trigger_rule: Option<String>,
    /// Absent or `plain` where its output decides nothing.
    pub kind: Option<serde_json::Value>,
    pub setup: bool,
    pub teardown: Option<serde_json::Value>,
    pub expansion: Option<serde_json::Value>,
    /// Absent or `run` where it has one instance a run.
    pub scope: Option<serde_json::Value>,
    pub module: String,
    pub function: String,
}

impl DagTask {
    pub fn is_mapped(&self) -> bool {
        self.expansion.is_some() || self.scope.as_ref().is_some_and(|scope| scope != "run")
    }

    /// Whether its output decides which tasks follow.
    pub fn decides(&self) -> bool {
        self.kind.as_ref().is_some_and(|kind| kind != "plain")
    }
}

/// Unlike serde, tells a null that is written from a key that is not.
fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(Some)
}

/// One item of the list of a DAG's versions.
#[derive(Debug, Clone, Deserialize)]
pub struct DagVersion {
    pub version: Digest,
    pub created_at: Timestamp,
    #[serde(default)]
    pub created_by: Option<String>,
    #[serde(default)]
    pub current: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Run {
    pub id: String,
    pub run_id: String,
    pub dag_id: String,
    pub dag_version: Digest,
    pub state: RunState,
    pub run_type: RunType,
    #[serde(default)]
    pub logical_date: Option<Timestamp>,
    #[serde(default)]
    pub data_interval_start: Option<Timestamp>,
    #[serde(default)]
    pub data_interval_end: Option<Timestamp>,
    pub queued_at: Timestamp,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    #[serde(default)]
    pub duration_ms: Option<f64>,
    #[serde(default)]
    pub conf: Option<Json>,
    #[serde(default)]
    pub params: Option<Json>,
    #[serde(default)]
    pub note: Option<String>,
}

/// A task instance of a run. One whose turn has not come has little more than its name.
#[derive(Debug, Clone, Deserialize)]
pub struct RunTask {
    pub id: String,
    pub task_id: String,
    /// -1 where it is not mapped, or not yet.
    #[serde(default = "unmapped")]
    pub map_index: i64,
    #[serde(default)]
    pub rendered_map_index: Option<String>,
    pub state: TaskState,
    #[serde(default)]
    pub outcome: Option<Outcome>,
    #[serde(default)]
    pub try_number: u32,
    #[serde(default)]
    pub start_date: Option<Timestamp>,
    #[serde(default)]
    pub end_date: Option<Timestamp>,
    #[serde(default)]
    pub duration_ms: Option<f64>,
    #[serde(default)]
    pub error: Option<TaskError>,
    #[serde(default)]
    pub usage: Option<Usage>,
    #[serde(default)]
    pub grants: Option<Grants>,
    #[serde(default)]
    pub limits: Option<Limits>,
}

fn unmapped() -> i64 {
    -1
}

/// What a clear did, or would do.
#[derive(Debug, Clone, Deserialize)]
pub struct Cleared {
    pub dry_run: bool,
    pub cleared: Vec<ClearedTask>,
    pub run: Run,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ClearedTask {
    pub id: String,
    pub task_id: String,
    #[serde(default = "unmapped")]
    pub map_index: i64,
    /// Before it was cleared.
    pub state: TaskState,
}

/// Which tasks of a run are to run again.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Clear {
    /// Each by its id, or one instance of a mapped task as `["parse", 3]`; `None`: all.
    pub task_ids: Option<Vec<serde_json::Value>>,
    pub only_failed: bool,
    pub include_downstream: bool,
    pub include_upstream: bool,
    pub dry_run: bool,
}

/// Something that happened to a run, or to one of its tasks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RunEvent {
    pub seq: u64,
    pub at: Timestamp,
    /// `run_started`, `started`, `ended` …
    pub event: String,
    /// `None` where it happened to the run as a whole.
    #[serde(default)]
    pub task: Option<String>,
    #[serde(default)]
    pub task_id: Option<String>,
    #[serde(default)]
    pub map_index: Option<i64>,
    #[serde(default)]
    pub try_number: Option<u32>,
    /// The state afterwards, of the task or of the run.
    pub state: String,
    #[serde(default)]
    pub outcome: Option<String>,
    #[serde(default)]
    pub by: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Variable {
    pub key: String,
    pub value: String,
    #[serde(default)]
    pub description: Option<String>,
}

impl Client {
    /// Makes the DAGs of all files what the files say, or changes nothing at all.
    pub async fn apply(&self, files: &[DagFile], dry_run: bool) -> Result<Answer, ClientError> {
        let query = if dry_run { vec![("dry_run", "true".to_owned())] } else { Vec::new() };
        let body = json(&serde_json::json!({ "files": files }));
        // A second time finds every DAG as it should be, so that it may be sent again.
        let idempotency_key = Some(new_idempotency_key()?);
        self.call(Call { query, body, idempotency_key, ..Call::post(&["dags", "apply"]) }).await
    }

    pub async fn dag(&self, name: &str) -> Result<Answer, ClientError> {
        self.call(Call::get(&["dags", name])).await
    }

    /// A version of a DAG; without a digest the current one.
    pub async fn dag_version(&self, name: &str, version: Option<Digest>) -> Result<Answer, ClientError> {
        match version {
            None => self.dag(name).await,
            Some(version) => self.call(Call::get(&["dags", name, "versions", &version.to_string()])).await,
        }
    }

    pub async fn dag_versions(&self, name: &str) -> Result<Vec<DagVersion>, ClientError> {
        let path = ["dags", name, "versions"];
        self.read_items(&path, &self.all(&path, Vec::new()).await?)
    }

    pub async fn pause_dag(&self, name: &str, is_paused: bool) -> Result<Answer, ClientError> {
        self.patch(&["dags", name], &serde_json::json!({ "is_paused": is_paused })).await
    }

    /// Starts a run. The server answers when it has ended or `wait` is up.
    pub async fn trigger(&self, dag: &str, request: &Json, wait: Option<Span>) -> Result<Answer, ClientError> {
        let query = wait.map_or(Vec::new(), |wait| vec![("wait", wait.to_string())]);
        let body = Body::Json(Bytes::copy_from_slice(request.as_str().as_bytes()));
        let path = ["dags", dag, "runs"];
        let idempotency_key = Some(new_idempotency_key()?);
        self.call(Call { query, body, idempotency_key, ..Call::post(&path) }).await
    }

    pub async fn run(&self, id: &str) -> Result<Answer, ClientError> {
        self.call(Call::get(&["runs", id])).await
    }

    /// The run that a DAG has by this name.
    pub async fn find_run(&self, dag: &str, run_id: &str) -> Result<Option<Json>, ClientError> {
        let page = self.page(&["dags", dag, "runs"], vec![("run_id", run_id.to_owned())]).await?;
        Ok(page.items.into_iter().next())
    }

    pub async fn cancel_run(&self, id: &str) -> Result<Answer, ClientError> {
        self.call(Call::post(&["runs", id, "cancel"])).await
    }

    pub async fn clear_run(&self, id: &str, clear: &Clear) -> Result<Answer, ClientError> {
        let path = ["runs", id, "clear"];
        let body = json(&serde_json::json!(clear));
        self.call(Call { body, ..Call::post(&path) }).await
    }

    pub async fn note_run(&self, id: &str, note: &str) -> Result<Answer, ClientError> {
        self.patch(&["runs", id], &serde_json::json!({ "note": note })).await
    }

    /// Says how a task ended, whatever it did.
    pub async fn mark_task(&self, id: &str, state: TaskState, note: Option<&str>) -> Result<Answer, ClientError> {
        let mut change = serde_json::json!({ "state": state });
        if let Some(note) = note {
            change["note"] = note.into();
        }
        self.patch(&["tasks", id], &change).await
    }

    async fn patch(&self, path: &[&str], change: &serde_json::Value) -> Result<Answer, ClientError> {
        self.call(Call { method: Method::PATCH, body: json(change), ..Call::get(path) }).await
    }

    /// All task instances of a run, in the order of the DAG.
    pub async fn run_tasks(&self, id: &str) -> Result<Vec<Json>, ClientError> {
        self.all(&["runs", id, "tasks"], Vec::new()).await
    }

    /// What happened to a run after the event with this number, and what happens to it from now on.
    pub async fn run_events(&self, id: &str, after: u64) -> Result<RunEvents, ClientError> {
        let path = ["runs", id, "events"];
        let query = vec![("after", after.to_string())];
        let call = Call { query, accept: "text/event-stream", ..Call::get(&path) };
        let response = self.respond(&call).await?;
        let answer = self.answer_to(&call, &response);
        let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
        if !kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
            let Answer { base, call, .. } = answer;
            return Err(ClientError::NotUnderstood { base, call, reason: "it is not a stream of events".to_owned() });
        }
        Ok(RunEvents { client: self.clone(), answer, events: Events::of(response) })
    }

    pub async fn set_variable(&self, key: &str, value: &str, description: Option<&str>) -> Result<Answer, ClientError> {
        let mut variable = serde_json::json!({ "value": value });
        if let Some(description) = description {
            variable["description"] = description.into();
        }
        let path = ["variables", key];
        self.call(Call { method: Method::PUT, body: json(&variable), ..Call::get(&path) }).await
    }

    pub async fn delete(&self, path: &[&str]) -> Result<Answer, ClientError> {
        self.call(Call { method: Method::DELETE, ..Call::get(path) }).await
    }

    /// A list from its first page to its last.
    pub async fn all(&self, path: &[&str], query: Vec<(&str, String)>) -> Result<Vec<Json>, ClientError> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let mut query = query.clone();
            query.push(("limit", PAGE.to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page = self.page(path, query).await?;
            items.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    /// The items of a list as what they should be.
    pub fn read_items<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        items: &[Json],
    ) -> Result<Vec<T>, ClientError> {
        let read = |item: &Json| {
            super::call::read(item.as_str().as_bytes()).map_err(|reason| ClientError::NotUnderstood {
                base: self.base.to_string(),
                call: format!("GET /api/v1/{}", path.join("/")),
                reason,
            })
        };
        items.iter().map(read).collect()
    }
}

fn json(value: &serde_json::Value) -> Body {
    Body::Json(Bytes::from(value.to_string()))
}

/// The events of a run as they come.
///
/// One connection lasts as long as any answer may take. After that it is lost, like one
/// that the network has forgotten, and whoever reads goes on from the last event on another.
pub struct RunEvents {
    client: Client,
    answer: Answer,
    events: Events,
}

impl RunEvents {
    /// The next event; `None` when the stream has ended. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<RunEvent>, ClientError> {
        match self.events.next().await.map_err(|error| self.client.unreachable(&error))? {
            Some(event) => Answer { body: event.data, ..self.answer.clone() }.read().map(Some),
            None => Ok(None),
        }
    }
}
