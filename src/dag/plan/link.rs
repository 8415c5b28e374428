//! Fills in what follows from who is upstream of whom.

use std::collections::HashSet;

use super::{Node, NodeIndex, Plan, Role, Scope};

impl Plan {
    /// Links nodes that know their upstream, scope and what they read. The first scope is the DAG itself.
    pub fn link(&mut self) {
        for scope in &mut self.scopes {
            scope.nodes.clear();
        }
        for index in 0..self.nodes.len() {
            let scope = &mut self.scopes[self.nodes[index].scope as usize];
            self.nodes[index].place = scope.nodes.len() as u32;
            scope.nodes.push(index as NodeIndex);
        }
        self.invert(|node| &node.upstream, |node| &mut node.downstream);
        self.look_for_setups();
        self.invert(|node| &node.setups, |node| &mut node.shelters);
        self.invert(|node| &node.cleans_up_after, |node| &mut node.cleaned_up_by);
        self.note_who_is_read();
        for index in 0..self.nodes.len() {
            self.nodes[index].decides_run = self.decides_run(&self.nodes[index]);
        }
        self.looks_back = self.nodes.iter().any(|node| node.depends_on_past);
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
    fn look_for_setups(&mut self) {
        if self.nodes.iter().all(|node| node.role == Role::Work) {
            return;
        }
        for index in 0..self.nodes.len() {
            let above = self.above(index as NodeIndex);
            let node = &self.nodes[index];
            let direct: HashSet<NodeIndex> = node.upstream.iter().copied().collect();
            let (mut setups, mut cleaned) = (Vec::new(), Vec::new());
            if node.role.is_teardown() {
                let own = node.upstream.iter().copied().filter(|before| self.node(*before).role == Role::Setup);
                let below = self.reachable_from(&own.collect::<Vec<_>>());
                cleaned.extend(above.difference(&direct).filter(|between| below.contains(between)));
            } else {
                let sheltering = above.difference(&direct).filter(|before| {
                    let setup = self.node(**before);
                    let mut teardowns =
                        setup.downstream.iter().filter(|behind| self.node(**behind).role.is_teardown()).peekable();
                    // Its scope ends with its teardown; one without has no end.
                    setup.role == Role::Setup
                        && (teardowns.peek().is_none() || teardowns.any(|teardown| !above.contains(teardown)))
                });
                setups.extend(sheltering);
            }
            setups.sort_unstable();
            cleaned.sort_unstable();
            self.nodes[index].setups = setups;
            self.nodes[index].cleans_up_after = cleaned;
        }
    }

    /// All that is upstream of the task, directly or not.
    pub fn above(&self, index: NodeIndex) -> HashSet<NodeIndex> {
        let mut found = HashSet::new();
        let mut next = self.node(index).upstream.clone();
        while let Some(before) = next.pop() {
            if found.insert(before) {
                next.extend(&self.node(before).upstream);
            }
        }
        found
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
