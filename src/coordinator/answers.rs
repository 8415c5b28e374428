//! Who waits for what: answers held until their batch is durable, and callers
//! that wait for the end of a task.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::engine::TaskChange;
use crate::model::{RunId, TaskId, TaskRecord, Timestamp};

use super::graph::{
    Applied, ClearError, ClearReply, ClearedInstance, DagChangeError, DagReply, Existed, RunChangeError, RunReply,
    TriggerError, TriggerReply, VariableReply,
};
use super::{ChangeError, ChangeReply, CommitFailed, SubmitError, Submitted};

pub(crate) type Line = (u32, Result<Submitted, SubmitError>);

/// Where the answer to a submission goes.
pub(crate) enum ReplyTo {
    One(oneshot::Sender<Result<Submitted, SubmitError>>),
    Line { index: u32, batch: Arc<BatchReplies> },
}

/// Answers to the lines of one batch request, sent on in pieces: one wake-up a
/// commit, not one a line.
pub(crate) struct BatchReplies {
    sender: mpsc::UnboundedSender<Vec<Line>>,
    collected: Mutex<Vec<Line>>,
}

impl BatchReplies {
    pub(crate) fn new(sender: mpsc::UnboundedSender<Vec<Line>>) -> Self {
        Self { sender, collected: Mutex::new(Vec::new()) }
    }

    fn flush(&self) {
        let lines = std::mem::take(&mut *self.collected.lock());
        if !lines.is_empty() {
            // The request may be gone; its tasks are not.
            let _ = self.sender.send(lines);
        }
    }
}

/// Sends answers; what belongs to a batch request goes out together at `flush`.
#[derive(Default)]
pub(super) struct Postman {
    batches: Vec<Arc<BatchReplies>>,
}

impl Postman {
    pub(super) fn answer(&mut self, reply: ReplyTo, answer: Result<Submitted, SubmitError>) {
        match reply {
            // The request may be gone; the task is not.
            ReplyTo::One(reply) => drop(reply.send(answer)),
            ReplyTo::Line { index, batch } => {
                let mut collected = batch.collected.lock();
                collected.push((index, answer));
                let is_first = collected.len() == 1;
                drop(collected);
                if is_first {
                    self.batches.push(batch);
                }
            }
        }
    }

    pub(super) fn flush(&mut self) {
        for batch in self.batches.drain(..) {
            batch.flush();
        }
    }
}

/// An answer that is true once its batch is durable.
pub(super) enum Ack {
    /// The task at this place of the batch was accepted.
    Accepted {
        place: usize,
        wait: Option<Duration>,
        reply: ReplyTo,
    },
    /// The task was accepted before.
    Replayed {
        id: TaskId,
        wait: Option<Duration>,
        reply: ReplyTo,
    },
    Refused {
        error: SubmitError,
        reply: ReplyTo,
    },
    Changed {
        place: usize,
        reply: ChangeReply,
    },
    /// A change was refused for what the task is by now, which may not be durable yet.
    ChangeRefused {
        error: ChangeError,
        reply: ChangeReply,
    },
    Modules {
        reply: oneshot::Sender<Result<(), CommitFailed>>,
    },
    Applied {
        applied: Vec<Applied>,
        reply: oneshot::Sender<Result<Vec<Applied>, CommitFailed>>,
    },
    Dag {
        reply: DagReply,
    },
    /// The variable at this place of the batch's DAG changes was set, or taken away.
    Variable {
        place: usize,
        reply: VariableReply,
    },
    /// A run was accepted, or there was one already.
    Triggered {
        id: RunId,
        existed: Existed,
        wait: Option<Duration>,
        reply: TriggerReply,
    },
    TriggerRefused {
        error: TriggerError,
        reply: TriggerReply,
    },
    RunChanged {
        id: RunId,
        reply: RunReply,
    },
    RunEnded {
        id: RunId,
        reply: RunReply,
    },
    Cleared {
        id: RunId,
        instances: Vec<ClearedInstance>,
        reply: ClearReply,
    },
}

impl Ack {
    /// The batch was not stored: nothing has happened.
    pub(super) fn fail(self, reason: &str, postman: &mut Postman) {
        match self {
            Ack::Accepted { reply, .. } | Ack::Replayed { reply, .. } | Ack::Refused { reply, .. } => {
                postman.answer(reply, Err(SubmitError::Unavailable { reason: reason.into() }));
            }
            Ack::Changed { reply, .. } | Ack::ChangeRefused { reply, .. } => {
                drop(reply.send(Err(ChangeError::Unavailable { reason: reason.into() })))
            }
            Ack::Modules { reply } => drop(reply.send(Err(CommitFailed(reason.into())))),
            Ack::Applied { reply, .. } => drop(reply.send(Err(CommitFailed(reason.into())))),
            Ack::Variable { reply, .. } => drop(reply.send(Err(CommitFailed(reason.into()).into()))),
            Ack::Dag { reply } => drop(reply.send(Err(DagChangeError::Unavailable { reason: reason.into() }))),
            Ack::Triggered { reply, .. } | Ack::TriggerRefused { reply, .. } => {
                drop(reply.send(Err(TriggerError::Unavailable { reason: reason.into() })));
            }
            Ack::Cleared { reply, .. } => drop(reply.send(Err(ClearError::Unavailable { reason: reason.into() }))),
            Ack::RunChanged { reply, .. } | Ack::RunEnded { reply, .. } => {
                drop(reply.send(Err(RunChangeError::Unavailable { reason: reason.into() })));
            }
        }
    }
}

enum Waiting {
    Submit { replayed: bool, reply: ReplyTo },
    Cancel { reply: ChangeReply },
}

/// Callers that wait for the end of a task, each up to its own deadline.
#[derive(Default)]
pub(super) struct Waiters {
    by_task: HashMap<TaskId, Waited>,
    deadlines: BTreeSet<(Timestamp, TaskId)>,
}

struct Waited {
    /// The task as it was last committed.
    record: Arc<TaskRecord>,
    callers: Vec<(Timestamp, Waiting)>,
}

impl Waiters {
    pub(super) fn submit(&mut self, record: Arc<TaskRecord>, replayed: bool, until: Timestamp, reply: ReplyTo) {
        self.add(record, until, Waiting::Submit { replayed, reply });
    }

    pub(super) fn cancel(&mut self, record: Arc<TaskRecord>, until: Timestamp, reply: ChangeReply) {
        self.add(record, until, Waiting::Cancel { reply });
    }

    fn add(&mut self, record: Arc<TaskRecord>, until: Timestamp, waiting: Waiting) {
        let id = record.id;
        self.deadlines.insert((until, id));
        let waited = self.by_task.entry(id).or_insert(Waited { record, callers: Vec::new() });
        waited.callers.push((until, waiting));
    }

    /// The changes are durable: tells those who wait for a task that has ended.
    pub(super) fn committed(&mut self, changes: &[TaskChange], postman: &mut Postman) {
        if self.by_task.is_empty() {
            return;
        }
        for change in changes {
            let record = &change.record;
            if record.state.is_final() {
                if let Some(waited) = self.by_task.remove(&record.id) {
                    for (until, waiting) in waited.callers {
                        self.deadlines.remove(&(until, record.id));
                        tell(waiting, record.clone(), postman);
                    }
                }
            } else if let Some(waited) = self.by_task.get_mut(&record.id) {
                waited.record = record.clone();
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Tells those whose time is up how far the task is.
    pub(super) fn expire(&mut self, now: Timestamp, postman: &mut Postman) {
        while let Some(&(until, id)) = self.deadlines.first().filter(|(until, _)| *until <= now) {
            self.deadlines.remove(&(until, id));
            let Some(waited) = self.by_task.get_mut(&id) else { continue };
            let record = waited.record.clone();
            let (over, left) = std::mem::take(&mut waited.callers).into_iter().partition(|(until, _)| *until <= now);
            waited.callers = left;
            if waited.callers.is_empty() {
                self.by_task.remove(&id);
            }
            for (_, waiting) in Vec::from_iter::<Vec<_>>(over) {
                tell(waiting, record.clone(), postman);
            }
        }
    }

    /// What was being cancelled runs again, or has ended otherwise: nobody can say yet.
    pub(super) fn fail_cancels(&mut self, reason: &str) {
        for waited in self.by_task.values_mut() {
            let callers = std::mem::take(&mut waited.callers);
            for (until, waiting) in callers {
                match waiting {
                    Waiting::Cancel { reply } => {
                        let _ = reply.send(Err(ChangeError::Unavailable { reason: reason.into() }));
                    }
                    Waiting::Submit { .. } => waited.callers.push((until, waiting)),
                }
            }
        }
        self.by_task.retain(|_, waited| !waited.callers.is_empty());
    }

    /// The server stops: everybody learns how far their task is.
    pub(super) fn release_all(&mut self, postman: &mut Postman) {
        self.expire(Timestamp::from_micros(i64::MAX), postman);
    }
}

fn tell(waiting: Waiting, record: Arc<TaskRecord>, postman: &mut Postman) {
    match waiting {
        Waiting::Submit { replayed, reply } => postman.answer(reply, Ok(Submitted { record, replayed })),
        // The guest may have ended by itself before it could be stopped: the state says how.
        Waiting::Cancel { reply } => drop(reply.send(Ok(record))),
    }
}
