//! Makes the instances of a mapped task or group, a window of them at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::dag::plan::{NodeIndex, ScopeIndex};
use crate::model::task::TaskResult;
use crate::model::{TaskError, TaskState, Timestamp};

use super::super::Engine;
use super::super::changes::ExpansionRow;
use super::{At, Element, Lane, Open, Progress, Run, Todo};

/// Elements of one scope in memory, at hand and in lanes, beyond which no more are asked for. What is asked for
/// may go beyond by one answer.
const MOST_BYTES: usize = 32 << 20;

impl Open {
    pub(super) fn new(total: u32, list: TaskResult, elements: Vec<Element>) -> Self {
        let bytes = elements.iter().map(Element::bytes).sum();
        let (elements, ahead) = (elements.into(), BTreeSet::new());
        Self { total, next: 0, over: 0, list, elements, bytes, lost: None, ahead }
    }

    /// Whether elements behind those at hand are wanted.
    fn wants_more(&self, window: usize) -> bool {
        let more = self.next + (self.elements.len() as u32) < self.total;
        more && self.lost.is_none() && self.elements.len() < window / 2 + 1 && self.bytes < MOST_BYTES
    }
}

impl Element {
    pub(super) fn bytes(&self) -> usize {
        self.input.as_str().len() + self.label.as_ref().map_or(0, |label| label.len())
    }
}

impl Lane {
    pub(super) fn bytes(&self) -> usize {
        self.element.as_ref().map_or(0, Element::bytes)
    }
}

impl Run {
    /// The tasks whose outputs the scope's list is made of.
    pub(super) fn list_reads(&self, scope: ScopeIndex) -> Vec<NodeIndex> {
        self.plan.scope(scope).expansion.as_ref().map(|expansion| expansion.reads.clone()).unwrap_or_default()
    }

    pub(super) fn take_elements(&mut self, scope: ScopeIndex, elements: Vec<Element>) {
        if let Progress::Open(open) = &mut self.scopes[scope as usize].progress {
            let room = (open.total - open.next) as usize - open.elements.len();
            for element in elements.into_iter().take(room) {
                open.bytes += element.bytes();
                open.elements.push_back(element);
            }
        }
    }

    /// A lane of an expanded scope is under way.
    pub(super) fn put_lane(&mut self, scope: ScopeIndex, index: Option<u32>, lane: Lane) {
        let scope_run = &mut self.scopes[scope as usize];
        if let Progress::Open(open) = &mut scope_run.progress {
            open.bytes += lane.bytes();
        }
        scope_run.lanes.insert(index, lane);
    }

    /// How many lanes of the scope may be under way at once.
    fn window(&self, scope: ScopeIndex, most: usize) -> usize {
        let scope = self.plan.scope(scope);
        match scope.nodes.as_slice() {
            [only] => self.plan.node(*only).max_active.map_or(most, |own| most.min(own as usize)),
            _ => most,
        }
    }

    /// The whole scope stands as one lane that is never expanded.
    pub(super) fn stand_whole(&mut self, scope: ScopeIndex) {
        if matches!(self.scopes[scope as usize].progress, Progress::Closed) {
            let lane = self.new_lane(scope, None);
            let found = &mut self.scopes[scope as usize];
            found.lanes.entry(None).or_insert(lane);
            found.progress = Progress::Whole;
        }
    }
}

impl Engine {
    /// The scope's list is known.
    pub(super) fn expand(&mut self, run: &mut Run, scope: ScopeIndex, open: Open, todo: &mut Todo, now: Timestamp) {
        let total = open.total;
        let list = open.list.clone();
        self.changes.expansions.push(ExpansionRow { run: run.id, scope, total, list });
        run.scopes[scope as usize].total = Some(total);
        if total == 0 {
            // Nothing to do is no failure, and nothing was done: Airflow's reading, too.
            run.stand_whole(scope);
            for node in run.plan.clone().scope(scope).nodes.iter().copied() {
                self.end_without_attempt(run, At { node, lane: None }, TaskState::Skipped, None, todo, now);
            }
            return;
        }
        self.touch_run(run);
        let found = &mut run.scopes[scope as usize];
        found.lanes.remove(&None);
        found.progress = Progress::Open(open);
        run.count_instances(scope, 1, total, todo);
        run.to_open.push(scope);
    }

    /// The scope's list could not be made: that is the failure of its tasks.
    pub(super) fn list_failed(
        &mut self,
        run: &mut Run,
        scope: ScopeIndex,
        error: Arc<TaskError>,
        todo: &mut Todo,
        now: Timestamp,
    ) {
        run.stand_whole(scope);
        for node in run.plan.clone().scope(scope).nodes.iter().copied() {
            // Those behind them learn of it by their rules.
            let is_first = run.plan.node(node).upstream.iter().all(|before| run.plan.node(*before).scope != scope);
            if is_first {
                let at = At { node, lane: None };
                self.end_without_attempt(run, at, TaskState::Failed, Some(error.clone()), todo, now);
            }
        }
    }

    /// Fills the scope's window with lanes, and asks for the elements of those to come.
    pub(super) fn open_lanes(&mut self, run: &mut Run, scope: ScopeIndex, todo: &mut Todo, now: Timestamp) {
        let window = run.window(scope, self.config.open_lanes);
        let plan = run.plan.clone();
        let mut failed = 0;
        loop {
            let under_way = run.scopes[scope as usize].lanes.len();
            let Progress::Open(open) = &mut run.scopes[scope as usize].progress else { return };
            if under_way >= window {
                break;
            }
            let element = open.elements.pop_front();
            let lost = open.lost.clone().filter(|_| element.is_none() && open.next < open.total);
            if element.is_none() && lost.is_none() {
                break;
            }
            let index = open.next;
            open.next += 1;
            open.bytes -= element.as_ref().map_or(0, Element::bytes);
            if open.ahead.remove(&index) {
                continue;
            }
            run.put_lane(scope, Some(index), run.new_lane(scope, element));
            let places = plan.scope(scope).nodes.iter().map(|node| At { node: *node, lane: Some(index) });
            match lost {
                None => todo.extend(places),
                // All of them: whatever their rules say, there is nothing they could be given.
                Some(error) => {
                    for at in places {
                        self.end_without_attempt(run, at, TaskState::Failed, Some(error.clone()), todo, now);
                    }
                    failed += 1;
                }
            }
            if failed == self.config.open_lanes {
                // So many in one commit, and no more: what is said of the next ones is asked for again.
                if let Progress::Open(open) = &mut run.scopes[scope as usize].progress {
                    open.lost = None;
                }
                break;
            }
        }
        let wants_more = run.open(scope).is_some_and(|open| open.wants_more(window));
        if wants_more && run.scopes[scope as usize].asked.is_none() {
            self.ask_elements(run, scope, now);
        }
    }

    /// No further lanes of the scope are made: those behind it count only what there is.
    pub(super) fn close_scope(&mut self, run: &mut Run, scope: ScopeIndex, todo: &mut Todo) {
        run.scopes[scope as usize].asked = None;
        let Progress::Open(open) = &mut run.scopes[scope as usize].progress else { return };
        let (before, now_total) = (open.total, open.next + open.ahead.len() as u32);
        open.total = now_total;
        open.bytes -= open.elements.drain(..).map(|element| element.bytes()).sum::<usize>();
        let is_over = open.over == open.total;
        run.count_instances(scope, before, now_total, todo);
        if is_over {
            run.scope_over(scope, todo);
        }
    }
}
