//! Random DAGs, made ready to run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tradewind::dag::plan::{Choice, Expansion, Node, NodeIndex, Plan, ROOT, Role, Scope};
use tradewind::dag::trigger_rule::TriggerRule;
use tradewind::model::{Digest, TaskSpec};

use super::random::Random;

/// A DAG of up to so many tasks. `specs` are what its tasks may do.
pub fn plan(random: &mut Random, number: u8, most: usize, specs: &[Arc<TaskSpec>]) -> Arc<Plan> {
    let len = 1 + random.index(most);
    let mut scopes = vec![Scope { nodes: Vec::new(), expansion: None }];
    let mut nodes: Vec<Node> = Vec::new();
    let mut group_left = 0;
    for index in 0..len {
        let mut node = Node::new(format!("t{index}").parse().expect("a name"), random.pick(specs).clone());
        // Few long, few wide: each looks a little way back.
        let reach = 1 + random.index(6);
        for before in index.saturating_sub(reach)..index {
            if random.chance(45) {
                node.upstream.push(before as NodeIndex);
            }
        }
        if random.chance(40) {
            node.rule = *random.pick(TriggerRule::ALL);
        }
        node.has_condition = random.chance(8);
        node.depends_on_past = random.chance(4);
        node.wait_for_downstream = node.depends_on_past && random.chance(50);
        if group_left > 0 {
            group_left -= 1;
            node.scope = scopes.len() as u32 - 1;
            node.max_active = random.chance(15).then(|| 1 + random.below(3) as u32);
        } else if random.chance(12) {
            let above = above(&nodes, &node.upstream);
            let reads = above.into_iter().filter(|_| random.chance(40)).collect();
            let is_group = random.chance(50);
            let name = format!("t{index}");
            let expansion = Expansion { name, reads, is_group, list: Arc::default() };
            scopes.push(Scope { nodes: Vec::new(), expansion: Some(expansion) });
            node.scope = scopes.len() as u32 - 1;
            node.max_active = random.chance(30).then(|| 1 + random.below(3) as u32);
            group_left = if is_group { random.index(4) } else { 0 };
            // A mapped task is asked about as a whole.
            node.has_condition &= !is_group;
        } else if random.chance(8) {
            node.role = Role::Setup;
        } else if random.chance(8) {
            node.role = Role::Teardown { fails_run: random.chance(50) };
            node.rule = TriggerRule::AllDoneSetupSuccess;
        }
        // A group's first tasks wait for nothing of the group; others may only stand behind it from outside.
        node.reads = above(&nodes, &node.upstream).into_iter().filter(|_| random.chance(10)).collect();
        nodes.push(node);
    }
    for index in 0..len {
        let has_behind = nodes.iter().any(|node| node.upstream.contains(&(index as NodeIndex)));
        let inside = nodes
            .iter()
            .filter(|node| node.upstream.contains(&(index as NodeIndex)))
            .all(|node| node.scope == nodes[index].scope);
        let mapped_alone = scopes[nodes[index].scope as usize].expansion.as_ref().is_some_and(|own| !own.is_group);
        if has_behind && !mapped_alone && (inside || nodes[index].scope == ROOT) && random.chance(15) {
            nodes[index].choice =
                if random.chance(60) { Choice::Branch } else { Choice::ShortCircuit { all: random.chance(60) } };
        }
    }
    let mut plan = Plan {
        dag_id: format!("dag-{number}").parse().expect("a name"),
        version: Digest::of(&[number]),
        nodes,
        scopes,
        fail_fast: random.chance(10),
        timeout: random.chance(20).then(|| Duration::from_secs(1 + random.below(600))),
        max_active_runs: 1 + random.below(5) as u32,
        looks_back: false,
        groups: HashMap::new(),
    };
    if !random.chance(30) {
        plan.nodes.iter_mut().for_each(|node| (node.depends_on_past, node.wait_for_downstream) = (false, false));
    }
    plan.link().expect("few setups");
    Arc::new(plan)
}

/// All that is upstream of these, themselves included.
fn above(nodes: &[Node], upstream: &[NodeIndex]) -> Vec<NodeIndex> {
    let mut found: Vec<NodeIndex> = upstream.to_vec();
    let mut at = 0;
    while at < found.len() {
        for before in &nodes[found[at] as usize].upstream {
            if !found.contains(before) {
                found.push(*before);
            }
        }
        at += 1;
    }
    found
}
