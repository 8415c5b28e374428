//! What the server answers with, as far as the command line reads it. Unknown
//! keys are passed over, so that an older client understands a newer server.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::task::ArtifactRef;
use crate::model::{Digest, FunctionInfo, Grants, Json, Outcome, TaskError, TaskState, Timestamp, Usage};

/// A refusal, `application/problem+json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub status: u16,
    pub title: String,
    pub detail: String,
    pub code: String,
    pub thing: String,
    pub reason: String,
    pub remedy: String,
    pub retryable: bool,
    pub request_id: Option<String>,
    pub errors: Vec<ProblemPlace>,
}

/// One of several errors, with its place in what was sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProblemPlace {
    /// Which of several files that were sent.
    pub file: Option<String>,
    pub path: Option<String>,
    pub line: Option<u64>,
    pub column: Option<u64>,
    pub code: String,
    pub message: String,
    /// What to do about it, where the message does not say so.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    /// Thing, reason, remedy; then each place, and what to quote when asking for help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = match (self.thing.as_str(), self.reason.as_str()) {
            ("", "") if !self.detail.is_empty() => self.detail.clone(),
            ("", "") => self.title.clone(),
            ("", reason) => reason.to_owned(),
            (thing, "") => format!("{thing}: {}", self.title),
            (thing, reason) => format!("{thing}: {reason}"),
        };
        f.write_str(&said)?;
        for place in &self.errors {
            f.write_str("\n  ")?;
            if let Some(path) = place.path.as_deref().filter(|path| !path.is_empty()) {
                write!(f, "{path}")?;
            }
            if let Some(line) = place.line {
                write!(f, " line {line}")?;
            }
            if let Some(column) = place.column {
                write!(f, " column {column}")?;
            }
            write!(f, ": {}", place.message)?;
        }
        if !self.remedy.is_empty() {
            write!(f, "\n  to mend it: {}", self.remedy)?;
        }
        let code = if self.code.is_empty() { self.status.to_string() } else { self.code.clone() };
        match &self.request_id {
            Some(request_id) => write!(f, "\n  ({code}, request {request_id})"),
            None => write!(f, "\n  ({code})"),
        }
    }
}

/// A task instance as the server shows it, as far as the command line uses it.
#[derive(Debug, Clone, Deserialize)]
pub struct Task {
    pub id: String,
    pub state: TaskState,
    pub outcome: Option<Outcome>,
    #[serde(default)]
    pub result: Option<Json>,
    #[serde(default)]
    pub result_ref: Option<ArtifactRef>,
    #[serde(default)]
    pub error: Option<TaskError>,
    pub try_number: u32,
    pub module: String,
    pub function: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub queue: String,
    pub queued_at: Timestamp,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub duration_ms: Option<f64>,
    #[serde(default)]
    pub usage: Option<Usage>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub grants: Option<Grants>,
    /// Of an instance of a run: which task of which DAG it is.
    #[serde(default)]
    pub task_id: Option<String>,
    #[serde(default)]
    pub map_index: Option<i64>,
    #[serde(default)]
    pub rendered_map_index: Option<String>,
    #[serde(default)]
    pub dag_id: Option<String>,
    #[serde(default)]
    pub run_id: Option<String>,
    #[serde(default)]
    pub note: Option<String>,
}

/// A module as the server shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Module {
    pub digest: Digest,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub tag: Option<String>,
    pub size_bytes: u64,
    #[serde(default)]
    pub functions: Vec<FunctionInfo>,
    #[serde(default)]
    pub imports: Vec<String>,
    #[serde(default)]
    pub grants_needed: Vec<String>,
}

impl Module {
    pub fn function(&self, name: &str) -> Option<&FunctionInfo> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The only one that can be called.
    pub fn sole_function(&self) -> Option<&FunctionInfo> {
        let mut callable = self.functions.iter().filter(|function| function.not_callable.is_none());
        callable.next().filter(|_| callable.next().is_none())
    }
}

/// How far the server is with an upload.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct UploadProgress {
    /// `waiting`, `compiling`, `inspecting` or `storing`.
    pub stage: String,
    pub elapsed_ms: u64,
    #[serde(default)]
    pub cpu_ms: Option<u64>,
    #[serde(default)]
    pub cpu_limit_ms: Option<u64>,
    #[serde(default)]
    pub position: Option<usize>,
}

/// One page of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Page {
    pub items: Vec<Json>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// One line of an attempt's log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LogLine {
    pub seq: u64,
    pub at: Timestamp,
    #[serde(default)]
    pub stream: String,
    #[serde(default)]
    pub level: Option<String>,
    pub message: String,
}
