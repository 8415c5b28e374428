//! A resident task instance: what is true of it in each phase, and nothing else.

use std::sync::Arc;

use crate::model::run::Instance;
use crate::model::task::TaskResult;
use crate::model::{Outcome, QueueName, TaskError, TaskId, TaskRecord, TaskSpec, TaskState, Timestamp, Usage};

use super::command::HostId;
use super::graph::Tries;
use super::host::Activity;
use super::ready::ReadyKey;

#[derive(Debug, Clone)]
pub(super) struct Task {
    pub spec: Arc<TaskSpec>,
    /// Which task of which run it is.
    pub instance: Option<Instance>,
    /// What a mapped instance is called.
    pub label: Option<Arc<str>>,
    pub phase: Phase,
    /// Tries that ended and counted.
    pub tries_used: u32,
    /// Tries there may be, counted from the very first; a rerun adds to it.
    pub max_tries: u32,
    /// Attempts started; the fence of the current or last one.
    pub fence: u32,
    pub lost_in_row: u32,
    pub queued_at: Timestamp,
    pub last: Option<LastAttempt>,
    /// Why it ended without an attempt.
    pub unstarted_error: Option<Arc<TaskError>>,
    pub last_event: u64,
    /// Whether the store has a row of it.
    pub stored: bool,
    /// What it is given is not what its row says.
    pub is_renewed: bool,
    /// Waits among the near ones, and so stays in memory.
    pub near: bool,
    /// The batch of its last change, and its place there.
    pub changed_in: u64,
    pub place_in_batch: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Phase {
    Scheduled {
        due: Timestamp,
    },
    Queued,
    Running {
        host: HostId,
        since: Timestamp,
        deadline: Timestamp,
        recorded: bool,
        stopping: Option<Arc<str>>,
        /// The batch that has to be durable before the attempt starts; none where it started at once.
        starts_after: Option<u64>,
        activity: Activity,
    },
    UpForRetry {
        due: Timestamp,
    },
    Ended {
        state: TaskState,
        at: Timestamp,
    },
}

impl Phase {
    /// Where a task begins when it is accepted or asked for again.
    pub(super) fn first(spec: &TaskSpec, now: Timestamp) -> Self {
        match spec.not_before {
            Some(due) if due > now => Phase::Scheduled { due },
            _ => Phase::Queued,
        }
    }

    pub(super) fn state(&self) -> TaskState {
        match self {
            Phase::Scheduled { .. } => TaskState::Scheduled,
            Phase::Queued => TaskState::Queued,
            Phase::Running { .. } => TaskState::Running,
            Phase::UpForRetry { .. } => TaskState::UpForRetry,
            Phase::Ended { state, .. } => *state,
        }
    }
}

/// How the last attempt ended. A task that was cancelled before its first has one without a start.
#[derive(Debug, Clone)]
pub(super) struct LastAttempt {
    pub outcome: Outcome,
    pub started_at: Option<Timestamp>,
    pub ended_at: Timestamp,
    pub result: Option<TaskResult>,
    pub error: Option<Arc<TaskError>>,
    pub usage: Usage,
}

impl Task {
    /// A task that was just accepted.
    pub(super) fn new(spec: Arc<TaskSpec>, now: Timestamp) -> Self {
        let phase = Phase::first(&spec, now);
        Self {
            max_tries: spec.terms.retry.retries + 1,
            spec,
            instance: None,
            label: None,
            phase,
            tries_used: 0,
            fence: 0,
            lost_in_row: 0,
            queued_at: now,
            last: None,
            unstarted_error: None,
            last_event: 0,
            stored: false,
            is_renewed: false,
            near: false,
            changed_in: 0,
            place_in_batch: 0,
        }
    }

    /// A task that is done again: its tries count on.
    pub(super) fn again(spec: Arc<TaskSpec>, tries: Tries, now: Timestamp) -> Self {
        Self {
            tries_used: tries.used,
            max_tries: tries.most,
            fence: tries.fence,
            last_event: tries.last_event,
            stored: true,
            ..Self::new(spec, now)
        }
    }

    pub(super) fn record(&self, id: TaskId) -> TaskRecord {
        let last = self.last.as_ref();
        let (start_date, end_date, due_at, try_number) = match &self.phase {
            Phase::Scheduled { due } | Phase::UpForRetry { due } => {
                (last.and_then(|last| last.started_at), None, Some(*due), self.tries_used)
            }
            Phase::Queued => (last.and_then(|last| last.started_at), None, None, self.tries_used),
            Phase::Running { since, .. } => (Some(*since), None, None, self.tries_used + 1),
            Phase::Ended { at, .. } => (last.and_then(|last| last.started_at), Some(*at), None, self.tries_used),
        };
        TaskRecord {
            id,
            spec: self.spec.clone(),
            instance: self.instance,
            label: self.label.clone(),
            state: self.phase.state(),
            outcome: last.map(|last| last.outcome),
            try_number,
            max_tries: self.max_tries,
            fence: self.fence,
            lost_in_row: self.lost_in_row,
            due_at,
            queued_at: self.queued_at,
            start_date,
            end_date,
            result: last.and_then(|last| last.result.clone()),
            error: last.and_then(|last| last.error.clone()).or_else(|| self.unstarted_error.clone()),
            usage: last.map(|last| last.usage).unwrap_or_default(),
            note: None,
            last_event: self.last_event,
        }
    }

    /// The inverse of `record`. A running task belongs to a host that is gone:
    /// records come from the store only when their host's life is over.
    pub(super) fn from_record(record: TaskRecord) -> Self {
        let phase = match record.state {
            TaskState::Scheduled => Phase::Scheduled { due: record.due_at.unwrap_or(record.queued_at) },
            TaskState::Queued => Phase::Queued,
            TaskState::Running => Phase::Running {
                host: HostId::GONE,
                since: record.start_date.unwrap_or(record.queued_at),
                deadline: record.start_date.unwrap_or(record.queued_at),
                recorded: true,
                stopping: None,
                starts_after: None,
                activity: Activity::Computing,
            },
            TaskState::UpForRetry => Phase::UpForRetry { due: record.due_at.unwrap_or(record.queued_at) },
            state => Phase::Ended { state, at: record.end_date.unwrap_or(record.queued_at) },
        };
        let running = record.state == TaskState::Running;
        let started_at = if running { None } else { record.start_date };
        Self {
            tries_used: record.try_number - u32::from(running),
            max_tries: record.max_tries,
            fence: record.fence,
            lost_in_row: record.lost_in_row,
            queued_at: record.queued_at,
            instance: record.instance,
            label: record.label,
            unstarted_error: record.error.clone().filter(|_| record.outcome.is_none()),
            last: record.outcome.map(|outcome| LastAttempt {
                outcome,
                started_at,
                ended_at: record.end_date.unwrap_or(record.queued_at),
                result: record.result,
                error: record.error,
                usage: record.usage,
            }),
            last_event: record.last_event,
            spec: record.spec,
            phase,
            stored: true,
            is_renewed: false,
            near: false,
            changed_in: 0,
            place_in_batch: 0,
        }
    }

    pub(super) fn ready_key(&self, id: TaskId) -> ReadyKey {
        ReadyKey::new(self.spec.priority_weight, id)
    }

    pub(super) fn queue(&self) -> &QueueName {
        &self.spec.queue
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Scheduled { due } | Phase::UpForRetry { due } => Some(due),
            Phase::Queued | Phase::Running { .. } | Phase::Ended { .. } => None,
        }
    }

    /// What it costs to keep the task in memory, about.
    pub(super) fn weight(&self) -> usize {
        let labels: usize = self.spec.labels.iter().map(|(key, value)| key.len() + value.len() + 100).sum();
        let error = self.last.as_ref().and_then(|last| last.error.as_deref()).map_or(0, TaskError::bytes);
        let args: usize = self.spec.args.iter().map(|arg| arg.len() + 24).sum();
        600 + self.spec.input.as_str().len() + self.spec.terms.grants.bytes() + args + labels + error
    }
}
