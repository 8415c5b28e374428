//! Has tasks of a run done again, or takes a person's word for how they ended.
//!
//! The run goes on as the store says it is, but without what was cleared: it is brought into memory
//! anew, like at the start of a life. So nothing of it may be changed and not durable at that moment.

use std::collections::HashSet;
use std::sync::Arc;

use crate::dag::Plan;
use crate::dag::plan::{Choice, NodeIndex, ROOT, Role, ScopeIndex};
use crate::model::run::Instance;
use crate::model::{RunId, RunState, TaskId, TaskRecord, TaskState, Timestamp};

use super::super::Engine;
use super::super::changes::{ClearedRows, EventKind, EventNote, RunEventKind};
use super::super::command::Answer;
use super::super::task::{Phase, Task};
use super::load::{StoredExpansion, StoredInstance, StoredRun, Tries};
use super::{At, Past, Run, RunPhase};

/// Which instances of a run shall be done again.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A task, and which of its instances if not all of them. None: all tasks.
    pub tasks: Option<Vec<(NodeIndex, Option<u32>)>>,
    pub upstream: bool,
    pub downstream: bool,
    /// Of these, those that failed, were cancelled or stood behind one that failed.
    pub only_failed: bool,
}

/// How an instance ended, on a person's word.
#[derive(Debug, Clone)]
pub struct Mark {
    pub node: NodeIndex,
    pub map_index: Option<u32>,
    pub state: TaskState,
    /// As the store has it. None: its turn has not come.
    pub stored: Option<Box<TaskRecord>>,
}

/// A change of a run that has ended in part or as a whole.
#[derive(Debug, Clone)]
pub struct Clear {
    /// As it is stored, whatever its state is.
    pub run: Box<StoredRun>,
    /// Places in `run.instances`, as `Selection::of` found them.
    pub cleared: Vec<usize>,
    pub mark: Option<Mark>,
    pub by: Arc<str>,
}

/// Why tasks of a run cannot be cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCleared {
    /// The instance has not ended.
    Active(TaskId, TaskState),
    /// The run is being stopped.
    Stopping,
}

impl Selection {
    /// The instances it means, as places in `run.instances`. What has not begun need not begin anew.
    pub fn of(&self, run: &StoredRun) -> Result<Vec<usize>, NotCleared> {
        if run.record.state == RunState::Running && run.record.verdict.is_some() {
            return Err(NotCleared::Stopping);
        }
        let plan = &run.plan;
        let wanted = self.wanted(plan);
        let is_wanted = |instance: &StoredInstance| {
            wanted.contains(&(instance.node, None)) || wanted.contains(&(instance.node, instance.map_index))
        };
        let failed = |state| matches!(state, TaskState::Failed | TaskState::UpstreamFailed | TaskState::Cancelled);
        let chosen = |instance: &&StoredInstance| {
            is_wanted(instance) && !instance.is_cleared && (!self.only_failed || failed(instance.state))
        };
        // What is done again is set up and cleaned up after again.
        let around: HashSet<NodeIndex> =
            run.instances.iter().filter(chosen).flat_map(|it| around(plan, it.node)).collect();
        let mut places = Vec::new();
        for (place, instance) in run.instances.iter().enumerate() {
            let comes_along = around.contains(&instance.node) && !instance.is_cleared;
            if chosen(&instance) || comes_along {
                if !instance.state.is_final() {
                    return Err(NotCleared::Active(instance.id, instance.state));
                }
                places.push(place);
            }
        }
        Ok(places)
    }

    /// Tasks, and which of their instances.
    fn wanted(&self, plan: &Plan) -> HashSet<(NodeIndex, Option<u32>)> {
        let Some(tasks) = &self.tasks else { return (0..plan.nodes.len() as u32).map(|node| (node, None)).collect() };
        let mut wanted: HashSet<(NodeIndex, Option<u32>)> = tasks.iter().copied().collect();
        for &(node, lane) in tasks {
            let beside = |other: NodeIndex| {
                // Within a mapped group what is behind an instance is behind it alone.
                let same = plan.node(other).scope == plan.node(node).scope;
                (other, lane.filter(|_| same))
            };
            if self.downstream {
                wanted.extend(all_behind(plan, node).into_iter().filter(|other| *other != node).map(beside));
            }
            if self.upstream {
                wanted.extend(all_before(plan, node).into_iter().filter(|other| *other != node).map(beside));
            }
        }
        wanted
    }
}

/// The setups that a task runs under, and the teardowns that clean up after it.
fn around(plan: &Plan, node: NodeIndex) -> Vec<NodeIndex> {
    let node = plan.node(node);
    let setups = node.upstream.iter().chain(&node.setups).filter(|before| plan.node(**before).role == Role::Setup);
    let teardowns = node.downstream.iter().filter(|behind| plan.node(**behind).role.is_teardown());
    setups.chain(&node.cleaned_up_by).chain(teardowns).copied().collect()
}

/// The task, all that stands behind it, and what is mapped over an output of these.
fn all_behind(plan: &Plan, node: NodeIndex) -> HashSet<NodeIndex> {
    closure(node, |index| {
        let fed = plan.node(index).feeds.iter().flat_map(|scope| &plan.scope(*scope).nodes);
        plan.node(index).downstream.iter().chain(fed).copied().collect()
    })
}

fn all_before(plan: &Plan, node: NodeIndex) -> HashSet<NodeIndex> {
    closure(node, |index| {
        let list = plan.scope(plan.node(index).scope).expansion.as_ref();
        let reads = list.into_iter().flat_map(|expansion| &expansion.reads);
        plan.node(index).upstream.iter().chain(reads).copied().collect()
    })
}

fn closure(from: NodeIndex, next: impl Fn(NodeIndex) -> Vec<NodeIndex>) -> HashSet<NodeIndex> {
    let mut found = HashSet::from([from]);
    let mut to_visit = vec![from];
    while let Some(index) = to_visit.pop() {
        to_visit.extend(next(index).into_iter().filter(|index| found.insert(*index)));
    }
    found
}

impl Plan {
    /// Why nobody can say that the task ended so, if so.
    pub fn cannot_mark(&self, node: NodeIndex, map_index: Option<u32>, state: TaskState) -> Option<&'static str> {
        let node = self.node(node);
        if node.scope != ROOT && map_index.is_none() {
            return Some("it is mapped, and its list is not known yet");
        }
        (state == TaskState::Success && node.choice != Choice::None)
            .then_some("it chooses which tasks follow, and without its output nobody knows; clear it instead")
    }
}

impl Engine {
    pub(in crate::engine) fn clear(&mut self, clear: Clear, now: Timestamp) -> Answer {
        let Clear { mut run, cleared, mark, by } = clear;
        let id = run.record.id;
        if run.record.state == RunState::Queued {
            // It has not begun: there is nothing to be done again.
            return Answer::Done;
        }
        let rows = run.clear(&cleared);
        if let Some(mark) = mark {
            self.mark(&mut run, mark, &by, now);
        }
        self.changes.cleared.push(rows);
        if run.record.state.is_final() {
            run.record.start_date = Some(now);
        }
        run.record.state = RunState::Running;
        run.record.verdict = None;
        run.record.end_date = None;
        self.put_in_place(id, *run, by, now);
        Answer::Done
    }

    /// The run in memory, if there is one, becomes what is given.
    fn put_in_place(&mut self, id: RunId, stored: StoredRun, by: Arc<str>, now: Timestamp) {
        if let Some(former) = self.graph.runs.remove(&id) {
            debug_assert!(former.changed_in <= self.durable_batch, "what was not durable would be lost");
            if let RunPhase::Running { deadline, .. } = former.phase {
                self.graph.rooms.leave(&former.spec.dag_id);
                deadline.map(|deadline| self.graph.deadlines.remove(&(deadline, id)));
            }
        }
        let mut run = Run::from_store(stored);
        self.follow_past(&mut run);
        // What waits for this run's end waits for its new one.
        for other in self.graph.runs.values_mut() {
            if matches!(&other.past, Past::Ended(ends) if ends.run == id) {
                other.past = Past::Run(id);
                self.graph.followers.entry(id).or_default().insert(other.id);
            }
        }
        self.record_run_event(&mut run, RunEventKind::Cleared, Some(by), now);
        self.enter_run(run);
    }

    /// Takes somebody's word for how an instance ended.
    fn mark(&mut self, run: &mut StoredRun, mark: Mark, by: &Arc<str>, now: Timestamp) {
        let Mark { node, map_index, state, stored } = mark;
        let place = run.instances.iter().position(|other| (other.node, other.map_index) == (node, map_index));
        let (id, mut task) = match (stored, place) {
            (Some(stored), Some(_)) => (stored.id, Task::from_record(*stored)),
            _ => {
                let mut task = Task::new(run.plan.node(node).spec.clone(), now);
                task.instance = Some(Instance { run: run.record.id, node, map_index });
                (run.record.first_task.of_node(node), task)
            }
        };
        if state != TaskState::Success
            && let Some(last) = &mut task.last
        {
            last.result = None;
        }
        // What had ended did so when it did.
        let at = if let Phase::Ended { at, .. } = task.phase { at } else { now };
        task.phase = Phase::Ended { state, at };
        let result = task.last.as_ref().and_then(|last| last.result.clone());
        let tries =
            Tries { used: task.tries_used, most: task.max_tries, fence: task.fence, last_event: task.last_event };
        match place {
            Some(place) => {
                let instance = &mut run.instances[place];
                (instance.state, instance.result, instance.is_cleared) = (state, result, false);
            }
            None => run.instances.push(StoredInstance {
                id,
                node,
                map_index,
                state,
                is_cleared: false,
                tries,
                result,
                element: None,
            }),
        }
        self.tasks.insert(id, task);
        self.record_event(id, EventNote { by: Some(by.clone()), ..EventKind::Marked.note(now) });
    }

    /// Rows of tasks that were to be done again, and whose turn did not come.
    pub(super) fn retire_cleared(&mut self, run: &mut Run, now: Timestamp) {
        let mut left: Vec<_> = run.cleared.drain().collect();
        left.sort_by_key(|(_, (id, _))| *id);
        for ((node, map_index), (id, tries)) in left {
            let spec = run.plan.node(node).spec.clone();
            let instance = Instance { run: run.id, node, map_index };
            let mut task = Task::again(spec, tries, now);
            // A list that was made anew may be shorter than it was.
            let total = run.scopes[run.plan.node(node).scope as usize].total;
            let is_gone = map_index.zip(total).is_some_and(|(index, total)| index >= total);
            let state = if is_gone { TaskState::Removed } else { TaskState::Skipped };
            (task.instance, task.phase) = (Some(instance), Phase::Ended { state, at: now });
            self.tasks.insert(id, task);
            self.record_event(id, EventKind::Ended.note(now));
        }
    }
}

impl StoredRun {
    /// Takes back what these instances did.
    fn clear(&mut self, cleared: &[usize]) -> ClearedRows {
        let mut rows = ClearedRows { run: self.record.id, reset: Vec::new(), removed: Vec::new(), lists: Vec::new() };
        let mut nodes = HashSet::new();
        for &place in cleared {
            let instance = &mut self.instances[place];
            nodes.insert(instance.node);
            if instance.tries.fence == 0 {
                // Nobody has tried it: it is as if its turn had not come.
                rows.removed.push(instance.id);
                continue;
            }
            instance.is_cleared = true;
            (instance.state, instance.result, instance.element) = (TaskState::Scheduled, None, None);
            instance.tries.most = instance.tries.used + self.plan.node(instance.node).spec.terms.retry.retries + 1;
            rows.reset.push((instance.id, instance.tries.most));
        }
        let removed: HashSet<TaskId> = rows.removed.iter().copied().collect();
        self.instances.retain(|instance| !removed.contains(&instance.id));
        rows.lists = self.lists_to_make_anew(&nodes);
        self.expansions.retain(|expansion| !rows.lists.contains(&expansion.scope));
        rows
    }

    /// Scopes of which nothing is left, and whose list is made of what will be another output, or had nothing in it.
    fn lists_to_make_anew(&self, cleared: &HashSet<NodeIndex>) -> Vec<ScopeIndex> {
        let kept: HashSet<ScopeIndex> = self
            .instances
            .iter()
            .filter(|instance| !instance.is_cleared)
            .map(|instance| self.plan.node(instance.node).scope)
            .collect();
        let is_stale = |known: &&StoredExpansion| {
            let list = self.plan.scope(known.scope).expansion.as_ref();
            let is_cleared = list.is_some_and(|list| list.reads.iter().any(|read| cleared.contains(read)));
            (is_cleared || known.total == 0) && !kept.contains(&known.scope)
        };
        self.expansions.iter().filter(is_stale).map(|known| known.scope).collect()
    }
}

impl Run {
    /// The row that an instance goes on with, if it was done before.
    pub(super) fn take_cleared(&mut self, at: At) -> Option<(TaskId, Tries)> {
        self.cleared.remove(&(at.node, at.lane))
    }
}
