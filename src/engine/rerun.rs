//! Starts an ended task again. Its history stays: the next try counts on.

use std::sync::Arc;

use crate::model::{TaskId, TaskRecord, Timestamp};

use super::Engine;
use super::changes::{EventKind, EventNote};
use super::command::Answer;
use super::task::Phase;

impl Engine {
    pub(super) fn rerun(
        &mut self,
        id: TaskId,
        stored: Option<Box<TaskRecord>>,
        by: Arc<str>,
        now: Timestamp,
    ) -> Answer {
        let Some(task) = self.adopt(id, stored) else { return Answer::NotFound };
        if !matches!(task.phase, Phase::Ended { .. }) {
            let state = task.phase.state();
            // What was taken in only to look at it is still the store's.
            if !task.near && !matches!(task.phase, Phase::Running { .. }) {
                self.leave_if_idle(id);
            }
            return Answer::NotEnded(state);
        }
        task.max_tries = task.tries_used + task.spec.terms.retry.retries + 1;
        task.lost_in_row = 0;
        task.queued_at = now;
        task.last = None;
        task.phase = Phase::first(&task.spec, now);
        self.record_event(id, EventNote { by: Some(by), ..EventKind::Rerun.note(now) });
        self.wait(id);
        Answer::Done
    }
}
