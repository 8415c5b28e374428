//! Fills in what follows from who is upstream of whom.

use super::{Node, NodeIndex, Plan, PlanError, Role, Scope};
use crate::dag::order::Ancestors;

/// Pairs of a setup and a task under it, or of a teardown and a task that it cleans up after. Each is kept twice, for
/// as long as the plan is: thousands of setups one after the other would fill the memory.
pub const MOST_UNDER_SETUPS: usize = 1_000_000;

impl Plan {
    /// Links nodes that know their upstream, scope and what they read. The first scope is the DAG itself.
    ///
    /// Err: more tasks than `MOST_UNDER_SETUPS` stand under setups, each counted once for each of them.
    pub fn link(&mut self) -> Result<(), PlanError> {
        for scope in &mut self.scopes {
            scope.nodes.clear();
        }
        for index in 0..self.nodes.len() {
            let scope = &mut self.scopes[self.nodes[index].scope as usize];
            self.nodes[index].place = scope.nodes.len() as u32;
            scope.nodes.push(index as NodeIndex);
        }
        self.invert(|node| &node.upstream, |node| &mut node.downstream);
        self.look_for_setups()?;
        self.invert(|node| &node.setups, |node| &mut node.shelters);
        self.invert(|node| &node.cleans_up_after, |node| &mut node.cleaned_up_by);
        self.note_who_is_read();
        for index in 0..self.nodes.len() {
            self.nodes[index].decides_run = self.decides_run(&self.nodes[index]);
        }
        self.looks_back = self.nodes.iter().any(|node| node.depends_on_past);
        Ok(())
    }

    fn invert(&mut self, from: fn(&Node) -> &Vec<NodeIndex>, to: fn(&mut Node) -> &mut Vec<NodeIndex>) {
        for index in 0..self.nodes.len() {
            to(&mut self.nodes[index]).clear();
        }
        for index in 0..self.nodes.len() {
            for target in from(&self.nodes[index]).clone() {
                to(&mut self.nodes[target as usize]).push(index as NodeIndex);
            }
        }
    }

    /// The setups a task stands under, and the tasks a teardown cleans up after, as in Airflow.
    fn look_for_setups(&mut self) -> Result<(), PlanError> {
        if self.nodes.iter().all(|node| node.role == Role::Work) {
            return Ok(());
        }
        let reach = Reach::of(&self.nodes);
        let mut pairs = 0;
        for index in 0..self.nodes.len() {
            let (mut setups, mut cleaned) = (Vec::new(), Vec::new());
            if self.nodes[index].role.is_teardown() {
                cleaned = reach.cleaned_up_by(&self.nodes, index);
            } else {
                setups = reach.setups_of(&self.nodes, index);
            }
            pairs += setups.len() + cleaned.len();
            if pairs > MOST_UNDER_SETUPS {
                return Err(PlanError::TooManyUnderSetups);
            }
            self.nodes[index].setups = setups;
            self.nodes[index].cleans_up_after = cleaned;
        }
        Ok(())
    }

    fn note_who_is_read(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let reads: Vec<NodeIndex> = node.reads.iter().chain(&node.condition_reads).copied().collect();
            for read in reads {
                self.nodes[read as usize].is_read = true;
            }
            self.nodes[index].feeds.clear();
        }
        for scope in 0..self.scopes.len() {
            let Scope { expansion: Some(expansion), .. } = &self.scopes[scope] else { continue };
            for read in expansion.reads.clone() {
                let node = &mut self.nodes[read as usize];
                node.is_read = true;
                node.feeds.push(scope as u32);
            }
        }
    }

    /// As in Airflow: the tasks with nothing behind them, where teardowns do not count unless they say so.
    fn decides_run(&self, node: &Node) -> bool {
        let counts = |node: &Node| !matches!(node.role, Role::Teardown { fails_run: false });
        counts(node) && !node.downstream.iter().any(|behind| counts(self.node(*behind)))
    }
}

/// Who stands before and behind whom, directly or not: a bit for each pair of nodes, twice 12 MB for 10 000.
struct Reach {
    above: Ancestors,
    below: Ancestors,
    setups: Vec<u64>,
}

impl Reach {
    fn of(nodes: &[Node]) -> Self {
        let upstream: Vec<Vec<NodeIndex>> = nodes.iter().map(|node| node.upstream.clone()).collect();
        let downstream: Vec<Vec<NodeIndex>> = nodes.iter().map(|node| node.downstream.clone()).collect();
        let mut setups = vec![0; nodes.len().div_ceil(64)];
        for (index, _) in nodes.iter().enumerate().filter(|(_, node)| node.role == Role::Setup) {
            setups[index / 64] |= 1 << (index % 64);
        }
        Self { above: Ancestors::of(&upstream), below: Ancestors::of(&downstream), setups }
    }

    /// Setups above the task, though not directly, whose teardown is still to come.
    fn setups_of(&self, nodes: &[Node], index: usize) -> Vec<NodeIndex> {
        let is_open = |setup: &NodeIndex| {
            let behind = &nodes[*setup as usize].downstream;
            let mut teardowns = behind.iter().filter(|behind| nodes[**behind as usize].role.is_teardown()).peekable();
            // Its scope ends with its teardown; one without has no end.
            teardowns.peek().is_none() || teardowns.any(|teardown| !self.above.contains(*teardown as usize, index))
        };
        let setups = self.above_not_directly(nodes, index).into_iter().zip(&self.setups);
        set_bits(setups.map(|(above, setups)| above & setups)).filter(is_open).collect()
    }

    /// The tasks between the teardown and the setups directly above it.
    fn cleaned_up_by(&self, nodes: &[Node], index: usize) -> Vec<NodeIndex> {
        let mut below = vec![0; self.setups.len()];
        for setup in nodes[index].upstream.iter().filter(|before| nodes[**before as usize].role == Role::Setup) {
            below.iter_mut().zip(self.below.row(*setup as usize)).for_each(|(all, own)| *all |= own);
        }
        let between = self.above_not_directly(nodes, index).into_iter().zip(below);
        set_bits(between.map(|(above, below)| above & below)).collect()
    }

    fn above_not_directly(&self, nodes: &[Node], index: usize) -> Vec<u64> {
        let mut above = self.above.row(index).to_vec();
        for direct in &nodes[index].upstream {
            above[*direct as usize / 64] &= !(1 << (direct % 64));
        }
        above
    }
}

/// The numbers of the bits that are set, in their order.
fn set_bits(words: impl Iterator<Item = u64>) -> impl Iterator<Item = NodeIndex> {
    words.zip(0..).flat_map(|(mut word, place)| {
        std::iter::from_fn(move || {
            let bit = (word != 0).then(|| word.trailing_zeros())?;
            word &= word - 1;
            Some(place * 64 + bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dag::Definition;
    use crate::model::{Digest, Json, TaskSpec};

    fn node(index: usize, role: Role, upstream: Vec<NodeIndex>) -> Node {
        let spec = Arc::new(TaskSpec::new(Digest::of(b"m"), Arc::from("run"), Json::null()));
        Node { role, upstream, ..Node::new(format!("t{index}").parse().expect("a name"), spec) }
    }

    fn linked(nodes: Vec<(Role, Vec<NodeIndex>)>) -> Result<Plan, PlanError> {
        let nodes = nodes.into_iter().enumerate().map(|(index, (role, upstream))| node(index, role, upstream));
        let empty: Definition = serde_json::from_str(r#"{"dag_id": "d", "tasks": []}"#).expect("a definition");
        let mut plan = Plan { nodes: nodes.collect(), ..Plan::of(&empty)? };
        plan.link()?;
        Ok(plan)
    }

    const TEARDOWN: Role = Role::Teardown { fails_run: false };

    #[test]
    fn a_setup_shelters_what_is_between_it_and_its_teardown() {
        let plan = linked(vec![
            (Role::Setup, vec![]),
            (Role::Work, vec![0]),
            (Role::Work, vec![1]),
            (TEARDOWN, vec![0, 2]),
            (Role::Work, vec![3]),
            (Role::Setup, vec![]),
            (Role::Work, vec![5]),
            (Role::Work, vec![6, 4]),
        ]);
        let plan = plan.expect("a plan");
        let setups: Vec<&[NodeIndex]> = plan.nodes.iter().map(|node| &*node.setups).collect();
        // Under the first, only what is not directly behind it nor behind its teardown; the second has no end.
        assert_eq!(setups, [&[], &[], &[0][..], &[], &[], &[], &[], &[5]]);
        assert_eq!((&*plan.node(3).cleans_up_after, &*plan.node(1).cleaned_up_by), (&[1][..], &[3][..]));
        assert_eq!((&*plan.node(0).shelters, &*plan.node(5).shelters), (&[2][..], &[7][..]));
    }

    #[test]
    fn thousands_of_setups_are_linked() {
        // Each with its teardown, one pair behind the other, and work in between.
        let triple = |at: NodeIndex| {
            let before = if at == 0 { vec![] } else { vec![at - 1] };
            [(Role::Setup, before), (Role::Work, vec![at]), (Role::Work, vec![at + 1]), (TEARDOWN, vec![at, at + 2])]
        };
        let plan = linked((0..2_000).flat_map(|n| triple(n * 4)).collect()).expect("a plan");
        assert_eq!(plan.nodes.iter().map(|node| node.setups.len()).sum::<usize>(), 2_000);
        assert_eq!(plan.node(7_998).setups, [7_996]);
        assert_eq!(plan.node(7_999).cleans_up_after, [7_997]);
    }

    #[test]
    fn more_tasks_under_setups_than_can_be_kept_are_refused() {
        let chain = |length: NodeIndex| (0..length).map(|n| (Role::Setup, n.checked_sub(1).into_iter().collect()));
        assert_eq!(linked(chain(2_000).collect()).expect_err("2 million"), PlanError::TooManyUnderSetups);
        assert!(linked(chain(1_000).collect()).is_ok());
    }
}
