//! Turns commands into committed facts: the group-commit loop around the engine.
//!
//! Everything that arrives goes into a mailbox. One thread applies it to the
//! engine; a second one writes a batch to the store while the first goes on
//! applying, so slots are refilled during a commit. What others may see (answers,
//! results, starts that reach outside) is released when its batch is durable.
//! If a commit fails nothing is released: callers are told to try again, the
//! engine is thrown away and loaded from the store, and nothing starts until the
//! store has taken a small write again.

mod answers;
mod evaluator;
mod followed;
mod graph;
mod inputs;
mod mailbox;
mod modules;
mod plans;
mod retention;
mod turn;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::{Ending, EngineConfig, HostId};
use crate::metrics::Metrics;
use crate::model::run::Instance;
use crate::model::{Digest, RunId, TaskId, TaskRecord, TaskSpec, TaskState, Timestamp};
use crate::store::{CommitError, DataDirectory, ModuleChange, Reads, Writer};
use crate::worker::LocalWorker;

use answers::ReplyTo;
use evaluator::Evaluator;
pub use graph::{
    Applied, ClearError, ClearRequest, Cleared, ClearedInstance, DagChangeError, Existed, NewVersion, RunChangeError,
    TriggerError, TriggerRun, Triggered, VariableError, VariableSet,
};
pub use inputs::{FetchError, Fetched, InputSource};
pub(crate) use mailbox::Mailbox;
pub use modules::{
    DeleteError, ModuleError, ModuleRef, Modules, ModulesSettings, Naming, NotAModuleRef, NotFound, Received,
    TellUploadStage, UploadError, UploadStage, Uploaded,
};
pub use retention::RetentionSettings;
use turn::Turn;

/// Bounds of the coordinator.
#[derive(Debug, Clone)]
pub struct CoordinatorSettings {
    pub engine: EngineConfig,
    /// Attempts of this process that may compute at once. Default 8 a processor.
    pub slots: u32,
    /// Attempts of this process that may besides wait in a host call. Default 10 000.
    pub waiting: u32,
    /// Submissions accepted into the mailbox and not applied yet; more are told to come back. Default 50 000.
    pub max_waiting_submissions: usize,
    /// Changes after which a batch takes no further submissions. Default 2 048.
    pub batch_changes: usize,
    /// Bytes of one task as submitted; the store must be able to hold a row. Default 8 MiB.
    pub max_task_bytes: usize,
    /// How long a graceful stop lets attempts run before it hands them back. Default 30 s.
    pub graceful_stop: Duration,
    pub retention: RetentionSettings,
}

/// Whether commands are accepted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Starting,
    Ready,
    /// The store refuses to write, say.
    Degraded {
        reason: String,
    },
    Stopping,
}

/// A task to be accepted.
#[derive(Debug)]
pub struct Submission {
    pub spec: Arc<TaskSpec>,
    pub idempotency: Option<Idempotency>,
    pub by: Arc<str>,
}

/// An idempotency key, hashed with its principal, and the hash of the body it came with.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency {
    pub key: [u8; 32],
    pub body: [u8; 32],
}

/// What a request with an idempotency key became. Tasks and runs share their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOf {
    Task(TaskId),
    Run(RunId),
}

impl fmt::Display for KeyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(id) => id.fmt(f),
            Self::Run(id) => id.fmt(f),
        }
    }
}

/// Answers to some lines of a batch, each with the line's place.
pub type LineAnswers = Vec<(u32, Result<Submitted, SubmitError>)>;

/// The answer to a submission, committed.
#[derive(Debug, Clone)]
pub struct Submitted {
    pub record: Arc<TaskRecord>,
    pub replayed: bool,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    #[error("{reason}")]
    Unavailable { reason: String },
    #[error("more submissions wait than the server takes")]
    Busy { retry_after: Duration },
    #[error("the idempotency key was used for another request, which became {became}")]
    IdempotencyMismatch { became: KeyOf },
    #[error("module {0} is not here any more")]
    ModuleGone(Digest),
    #[error("the task has {bytes} bytes, and the limit is {limit}")]
    TooLarge { bytes: u64, limit: u64 },
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    #[error("there is no such task")]
    NotFound,
    #[error("the task is {0} and has not ended")]
    NotEnded(TaskState),
    #[error("the task has ended")]
    AlreadyEnded(Arc<TaskRecord>),
    #[error("the task belongs to {}", .0.run)]
    BelongsTo(Instance),
    #[error("{reason}")]
    Unavailable { reason: String },
}

/// What the coordinator is told.
pub(crate) enum Message {
    Submit {
        submission: Submission,
        wait: Option<Duration>,
        reply: ReplyTo,
    },
    SubmitMany {
        lines: Vec<(u32, Submission)>,
        wait: Option<Duration>,
        replies: Arc<answers::BatchReplies>,
    },
    Report {
        host: HostId,
        task: TaskId,
        fence: u32,
        ending: Ending,
    },
    /// An attempt waits in a host call from here on.
    Parked {
        host: HostId,
        task: TaskId,
        fence: u32,
    },
    /// An attempt computes again.
    Resumed {
        host: HostId,
        task: TaskId,
        fence: u32,
    },
    Cancel {
        id: TaskId,
        by: Arc<str>,
        reply: ChangeReply,
    },
    Rerun {
        id: TaskId,
        by: Arc<str>,
        reply: ChangeReply,
    },
    ChangeModules {
        changes: Vec<ModuleChange>,
        reply: oneshot::Sender<Result<(), CommitFailed>>,
    },
    /// No task may be accepted for the module from here on. Answered when all accepted before are durable.
    BlockModule {
        digest: Digest,
        reply: oneshot::Sender<Result<(), CommitFailed>>,
    },
    UnblockModule {
        digest: Digest,
    },
    Graph(graph::GraphMessage),
    /// The writer is done with a job.
    Written(writer::Written),
    /// Stop gracefully.
    Stop,
}

pub(crate) type ChangeReply = oneshot::Sender<Result<Arc<TaskRecord>, ChangeError>>;

/// A commit failed; nothing of it was stored.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct CommitFailed(pub String);

/// A handle on the coordinator. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) mailbox: Mailbox<Message>,
    pub(crate) waiting_submissions: AtomicUsize,
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) followed: followed::FollowedRuns,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) plans: plans::Plans,
    max_waiting_submissions: usize,
}

/// The threads of a running coordinator.
pub struct Running {
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Blocks until the coordinator has stopped.
    pub fn join(self) {
        for thread in self.threads {
            // A panic has been reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

impl Coordinator {
    /// A mailbox without anyone to read it yet; workers need it to report to.
    pub fn new(settings: &CoordinatorSettings, metrics: Arc<Metrics>) -> Self {
        Self {
            shared: Arc::new(Shared {
                mailbox: Mailbox::default(),
                waiting_submissions: AtomicUsize::new(0),
                readiness: watch::Sender::new(Readiness::Starting),
                followed: followed::FollowedRuns::default(),
                metrics,
                plans: plans::Plans::default(),
                max_waiting_submissions: settings.max_waiting_submissions,
            }),
        }
    }

    /// Loads the engine from the store and starts to work.
    pub fn start(
        &self,
        mut settings: CoordinatorSettings,
        mut writer: Writer,
        data: &DataDirectory,
        reads: Reads,
        worker: LocalWorker,
    ) -> Result<Running, StartError> {
        let history = data.history()?;
        self.shared.plans.read_from(reads);
        let inputs = worker.inputs().clone();
        inputs.begin(history.variables()?);
        let evaluator = Evaluator::new(self.shared.clone(), inputs, tokio::runtime::Handle::current());
        let (key, unclean) = writer::UNCLEAN;
        if writer.meta(key).as_deref() == Some(unclean) {
            // Whatever ran may have killed the last server, without a trace if its start was not on disk yet.
            settings.engine.cautious_before = history.last_id()?.map(|last| last + 1);
            tracing::warn!("the last server on this data directory did not stop cleanly; nothing is lost");
        }
        writer.set_meta(key, unclean)?;
        let (jobs, writer_thread) = writer::start(writer, self.shared.clone());
        let turn = Turn::load(settings, self.shared.clone(), history, jobs, worker, evaluator)?;
        let turn_thread = std::thread::Builder::new()
            .name("coordinator".into())
            .spawn(move || or_abort(|| turn.run()))
            .expect("the system gives a thread at start");
        Ok(Running { threads: vec![turn_thread, writer_thread] })
    }

    /// Whether commands are accepted.
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.shared.readiness.subscribe()
    }

    /// Changes with every commit that tells something of the run, from here on.
    pub fn follow(&self, run: RunId) -> watch::Receiver<()> {
        self.shared.followed.follow(run)
    }

    /// Accepts a task. With `wait`, answers when it has ended or the time is up.
    /// Dropping the future takes nothing back.
    pub async fn submit(&self, submission: Submission, wait: Option<Duration>) -> Result<Submitted, SubmitError> {
        self.admit(1)?;
        let (reply, answer) = oneshot::channel();
        self.shared.mailbox.push(Message::Submit { submission, wait, reply: ReplyTo::One(reply) });
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Accepts many tasks, each independent. Answers come in pieces, in any order.
    pub fn submit_batch(
        &self,
        lines: Vec<(u32, Submission)>,
        wait: Option<Duration>,
    ) -> Result<mpsc::UnboundedReceiver<LineAnswers>, SubmitError> {
        self.admit(lines.len())?;
        let (sender, answers) = mpsc::unbounded_channel();
        let replies = Arc::new(answers::BatchReplies::new(sender));
        self.shared.mailbox.push(Message::SubmitMany { lines, wait, replies });
        Ok(answers)
    }

    /// Ends a task. A running one is stopped first; answers when its end is committed.
    pub async fn cancel(&self, id: TaskId, by: Arc<str>) -> Result<Arc<TaskRecord>, ChangeError> {
        self.change(|reply| Message::Cancel { id, by, reply }).await
    }

    /// Starts an ended task again.
    pub async fn rerun(&self, id: TaskId, by: Arc<str>) -> Result<Arc<TaskRecord>, ChangeError> {
        self.change(|reply| Message::Rerun { id, by, reply }).await
    }

    /// Stops gracefully: no more submissions, attempts may end, the rest is handed back.
    pub fn stop(&self) {
        self.shared.mailbox.push(Message::Stop);
    }

    async fn change(&self, message: impl FnOnce(ChangeReply) -> Message) -> Result<Arc<TaskRecord>, ChangeError> {
        let (reply, answer) = oneshot::channel();
        self.shared.mailbox.push(message(reply));
        let stopped = || ChangeError::Unavailable { reason: "the server is stopping".into() };
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn admit(&self, tasks: usize) -> Result<(), SubmitError> {
        let waiting = &self.shared.waiting_submissions;
        if waiting.fetch_add(tasks, Ordering::Relaxed) + tasks > self.shared.max_waiting_submissions {
            waiting.fetch_sub(tasks, Ordering::Relaxed);
            return Err(SubmitError::Busy { retry_after: Duration::from_secs(1) });
        }
        Ok(())
    }

    pub(crate) async fn change_modules(&self, changes: Vec<ModuleChange>) -> Result<(), CommitFailed> {
        self.ask(|reply| Message::ChangeModules { changes, reply }).await
    }

    pub(crate) async fn block_module(&self, digest: Digest) -> Result<(), CommitFailed> {
        self.ask(|reply| Message::BlockModule { digest, reply }).await
    }

    pub(crate) fn unblock_module(&self, digest: Digest) {
        self.shared.mailbox.push(Message::UnblockModule { digest });
    }

    async fn ask(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<(), CommitFailed>>) -> Message,
    ) -> Result<(), CommitFailed> {
        let (reply, answer) = oneshot::channel();
        self.shared.mailbox.push(message(reply));
        answer.await.unwrap_or_else(|_| Err(CommitFailed("the server is stopping".into())))
    }

    /// Where a worker of this process reports to.
    pub fn reports(&self) -> Reports {
        Reports { shared: self.shared.clone() }
    }
}

/// The right to report what attempts do and how they end.
#[derive(Clone)]
pub struct Reports {
    shared: Arc<Shared>,
}

impl Reports {
    pub fn report(&self, host: HostId, task: TaskId, fence: u32, ending: Ending) {
        self.shared.mailbox.push(Message::Report { host, task, fence, ending });
    }

    /// The attempt waits in a host call from here on.
    pub fn parked(&self, host: HostId, task: TaskId, fence: u32) {
        self.shared.mailbox.push(Message::Parked { host, task, fence });
    }

    /// The attempt computes again.
    pub fn resumed(&self, host: HostId, task: TaskId, fence: u32) {
        self.shared.mailbox.push(Message::Resumed { host, task, fence });
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] crate::store::OpenError),
    #[error("the store could not be loaded: {0}")]
    Load(#[from] CommitError),
}

fn stopping() -> SubmitError {
    SubmitError::Unavailable { reason: "the server is stopping".into() }
}

/// A number nobody can guess, for jitter.
fn random_seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| Timestamp::now().as_micros() as u64)
}

/// Runs one of the two threads that hold everything together. A server without
/// it would look alive and answer nothing: so the process ends at once, to be
/// started again. Nothing acknowledged is lost by that.
fn or_abort(run: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
        tracing::error!("the coordinator panicked: the process ends; start it again, nothing acknowledged is lost");
        std::process::abort();
    }
}
