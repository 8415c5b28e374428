//! Decides what becomes of a task that waits: pure, from what its place knows.

use crate::dag::plan::{NodeIndex, Role, ScopeIndex};
use crate::dag::trigger_rule::Verdict;
use crate::model::TaskState;

use super::{At, PlacePhase, Progress, Run};

/// What follows for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Next {
    /// It waits on.
    Nothing,
    /// It ends without an attempt.
    End(TaskState),
    /// Whether its condition holds has to be found out.
    AskCondition,
    /// Its list has to be made.
    AskExpansion(ScopeIndex),
    /// As many instances as may be are under way.
    Hold,
    Start,
}

impl Run {
    /// Whether the scope's list can be made: everything it is made of succeeded. None: not known yet.
    pub(super) fn can_expand(&self, scope: ScopeIndex) -> Option<bool> {
        let expansion = self.plan.scope(scope).expansion.as_ref()?;
        let mut can = true;
        for read in &expansion.reads {
            can &= self.is_there(*read)?;
        }
        Some(can)
    }

    /// Whether the task has left an output. None: not known yet. The output of a mapped task is
    /// there as soon as it was expanded and is over, whatever became of its instances.
    fn is_there(&self, node: NodeIndex) -> Option<bool> {
        let end = self.end_of(node)?;
        let scope = &self.scopes[self.plan.node(node).scope as usize];
        let whole = scope.lanes.contains_key(&None);
        // Mapped over nothing, it leaves an empty list.
        Some(!whole || end == TaskState::Success || scope.total == Some(0))
    }

    pub(super) fn decide(&self, at: At) -> Next {
        let Some(place) = self.place(at) else { return Next::Nothing };
        if place.phase != PlacePhase::Waiting {
            return Next::Nothing;
        }
        let node = self.plan.node(at.node);
        if self.verdict().is_some() && !node.role.is_teardown() {
            return Next::End(TaskState::Skipped);
        }
        if place.passed_over {
            return Next::End(TaskState::Skipped);
        }
        let expansion = self.plan.scope(node.scope).expansion.as_ref();
        // Of a mapped task the rule has let the whole of it go on.
        let released = expansion.is_some_and(|expansion| !expansion.is_group) && at.lane.is_some();
        if !released {
            if node.depends_on_past && self.verdict().is_none() && !self.past_allows(at.node) {
                return Next::Nothing;
            }
            let by_rule = match node.role {
                Role::Teardown { .. } => node.rule.decide_teardown(&place.upstream, &place.cleaned, at.lane),
                Role::Work | Role::Setup => node.rule.decide_in_setups(&place.upstream, &place.setups, at.lane),
            };
            match by_rule {
                Verdict::Wait => return Next::Nothing,
                Verdict::Skip | Verdict::Removed => return Next::End(TaskState::Skipped),
                Verdict::UpstreamFailed => return Next::End(TaskState::UpstreamFailed),
                Verdict::Run => {}
            }
        }
        if node.has_condition && !place.condition_holds && !released {
            return Next::AskCondition;
        }
        if self.is_mapped(node.scope) && at.lane.is_none() {
            // A mapped group that stands here as a whole has found no list.
            let closed = matches!(self.scopes[node.scope as usize].progress, Progress::Closed);
            return match self.can_expand(node.scope) {
                Some(true) if closed => Next::AskExpansion(node.scope),
                // The rule let it run, and yet what it is made of is not there.
                Some(_) => Next::End(TaskState::UpstreamFailed),
                None => Next::Nothing,
            };
        }
        let tally = &self.tallies[at.node as usize];
        if node.max_active.is_some_and(|most| tally.active >= most) {
            return Next::Hold;
        }
        Next::Start
    }
}
