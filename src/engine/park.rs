//! Notes that an attempt waits in a host call, or computes again.
//!
//! Nothing of this is stored: what an attempt did when its host died is of no
//! interest to anybody.

use crate::model::TaskId;

use super::Engine;
use super::command::{Answer, HostId};
use super::host::{Activity, Orphan};
use super::task::{Phase, Task};

impl Engine {
    /// The attempt does this from here on. Doing it already is as good.
    ///
    /// One whose fence is closed still takes room until its host reports, so the
    /// room it takes is kept right; the answer is the one to any late word of it.
    pub(super) fn turn_to(&mut self, next: Activity, host: HostId, id: TaskId, fence: u32) -> Answer {
        let (current, answer) = match (self.orphans.get_mut(&(id, fence)), self.tasks.get_mut(&id)) {
            (Some(Orphan { host: on, activity }), _) if *on == host => (activity, Answer::Fenced),
            (_, Some(Task { phase: Phase::Running { host: on, activity, .. }, fence: held, .. }))
                if (*on, *held) == (host, fence) =>
            {
                (activity, Answer::Done)
            }
            _ => return Answer::Fenced,
        };
        let before = std::mem::replace(current, next);
        let host = self.hosts.get_mut(&host).expect("an attempt is on a host that is known");
        host.leave(before);
        host.enter(next);
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Command;
    use super::super::scene::{
        LOCAL, OTHER, REMOTE, Scene, TASK, cancel, lost, parked, report, reported, resumed, spec,
    };
    use super::*;
    use crate::model::{Outcome, TaskState};

    const HOUR: Duration = Duration::from_secs(3600);

    /// One slot with room for so many besides, its attempt, and another task that waits for a slot.
    fn two_tasks(waiting: u32) -> Scene {
        let scene = Scene::new().does(Command::HostJoined { host: LOCAL, slots: 1, waiting, local: true });
        scene.submits(spec(1, Duration::ZERO)).submits_other(spec(0, HOUR))
    }

    #[test]
    fn a_task_that_waits_gives_its_slot_to_a_ready_one_in_the_same_command() {
        let scene = two_tasks(1);
        assert_eq!((scene.state(), scene.other_state()), (Some(TaskState::Running), Some(TaskState::Queued)));
        let scene = scene.does(parked(LOCAL, 1));
        assert_eq!((scene.state(), scene.other_state()), (Some(TaskState::Running), Some(TaskState::Running)));
        assert_eq!(scene.attempts(), (1, 1));
    }

    #[test]
    fn what_goes_on_needs_no_slot_and_nothing_starts_meanwhile() {
        let third = TaskId::from_u64(OTHER.as_u64() + 1);
        let scene = two_tasks(2).does(parked(LOCAL, 1)).does(resumed(LOCAL, 1)).submits_as(third, spec(0, HOUR));
        assert_eq!((scene.attempts(), scene.state_of(third)), ((2, 0), Some(TaskState::Queued)));
        let scene = scene.does(report(LOCAL, 1, reported(Outcome::Success)));
        assert_eq!((scene.attempts(), scene.state_of(third)), ((1, 0), Some(TaskState::Queued)));
        let other = Command::Parked { host: LOCAL, task: OTHER, fence: 1 };
        let scene = scene.does(other);
        assert_eq!((scene.attempts(), scene.state_of(third)), ((1, 1), Some(TaskState::Running)));
    }

    #[test]
    fn the_waiting_room_is_bounded_too() {
        let third = TaskId::from_u64(OTHER.as_u64() + 1);
        let scene = two_tasks(1).does(parked(LOCAL, 1)).submits_as(third, spec(0, HOUR));
        let scene = scene.does(Command::Parked { host: LOCAL, task: OTHER, fence: 1 });
        assert_eq!((scene.attempts(), scene.state_of(third)), ((0, 2), Some(TaskState::Queued)));
        let without = two_tasks(0).does(parked(LOCAL, 1));
        assert_eq!((without.attempts(), without.other_state()), ((0, 1), Some(TaskState::Queued)));
    }

    #[test]
    fn only_the_attempt_that_holds_the_fence_is_heard() {
        let running = || two_tasks(1);
        let table = [
            ("unknown", Scene::new(), LOCAL, 1, Answer::Fenced),
            ("queued", Scene::new().submits(spec(0, HOUR)), LOCAL, 0, Answer::Fenced),
            ("running", running(), LOCAL, 1, Answer::Done),
            ("waiting", running().does(parked(LOCAL, 1)), LOCAL, 1, Answer::Done),
            ("going on", running().does(parked(LOCAL, 1)).does(resumed(LOCAL, 1)), LOCAL, 1, Answer::Done),
            ("of another host", running(), REMOTE, 1, Answer::Fenced),
            ("of another fence", running(), LOCAL, 2, Answer::Fenced),
            ("in its next try", running().ends(reported(Outcome::Failed)), LOCAL, 1, Answer::Fenced),
            ("ended", running().ends(reported(Outcome::Success)), LOCAL, 1, Answer::Fenced),
            ("lost with its host", running().does(Command::HostLost { host: LOCAL }), LOCAL, 1, Answer::Fenced),
        ];
        for (phase, mut scene, host, fence, answer) in table {
            let before = scene.attempts();
            // Said twice it counts once.
            for _ in 0..2 {
                assert_eq!(scene.apply(parked(host, fence)), answer, "{phase}");
            }
            let waiting = u32::from(answer == Answer::Done);
            assert!(answer == Answer::Done || scene.attempts() == before, "{phase}");
            assert_eq!(scene.attempts().1, waiting, "{phase}");
            for _ in 0..2 {
                assert_eq!(scene.apply(resumed(host, fence)), answer, "{phase}");
            }
            assert_eq!(scene.attempts().1, 0, "{phase}");
        }
    }

    #[test]
    fn the_end_of_an_attempt_that_waits_gives_its_waiting_room_back() {
        for ending in [reported(Outcome::Success), reported(Outcome::Failed), lost()] {
            let scene = two_tasks(1).does(parked(LOCAL, 1));
            assert_eq!(scene.ends(ending).attempts().1, 0);
        }
    }

    #[test]
    fn an_attempt_that_was_given_up_while_it_waits_keeps_its_waiting_room() {
        let scene = Scene::new().does(Command::HostJoined { host: LOCAL, slots: 1, waiting: 1, local: true });
        let mut scene = scene.submits(spec(0, HOUR)).does(parked(LOCAL, 1)).does(cancel()).after(2 * HOUR);
        assert_eq!((scene.state(), scene.attempts()), (Some(TaskState::Cancelled), (0, 1)));
        assert_eq!((scene.apply(resumed(LOCAL, 1)), scene.attempts()), (Answer::Fenced, (1, 0)));
        assert_eq!((scene.apply(parked(LOCAL, 1)), scene.attempts()), (Answer::Fenced, (0, 1)));
        assert_eq!((scene.apply(report(LOCAL, 1, lost())), scene.attempts()), (Answer::Fenced, (0, 0)));
    }

    #[test]
    fn nothing_of_it_is_stored() {
        let mut scene = two_tasks(0);
        scene.commit();
        let scene = scene.does(parked(LOCAL, 1)).does(resumed(LOCAL, 1));
        assert!(!scene.engine.has_changes());
        assert_eq!(scene.engine.peek(TASK).map(|task| task.fence), Some(1));
    }
}
