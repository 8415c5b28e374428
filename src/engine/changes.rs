//! What one batch of commands has to persist: each task once, events in order.

use std::sync::Arc;

use crate::model::states::words;
use crate::model::task::{AttemptLog, TaskResult};
use crate::model::{Outcome, RunId, RunRecord, RunState, TaskError, TaskId, TaskRecord, TaskState, Timestamp, Usage};

use super::Engine;
use super::command::Assignment;
use super::graph::{Evaluation, Run};
use super::task::Phase;

/// Everything to be stored in one transaction.
#[derive(Debug, Default)]
pub struct Changes {
    /// Each task that changed, as it is at the end of the batch, whatever happened in between.
    pub tasks: Vec<TaskChange>,
    pub runs: Vec<RunChange>,
    pub events: Vec<EventRow>,
    pub run_events: Vec<RunEventRow>,
    pub expansions: Vec<ExpansionRow>,
    /// Stored before the rows of `tasks`, `runs` and `expansions`.
    pub cleared: Vec<ClearedRows>,
    pub keys: Vec<OnceRow>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        let Self { tasks, runs, events, run_events, expansions, cleared, keys } = self;
        tasks.is_empty()
            && runs.is_empty()
            && events.is_empty()
            && run_events.is_empty()
            && expansions.is_empty()
            && cleared.is_empty()
            && keys.is_empty()
    }
}

#[derive(Debug, Clone)]
pub struct TaskChange {
    /// The store has no row of it yet.
    pub is_new: bool,
    /// The row is there, and what the instance is given is another by now: its input and its label.
    pub is_renewed: bool,
    pub record: Arc<TaskRecord>,
}

/// What of a run is done again.
#[derive(Debug, Clone, PartialEq)]
pub struct ClearedRows {
    pub run: RunId,
    /// Instances that wait for their turn again, and how many tries they may have.
    pub reset: Vec<(TaskId, u32)>,
    /// Instances that were never tried.
    pub removed: Vec<TaskId>,
    /// Scopes whose list is made anew.
    pub lists: Vec<u32>,
}

/// A run that changed, as it is at the end of the batch.
#[derive(Debug, Clone)]
pub struct RunChange {
    pub is_new: bool,
    /// Of its plan.
    pub nodes: u32,
    pub record: Arc<RunRecord>,
}

/// What a mapped task or group of a run was mapped over.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpansionRow {
    pub run: RunId,
    pub scope: u32,
    pub total: u32,
    pub list: TaskResult,
}

words! {
    /// What happened to a task instance.
    EventKind {
        Submitted = 1 "submitted",
        /// Its time came: `not_before`, or the pause before a retry.
        Ready = 2 "ready",
        /// An attempt runs. An attempt that ended before the next commit has no
        /// such event: its beginning stands in the event of its end.
        Started = 3 "started",
        /// An attempt ended and another one follows.
        AttemptEnded = 4 "attempt_ended",
        /// The task ended.
        Ended = 5 "ended",
        /// Our side gave an attempt up, at no cost.
        HandedBack = 6 "handed_back",
        Rerun = 7 "rerun",
        /// Somebody said how it ended.
        Marked = 8 "marked",
    }
}

words! {
    /// What happened to a run. Its numbers and those of `EventKind` share a column.
    RunEventKind {
        Queued = 21 "run_queued",
        Started = 22 "run_started",
        Ended = 23 "run_ended",
        /// Somebody asked for its end: what runs is stopped, what waits is skipped.
        Stopping = 24 "run_stopping",
        TimedOut = 25 "run_timed_out",
        /// Tasks of it are done again, or somebody said how they ended: the run goes on.
        Cleared = 26 "run_cleared",
    }
}

/// One entry of the append-only history, about a run as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEventRow {
    pub seq: u64,
    pub run: RunId,
    pub at: Timestamp,
    pub event: RunEventKind,
    pub state: RunState,
    pub by: Option<Arc<str>>,
}

/// One entry of the append-only history, about a task.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    pub seq: u64,
    pub task: TaskId,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// The task's event before this one; 0 where there is none.
    pub previous: u64,
    pub at: Timestamp,
    pub event: EventKind,
    pub try_number: u32,
    pub state: TaskState,
    pub outcome: Option<Outcome>,
    /// Who asked; none where the scheduler decided.
    pub by: Option<Arc<str>>,
    /// Where the event ends an attempt.
    pub attempt: Option<Box<AttemptRow>>,
}

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRow {
    pub fence: u32,
    pub started_at: Timestamp,
    pub error: Option<Arc<TaskError>>,
    pub usage: Usage,
    pub log: AttemptLog,
}

/// An idempotency key and the task it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnceRow {
    pub key: [u8; 32],
    pub body: [u8; 32],
    pub task: TaskId,
    pub at: Timestamp,
}

/// What is particular about one event; the rest is read off the task.
pub(super) struct EventNote {
    pub event: EventKind,
    pub at: Timestamp,
    pub outcome: Option<Outcome>,
    pub by: Option<Arc<str>>,
    /// Where it ends an attempt: which try that was.
    pub try_number: Option<u32>,
    pub attempt: Option<Box<AttemptRow>>,
}

impl EventKind {
    pub(super) fn note(self, at: Timestamp) -> EventNote {
        EventNote { event: self, at, outcome: None, by: None, try_number: None, attempt: None }
    }
}

impl Engine {
    /// Notes that the task has changed: its row goes into the open batch.
    pub(super) fn touch(&mut self, id: TaskId) {
        let task = self.tasks.get_mut(&id).expect("only a resident task changes");
        if task.changed_in != self.batch {
            task.changed_in = self.batch;
            task.place_in_batch = self.touched.len();
            self.touched.push(id);
        }
    }

    /// Appends to the history of a task, and touches it.
    pub(super) fn record_event(&mut self, id: TaskId, note: EventNote) {
        self.touch(id);
        self.last_event += 1;
        let task = self.tasks.get_mut(&id).expect("only a resident task changes");
        let running = matches!(task.phase, Phase::Running { .. });
        self.changes.events.push(EventRow {
            seq: self.last_event,
            task: id,
            run: task.instance.map(|instance| instance.run),
            previous: task.last_event,
            at: note.at,
            event: note.event,
            try_number: note.try_number.unwrap_or(task.tries_used + u32::from(running)),
            state: task.phase.state(),
            outcome: note.outcome,
            by: note.by,
            attempt: note.attempt,
        });
        task.last_event = self.last_event;
    }

    /// Notes that the run has changed: its row goes into the open batch.
    pub(super) fn touch_run(&mut self, run: &mut Run) {
        if run.changed_in != self.batch {
            run.changed_in = self.batch;
            self.graph.touched.push(run.id);
        }
    }

    /// Appends to the history of a run, and touches it.
    pub(super) fn record_run_event(&mut self, run: &mut Run, event: RunEventKind, by: Option<Arc<str>>, at: Timestamp) {
        self.touch_run(run);
        self.last_event += 1;
        let state = run.state();
        self.changes.run_events.push(RunEventRow { seq: self.last_event, run: run.id, at, event, state, by });
    }

    /// Closes the open batch. Attempts returned with it start when it is durable.
    pub fn seal(&mut self, now: Timestamp) -> Sealed {
        let touched = std::mem::take(&mut self.touched);
        for &id in &touched {
            let task = self.tasks.get_mut(&id).expect("a touched task is resident");
            if let Phase::Running { recorded: recorded @ false, .. } = &mut task.phase {
                *recorded = true;
                self.record_event(id, EventKind::Started.note(now));
            }
        }
        let mut changes = std::mem::take(&mut self.changes);
        changes.tasks = touched
            .iter()
            .map(|id| {
                let task = self.tasks.get_mut(id).expect("a touched task is resident");
                let is_new = !std::mem::replace(&mut task.stored, true);
                let is_renewed = std::mem::take(&mut task.is_renewed);
                TaskChange { is_new, is_renewed, record: Arc::new(task.record(*id)) }
            })
            .collect();
        let runs = std::mem::take(&mut self.graph.touched);
        changes.runs = runs
            .iter()
            .map(|id| {
                let run = self.graph.runs.get_mut(id).expect("a touched run is resident");
                let is_new = !std::mem::replace(&mut run.stored, true);
                RunChange { is_new, nodes: run.plan.nodes.len() as u32, record: Arc::new(run.record()) }
            })
            .collect();
        let batch = self.batch;
        self.batch += 1;
        Sealed {
            batch,
            changes,
            starts: std::mem::take(&mut self.starts_after_commit),
            evaluations: std::mem::take(&mut self.graph.evaluations_after_commit),
        }
    }

    /// The batch is durable: what need not be in memory leaves it.
    ///
    /// Release the starts of the batch before the stops that are due after this.
    pub fn committed(&mut self, batch: u64, changes: &Changes) {
        self.durable_batch = batch;
        for row in &changes.keys {
            if self.recent_keys.get(&row.key).is_some_and(|recent| recent.task == row.task) {
                self.recent_keys.remove(&row.key);
            }
        }
        for change in &changes.tasks {
            self.stop_what_starts_too_late(change.record.id);
            self.leave_if_idle(change.record.id);
        }
        self.runs_committed(changes);
    }

    /// An attempt that waited for this batch starts now. If it was stopped while
    /// it waited, that stop came before its start, to a host that had nothing to stop.
    fn stop_what_starts_too_late(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        if let Phase::Running { host, stopping: Some(_), .. } = task.phase {
            self.stops.push((host, id, task.fence));
        }
    }
}

/// A closed batch.
#[derive(Debug)]
pub struct Sealed {
    pub batch: u64,
    pub changes: Changes,
    pub starts: Vec<Assignment>,
    /// Questions whose answers need what the batch stores.
    pub evaluations: Vec<Evaluation>,
}
