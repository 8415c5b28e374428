//! A task instance: what was asked for, and how far it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::run::Instance;
use super::{Digest, Grants, Json, Limits, Outcome, QueueName, RetryAdvice, RetryPolicy, TaskId, TaskState, Timestamp};

/// Arguments of a command-line program.
pub const MAX_ARGS: usize = 1_000;
/// All of them, each with the NUL behind it.
pub const MAX_ARGS_BYTES: usize = 128 << 10;

/// What was asked for. Fixed when the task is accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSpec {
    pub module: Digest,
    pub function: Arc<str>,
    pub input: Json,
    /// Of a command-line program, without its name.
    pub args: Arc<[String]>,
    pub queue: QueueName,
    pub priority_weight: i32,
    pub not_before: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
    pub terms: Arc<Terms>,
}

impl TaskSpec {
    /// Asks for nothing in particular: everything else is as by default.
    pub fn new(module: Digest, function: impl Into<Arc<str>>, input: Json) -> Self {
        Self {
            module,
            function: function.into(),
            input,
            args: Arc::default(),
            queue: QueueName::default(),
            priority_weight: 1,
            not_before: None,
            labels: BTreeMap::new(),
            terms: Arc::default(),
        }
    }
}

/// What one attempt may do and use, and when there is another. Most tasks share the defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    #[serde(default, skip_serializing_if = "are_none")]
    pub grants: Arc<Grants>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub retry: RetryPolicy,
}

fn are_none(grants: &Arc<Grants>) -> bool {
    grants.is_empty()
}

/// A task instance as it is stored and shown.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    pub id: TaskId,
    pub spec: Arc<TaskSpec>,
    /// Which task of which run it is; none for a single task.
    pub instance: Option<Instance>,
    /// What a mapped instance is called, by `map_index_template`.
    pub label: Option<Arc<str>>,
    pub state: TaskState,
    /// How the last attempt ended.
    pub outcome: Option<Outcome>,
    /// The current or last try, counted from 1; 0 before the first has started.
    pub try_number: u32,
    /// How many tries there may be, counted from the very first.
    pub max_tries: u32,
    /// Attempts started, lost ones included. The fence of the current or last attempt.
    pub fence: u32,
    /// Attempts lost since the last one that reported.
    pub lost_in_row: u32,
    /// When a scheduled task or the next try becomes ready.
    pub due_at: Option<Timestamp>,
    pub queued_at: Timestamp,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub result: Option<TaskResult>,
    pub error: Option<Arc<TaskError>>,
    pub usage: Usage,
    /// Somebody's remark, as far as it was read: the engine does not keep it.
    pub note: Option<Arc<str>>,
    /// The task's newest event; its events are chained backwards from here.
    pub last_event: u64,
}

impl TaskRecord {
    /// The place in its run of an instance that waits for its turn to be done again; none otherwise.
    pub fn waits_for_its_turn(&self) -> Option<Instance> {
        let waits = self.state == TaskState::Scheduled && self.due_at.is_none();
        self.instance.filter(|_| waits)
    }
}

/// What a successful attempt returned.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskResult {
    Inline(Json),
    /// Kept as an artifact, because it is large.
    Artifact(ArtifactRef),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ArtifactRef {
    #[schema(value_type = String)]
    pub digest: Digest,
    pub bytes: u64,
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskError {
    pub message: String,
    /// The typed value the task failed with.
    #[schema(value_type = Option<Object>)]
    pub data: Option<Json>,
    pub exit_code: Option<i32>,
    /// Frames of the guest, innermost first.
    #[serde(default)]
    pub backtrace: Vec<String>,
    /// What the guest asked for and was not granted.
    #[serde(default)]
    pub denied_calls: Vec<String>,
}

impl TaskError {
    pub fn message(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Its size in memory, about.
    pub fn bytes(&self) -> usize {
        let data = self.data.as_ref().map_or(0, |data| data.as_str().len());
        let lines = self.backtrace.iter().chain(&self.denied_calls).map(String::len).sum::<usize>();
        self.message.len() + data + lines
    }
}

/// What an attempt used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// Time on a processor, microseconds.
    pub cpu_us: u64,
    /// Greatest sum over all memories and tables of the guest.
    pub peak_memory_bytes: u64,
    /// Bytes the host handed to the guest and took from it: input, output, log, HTTP and scratch files.
    pub host_bytes: u64,
    pub log_bytes: u64,
    /// Calls of the host's functions.
    #[serde(default)]
    pub host_calls: u64,
}

/// How an attempt ended, as its worker reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptReport {
    pub outcome: Outcome,
    pub result: Option<TaskResult>,
    pub error: Option<Arc<TaskError>>,
    pub advice: RetryAdvice,
    pub log: AttemptLog,
    pub usage: Usage,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
}

/// Where the log of a closed attempt lies. Complete and durable, or about to be
/// stored with the row that closes the attempt.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum AttemptLog {
    #[default]
    Empty,
    /// NDJSON, one object a line.
    Inline(Arc<[u8]>),
    /// Pieces of NDJSON in log segments, in order.
    Segments(Vec<SegmentPiece>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentPiece {
    pub segment: u64,
    pub offset: u64,
    pub bytes: u64,
}
