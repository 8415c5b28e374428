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
        if let Some(instance) = task.instance {
            self.leave_if_idle(id);
            return Answer::BelongsTo(instance);
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Command;
    use super::super::scene::{LOCAL, Scene, TASK, cancel, lost, reported, rerun, spec};
    use super::*;
    use crate::model::{Outcome, TaskSpec, TaskState};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_what_has_ended_is_run_again() {
        let running = || Scene::new().with_slot(LOCAL).submits(spec(1, SECOND));
        let table = [
            ("unknown", Scene::new(), Answer::NotFound),
            ("queued", Scene::new().submits(spec(0, SECOND)), Answer::NotEnded(TaskState::Queued)),
            ("running", running(), Answer::NotEnded(TaskState::Running)),
            ("between tries", running().ends(reported(Outcome::Failed)), Answer::NotEnded(TaskState::UpForRetry)),
            ("successful", running().ends(reported(Outcome::Success)), Answer::Done),
            ("denied", running().ends(reported(Outcome::Denied)), Answer::Done),
            ("cancelled", Scene::new().submits(spec(0, SECOND)).does(cancel()), Answer::Done),
        ];
        for (phase, mut scene, answer) in table {
            assert_eq!(scene.apply(rerun()), answer, "{phase}");
        }
    }

    #[test]
    fn the_tries_count_on_and_the_policy_begins_anew() {
        let scene = Scene::new().with_slot(LOCAL).submits(spec(1, Duration::ZERO));
        let scene = scene.ends(reported(Outcome::Failed)).ends(reported(Outcome::Failed)).does(rerun());
        let task = scene.task();
        assert_eq!((task.state, task.try_number, task.max_tries, task.fence), (TaskState::Running, 3, 4, 3));
        let scene = scene.ends(reported(Outcome::Failed));
        assert_eq!((scene.state(), scene.task().try_number), (Some(TaskState::Running), 4));
        assert_eq!(scene.ends(reported(Outcome::Failed)).state(), Some(TaskState::Failed));
    }

    #[test]
    fn what_was_given_up_as_lost_may_be_lost_as_often_again() {
        let scene = Scene::new().with_slot(LOCAL).submits(spec(0, SECOND)).ends(lost()).ends(lost()).ends(lost());
        let scene = scene.does(rerun()).ends(lost()).ends(lost());
        assert_eq!((scene.state(), scene.task().try_number), (Some(TaskState::Running), 2));
    }

    #[test]
    fn its_time_is_still_waited_for() {
        let scene = Scene::new().with_slot(LOCAL);
        let spec = TaskSpec { not_before: Some(scene.now + SECOND), ..spec(0, SECOND) };
        let scene = scene.submits(spec).does(cancel()).does(rerun());
        assert_eq!(scene.state(), Some(TaskState::Scheduled));
        assert_eq!(scene.after(SECOND).state(), Some(TaskState::Running));
    }

    #[test]
    fn a_look_at_what_only_the_store_has_leaves_nothing_behind() {
        let stored = Box::new(Scene::new().submits(spec(0, SECOND)).task());
        let mut scene = Scene::new();
        let answer = scene.apply(Command::Rerun { id: TASK, stored: Some(stored), by: "someone".into() });
        assert_eq!((answer, scene.state()), (Answer::NotEnded(TaskState::Queued), None));
    }
}
