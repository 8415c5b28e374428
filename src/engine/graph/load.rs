//! Brings a run into memory as the store says it is.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dag::Plan;
use crate::dag::plan::{NodeIndex, ScopeIndex};
use crate::model::task::TaskResult;
use crate::model::{DagId, RunId, RunRecord, RunState, TaskId, TaskRecord, TaskState, Timestamp};

use super::super::Engine;
use super::super::command::PageRequest;
use super::ask::{Element, Output};
use super::stop::BY_THE_RUN;
use super::{At, Open, Past, PlacePhase, Progress, Run, RunPhase, Todo};

/// A run that has not ended, with all that is known of its tasks.
#[derive(Debug, Clone)]
pub struct StoredRun {
    pub record: RunRecord,
    pub plan: Arc<Plan>,
    pub instances: Vec<StoredInstance>,
    pub expansions: Vec<StoredExpansion>,
    pub past: Past,
}

#[derive(Debug, Clone)]
pub struct StoredInstance {
    pub id: TaskId,
    pub node: NodeIndex,
    pub map_index: Option<u32>,
    pub state: TaskState,
    /// It shall be done again, and its turn has not come.
    pub is_cleared: bool,
    pub tries: Tries,
    /// Of a task that chooses, or whose output is read.
    pub result: Option<TaskResult>,
    /// Of a task in a mapped group.
    pub element: Option<Element>,
}

/// What an instance that is done again goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// That ended and counted.
    pub used: u32,
    pub most: u32,
    /// Of its last attempt.
    pub fence: u32,
    pub last_event: u64,
}

#[derive(Debug, Clone)]
pub struct StoredExpansion {
    pub scope: ScopeIndex,
    pub total: u32,
    pub list: TaskResult,
}

impl Engine {
    /// What the store has of runs when a life begins.
    pub(in crate::engine) fn load_runs(&mut self, running: Vec<RunId>, waiting: Vec<DagId>, paused: &[DagId]) {
        self.graph.to_fetch = running.into();
        for dag in waiting {
            self.graph.rooms.announce(dag);
        }
        for dag in paused {
            self.graph.rooms.set_paused(dag, true);
        }
        // Queued runs begin behind those that were under way.
        self.graph.may_begin = true;
    }

    /// What the engine needs of runs from the store before it can go on.
    pub(in crate::engine) fn needs_for_runs(&self) -> Option<PageRequest> {
        if let Some(id) = self.graph.to_fetch.front() {
            return Some(PageRequest::Run { id: *id });
        }
        if !self.graph.to_stop.is_empty() {
            return Some(PageRequest::Tasks { ids: self.graph.to_stop.clone() });
        }
        let (dag, after) = self.graph.rooms.hungry(self.config.resident_runs)?;
        Some(PageRequest::WaitingRuns { dag, after })
    }

    /// Queued runs of the DAG that only the store knew.
    pub(in crate::engine) fn waiting_runs_in(&mut self, dag: &DagId, ids: &[RunId], complete: bool) {
        // Memory knows more than the store of those that are in it, or on their way.
        let only_stored = |id: &RunId| !self.graph.runs.contains_key(id) && !self.graph.to_fetch.contains(id);
        let fresh: Vec<RunId> = ids.iter().copied().filter(only_stored).collect();
        self.graph.rooms.page_in(dag, &fresh, ids.last().copied().filter(|_| !complete));
        self.graph.may_begin = true;
    }

    /// Tasks that shall be stopped, and were only in the store.
    pub(in crate::engine) fn tasks_to_stop_in(&mut self, rows: Vec<TaskRecord>, now: Timestamp) {
        self.graph.to_stop.clear();
        let by: Arc<str> = BY_THE_RUN.into();
        for row in rows {
            self.cancel(row.id, Some(Box::new(row)), by.clone(), now);
        }
    }

    /// The run that was asked for, or nothing, if it is not there any more.
    pub(in crate::engine) fn run_in(&mut self, stored: Option<StoredRun>, now: Timestamp) {
        let asked_for = self.graph.to_fetch.pop_front();
        // It was fetched alone; there may be room for others.
        self.graph.may_begin = true;
        let Some(stored) = stored else { return };
        let id = stored.record.id;
        debug_assert_eq!(asked_for, Some(id), "runs are fetched one at a time");
        if self.graph.runs.contains_key(&id) {
            // It came back to memory meanwhile, by a change that is not durable.
            return self.begin_if_queued(id, now);
        }
        let mut run = Run::from_store(stored);
        self.follow_past(&mut run);
        if run.is_running() {
            self.enter_run(run);
        } else {
            self.graph.rooms.set_most(&run.spec.dag_id.clone(), id, run.plan.max_active_runs);
            self.graph.runs.insert(id, Box::new(run));
            self.begin_if_queued(id, now);
        }
    }

    /// A run that is under way takes its place in memory.
    pub(super) fn enter_run(&mut self, run: Run) {
        let id = run.id;
        self.graph.rooms.set_most(&run.spec.dag_id, id, run.plan.max_active_runs);
        self.graph.rooms.enter(&run.spec.dag_id);
        if let RunPhase::Running { deadline: Some(deadline), .. } = run.phase {
            self.graph.deadlines.insert((deadline, id));
        }
        if run.verdict().is_some() {
            // That its tasks are being stopped was known to the former life alone.
            self.stop_active(&run, |role| !role.is_teardown());
        }
        self.graph.runs.insert(id, Box::new(run));
        self.graph.to_look_at.push(id);
    }

    fn begin_if_queued(&mut self, id: RunId, now: Timestamp) {
        if self.graph.runs.get(&id).is_some_and(|run| run.phase == RunPhase::Queued) {
            self.begin_run(id, now);
        }
    }
}

impl Run {
    pub(super) fn from_store(stored: StoredRun) -> Self {
        let StoredRun { record, plan, mut instances, expansions, past } = stored;
        let mut run =
            Self::queued(record.id, record.spec, plan, record.first_task, past, record.note, record.queued_at);
        run.stored = true;
        if record.state != RunState::Running {
            return run;
        }
        let since = record.start_date.unwrap_or(record.queued_at);
        let deadline = run.plan.timeout.map(|timeout| since + timeout).filter(|_| record.verdict.is_none());
        run.phase = RunPhase::Running { since, deadline, verdict: record.verdict };
        run.lay_out();
        run.lists_to_look_at.clear();
        // A list that was made anew may be shorter than it was; what stood behind its end stands nowhere.
        let totals: HashMap<ScopeIndex, u32> = expansions.iter().map(|list| (list.scope, list.total)).collect();
        let plan = run.plan.clone();
        instances.retain(|instance| {
            let total = totals.get(&plan.node(instance.node).scope).copied().unwrap_or(0);
            instance.is_cleared || instance.map_index.is_none_or(|index| index < total)
        });
        run.take_expansions(expansions, &instances);
        for instance in instances {
            run.take_instance(instance);
        }
        // All of it is looked at anyway when the run goes on.
        run.lists_to_look_at.clear();
        run.to_open.clear();
        run
    }

    fn take_expansions(&mut self, expansions: Vec<StoredExpansion>, instances: &[StoredInstance]) {
        let plan = self.plan.clone();
        let mut todo = Todo::new();
        for StoredExpansion { scope, total, list } in expansions {
            self.scopes[scope as usize].total = Some(total);
            if total == 0 {
                // It stands as a whole, by its rows.
                continue;
            }
            let mut open = Open::new(total, list, Vec::new());
            let is_made = |other: &&StoredInstance| plan.node(other.node).scope == scope && !other.is_cleared;
            let made = instances.iter().filter(is_made);
            open.ahead = made.filter_map(|instance| instance.map_index).collect();
            if self.verdict().is_some() {
                // A run that is being stopped makes no more of them.
                open.total = open.ahead.len() as u32;
            }
            let total = open.total;
            while open.ahead.remove(&open.next) {
                open.next += 1;
            }
            let found = &mut self.scopes[scope as usize];
            found.lanes.remove(&None);
            found.progress = Progress::Open(open);
            self.count_instances(scope, 1, total, &mut todo);
            if total == 0 {
                self.scope_over(scope, &mut todo);
            }
        }
    }

    fn take_instance(&mut self, instance: StoredInstance) {
        let StoredInstance { id, node, map_index, state, is_cleared, tries, result, element } = instance;
        if is_cleared {
            self.cleared.insert((node, map_index), (id, tries));
            return;
        }
        let plan = self.plan.clone();
        let scope = plan.node(node).scope;
        let at = At { node, lane: map_index };
        let mut todo = Todo::new();
        if map_index.is_none() {
            self.stand_whole(scope);
        }
        if map_index.is_some() && !self.scopes[scope as usize].lanes.contains_key(&map_index) {
            self.put_lane(scope, map_index, self.new_lane(scope, element));
        }
        let place = self.place_mut(at).expect("its lane is there");
        if plan.node(node).is_read {
            place.output = state.is_final().then(|| Output::of(id, state, result.as_ref()));
        }
        place.phase = PlacePhase::Active(id);
        self.tallies[node as usize].active += 1;
        if state.is_final() {
            self.choose(at, state, result.as_ref(), &mut todo);
            self.over(at, state, &mut todo);
        }
    }
}
