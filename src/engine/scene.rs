//! A small engine to try commands on, for the tests of the verbs.

use std::sync::Arc;
use std::time::Duration;

use crate::model::task::{AttemptLog, AttemptReport, Terms};
use crate::model::{
    Digest, Json, Outcome, RetryAdvice, RetryPolicy, Span, TaskId, TaskRecord, TaskSpec, TaskState, Timestamp, Usage,
};

use super::{Answer, Command, Ending, Engine, EngineConfig, HostId, Sealed};

pub(super) const TASK: TaskId = TaskId::from_u64(1 << 20);
pub(super) const OTHER: TaskId = TaskId::from_u64((1 << 20) + 1);
pub(super) const LOCAL: HostId = HostId(1);
pub(super) const REMOTE: HostId = HostId(2);

pub(super) struct Scene {
    pub engine: Engine,
    pub now: Timestamp,
}

impl Scene {
    /// An engine without a slot.
    pub(super) fn new() -> Self {
        Self { engine: Engine::new(EngineConfig::default(), 0, None), now: Timestamp::from_millis(1_000_000) }
    }

    pub(super) fn with_slot(self, host: HostId) -> Self {
        self.does(Command::HostJoined { host, slots: 1, waiting: 0, local: host == LOCAL })
    }

    pub(super) fn apply(&mut self, command: Command) -> Answer {
        let answer = self.engine.apply(command, self.now);
        assert_eq!(self.engine.check(), Ok(()));
        answer
    }

    pub(super) fn does(mut self, command: Command) -> Self {
        self.apply(command);
        self
    }

    pub(super) fn submits(self, spec: TaskSpec) -> Self {
        self.submits_as(TASK, spec)
    }

    pub(super) fn submits_other(self, spec: TaskSpec) -> Self {
        self.submits_as(OTHER, spec)
    }

    pub(super) fn submits_as(self, id: TaskId, spec: TaskSpec) -> Self {
        self.does(Command::Submit { id, spec: Arc::new(spec), once: None, by: "someone".into() })
    }

    /// The attempt that runs ends so.
    pub(super) fn ends(self, ending: Ending) -> Self {
        let fence = self.task().fence;
        self.does(report(LOCAL, fence, ending))
    }

    pub(super) fn commits(mut self) -> Self {
        self.commit();
        self
    }

    pub(super) fn commit(&mut self) -> Sealed {
        let sealed = self.engine.seal(self.now);
        self.engine.committed(sealed.batch, &sealed.changes);
        sealed
    }

    pub(super) fn after(mut self, length: Duration) -> Self {
        self.now = self.now + length;
        self.does(Command::Advance)
    }

    pub(super) fn task(&self) -> TaskRecord {
        self.engine.peek(TASK).expect("it is resident")
    }

    pub(super) fn state(&self) -> Option<TaskState> {
        self.state_of(TASK)
    }

    pub(super) fn other_state(&self) -> Option<TaskState> {
        self.state_of(OTHER)
    }

    pub(super) fn state_of(&self, id: TaskId) -> Option<TaskState> {
        self.engine.peek(id).map(|record| record.state)
    }

    /// How many attempts compute, and how many wait.
    pub(super) fn attempts(&self) -> (u32, u32) {
        let gauges = self.engine.gauges();
        (gauges.computing, gauges.waiting)
    }
}

/// A task with so many retries, each after so long.
pub(super) fn spec(retries: u32, retry_delay: Duration) -> TaskSpec {
    let retry = RetryPolicy { retries, retry_delay: Span::from(retry_delay), ..RetryPolicy::default() };
    let terms = Arc::new(Terms { retry, ..Terms::default() });
    TaskSpec { terms, ..TaskSpec::new(Digest::from_bytes([7; 32]), "run", Json::null()) }
}

pub(super) fn report(host: HostId, fence: u32, ending: Ending) -> Command {
    Command::Report { host, task: TASK, fence, ending, seed: 7 }
}

pub(super) fn parked(host: HostId, fence: u32) -> Command {
    Command::Parked { host, task: TASK, fence }
}

pub(super) fn resumed(host: HostId, fence: u32) -> Command {
    Command::Resumed { host, task: TASK, fence }
}

pub(super) fn cancel() -> Command {
    Command::Cancel { id: TASK, stored: None, by: "someone".into() }
}

pub(super) fn rerun() -> Command {
    Command::Rerun { id: TASK, stored: None, by: "someone".into() }
}

pub(super) fn reported(outcome: Outcome) -> Ending {
    Ending::Reported(Box::new(AttemptReport {
        outcome,
        result: None,
        error: None,
        advice: RetryAdvice::ByPolicy,
        log: AttemptLog::Empty,
        usage: Usage::default(),
        started_at: Timestamp::from_millis(1_000_000),
        ended_at: Timestamp::from_millis(1_000_001),
    }))
}

pub(super) fn handed_back() -> Ending {
    Ending::HandedBack { reason: "the worker is shutting down".into(), pause: Duration::ZERO }
}

pub(super) fn lost() -> Ending {
    Ending::Lost { reason: "the sandbox broke".into() }
}
