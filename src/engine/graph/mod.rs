//! A DAG run in the engine: how far each of its tasks is, and who waits for whom.
//!
//! A run is its plan and, for each scope, *lanes*: one for what is not mapped, one for each
//! element of a mapped task or group that is under way. A lane knows of each of its tasks
//! how its upstreams stand, so that an end is told to those behind it and nothing is searched.
//!
//! What is in this folder but not on `Engine` is free of tasks, hosts and time: `Run` decides
//! (`decide.rs`) and takes note (`note.rs`); the engine makes instances and asks for evaluations.

mod ask;
mod begin;
mod check;
mod clear;
mod decide;
mod expand;
mod finish;
mod instances;
mod load;
mod note;
mod rooms;
mod stop;
#[cfg(test)]
mod tests;
mod trigger;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::dag::Plan;
use crate::dag::plan::{NodeIndex, ROOT, ScopeIndex};
use crate::dag::trigger_rule::Upstream;
use crate::model::task::TaskResult;
use crate::model::{RunId, RunRecord, RunSpec, RunState, TaskError, TaskId, TaskState, Timestamp};

pub use ask::{About, Element, Evaluated, Evaluation, Output, Question};
pub use clear::{Clear, Mark, NotCleared, Selection};
pub use instances::InstanceContext;
pub use load::{StoredExpansion, StoredInstance, StoredRun, Tries};
pub(super) use rooms::DagRooms;
pub use trigger::{Before, Ends, Past, Trigger};

/// A resident run.
#[derive(Debug)]
pub(super) struct Run {
    pub id: RunId,
    pub spec: Arc<RunSpec>,
    pub plan: Arc<Plan>,
    /// The task of an unmapped node `n` is this plus `n`.
    pub first_task: TaskId,
    pub phase: RunPhase,
    pub queued_at: Timestamp,
    pub note: Option<Arc<str>>,
    pub scopes: Vec<ScopeRun>,
    /// Scopes that are not over.
    pub scopes_left: usize,
    /// By node, over all its instances.
    pub tallies: Vec<Tally>,
    /// Mapped groups whose list may be there now.
    pub lists_to_look_at: Vec<ScopeIndex>,
    /// Expanded scopes that may have room for another lane.
    pub to_open: Vec<ScopeIndex>,
    /// How the run before this one stands, where a task asks for it.
    pub past: Past,
    /// Instances that were done before and shall be done again: the rows they go on with.
    pub cleared: HashMap<(NodeIndex, Option<u32>), (TaskId, Tries)>,
    /// Some task has failed.
    pub has_failure: bool,
    /// Whether the store has a row of it.
    pub stored: bool,
    pub changed_in: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RunPhase {
    Queued,
    Running {
        since: Timestamp,
        /// When it has taken too long.
        deadline: Option<Timestamp>,
        /// Nothing but teardowns starts any more, and this is how it will end.
        verdict: Option<RunState>,
    },
    Ended {
        state: RunState,
        /// It was stopped.
        verdict: Option<RunState>,
        since: Option<Timestamp>,
        at: Timestamp,
    },
}

/// The tasks of a scope, once or once for each element.
#[derive(Debug)]
pub(super) struct ScopeRun {
    /// What a lane begins with: what is known of the tasks outside the scope.
    pub seed: Vec<Place>,
    /// Those under way. `None`: what is not mapped, and of a mapped task what decides whether it is expanded.
    pub lanes: BTreeMap<Option<u32>, Lane>,
    pub progress: Progress,
    /// The number of the question after its list or its next elements.
    pub asked: Option<u64>,
    /// How long its list is, once that is known.
    pub total: Option<u32>,
}

#[derive(Debug)]
pub(super) enum Progress {
    /// One lane: not mapped, or mapped and never to be expanded.
    Whole,
    /// Not expanded yet.
    Closed,
    Open(Open),
    Over,
}

/// An expanded scope.
#[derive(Debug)]
pub(super) struct Open {
    pub total: u32,
    /// The first lane that has not been made.
    pub next: u32,
    /// Lanes that are over.
    pub over: u32,
    pub list: TaskResult,
    /// Elements at hand, the first is that of `next`.
    pub elements: VecDeque<Element>,
    /// Of the elements at hand and of those of the lanes under way.
    pub bytes: usize,
    /// Why those behind the elements at hand cannot be had any more: their instances fail with it.
    pub lost: Option<Arc<TaskError>>,
    /// Lanes behind `next` that were made already, in a former life.
    pub ahead: BTreeSet<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub places: Vec<Place>,
    /// Places that are not over.
    pub left: u32,
    pub element: Option<Element>,
}

/// How a task stands in one lane.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub phase: PlacePhase,
    pub upstream: Upstream,
    /// Setups it stands under without being directly behind them.
    pub setups: Upstream,
    /// Of a teardown: the tasks it cleans up after.
    pub cleaned: Upstream,
    /// A branch or a short circuit went another way.
    pub passed_over: bool,
    pub condition_holds: bool,
    /// Of a task whose output is read.
    pub output: Option<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlacePhase {
    Waiting,
    /// An evaluation is under way; another number is not its answer.
    Asked(u64),
    /// As many instances as may be are under way.
    Held,
    Active(TaskId),
    Over(TaskState),
}

/// Where in a run: a task, and the lane it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub node: NodeIndex,
    pub lane: Option<u32>,
}

/// Things to look at again.
pub(super) type Todo = VecDeque<At>;

/// A node over all its instances.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub active: u32,
    pub unwell: u32,
    /// Lanes that wait because as many as may be are active.
    pub held: VecDeque<Option<u32>>,
}

impl Run {
    pub(super) fn record(&self) -> RunRecord {
        let (start_date, end_date) = match &self.phase {
            RunPhase::Queued => (None, None),
            RunPhase::Running { since, .. } => (Some(*since), None),
            RunPhase::Ended { since, at, .. } => (*since, Some(*at)),
        };
        RunRecord {
            id: self.id,
            spec: self.spec.clone(),
            first_task: self.first_task,
            state: self.state(),
            verdict: match &self.phase {
                RunPhase::Queued => None,
                RunPhase::Running { verdict, .. } | RunPhase::Ended { verdict, .. } => *verdict,
            },
            queued_at: self.queued_at,
            start_date,
            end_date,
            note: self.note.clone(),
        }
    }

    pub(super) fn state(&self) -> RunState {
        match &self.phase {
            RunPhase::Queued => RunState::Queued,
            RunPhase::Running { .. } => RunState::Running,
            RunPhase::Ended { state, .. } => *state,
        }
    }

    fn scope_of(&self, at: At) -> ScopeIndex {
        self.plan.node(at.node).scope
    }

    fn lane(&self, at: At) -> Option<&Lane> {
        self.scopes[self.scope_of(at) as usize].lanes.get(&at.lane)
    }

    pub(super) fn place(&self, at: At) -> Option<&Place> {
        self.lane(at).map(|lane| &lane.places[self.plan.node(at.node).place as usize])
    }

    pub(super) fn place_mut(&mut self, at: At) -> Option<&mut Place> {
        let node = self.plan.node(at.node);
        let lane = self.scopes[node.scope as usize].lanes.get_mut(&at.lane)?;
        Some(&mut lane.places[node.place as usize])
    }

    /// Whether instances of the scope are made from a list.
    fn is_mapped(&self, scope: ScopeIndex) -> bool {
        scope != ROOT
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, RunPhase::Running { .. })
    }

    /// How it will end, if it is being stopped.
    pub(super) fn verdict(&self) -> Option<RunState> {
        match self.phase {
            RunPhase::Running { verdict, .. } => verdict,
            RunPhase::Queued | RunPhase::Ended { .. } => None,
        }
    }

    /// Every place there is.
    pub(super) fn places(&self) -> impl Iterator<Item = (At, &Place)> {
        self.scopes.iter().zip(&self.plan.scopes).flat_map(|(scope_run, scope)| {
            scope_run.lanes.iter().flat_map(|(lane, found)| {
                scope.nodes.iter().zip(&found.places).map(|(node, place)| (At { node: *node, lane: *lane }, place))
            })
        })
    }

    /// The state of an unmapped task, or of a mapped one as a whole: none while it is not over.
    pub(super) fn end_of(&self, node: NodeIndex) -> Option<TaskState> {
        let scope = self.plan.node(node).scope;
        match (&self.scopes[scope as usize].progress, self.place(At { node, lane: None })) {
            (_, Some(Place { phase: PlacePhase::Over(state), .. })) => Some(*state),
            (Progress::Over, None) if self.tallies[node as usize].unwell == 0 => Some(TaskState::Success),
            (Progress::Over, None) => Some(TaskState::Failed),
            _ => None,
        }
    }
}
