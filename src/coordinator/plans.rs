//! DAG versions made ready to run, kept in memory.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::dag::plan::{Node, NodeIndex};
use crate::dag::{Definition, Plan};
use crate::model::Digest;
use crate::store::Reads;

/// Versions kept. When there are more, those that no run has are made anew when they are needed.
const MOST_PLANS: usize = 1_000;
/// The same for what they weigh together.
const MOST_BYTES: usize = 256 << 20;

#[derive(Default)]
pub(crate) struct Plans {
    made: Mutex<Made>,
    reads: OnceLock<Reads>,
}

#[derive(Default)]
struct Made {
    plans: HashMap<Digest, Kept>,
    /// Of all of them.
    bytes: usize,
}

struct Kept {
    plan: Arc<Plan>,
    bytes: usize,
}

impl Made {
    fn keep(&mut self, version: Digest, plan: Arc<Plan>, bytes: usize) -> Arc<Plan> {
        if let Some(kept) = self.plans.get(&version) {
            return kept.plan.clone();
        }
        if self.plans.len() >= MOST_PLANS || self.bytes + bytes > MOST_BYTES {
            self.plans.retain(|_, kept| Arc::strong_count(&kept.plan) > 1);
            self.bytes = self.plans.values().map(|kept| kept.bytes).sum();
        }
        self.bytes += bytes;
        self.plans.insert(version, Kept { plan: plan.clone(), bytes });
        plan
    }
}

/// What a plan takes in memory, about: the larger part are its templates, compiled to some eight times their text.
fn weight(definition: &Definition, plan: &Plan) -> usize {
    let lists = |node: &Node| node.upstream.len() + node.setups.len() + node.cleans_up_after.len() + node.reads.len();
    let nodes = plan.nodes.iter().map(|node| size_of::<Node>() + 2 * size_of::<NodeIndex>() * lists(node));
    8 * definition.canonical_json().len() + nodes.sum::<usize>()
}

impl Plans {
    /// Where definitions are read from.
    pub(super) fn read_from(&self, reads: Reads) {
        // Set once, at start.
        let _ = self.reads.set(reads);
    }

    /// None: there is no such version.
    pub(super) async fn get(&self, version: Digest) -> Result<Option<Arc<Plan>>, String> {
        if let Some(plan) = self.find(&version) {
            return Ok(Some(plan));
        }
        let reads = self.reads.get().ok_or("the server is starting")?;
        let definition =
            reads.run(move |reader| reader.definition(&version)).await.map_err(|error| error.to_string())?;
        definition.map(|definition| self.make(version, &definition)).transpose()
    }

    pub(super) fn find(&self, version: &Digest) -> Option<Arc<Plan>> {
        self.made.lock().plans.get(version).map(|kept| kept.plan.clone())
    }

    pub(super) fn make(&self, version: Digest, definition: &Definition) -> Result<Arc<Plan>, String> {
        let plan = Arc::new(Plan::of(definition).map_err(|error| error.to_string())?);
        let bytes = weight(definition, &plan);
        Ok(self.made.lock().keep(version, plan, bytes))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(input_bytes: usize) -> Definition {
        let task = json!({"id": "a", "module": Digest::of(b"m"), "function": "run", "input": "x".repeat(input_bytes)});
        serde_json::from_value(json!({"dag_id": "d", "tasks": [task]})).expect("a definition")
    }

    #[test]
    fn plans_that_no_run_has_go_when_all_weigh_too_much() {
        let plans = Plans::default();
        let used = plans.make(Digest::of(b"used"), &definition(10)).expect("a plan");
        plans.make(Digest::of(b"unused"), &definition(10)).expect("a plan");
        let large = definition(1 << 20);
        let each = weight(&large, &Plan::of(&large).expect("a plan"));
        assert!(each > 8 << 20, "{each}");
        let mut made = plans.made.lock();
        let plan = Arc::new(Plan::of(&large).expect("a plan"));
        for n in 0..MOST_BYTES / each {
            made.keep(Digest::of(&n.to_le_bytes()), plan.clone(), each);
        }
        assert!(made.plans.contains_key(&Digest::of(b"unused")) && made.bytes <= MOST_BYTES);
        let kept = made.plans.len();
        made.keep(Digest::of(b"one more"), plan, each);
        assert!(!made.plans.contains_key(&Digest::of(b"unused")));
        assert!(made.plans.contains_key(&Digest::of(b"used")) && Arc::strong_count(&used) == 2);
        // Those of the loop are in use: this test has them.
        assert_eq!(made.plans.len(), kept);
    }
}
