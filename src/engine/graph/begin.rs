//! Begins runs that wait, as far as there is room.

use crate::dag::Plan;
use crate::dag::plan::{Choice, ROOT, Role};
use crate::dag::trigger_rule::Upstream;
use crate::model::{RunId, Timestamp};

use super::super::Engine;
use super::super::changes::RunEventKind;
use super::{Lane, Place, PlacePhase, Progress, Run, RunPhase, ScopeRun, Tally, Todo};

impl Engine {
    /// Begins what may begin. A run that only the store has is asked for.
    pub(in crate::engine) fn begin_runs(&mut self, now: Timestamp) {
        while self.graph.to_fetch.is_empty() {
            let Some(id) = self.graph.rooms.pop(self.config.resident_runs) else { return };
            if self.graph.runs.contains_key(&id) {
                self.begin_run(id, now);
            } else {
                // One at a time: who comes next is decided when it is here.
                self.graph.to_fetch.push_back(id);
                return;
            }
        }
    }

    pub(super) fn begin_run(&mut self, id: RunId, now: Timestamp) {
        self.with_run(id, |engine, run| {
            assert_eq!(run.phase, RunPhase::Queued, "a run begins once");
            engine.graph.rooms.enter(&run.spec.dag_id);
            let deadline = run.plan.timeout.map(|timeout| now + timeout);
            run.phase = RunPhase::Running { since: now, deadline, verdict: None };
            if let Some(deadline) = deadline {
                engine.graph.deadlines.insert((deadline, id));
            }
            run.lay_out();
            engine.touch_run(run);
            engine.record_run_event(run, RunEventKind::Started, None, now);
            let todo = run.everything();
            engine.settle(run, todo, now);
        });
    }
}

impl Run {
    /// Every task waits, and nothing has happened yet.
    pub(super) fn lay_out(&mut self) {
        let plan = self.plan.clone();
        self.tallies = vec![Tally::default(); plan.nodes.len()];
        self.scopes = (0..plan.scopes.len()).map(|scope| ScopeRun::first(&plan, scope as u32)).collect();
        self.scopes_left = self.scopes.len();
        self.lists_to_look_at = Vec::new();
        for (index, scope) in plan.scopes.iter().enumerate() {
            if scope.nodes.is_empty() {
                self.scopes[index].progress = Progress::Over;
                self.scopes_left -= 1;
            } else if scope.expansion.as_ref().is_some_and(|expansion| expansion.is_group) {
                self.lists_to_look_at.push(index as u32);
            }
        }
    }

    /// Everything there is to look at.
    pub(super) fn everything(&mut self) -> Todo {
        for (index, scope) in self.scopes.iter().enumerate() {
            match &scope.progress {
                // A mapped task looks for its list itself, as the one place of its scope.
                Progress::Closed if scope.lanes.is_empty() => self.lists_to_look_at.push(index as u32),
                Progress::Open(_) => self.to_open.push(index as u32),
                Progress::Whole | Progress::Closed | Progress::Over => {}
            }
        }
        self.places().filter(|(_, place)| place.phase == PlacePhase::Waiting).map(|(at, _)| at).collect()
    }
}

impl ScopeRun {
    pub(super) fn first(plan: &Plan, index: u32) -> Self {
        let scope = plan.scope(index);
        let seed: Vec<Place> = scope.nodes.iter().map(|node| Place::first(plan, *node)).collect();
        let whole = Lane { left: seed.len() as u32, places: seed.clone(), element: None };
        let is_group = scope.expansion.as_ref().is_some_and(|expansion| expansion.is_group);
        let lanes = if is_group { Default::default() } else { [(None, whole)].into() };
        let progress = if index == ROOT { Progress::Whole } else { Progress::Closed };
        Self { seed, lanes, progress, asked: None, total: None }
    }
}

impl Place {
    fn first(plan: &Plan, index: u32) -> Self {
        let node = plan.node(index);
        let counted = |nodes: &[u32]| Upstream {
            total: nodes.len() as u32,
            setups: nodes.iter().filter(|node| plan.node(**node).role == Role::Setup).count() as u32,
            ..Upstream::default()
        };
        debug_assert!(node.choice == Choice::None || !node.downstream.is_empty(), "a choice is between something");
        Self {
            phase: PlacePhase::Waiting,
            upstream: counted(&node.upstream),
            setups: counted(&node.setups),
            cleaned: counted(&node.cleans_up_after),
            passed_over: false,
            condition_holds: false,
            output: None,
        }
    }
}
