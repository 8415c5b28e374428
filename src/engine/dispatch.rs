//! Gives ready tasks to free slots, and lets time pass.

use std::sync::Arc;

use crate::model::task::{AttemptLog, AttemptReport};
use crate::model::{Outcome, RetryAdvice, TaskError, TaskId, Timestamp, Usage};

use super::changes::EventKind;
use super::command::{Answer, Assignment, Ending, HostId};
use super::host::{Activity, Orphan};
use super::task::Phase;
use super::{Engine, changes};

impl Engine {
    /// Leaves either no ready task in memory or no free slot.
    pub(super) fn dispatch(&mut self, now: Timestamp) {
        while self.ready.has_near() {
            let Some(host) = self.hosts.iter().find(|(_, host)| host.has_room()).map(|(id, _)| *id) else { return };
            let Some(id) = self.ready.pop() else { return };
            self.start(id, host, now);
        }
    }

    fn start(&mut self, id: TaskId, host: HostId, now: Timestamp) {
        self.mark_not_near(id);
        let task = self.tasks.get_mut(&id).expect("a ready task is resident");
        let limits = &task.spec.terms.limits;
        let deadline = now + limits.execution_timeout.get() + self.config.report_grace;
        task.fence += 1;
        let (fence, try_number, spec, instance) = (task.fence, task.tries_used + 1, task.spec.clone(), task.instance);
        let instance_run = instance.map(|instance| instance.run);
        let instance = instance.and_then(|instance| self.context_of(instance)).map(Box::new);
        let assignment = Assignment { host, task: id, fence, try_number, spec, instance };
        self.timers.set_deadline(deadline, id, assignment.fence);
        let found = self.hosts.get_mut(&host).expect("a host with room is known");
        found.enter(Activity::Computing);
        let unseen = found.local && !assignment.spec.terms.grants.reach_outside();
        // Of a run's instance the run's age counts: a new life may give it a new id.
        let age = instance_run.map_or(id.as_u64(), |run| run.as_u64());
        let trusted = self.config.cautious_before.is_none_or(|before| age >= before);
        let reads_store = assignment.instance.as_ref().is_some_and(|instance| instance.needs_store());
        let starts_after = (!unseen || !trusted || reads_store).then_some(self.batch);
        let task = self.tasks.get_mut(&id).expect("a ready task is resident");
        task.phase = Phase::Running {
            host,
            since: now,
            deadline,
            recorded: false,
            stopping: None,
            starts_after,
            activity: Activity::Computing,
        };
        match starts_after {
            None => self.starts.push(assignment),
            Some(_) => self.starts_after_commit.push(assignment),
        }
        self.touch(id);
    }

    pub(super) fn advance(&mut self, now: Timestamp) -> Answer {
        while let Some(id) = self.timers.pop_due(now) {
            self.mark_not_near(id);
            self.tasks.get_mut(&id).expect("a near task is resident").phase = Phase::Queued;
            self.record_event(id, EventKind::Ready.note(now));
            self.wait(id);
        }
        while let Some((id, fence)) = self.timers.pop_deadline(now) {
            self.give_up_waiting_for_report(id, fence, now);
        }
        self.stop_late_runs(now);
        Answer::Done
    }

    /// The host did not report in time. The fence is closed without it; its room
    /// stays taken until it does report, because the guest may still be there.
    fn give_up_waiting_for_report(&mut self, id: TaskId, fence: u32, now: Timestamp) {
        let has_started = self.has_started(id);
        let task = self.tasks.get_mut(&id).expect("a running task is resident");
        let grace = task.spec.terms.limits.execution_timeout.get() + self.config.report_grace;
        let Phase::Running { host, since, activity, ref mut deadline, .. } = task.phase else { return };
        if !has_started {
            // Its start still waits for a slow commit, which is not the task's failure.
            *deadline = now + grace;
            self.timers.set_deadline(*deadline, id, fence);
            return;
        }
        self.orphans.insert((id, fence), Orphan { host, activity });
        self.stops.push((host, id, fence));
        let report = AttemptReport {
            outcome: Outcome::TimedOut,
            result: None,
            error: Some(Arc::new(TaskError::message("its time was up and its host did not report its end"))),
            advice: RetryAdvice::ByPolicy,
            log: AttemptLog::Empty,
            usage: Usage::default(),
            started_at: since,
            ended_at: now,
        };
        // Attempts that time out together must not come back together.
        let seed = id.as_u64() ^ u64::from(fence);
        self.conclude(id, Ending::Reported(Box::new(report)), seed, now);
    }

    /// The event that ends an attempt.
    pub(super) fn record_end(&mut self, id: TaskId, event: EventKind, end: AttemptEnd, now: Timestamp) {
        let (try_number, attempt) = (Some(end.try_number), Some(Box::new(end.row)));
        self.record_event(
            id,
            changes::EventNote { outcome: end.outcome, by: end.by, try_number, attempt, ..event.note(now) },
        );
    }
}

/// What the event that ends an attempt says.
pub(super) struct AttemptEnd {
    pub outcome: Option<Outcome>,
    pub by: Option<Arc<str>>,
    pub try_number: u32,
    pub row: changes::AttemptRow,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Command;
    use super::super::scene::{LOCAL, REMOTE, Scene, TASK, cancel, report, reported, spec};
    use crate::model::{Outcome, TaskState};

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_attempt_that_others_can_see_starts_after_its_commit() {
        let starts = |mut scene: Scene| (scene.engine.take_starts().len(), scene.commit().starts.len());
        assert_eq!(starts(Scene::new().with_slot(LOCAL).submits(spec(0, HOUR))), (1, 0));
        assert_eq!(starts(Scene::new().with_slot(REMOTE).submits(spec(0, HOUR))), (0, 1));
        let mut after_a_crash = Scene::new().with_slot(LOCAL);
        after_a_crash.engine.config.cautious_before = Some(TASK.as_u64() + 1);
        assert_eq!(starts(after_a_crash.submits(spec(0, HOUR))), (0, 1));
    }

    #[test]
    fn a_slow_commit_is_not_the_failure_of_a_task_that_waits_for_it() {
        let scene = Scene::new().with_slot(REMOTE).submits(spec(0, HOUR)).after(2 * HOUR);
        assert_eq!(scene.state(), Some(TaskState::Running));
        let scene = scene.commits().after(2 * HOUR);
        assert_eq!((scene.state(), scene.task().outcome), (Some(TaskState::Failed), Some(Outcome::TimedOut)));
    }

    #[test]
    fn a_host_that_dies_loses_only_what_has_started() {
        let died = |scene: Scene| scene.does(Command::HostLost { host: REMOTE }).task().lost_in_row;
        assert_eq!(died(Scene::new().with_slot(REMOTE).submits(spec(0, HOUR))), 0);
        assert_eq!(died(Scene::new().with_slot(REMOTE).submits(spec(0, HOUR)).commits()), 1);
    }

    #[test]
    fn a_stop_reaches_the_host_after_the_start_it_was_for() {
        let mut scene = Scene::new().with_slot(REMOTE).submits(spec(0, HOUR)).does(cancel());
        scene.engine.take_stops();
        assert_eq!(scene.commit().starts.len(), 1);
        assert_eq!(scene.engine.take_stops(), [(REMOTE, TASK, 1)]);
    }

    #[test]
    fn a_host_that_does_not_report_keeps_its_slot_until_it_does() {
        let mut scene = Scene::new().with_slot(LOCAL).submits(spec(1, Duration::ZERO)).after(2 * HOUR);
        assert_eq!((scene.state(), scene.task().try_number), (Some(TaskState::Queued), 1));
        scene.apply(report(LOCAL, 1, reported(Outcome::Success)));
        assert_eq!((scene.state(), scene.task().fence), (Some(TaskState::Running), 2));
    }
}
