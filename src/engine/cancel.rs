//! Ends a task because somebody asks.

use std::sync::Arc;

use crate::model::{Outcome, TaskId, TaskRecord, TaskState, Timestamp};

use super::Engine;
use super::changes::{EventKind, EventNote};
use super::command::{Answer, HostId};
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
        if let Some(instance) = stored.as_ref().and_then(|stored| stored.waits_for_its_turn()) {
            return Answer::BelongsTo(instance);
        }
        let Some(task) = self.adopt(id, stored) else { return Answer::NotFound };
        match &mut task.phase {
            Phase::Ended { .. } => {
                self.leave_if_idle(id);
                Answer::AlreadyEnded
            }
            Phase::Running { stopping: Some(_), .. } => Answer::Stopping,
            Phase::Running { host: HostId::GONE, stopping, .. } => {
                // Its host's life is over, and its end is about to be noted.
                *stopping = Some(by);
                Answer::Stopping
            }
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
                task.phase = Phase::Ended { state: TaskState::Cancelled, at: now };
                let note = EventNote { outcome: Some(Outcome::Cancelled), by: Some(by), ..EventKind::Ended.note(now) };
                self.record_event(id, note);
                self.after_end(id, now);
                Answer::Cancelled
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::scene::{LOCAL, Scene, TASK, cancel, handed_back, lost, reported, spec};
    use super::super::{Answer, Command};
    use super::*;
    use crate::model::TaskSpec;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_cancel_ends_what_waits_and_stops_what_runs() {
        let later = |scene: &Scene| TaskSpec { not_before: Some(scene.now + HOUR), ..spec(0, HOUR) };
        let scheduled = {
            let scene = Scene::new();
            let spec = later(&scene);
            scene.submits(spec)
        };
        let running = || Scene::new().with_slot(LOCAL).submits(spec(1, HOUR));
        let table = [
            ("unknown", Scene::new(), Answer::NotFound, None),
            ("scheduled", scheduled, Answer::Cancelled, Some(TaskState::Cancelled)),
            ("queued", Scene::new().submits(spec(0, HOUR)), Answer::Cancelled, Some(TaskState::Cancelled)),
            ("running", running(), Answer::Stopping, Some(TaskState::Running)),
            ("stopping", running().does(cancel()), Answer::Stopping, Some(TaskState::Running)),
            ("between tries", running().ends(reported(Outcome::Failed)), Answer::Cancelled, Some(TaskState::Cancelled)),
            ("ended", running().ends(reported(Outcome::Success)), Answer::AlreadyEnded, Some(TaskState::Success)),
        ];
        for (phase, mut scene, answer, state) in table {
            assert_eq!(scene.apply(cancel()), answer, "{phase}");
            assert_eq!(scene.state(), state, "{phase}");
        }
    }

    #[test]
    fn a_stopped_task_ends_as_cancelled_unless_it_was_faster() {
        for (ending, state) in [
            (reported(Outcome::Cancelled), TaskState::Cancelled),
            (reported(Outcome::Failed), TaskState::Cancelled),
            (handed_back(), TaskState::Cancelled),
            (lost(), TaskState::Cancelled),
            (reported(Outcome::Success), TaskState::Success),
        ] {
            let scene = Scene::new().with_slot(LOCAL).submits(spec(3, Duration::ZERO)).does(cancel()).ends(ending);
            assert_eq!((scene.state(), scene.task().try_number), (Some(state), 1));
        }
    }

    #[test]
    fn a_guest_that_cannot_be_stopped_loses_its_fence_and_keeps_its_slot() {
        let mut scene = Scene::new().with_slot(LOCAL).submits(spec(0, HOUR)).does(cancel());
        assert_eq!(scene.engine.take_stops(), [(LOCAL, TASK, 1)]);
        let mut scene = scene.after(Duration::from_secs(2));
        assert_eq!((scene.state(), scene.attempts()), (Some(TaskState::Cancelled), (1, 0)));
        let late = Command::Report { host: LOCAL, task: TASK, fence: 1, ending: reported(Outcome::Success), seed: 1 };
        assert_eq!((scene.apply(late), scene.attempts()), (Answer::Fenced, (0, 0)));
    }

    #[test]
    fn what_only_the_store_has_is_cancelled_by_what_it_says() {
        let stored = Box::new(Scene::new().submits(spec(0, HOUR)).task());
        let mut scene = Scene::new();
        let from_store = Command::Cancel { id: TASK, stored: Some(stored), by: "someone".into() };
        assert_eq!((scene.apply(from_store), scene.state()), (Answer::Cancelled, Some(TaskState::Cancelled)));
        scene.commit();
        assert_eq!(scene.state(), None, "it is durable, and nothing here needs it");
    }
}
