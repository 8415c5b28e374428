//! Ends a task because somebody asks.

use std::sync::Arc;

use crate::model::{Outcome, TaskId, TaskRecord, TaskState, Timestamp};

use super::Engine;
use super::changes::{EventKind, EventNote};
use super::command::Answer;
use super::task::{LastAttempt, Phase};

impl Engine {
    /// A waiting task ends at once. A running one ends when its guest has been
    /// stopped and its log is complete; a guest that cannot be stopped in time
    /// loses its fence.
    pub(super) fn cancel(
        &mut self,
        id: TaskId,
        stored: Option<Box<TaskRecord>>,
        by: Arc<str>,
        now: Timestamp,
    ) -> Answer {
        let stop_by = now + self.config.stop_grace;
        let Some(task) = self.adopt(id, stored) else { return Answer::NotFound };
        match &mut task.phase {
            Phase::Ended { .. } => {
                self.leave_if_idle(id);
                Answer::AlreadyEnded
            }
            Phase::Running { stopping: Some(_), .. } => Answer::Stopping,
            Phase::Running { host, deadline, stopping, .. } => {
                let (host, fence, old_deadline) = (*host, task.fence, *deadline);
                *stopping = Some(by);
                *deadline = stop_by.min(old_deadline);
                let deadline = *deadline;
                self.timers.clear_deadline(old_deadline, id, fence);
                self.timers.set_deadline(deadline, id, fence);
                self.stops.push((host, id, fence));
                Answer::Stopping
            }
            Phase::Scheduled { .. } | Phase::Queued | Phase::UpForRetry { .. } => {
                self.stop_waiting(id);
                let task = self.tasks.get_mut(&id).expect("it was found above");
                let before = task.last.take();
                task.last = Some(LastAttempt {
                    outcome: Outcome::Cancelled,
                    started_at: before.as_ref().and_then(|last| last.started_at),
                    ended_at: now,
                    result: None,
                    error: before.as_ref().and_then(|last| last.error.clone()),
                    usage: before.map(|last| last.usage).unwrap_or_default(),
                });
                task.phase = Phase::Ended { state: TaskState::Cancelled };
                let note = EventNote { outcome: Some(Outcome::Cancelled), by: Some(by), ..EventKind::Ended.note(now) };
                self.record_event(id, note);
                Answer::Cancelled
            }
        }
    }
}
