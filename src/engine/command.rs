//! What the engine is told, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use crate::model::run::Instance;
use crate::model::task::AttemptReport;
use crate::model::{DagId, QueueName, RunId, TaskId, TaskRecord, TaskSpec, TaskState, Timestamp};

use super::graph::{About, Clear, Evaluated, InstanceContext, StoredRun, Trigger};
use super::ready::ReadyKey;

/// Names one life of a worker. A worker that comes back is another host, so
/// that a report from its former life is never taken for one of this life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub u64);

impl HostId {
    /// Stands for every host of a former life of the server.
    pub const GONE: HostId = HostId(0);
}

/// One thing that happened. What it needs from history arrives with it.
#[derive(Debug, Clone)]
pub enum Command {
    Submit {
        id: TaskId,
        spec: Arc<TaskSpec>,
        once: Option<Once>,
        by: Arc<str>,
    },
    /// An attempt ended on its host. `seed` decides the jitter of a retry.
    Report {
        host: HostId,
        task: TaskId,
        fence: u32,
        ending: Ending,
        seed: u64,
    },
    /// The attempt waits in a host call from here on: its slot is free for another.
    Parked {
        host: HostId,
        task: TaskId,
        fence: u32,
    },
    /// The attempt computes again. It does not ask for a slot: what goes on ends sooner than what begins.
    Resumed {
        host: HostId,
        task: TaskId,
        fence: u32,
    },
    /// `stored` is what the store says of a task that is not resident.
    Cancel {
        id: TaskId,
        stored: Option<Box<TaskRecord>>,
        by: Arc<str>,
    },
    Rerun {
        id: TaskId,
        stored: Option<Box<TaskRecord>>,
        by: Arc<str>,
    },
    HostJoined {
        host: HostId,
        /// Attempts that may compute at once.
        slots: u32,
        /// Attempts that may besides wait in a host call.
        waiting: u32,
        /// Its attempts cannot outlive this process.
        local: bool,
    },
    /// Gets no more attempts.
    HostDraining {
        host: HostId,
    },
    HostLost {
        host: HostId,
    },
    /// The answer to `needs_page`.
    PageIn {
        request: PageRequest,
        page: Page,
    },
    Trigger(Box<Trigger>),
    /// What a person wrote about a run, stored beside the engine's changes: a run in memory has to know it too.
    NoteRun {
        id: RunId,
        note: Option<Arc<str>>,
    },
    /// `stored` is what the store says of a run that is not resident.
    CancelRun {
        id: RunId,
        stored: Option<Box<StoredRun>>,
        by: Arc<str>,
    },
    /// Only when nothing waits to become durable.
    Clear(Box<Clear>),
    PauseDag {
        dag: DagId,
        paused: bool,
    },
    /// The answer to an evaluation.
    Evaluated {
        run: RunId,
        ticket: u64,
        about: About,
        answer: Evaluated,
    },
    /// Time has passed.
    Advance,
}

/// How an attempt ended on its host.
#[derive(Debug, Clone)]
pub enum Ending {
    Reported(Box<AttemptReport>),
    /// Our side gave it up (shutdown, full disk): costs the author nothing.
    HandedBack {
        reason: Arc<str>,
        pause: Duration,
    },
    /// The sandbox itself broke under it. Costs no try, three in a row are final.
    Lost {
        reason: Arc<str>,
    },
}

/// "Accept this only once": an idempotency key, hashed with its principal, and
/// the hash of the body it came with.
#[derive(Debug, Clone)]
pub struct Once {
    pub key: [u8; 32],
    pub body: [u8; 32],
    /// What the store knows of the key.
    pub earlier: Option<Earlier>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    pub task: TaskId,
    pub body: [u8; 32],
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageRequest {
    /// Ready tasks of the queue behind the key, in order.
    Ready { queue: QueueName, after: ReadyKey },
    /// Waiting tasks due after (moment, id), in order.
    Due { after: (Timestamp, TaskId) },
    /// These tasks.
    Tasks { ids: Vec<TaskId> },
    /// The run with all that is known of its tasks.
    Run { id: RunId },
    /// Queued runs of the DAG behind this one, in order.
    WaitingRuns { dag: DagId, after: RunId },
}

/// A part of the store.
#[derive(Debug, Clone)]
pub enum Page {
    /// `complete`: the store has no more behind these rows.
    Tasks {
        rows: Vec<TaskRecord>,
        complete: bool,
    },
    Run(Option<Box<StoredRun>>),
    Runs {
        ids: Vec<RunId>,
        complete: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Done,
    Accepted(TaskId),
    /// The key was used before, with the same body.
    Replayed(TaskId),
    /// The key was used before, with another body.
    KeyMismatch(TaskId),
    Recorded,
    /// Somebody else owns the task by now; nothing was changed.
    Fenced,
    /// Ended by this command.
    Cancelled,
    /// Its guest is being stopped; the end follows.
    Stopping,
    AlreadyEnded,
    NotEnded(TaskState),
    NotFound,
    RunAccepted(RunId),
    /// The DAG has a run of this name.
    RunExists(RunId),
    /// The task is one of a run, and is changed through it.
    BelongsTo(Instance),
}

/// One attempt for a host to run.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub host: HostId,
    pub task: TaskId,
    pub fence: u32,
    pub try_number: u32,
    pub spec: Arc<TaskSpec>,
    /// Of a task of a run.
    pub instance: Option<Box<InstanceContext>>,
}
