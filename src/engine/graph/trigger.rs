//! Accepts a run, once for each name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dag::Plan;
use crate::dag::plan::NodeIndex;
use crate::model::{DagId, RunId, RunSpec, TaskId, TaskName, TaskState, Timestamp};

use super::super::Engine;
use super::super::changes::RunEventKind;
use super::super::command::{Answer, Once};
use super::{Run, RunPhase};

/// How the run before this one stands, for tasks that depend on the past.
#[derive(Debug, Clone, Default)]
pub enum Past {
    /// There was none, or no task asks.
    #[default]
    None,
    /// It is under way.
    Run(RunId),
    /// It has ended.
    Ended(Arc<Ends>),
}

/// How the tasks of a run ended.
#[derive(Debug)]
pub struct Ends {
    pub run: RunId,
    /// Of a mapped task the worst.
    pub states: HashMap<TaskName, TaskState>,
}

impl Past {
    /// The run before.
    pub(super) fn run(&self) -> Option<RunId> {
        match self {
            Self::None => None,
            Self::Run(id) => Some(*id),
            Self::Ended(ends) => Some(ends.run),
        }
    }
}

/// The run before a new one, by what is stored.
#[derive(Debug, Clone, Default)]
pub struct Before {
    pub past: Past,
    pub logical_date: Option<Timestamp>,
}

/// What a run is accepted with.
#[derive(Debug, Clone)]
pub struct Trigger {
    pub id: RunId,
    pub first_task: TaskId,
    pub spec: Arc<RunSpec>,
    pub plan: Arc<Plan>,
    /// What the store knows of a run of this name.
    pub earlier: Option<RunId>,
    pub once: Option<Once>,
    pub before: Before,
    pub note: Option<Arc<str>>,
    pub by: Arc<str>,
}

impl Engine {
    pub(in crate::engine) fn trigger(&mut self, trigger: Trigger, now: Timestamp) -> Answer {
        let Trigger { id, first_task, spec, plan, earlier, once, before, note, by } = trigger;
        let number = TaskId::from_u64(id.as_u64());
        if let Some(answer) = once.as_ref().and_then(|once| self.answer_from_before(once, now)) {
            return answer;
        }
        let name = (spec.dag_id.clone(), spec.run_id.clone());
        if let Some(earlier) = self.graph.recent.get(&name).copied().or(earlier) {
            // A repeat with this key is answered by it, and the same key with another body refused.
            if let Some(once) = once {
                self.remember_key(&once, TaskId::from_u64(earlier.as_u64()), now);
            }
            return Answer::RunExists(earlier);
        }
        if let Some(once) = once {
            // Of the same numbers, so that a key stands for a task or for a run.
            self.remember_key(&once, number, now);
        }
        self.graph.recent.insert(name, id);
        self.graph.rooms.set_most(&spec.dag_id, id, plan.max_active_runs);
        let dag = spec.dag_id.clone();
        let past = self.newest_past(&spec, &plan, before);
        let mut run = Run::queued(id, spec, plan, first_task, past, note, now);
        self.follow_past(&mut run);
        self.record_run_event(&mut run, RunEventKind::Queued, Some(by), now);
        self.graph.runs.insert(id, Box::new(run));
        if let Some(evicted) = self.graph.rooms.wait(&dag, id)
            && !self.graph.runs.contains_key(&evicted)
        {
            self.graph.rooms.forget_far(&dag, evicted);
        }
        self.begin_runs(now);
        Answer::RunAccepted(id)
    }
}

impl Engine {
    /// The run before a new one may be one that the store does not know yet.
    fn newest_past(&self, spec: &RunSpec, plan: &Plan, stored: Before) -> Past {
        if !plan.looks_back {
            return Past::None;
        }
        let is_before = |other: &&RunSpec| {
            let earlier = |date| other.logical_date.is_some_and(|other| other < date);
            other.dag_id == spec.dag_id && spec.logical_date.is_none_or(earlier)
        };
        let order = |date: Option<Timestamp>, id: RunId| (spec.logical_date.and(date), id);
        let unstored = self.graph.recent.values().filter_map(|id| Some((*id, &*self.graph.runs.get(id)?.spec)));
        let candidates =
            unstored.filter(|(_, other)| is_before(other)).map(|(id, other)| order(other.logical_date, id));
        let newest = candidates.max();
        match (newest, stored.past.run()) {
            (Some(newest), Some(id)) if newest < order(stored.logical_date, id) => stored.past,
            (Some((_, id)), _) => Past::Run(id),
            (None, _) => stored.past,
        }
    }

    /// Runs of the DAG in memory that have not ended.
    pub fn active_runs_of(&self, dag: &DagId) -> u64 {
        let active = |run: &Run| run.spec.dag_id == *dag && !matches!(run.phase, RunPhase::Ended { .. });
        self.graph.runs.values().filter(|run| active(run)).count() as u64
    }
}

impl Run {
    pub(super) fn queued(
        id: RunId,
        spec: Arc<RunSpec>,
        plan: Arc<Plan>,
        first_task: TaskId,
        past: Past,
        note: Option<Arc<str>>,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            spec,
            plan,
            first_task,
            phase: RunPhase::Queued,
            queued_at: now,
            note,
            scopes: Vec::new(),
            scopes_left: 0,
            tallies: Vec::new(),
            lists_to_look_at: Vec::new(),
            to_open: Vec::new(),
            past,
            cleared: HashMap::new(),
            has_failure: false,
            stored: false,
            changed_in: 0,
        }
    }

    /// Whether the task's former self, in the run before, lets it start.
    pub(super) fn past_allows(&self, node: NodeIndex) -> bool {
        let Past::Ended(ends) = &self.past else { return matches!(self.past, Past::None) };
        let states = &ends.states;
        let node = self.plan.node(node);
        let well = |index: &NodeIndex| {
            // A task that was not there does not stand in the way.
            let state = states.get(&self.plan.node(*index).name);
            state.is_none_or(|state| matches!(state, TaskState::Success | TaskState::Skipped))
        };
        let own = states.get(&node.name);
        own.is_none_or(|state| matches!(state, TaskState::Success | TaskState::Skipped))
            && (!node.wait_for_downstream || node.downstream.iter().all(well))
    }
}
