//! Ends an attempt: records it once, and decides what follows.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crate::model::task::AttemptReport;
use crate::model::{Outcome, TaskError, TaskId, TaskState, Timestamp};

use super::Engine;
use super::changes::{AttemptRow, EventKind};
use super::command::{Answer, Ending, HostId};
use super::dispatch::AttemptEnd;
use super::host::Orphan;
use super::task::{LastAttempt, Phase, Task};

impl Engine {
    pub(super) fn report(
        &mut self,
        host: HostId,
        id: TaskId,
        fence: u32,
        ending: Ending,
        seed: u64,
        now: Timestamp,
    ) -> Answer {
        if let Entry::Occupied(orphan) = self.orphans.entry((id, fence))
            && orphan.get().host == host
        {
            let Orphan { activity, .. } = orphan.remove();
            self.give_back_room(host, activity);
            return Answer::Fenced;
        }
        let Some(Task { phase: Phase::Running { host: owner, deadline, activity, .. }, fence: current, .. }) =
            self.tasks.get(&id)
        else {
            return Answer::Fenced;
        };
        if (*owner, *current) != (host, fence) {
            return Answer::Fenced;
        }
        let activity = *activity;
        let ending = self.check_choice(id, ending);
        self.timers.clear_deadline(*deadline, id, fence);
        self.give_back_room(host, activity);
        self.conclude(id, ending, seed, now);
        Answer::Recorded
    }

    /// Ends the running attempt of a task whose room is accounted for already.
    pub(super) fn conclude(&mut self, id: TaskId, ending: Ending, seed: u64, now: Timestamp) {
        let task = self.tasks.get_mut(&id).expect("a running task is resident");
        let Phase::Running { since, deadline, stopping, .. } = &task.phase else { return };
        let (since, deadline, stopped_by) = (*since, *deadline, stopping.clone());
        let next = match &ending {
            Ending::Reported(report) => after_report(task, report, stopped_by.is_some(), seed),
            Ending::HandedBack { .. } | Ending::Lost { .. } if stopped_by.is_some() => Next::End(Outcome::Cancelled),
            Ending::HandedBack { pause, .. } => Next::Again { after: *pause, event: EventKind::HandedBack },
            Ending::Lost { .. } if task.lost_in_row + 1 >= self.config.lost_attempts => Next::End(Outcome::Lost),
            Ending::Lost { .. } => Next::Again { after: Duration::ZERO, event: EventKind::AttemptEnded },
        };
        let mut row = AttemptRow {
            fence: task.fence,
            started_at: since,
            error: None,
            usage: Default::default(),
            log: Default::default(),
        };
        let try_number = task.tries_used + 1;
        // What our side gave up or lost costs no try, yet the one that ends the task was one.
        if matches!((&ending, &next), (Ending::Reported(_), _) | (_, Next::End(_))) {
            task.tries_used = try_number;
        }
        let mut outcome = None;
        match ending {
            Ending::Reported(report) => {
                task.lost_in_row = 0;
                outcome = Some(report.outcome);
                row = AttemptRow {
                    started_at: report.started_at,
                    error: report.error.clone(),
                    usage: report.usage,
                    log: report.log,
                    ..row
                };
                task.last = Some(LastAttempt {
                    outcome: report.outcome,
                    started_at: Some(report.started_at),
                    ended_at: report.ended_at,
                    result: report.result,
                    error: report.error,
                    usage: report.usage,
                });
            }
            Ending::Lost { reason } => {
                task.lost_in_row += 1;
                outcome = Some(Outcome::Lost);
                row.error = Some(Arc::new(TaskError::message(&*reason)));
                task.last = Some(last_without_report(Outcome::Lost, since, now, row.error.clone()));
            }
            Ending::HandedBack { reason, .. } => {
                row.error = Some(Arc::new(TaskError::message(&*reason)));
                if matches!(next, Next::End(_)) {
                    task.last = Some(last_without_report(Outcome::Cancelled, since, now, None));
                }
            }
        }
        self.timers.clear_deadline(deadline, id, row.fence);
        match next {
            Next::End(last_outcome) => {
                let last = task.last.as_mut().expect("an attempt that ends a task is its last");
                last.outcome = last_outcome;
                let at = last.ended_at;
                task.phase = Phase::Ended { state: final_state(last_outcome), at };
                let end = AttemptEnd { outcome: Some(last_outcome), by: stopped_by, try_number, row };
                self.record_end(id, EventKind::Ended, end, now);
                self.after_end(id, now);
            }
            Next::Again { after, event } => {
                task.phase = if after.is_zero() { Phase::Queued } else { Phase::UpForRetry { due: now + after } };
                self.record_end(id, event, AttemptEnd { outcome, by: None, try_number, row }, now);
                self.wait(id);
            }
        }
    }
}

enum Next {
    End(Outcome),
    Again { after: Duration, event: EventKind },
}

fn after_report(task: &Task, report: &AttemptReport, stopping: bool, seed: u64) -> Next {
    match report.outcome {
        Outcome::Success | Outcome::Skipped => Next::End(report.outcome),
        _ if stopping => Next::End(Outcome::Cancelled),
        outcome => {
            let policy = &task.spec.terms.retry;
            let tried = task.tries_used + 1 - (task.max_tries - policy.retries - 1);
            match policy.pause_after(tried, outcome, report.advice, seed) {
                Some(after) => Next::Again { after, event: EventKind::AttemptEnded },
                None => Next::End(outcome),
            }
        }
    }
}

fn last_without_report(
    outcome: Outcome,
    since: Timestamp,
    now: Timestamp,
    error: Option<Arc<TaskError>>,
) -> LastAttempt {
    LastAttempt { outcome, started_at: Some(since), ended_at: now, result: None, error, usage: Default::default() }
}

fn final_state(outcome: Outcome) -> TaskState {
    match outcome.final_state() {
        // Nothing here defers yet; an attempt that claims so has failed to end.
        TaskState::Deferred => TaskState::Failed,
        state => state,
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{LOCAL, REMOTE, Scene, cancel, handed_back, lost, report, reported, spec};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_the_host_that_holds_the_fence_ends_the_attempt() {
        let running = || Scene::new().with_slot(LOCAL).submits(spec(1, SECOND));
        let table = [
            ("unknown", Scene::new(), LOCAL, 1, Answer::Fenced),
            ("queued", Scene::new().submits(spec(0, SECOND)), LOCAL, 0, Answer::Fenced),
            ("running", running(), LOCAL, 1, Answer::Recorded),
            ("running elsewhere", running(), REMOTE, 1, Answer::Fenced),
            ("under a fence to come", running(), LOCAL, 2, Answer::Fenced),
            ("being stopped", running().does(cancel()), LOCAL, 1, Answer::Recorded),
            ("between tries", running().ends(reported(Outcome::Failed)), LOCAL, 1, Answer::Fenced),
            ("in its next try", running().ends(reported(Outcome::Failed)).after(SECOND), LOCAL, 1, Answer::Fenced),
            ("ended", running().ends(reported(Outcome::Success)), LOCAL, 1, Answer::Fenced),
        ];
        for (phase, mut scene, host, fence, answer) in table {
            let before = scene.state();
            assert_eq!(scene.apply(report(host, fence, reported(Outcome::Success))), answer, "{phase}");
            if answer == Answer::Fenced {
                assert_eq!(scene.state(), before, "{phase}");
            }
        }
    }

    #[test]
    fn a_retry_without_a_pause_starts_in_the_same_command() {
        let scene = Scene::new().with_slot(LOCAL).submits(spec(1, Duration::ZERO)).ends(reported(Outcome::Failed));
        let task = scene.task();
        assert_eq!((task.state, task.try_number, task.fence), (TaskState::Running, 2, 2));
        let scene = scene.ends(reported(Outcome::Failed));
        assert_eq!((scene.state(), scene.task().try_number), (Some(TaskState::Failed), 2));
    }

    #[test]
    fn what_our_side_gives_up_costs_no_try() {
        let mut scene = Scene::new().with_slot(LOCAL).submits(spec(0, SECOND));
        for fence in 1..=20 {
            assert_eq!((scene.task().state, scene.task().fence), (TaskState::Running, fence));
            scene = scene.ends(handed_back());
        }
        let scene = scene.ends(reported(Outcome::Success));
        assert_eq!((scene.state(), scene.task().try_number), (Some(TaskState::Success), 1));
    }

    #[test]
    fn three_lost_in_a_row_are_final_and_cost_one_try() {
        let scene = Scene::new().with_slot(LOCAL).submits(spec(2, SECOND)).ends(lost()).ends(lost());
        assert_eq!(scene.state(), Some(TaskState::Running));
        let task = scene.ends(lost()).task();
        assert_eq!((task.state, task.outcome, task.try_number), (TaskState::Failed, Some(Outcome::Lost), 1));
    }

    #[test]
    fn a_report_begins_the_count_of_lost_attempts_anew() {
        let scene = Scene::new().with_slot(LOCAL).submits(spec(1, Duration::ZERO)).ends(lost()).ends(lost());
        let scene = scene.ends(reported(Outcome::Failed)).ends(lost()).ends(lost());
        assert_eq!((scene.state(), scene.task().try_number), (Some(TaskState::Running), 2));
    }

    #[test]
    fn every_end_names_the_try_it_was() {
        let mut scene = Scene::new().with_slot(LOCAL).submits(spec(1, Duration::ZERO));
        scene = scene.ends(lost()).ends(handed_back()).ends(reported(Outcome::Failed)).ends(lost());
        let ends = scene
            .commit()
            .changes
            .events
            .into_iter()
            .filter_map(|event| Some((event.attempt?.fence, event.try_number)));
        assert_eq!(ends.collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 1), (4, 2)]);
    }
}
