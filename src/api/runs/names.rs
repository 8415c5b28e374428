//! What instances of runs are called: looked up where they are shown.

use std::collections::HashMap;

use crate::api::Api;
use crate::api::problem::Problem;
use crate::api::tasks::object::InstanceNames;
use crate::model::{RunId, TaskRecord};
use crate::store::run_reads::RunNames;

/// The names of the instances among some tasks, by their run and node.
#[derive(Default)]
pub struct Names(HashMap<(RunId, u32), InstanceNames>);

impl Names {
    /// Costs nothing for single tasks.
    pub async fn of(api: &Api, records: &[TaskRecord]) -> Result<Self, Problem> {
        let mut nodes: Vec<(RunId, u32)> =
            records.iter().filter_map(|record| record.instance).map(|instance| (instance.run, instance.node)).collect();
        if nodes.is_empty() {
            return Ok(Self::default());
        }
        nodes.sort_unstable();
        nodes.dedup();
        let mut runs: Vec<RunId> = nodes.iter().map(|(run, _)| *run).collect();
        runs.dedup();
        let runs = api.reads.run(move |reader| {
            let mut found: HashMap<RunId, RunNames> = HashMap::with_capacity(runs.len());
            for run in runs {
                found.extend(reader.run_names(run)?.map(|names| (run, names)));
            }
            Ok(found)
        });
        let runs = runs.await?;
        let mut names = HashMap::with_capacity(nodes.len());
        for (run, node) in nodes {
            let Some(RunNames { dag_id, run_id, version }) = runs.get(&run) else { continue };
            let definition = api.definitions().get(&api.reads, *version).await?;
            let task_id = definition.and_then(|definition| Some(definition.tasks.get(node as usize)?.id.clone()));
            let (dag_id, run_id) = (dag_id.clone(), run_id.clone());
            names.insert((run, node), InstanceNames { dag_id, run_id, task_id });
        }
        Ok(Self(names))
    }

    pub fn get(&self, record: &TaskRecord) -> Option<&InstanceNames> {
        let instance = record.instance?;
        self.0.get(&(instance.run, instance.node))
    }
}
