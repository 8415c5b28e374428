//! DAGs, their runs and variables: what is asked of the coordinator, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::dag::{Definition, Plan};
use crate::model::run::Instance;
use crate::model::variable::{Full, Variable};
use crate::model::{DagId, Digest, Json, RunId, RunName, RunRecord, TaskId, TaskName, TaskState, Timestamp};
use crate::store::NoteChange;

use super::{CommitFailed, Coordinator, Idempotency, KeyOf, Message};

/// A DAG as it was checked, and as its author wrote it.
#[derive(Debug, Clone)]
pub struct NewVersion {
    pub definition: Arc<Definition>,
    pub source: Arc<str>,
}

/// What became of a new version.
#[derive(Debug, Clone)]
pub struct Applied {
    pub dag_id: DagId,
    pub version: Digest,
    /// New runs took another version before, or there was no such DAG.
    pub created: bool,
}

/// A run to be accepted.
#[derive(Debug)]
pub struct TriggerRun {
    pub dag_id: DagId,
    pub version: Digest,
    /// None: one is made up.
    pub run_id: Option<RunName>,
    pub logical_date: Option<Timestamp>,
    pub conf: Json,
    pub params: Json,
    pub note: Option<Arc<str>>,
    pub idempotency: Option<Idempotency>,
    pub by: Arc<str>,
}

/// The answer to a trigger, committed.
#[derive(Debug, Clone)]
pub struct Triggered {
    pub record: Arc<RunRecord>,
    pub existed: Existed,
}

/// Whether, and by what, a run that was asked for is one that there was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existed {
    No,
    /// There was a run of this name.
    ByName,
    /// The request is a repeat: its idempotency key stands for the run.
    ByKey,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum TriggerError {
    #[error("there is no such DAG version")]
    NotFound,
    #[error("more submissions wait than the server takes")]
    Busy { retry_after: Duration },
    #[error("the idempotency key was used for another request, which became {became}")]
    IdempotencyMismatch { became: KeyOf },
    #[error("module {0} is not here any more")]
    ModuleGone(Digest),
    #[error("{reason}")]
    Unavailable { reason: String },
}

/// A variable that was set or taken away, committed.
#[derive(Debug, Clone, Copy)]
pub struct VariableSet {
    /// Whether there was a variable of this key just before.
    pub existed: bool,
    pub at: Timestamp,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum VariableError {
    #[error(transparent)]
    Full(#[from] Full),
    #[error(transparent)]
    Failed(#[from] CommitFailed),
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum DagChangeError {
    #[error("there is no such DAG")]
    NotFound,
    #[error("{runs} of its runs have not ended")]
    Busy { runs: u64 },
    #[error("{reason}")]
    Unavailable { reason: String },
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum RunChangeError {
    #[error("there is no such run")]
    NotFound,
    #[error("the run has ended")]
    AlreadyEnded(Arc<RunRecord>),
    #[error("{reason}")]
    Unavailable { reason: String },
}

/// Which tasks of a run are done again, by their names.
#[derive(Debug, Clone, Default)]
pub struct ClearRequest {
    /// A task, and which of its instances if not all of them. None: all tasks.
    pub tasks: Option<Vec<(TaskName, Option<u32>)>>,
    pub upstream: bool,
    pub downstream: bool,
    pub only_failed: bool,
    /// Only tells what would be done again.
    pub dry_run: bool,
}

/// What was, or would be, done again.
#[derive(Debug, Clone)]
pub struct Cleared {
    pub instances: Vec<ClearedInstance>,
    /// As it is now.
    pub run: Arc<RunRecord>,
}

#[derive(Debug, Clone)]
pub struct ClearedInstance {
    pub id: TaskId,
    pub task: TaskName,
    pub map_index: Option<u32>,
    /// How it had ended.
    pub state: TaskState,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ClearError {
    #[error("there is no such run")]
    NotFound,
    #[error("its DAG has no task `{name}`; it has {known}")]
    NoTask { name: TaskName, known: String },
    #[error("task {id} is {state}; cancel it first, or wait for its end")]
    Active { id: TaskId, state: TaskState },
    #[error("the run is being stopped; wait for its end")]
    Stopping,
    #[error("the run has not begun; wait until it has")]
    NotBegun,
    #[error("{0}")]
    CannotMark(&'static str),
    #[error("{reason}")]
    Unavailable { reason: String },
}

/// What the coordinator is told of DAGs and runs.
pub(crate) enum GraphMessage {
    Apply {
        versions: Vec<NewVersion>,
        by: Arc<str>,
        reply: oneshot::Sender<Result<Vec<Applied>, CommitFailed>>,
    },
    Pause {
        dag: DagId,
        paused: bool,
        reply: DagReply,
    },
    Delete {
        dag: DagId,
        reply: DagReply,
    },
    Trigger {
        run: Box<TriggerRun>,
        plan: Arc<Plan>,
        wait: Option<Duration>,
        reply: TriggerReply,
    },
    Cancel {
        id: RunId,
        by: Arc<str>,
        reply: RunReply,
    },
    Clear {
        id: RunId,
        what: Clearing,
        by: Arc<str>,
        reply: ClearReply,
    },
    Note {
        note: NoteChange,
        reply: oneshot::Sender<Result<(), CommitFailed>>,
    },
    SetVariable {
        key: String,
        value: Option<Variable>,
        by: Arc<str>,
        reply: VariableReply,
    },
    /// The answer to a question of the engine's.
    Evaluated(crate::engine::Command),
}

/// How a run is changed afterwards.
#[derive(Debug)]
pub(crate) enum Clearing {
    Tasks(ClearRequest),
    Instance(Instance),
    /// Somebody says how an instance ended, and may remark on it. What failed behind it is done again.
    Mark {
        instance: Instance,
        state: TaskState,
        note: Option<NoteChange>,
    },
}

pub(crate) type ClearReply = oneshot::Sender<Result<Cleared, ClearError>>;
pub(crate) type VariableReply = oneshot::Sender<Result<VariableSet, VariableError>>;
pub(crate) type DagReply = oneshot::Sender<Result<(), DagChangeError>>;
pub(crate) type TriggerReply = oneshot::Sender<Result<Triggered, TriggerError>>;
pub(crate) type RunReply = oneshot::Sender<Result<Arc<RunRecord>, RunChangeError>>;

const STOPPING: &str = "the server is stopping";

impl Coordinator {
    /// Makes these the versions that new runs take: all of them or none.
    pub async fn apply_dags(&self, versions: Vec<NewVersion>, by: Arc<str>) -> Result<Vec<Applied>, CommitFailed> {
        let answer = self.tell(|reply| GraphMessage::Apply { versions, by, reply }).await;
        answer.unwrap_or_else(|| Err(CommitFailed(STOPPING.into())))
    }

    /// A DAG that is paused begins no runs and no tasks; what runs may end.
    pub async fn pause_dag(&self, dag: DagId, paused: bool) -> Result<(), DagChangeError> {
        let answer = self.tell(|reply| GraphMessage::Pause { dag, paused, reply }).await;
        answer.unwrap_or_else(|| Err(DagChangeError::Unavailable { reason: STOPPING.into() }))
    }

    /// Forgets the DAG. Its runs and versions stay readable until retention takes them.
    pub async fn delete_dag(&self, dag: DagId) -> Result<(), DagChangeError> {
        let answer = self.tell(|reply| GraphMessage::Delete { dag, reply }).await;
        answer.unwrap_or_else(|| Err(DagChangeError::Unavailable { reason: STOPPING.into() }))
    }

    /// Accepts a run. With `wait`, answers when it has ended or the time is up. Dropping the future takes nothing back.
    pub async fn trigger(&self, run: TriggerRun, wait: Option<Duration>) -> Result<Triggered, TriggerError> {
        let unavailable = |reason: String| TriggerError::Unavailable { reason };
        let plan = self.shared.plans.get(run.version).await.map_err(unavailable)?.ok_or(TriggerError::NotFound)?;
        self.admit(1).map_err(|_| TriggerError::Busy { retry_after: Duration::from_secs(1) })?;
        let run = Box::new(run);
        let answer = self.tell(|reply| GraphMessage::Trigger { run, plan, wait, reply }).await;
        answer.unwrap_or_else(|| Err(unavailable(STOPPING.into())))
    }

    /// Stops a run: what runs is stopped, what waits is skipped, teardowns still do their work. A second call stops
    /// these as well. Answers when that is committed; the run itself may end later.
    pub async fn cancel_run(&self, id: RunId, by: Arc<str>) -> Result<Arc<RunRecord>, RunChangeError> {
        let answer = self.tell(|reply| GraphMessage::Cancel { id, by, reply }).await;
        answer.unwrap_or_else(|| Err(RunChangeError::Unavailable { reason: STOPPING.into() }))
    }

    /// Has tasks of a run done again, from how it stands. Their tries count on and their history stays; the
    /// outputs of before do not. Setups and teardowns around them come along.
    pub async fn clear_run(&self, id: RunId, request: ClearRequest, by: Arc<str>) -> Result<Cleared, ClearError> {
        self.clear(id, Clearing::Tasks(request), by).await
    }

    /// Has one instance done again, and nothing behind it.
    pub async fn rerun_instance(&self, instance: Instance, by: Arc<str>) -> Result<Cleared, ClearError> {
        self.clear(instance.run, Clearing::Instance(instance), by).await
    }

    /// Takes somebody's word for how an instance ended; what failed behind it is done again. A remark is
    /// written with it, or neither is.
    pub async fn mark(
        &self,
        instance: Instance,
        state: TaskState,
        note: Option<NoteChange>,
        by: Arc<str>,
    ) -> Result<Cleared, ClearError> {
        self.clear(instance.run, Clearing::Mark { instance, state, note }, by).await
    }

    async fn clear(&self, id: RunId, what: Clearing, by: Arc<str>) -> Result<Cleared, ClearError> {
        let answer = self.tell(|reply| GraphMessage::Clear { id, what, by, reply }).await;
        answer.unwrap_or_else(|| Err(ClearError::Unavailable { reason: STOPPING.into() }))
    }

    /// Writes a remark on a run or a task, or takes it away.
    pub async fn note(&self, note: NoteChange) -> Result<(), CommitFailed> {
        let answer = self.tell(|reply| GraphMessage::Note { note, reply }).await;
        answer.unwrap_or_else(|| Err(CommitFailed(STOPPING.into())))
    }

    /// Sets a variable, or with none takes it away.
    pub async fn set_variable(
        &self,
        key: String,
        value: Option<Variable>,
        by: Arc<str>,
    ) -> Result<VariableSet, VariableError> {
        let answer = self.tell(|reply| GraphMessage::SetVariable { key, value, by, reply }).await;
        answer.unwrap_or_else(|| Err(CommitFailed(STOPPING.into()).into()))
    }

    /// None: the coordinator ends.
    async fn tell<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> GraphMessage) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.shared.mailbox.push(Message::Graph(message(reply)));
        answer.await.ok()
    }
}
