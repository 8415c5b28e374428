//! Stops a run: because somebody asks, its time is up, or the first failure is the last.
//!
//! What runs is stopped, what waits is skipped; teardowns still do their work, and the
//! run ends behind them. Whoever asks twice stops the teardowns as well.

use std::sync::Arc;

use crate::dag::plan::Role;
use crate::model::{RunId, RunState, TaskId, TaskState, Timestamp};

use super::super::Engine;
use super::super::changes::RunEventKind;
use super::super::command::Answer;
use super::load::StoredRun;
use super::{PlacePhase, Progress, Run, RunPhase, Todo};

/// Who stopped a task whose run was stopped.
pub(super) const BY_THE_RUN: &str = "its run";

impl Engine {
    pub(in crate::engine) fn cancel_run(
        &mut self,
        id: RunId,
        stored: Option<Box<StoredRun>>,
        by: Arc<str>,
        now: Timestamp,
    ) -> Answer {
        if let Some(stored) = stored.filter(|stored| stored.record.id == id && !self.graph.runs.contains_key(&id)) {
            if stored.record.state.is_final() {
                return Answer::AlreadyEnded;
            }
            // One that waits: those under way are always here.
            self.graph.to_fetch.retain(|other| *other != id);
            self.graph.may_begin = true;
            self.graph.runs.insert(id, Box::new(Run::from_store(*stored)));
        }
        let answer = self.with_run(id, |engine, run| match run.phase {
            RunPhase::Ended { .. } => Answer::AlreadyEnded,
            RunPhase::Queued => {
                engine.graph.rooms.forget(&run.spec.dag_id.clone(), id);
                let (state, verdict) = (RunState::Cancelled, Some(RunState::Cancelled));
                run.phase = RunPhase::Ended { state, verdict, since: None, at: now };
                engine.record_run_event(run, RunEventKind::Ended, Some(by), now);
                engine.tell_followers(run);
                Answer::Cancelled
            }
            RunPhase::Running { .. } => {
                engine.record_run_event(run, RunEventKind::Stopping, Some(by), now);
                let mut todo = Todo::new();
                if run.verdict() == Some(RunState::Cancelled) {
                    engine.stop_teardowns(run, &mut todo, now);
                } else {
                    engine.close_down(run, RunState::Cancelled, &mut todo, now);
                }
                engine.settle(run, todo, now);
                if run.is_running() { Answer::Stopping } else { Answer::Cancelled }
            }
        });
        answer.unwrap_or(Answer::NotFound)
    }

    /// The times of runs that are up.
    pub(in crate::engine) fn stop_late_runs(&mut self, now: Timestamp) {
        while let Some((_, id)) = self.graph.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.graph.deadlines.pop_first();
            self.with_run(id, |engine, run| {
                if let RunPhase::Running { deadline, .. } = &mut run.phase {
                    *deadline = None;
                }
                let mut todo = Todo::new();
                if run.verdict().is_none() {
                    engine.record_run_event(run, RunEventKind::TimedOut, None, now);
                    engine.close_down(run, RunState::Failed, &mut todo, now);
                }
                engine.settle(run, todo, now);
            });
        }
    }

    /// Nothing but teardowns starts any more, and the run will end so.
    pub(super) fn close_down(&mut self, run: &mut Run, how: RunState, todo: &mut Todo, now: Timestamp) {
        let RunPhase::Running { verdict, deadline, .. } = &mut run.phase else { return };
        *verdict = Some(how);
        if let Some(deadline) = deadline.take() {
            self.graph.deadlines.remove(&(deadline, run.id));
        }
        self.touch_run(run);
        let plan = run.plan.clone();
        self.stop_active(run, |role| !role.is_teardown());
        for scope in 0..run.scopes.len() as u32 {
            match run.scopes[scope as usize].progress {
                Progress::Open(_) => self.close_scope(run, scope, todo),
                Progress::Closed => {
                    run.scopes[scope as usize].asked = None;
                    run.stand_whole(scope);
                }
                Progress::Whole | Progress::Over => {}
            }
        }
        let waiting: Vec<_> = run.places().map(|(at, place)| (at, place.phase)).collect();
        for (at, phase) in waiting {
            let is_work = !plan.node(at.node).role.is_teardown();
            match phase {
                PlacePhase::Waiting | PlacePhase::Asked(_) | PlacePhase::Held if is_work => {
                    self.end_without_attempt(run, at, TaskState::Skipped, None, todo, now);
                }
                PlacePhase::Waiting => todo.push_back(at),
                PlacePhase::Asked(_) | PlacePhase::Held | PlacePhase::Active(_) | PlacePhase::Over(_) => {}
            }
        }
    }

    fn stop_teardowns(&mut self, run: &mut Run, todo: &mut Todo, now: Timestamp) {
        self.stop_active(run, |_| true);
        let waiting: Vec<_> = run.places().map(|(at, place)| (at, place.phase)).collect();
        for (at, phase) in waiting {
            if matches!(phase, PlacePhase::Waiting | PlacePhase::Asked(_) | PlacePhase::Held) {
                self.end_without_attempt(run, at, TaskState::Skipped, None, todo, now);
            }
        }
    }

    /// Has what is under way stopped. What only the store has is fetched first.
    pub(super) fn stop_active(&mut self, run: &Run, which: impl Fn(Role) -> bool) {
        let active: Vec<TaskId> = run
            .places()
            .filter_map(|(at, place)| match place.phase {
                PlacePhase::Active(id) if which(run.plan.node(at.node).role) => Some(id),
                _ => None,
            })
            .collect();
        self.graph.to_stop.extend(active);
    }

    /// Stops the tasks that were marked for it, as far as they are in memory. Returns whether there were any.
    pub(super) fn stop_marked(&mut self, now: Timestamp) -> bool {
        let marked = std::mem::take(&mut self.graph.to_stop);
        let (near, far): (Vec<_>, Vec<_>) = marked.into_iter().partition(|id| self.tasks.contains_key(id));
        self.graph.to_stop = far;
        let by: Arc<str> = BY_THE_RUN.into();
        for id in &near {
            self.cancel(*id, None, by.clone(), now);
        }
        !near.is_empty()
    }
}
