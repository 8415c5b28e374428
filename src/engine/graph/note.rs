//! Takes note that a task of a run is over, and tells those behind it.

use crate::dag::plan::{Choice, NodeIndex, ROOT, Role, ScopeIndex};
use crate::model::TaskState;

use super::{At, Lane, Open, PlacePhase, Progress, Run, Todo};

/// In what way one task stands behind another.
#[derive(Clone, Copy)]
enum Behind {
    Directly,
    Sheltered,
    CleaningUp,
}

impl Run {
    /// The instance has ended so. Whoever may have to be looked at again is put on `todo`.
    pub(super) fn over(&mut self, at: At, state: TaskState, todo: &mut Todo) {
        let plan = self.plan.clone();
        let node = plan.node(at.node);
        let place = self.place_mut(at).expect("what ends was in a lane");
        debug_assert!(!matches!(place.phase, PlacePhase::Over(_)), "a task ends once");
        let was_active = matches!(place.phase, PlacePhase::Active(_));
        place.phase = PlacePhase::Over(state);
        let tally = &mut self.tallies[at.node as usize];
        tally.unwell += u32::from(!matches!(state, TaskState::Success | TaskState::Skipped));
        if state == TaskState::Failed && !node.role.is_teardown() {
            self.has_failure = true;
        }
        let tally = &mut self.tallies[at.node as usize];
        if was_active {
            tally.active -= 1;
            self.release_held(at.node, todo);
        }
        self.tell_all(at, state, todo);
        let scope = node.scope;
        let lane = self.scopes[scope as usize].lanes.get_mut(&at.lane).expect("what ends was in a lane");
        lane.left -= 1;
        if lane.left == 0 {
            self.lane_over(scope, at.lane, todo);
        }
    }

    /// Another instance of the node may go on.
    pub(super) fn release_held(&mut self, node: NodeIndex, todo: &mut Todo) {
        let may = |run: &Self| {
            let most = run.plan.node(node).max_active;
            most.is_none_or(|most| run.tallies[node as usize].active < most)
        };
        while may(self)
            && let Some(lane) = self.tallies[node as usize].held.pop_front()
        {
            let at = At { node, lane };
            // Some were passed over meanwhile.
            if let Some(place) = self.place_mut(at).filter(|place| place.phase == PlacePhase::Held) {
                place.phase = PlacePhase::Waiting;
                todo.push_back(at);
                return;
            }
        }
    }

    /// A lane has nothing left to do.
    pub(super) fn lane_over(&mut self, scope: ScopeIndex, lane: Option<u32>, todo: &mut Todo) {
        let scope_run = &mut self.scopes[scope as usize];
        match (&mut scope_run.progress, lane) {
            (Progress::Open(open), Some(_)) => {
                open.over += 1;
                open.bytes -= scope_run.lanes.remove(&lane).map_or(0, |lane| lane.bytes());
                if open.over == open.total {
                    self.scope_over(scope, todo);
                } else {
                    self.to_open.push(scope);
                }
            }
            // A whole lane stays: it says how its tasks ended.
            _ => self.scope_over(scope, todo),
        }
    }

    pub(super) fn scope_over(&mut self, scope: ScopeIndex, todo: &mut Todo) {
        self.scopes[scope as usize].progress = Progress::Over;
        self.scopes_left -= 1;
        if scope != ROOT {
            // Lists may be made of the outputs of all its instances.
            for node in self.plan.clone().scope(scope).nodes.iter().copied() {
                self.look_at_lists(node, todo);
            }
        }
    }

    fn tell_all(&mut self, at: At, state: TaskState, todo: &mut Todo) {
        let plan = self.plan.clone();
        let node = plan.node(at.node);
        let is_setup = node.role == Role::Setup;
        for behind in &node.downstream {
            self.tell(at, *behind, Behind::Directly, state, is_setup, todo);
        }
        for behind in &node.shelters {
            self.tell(at, *behind, Behind::Sheltered, state, is_setup, todo);
        }
        for behind in &node.cleaned_up_by {
            self.tell(at, *behind, Behind::CleaningUp, state, is_setup, todo);
        }
        // Of what is expanded the scope's end tells it, for all instances together.
        if at.lane.is_none() {
            self.look_at_lists(at.node, todo);
        }
    }

    /// Mapped groups whose list is made of the task's output may be expanded now.
    fn look_at_lists(&mut self, node: NodeIndex, todo: &mut Todo) {
        let plan = self.plan.clone();
        for &fed in &plan.node(node).feeds {
            let scope = plan.scope(fed);
            match &scope.expansion {
                Some(expansion) if expansion.is_group => self.lists_to_look_at.push(fed),
                _ => todo.push_back(At { node: scope.nodes[0], lane: None }),
            }
        }
    }

    fn tell(&mut self, from: At, to: NodeIndex, behind: Behind, state: TaskState, is_setup: bool, todo: &mut Todo) {
        let plan = self.plan.clone();
        let (from_scope, target) = (plan.node(from.node).scope, plan.node(to));
        let place = target.place as usize;
        let scope = &mut self.scopes[target.scope as usize];
        let mut note = |lane: Option<u32>, found: &mut super::Place| {
            let counts = match behind {
                Behind::Directly => &mut found.upstream,
                Behind::Sheltered => &mut found.setups,
                Behind::CleaningUp => &mut found.cleaned,
            };
            counts.note(state, is_setup);
            if found.phase == PlacePhase::Waiting {
                todo.push_back(At { node: to, lane });
            }
        };
        if from_scope == target.scope {
            // Within a lane, mapped or not.
            if let Some(lane) = scope.lanes.get_mut(&from.lane) {
                note(from.lane, &mut lane.places[place]);
            }
            return;
        }
        for (lane, found) in &mut scope.lanes {
            note(*lane, &mut found.places[place]);
        }
        // Lanes that are still to come know it from the beginning.
        let counts = match behind {
            Behind::Directly => &mut scope.seed[place].upstream,
            Behind::Sheltered => &mut scope.seed[place].setups,
            Behind::CleaningUp => &mut scope.seed[place].cleaned,
        };
        counts.note(state, is_setup);
    }

    /// The scope has so many instances where one was counted: those behind it outside wait for all of them.
    pub(super) fn count_instances(&mut self, scope: ScopeIndex, before: u32, now: u32, todo: &mut Todo) {
        let plan = self.plan.clone();
        for node in plan.scope(scope).nodes.iter().map(|index| plan.node(*index)) {
            let is_setup = node.role == Role::Setup;
            let behind = |to: &[NodeIndex], which: fn(&mut super::Place) -> &mut crate::dag::trigger_rule::Upstream| {
                to.iter().map(move |to| (*to, which)).collect::<Vec<_>>()
            };
            let mut all = behind(&node.downstream, |place| &mut place.upstream);
            all.extend(behind(&node.shelters, |place| &mut place.setups));
            all.extend(behind(&node.cleaned_up_by, |place| &mut place.cleaned));
            for (to, which) in all {
                let target = plan.node(to);
                if target.scope == scope {
                    continue;
                }
                let scope_run = &mut self.scopes[target.scope as usize];
                let place = target.place as usize;
                for (lane, found) in &mut scope_run.lanes {
                    which(&mut found.places[place]).recount(before, now, is_setup);
                    todo.push_back(At { node: to, lane: *lane });
                }
                which(&mut scope_run.seed[place]).recount(before, now, is_setup);
            }
        }
    }

    /// A branch named those it follows; the others directly behind it are passed over, unless they
    /// are also behind one that is followed.
    pub(super) fn follow(&mut self, at: At, followed: &[NodeIndex], todo: &mut Todo) {
        let plan = self.plan.clone();
        let reached = plan.reachable_from(followed);
        for behind in &plan.node(at.node).downstream {
            if !reached.contains(behind) && self.is_for(at, *behind) {
                self.pass_over(at, *behind, todo);
            }
        }
    }

    /// A short circuit was false.
    pub(super) fn cut(&mut self, at: At, todo: &mut Todo) {
        let plan = self.plan.clone();
        let node = plan.node(at.node);
        let Choice::ShortCircuit { all } = node.choice else { return };
        let behind = if all {
            let mut behind: Vec<NodeIndex> = plan.reachable_from(&node.downstream).into_iter().collect();
            // What cleans up does so also after a short circuit.
            behind.retain(|index| !plan.node(*index).role.is_teardown());
            behind
        } else {
            node.downstream.clone()
        };
        for index in behind {
            if self.is_for(at, index) {
                self.pass_over(at, index, todo);
            }
        }
    }

    /// What one instance of a mapped group chooses is for that instance only.
    fn is_for(&self, chosen_at: At, node: NodeIndex) -> bool {
        let scope = self.plan.node(chosen_at.node).scope;
        scope == ROOT || scope == self.plan.node(node).scope
    }

    fn pass_over(&mut self, from: At, node: NodeIndex, todo: &mut Todo) {
        let plan = self.plan.clone();
        let target = plan.node(node);
        let same = plan.node(from.node).scope == target.scope;
        let scope = &mut self.scopes[target.scope as usize];
        let place = target.place as usize;
        let lanes: Vec<Option<u32>> = if same { vec![from.lane] } else { scope.lanes.keys().copied().collect() };
        for lane in lanes {
            if let Some(found) = scope.lanes.get_mut(&lane) {
                let found = &mut found.places[place];
                found.passed_over = true;
                if matches!(found.phase, PlacePhase::Asked(_) | PlacePhase::Held) {
                    // Whatever the answer is, it is of no interest any more.
                    found.phase = PlacePhase::Waiting;
                }
                todo.push_back(At { node, lane });
            }
        }
        if !same {
            scope.seed[place].passed_over = true;
        }
    }

    /// A lane of the scope, as it begins.
    pub(super) fn new_lane(&self, scope: ScopeIndex, element: Option<super::Element>) -> Lane {
        let places = self.scopes[scope as usize].seed.clone();
        Lane { left: places.len() as u32, places, element }
    }

    pub(super) fn open(&self, scope: ScopeIndex) -> Option<&Open> {
        match &self.scopes[scope as usize].progress {
            Progress::Open(open) => Some(open),
            Progress::Whole | Progress::Closed | Progress::Over => None,
        }
    }
}
