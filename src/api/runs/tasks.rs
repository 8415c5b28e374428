//! Makes a task object also of a task that is still to come.

use std::sync::Arc;

use crate::dag::Definition;
use crate::dag::definition::TaskDefinition;
use crate::model::run::Instance;
use crate::model::{Json, RunRecord, TaskRecord, TaskSpec, TaskState, Usage};

/// The task of a node of which there is no instance yet; of a run that has ended, there will be none.
pub fn to_come(run: &RunRecord, node: u32, definition: &Definition) -> Option<TaskRecord> {
    let TaskDefinition { work, .. } = definition.tasks.get(node as usize)?;
    let spec = TaskSpec {
        queue: work.queue.clone(),
        priority_weight: work.priority_weight,
        labels: work.labels.clone(),
        args: work.args.as_slice().into(),
        terms: Arc::new(work.terms.clone()),
        // What it gets is known when it begins.
        ..TaskSpec::new(work.module, work.function.as_str(), Json::null())
    };
    Some(TaskRecord {
        id: run.first_task.of_node(node),
        instance: Some(Instance { run: run.id, node, map_index: None }),
        label: None,
        state: if run.state.is_final() { TaskState::Skipped } else { TaskState::Scheduled },
        outcome: None,
        try_number: 0,
        max_tries: work.terms.retry.retries + 1,
        fence: 0,
        lost_in_row: 0,
        due_at: None,
        queued_at: run.queued_at,
        start_date: None,
        end_date: None,
        result: None,
        error: None,
        usage: Usage::default(),
        note: None,
        last_event: 0,
        spec: Arc::new(spec),
    })
}
