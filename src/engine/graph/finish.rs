//! Ends a run when all of its tasks are over, and lets those behind it begin.

use std::sync::Arc;

use crate::model::{DagId, RunId, RunState, Timestamp};

use super::super::Engine;
use super::super::changes::{Changes, RunEventKind};
use super::super::command::Answer;
use super::{Ends, Past, Run, RunPhase};

impl Run {
    /// How the run ended, from how its last tasks did: as in Airflow.
    fn outcome(&self) -> RunState {
        if let Some(verdict) = self.verdict() {
            return verdict;
        }
        let failed = |(node, tally): (&crate::dag::plan::Node, &super::Tally)| node.decides_run && tally.unwell > 0;
        if self.plan.nodes.iter().zip(&self.tallies).any(failed) { RunState::Failed } else { RunState::Success }
    }
}

impl Run {
    /// How its tasks ended. One that never began has none.
    fn ends(&self) -> Ends {
        let nodes = self.plan.nodes.iter().zip(0..).filter(|_| !self.scopes.is_empty());
        let states = nodes.filter_map(|(node, index)| Some((node.name.clone(), self.end_of(index)?))).collect();
        Ends { run: self.id, states }
    }
}

impl Engine {
    pub(super) fn is_paused(&self, run: &Run) -> bool {
        self.graph.rooms.is_paused(&run.spec.dag_id)
    }

    /// A DAG that is paused begins no run and no task; what runs may end.
    pub(in crate::engine) fn pause_dag(&mut self, dag: &DagId, paused: bool) -> Answer {
        self.graph.rooms.set_paused(dag, paused);
        if !paused {
            let of_dag = self.graph.runs.values().filter(|run| run.spec.dag_id == *dag);
            self.graph.to_look_at.extend(of_dag.map(|run| run.id));
            self.graph.to_look_at.sort_unstable();
            self.graph.may_begin = true;
        }
        Answer::Done
    }

    pub(in crate::engine) fn note_run(&mut self, id: RunId, note: Option<Arc<str>>) -> Answer {
        self.with_run(id, |_, run| run.note = note);
        Answer::Done
    }

    /// Runs `act` on a run that is resident.
    pub(super) fn with_run<T>(&mut self, id: RunId, act: impl FnOnce(&mut Self, &mut Run) -> T) -> Option<T> {
        let mut run = self.graph.runs.remove(&id)?;
        let answer = act(self, &mut run);
        self.graph.runs.insert(id, run);
        Some(answer)
    }

    pub(super) fn end_if_over(&mut self, run: &mut Run, now: Timestamp) {
        let RunPhase::Running { since, deadline, .. } = run.phase else { return };
        if run.scopes_left > 0 {
            return;
        }
        if let Some(deadline) = deadline {
            self.graph.deadlines.remove(&(deadline, run.id));
        }
        self.retire_cleared(run, now);
        run.phase = RunPhase::Ended { state: run.outcome(), verdict: run.verdict(), since: Some(since), at: now };
        self.record_run_event(run, RunEventKind::Ended, None, now);
        self.graph.rooms.leave(&run.spec.dag_id);
        self.tell_followers(run);
        self.graph.may_begin = true;
    }

    /// Runs whose tasks depend on this one's know how it ended.
    pub(super) fn tell_followers(&mut self, run: &Run) {
        let Some(followers) = self.graph.followers.remove(&run.id) else { return };
        let ends = Arc::new(run.ends());
        for id in followers {
            // Some have left memory meanwhile: they come back with what the store says.
            if let Some(follower) = self.graph.runs.get_mut(&id)
                && matches!(follower.past, Past::Run(before) if before == run.id)
            {
                follower.past = Past::Ended(Arc::clone(&ends));
                self.graph.to_look_at.push(id);
            }
        }
    }

    /// A run that comes into memory learns of the end of the one before it, now or later. What memory says of that one
    /// is newer than what the store says: it may go on again, or have ended in another way.
    pub(super) fn follow_past(&mut self, run: &mut Run) {
        let Some(before) = run.past.run() else { return };
        match self.graph.runs.get(&before) {
            Some(known) if matches!(known.phase, RunPhase::Ended { .. }) => {
                run.past = Past::Ended(Arc::new(known.ends()));
            }
            None if matches!(run.past, Past::Ended(_)) => {}
            _ => {
                run.past = Past::Run(before);
                self.graph.followers.entry(before).or_default().insert(run.id);
            }
        }
    }

    /// Carries out what the end of one run means for others.
    pub(in crate::engine) fn go_on_with_runs(&mut self, now: Timestamp) {
        loop {
            if let Some(id) = self.graph.to_look_at.pop() {
                self.with_run(id, |engine, run| {
                    if run.is_running() {
                        let todo = run.everything();
                        engine.settle(run, todo, now);
                    }
                });
            } else if std::mem::take(&mut self.graph.may_begin) {
                self.begin_runs(now);
            } else if !self.graph.to_stop.is_empty() && self.stop_marked(now) {
                // What ended by that may bring more.
            } else {
                return;
            }
        }
    }

    /// The batch is durable: runs that need not be in memory leave it.
    pub(in crate::engine) fn runs_committed(&mut self, changes: &Changes) {
        for change in &changes.runs {
            let spec = &change.record.spec;
            let name = (spec.dag_id.clone(), spec.run_id.clone());
            if change.is_new && self.graph.recent.get(&name) == Some(&change.record.id) {
                self.graph.recent.remove(&name);
            }
            self.leave_if_idle_run(change.record.id);
        }
    }

    fn leave_if_idle_run(&mut self, id: RunId) {
        let Some(run) = self.graph.runs.get(&id) else { return };
        if run.is_running() || run.changed_in > self.durable_batch {
            return;
        }
        if run.phase == RunPhase::Queued {
            self.graph.rooms.forget_far(&run.spec.dag_id.clone(), id);
        }
        self.graph.runs.remove(&id);
    }
}
