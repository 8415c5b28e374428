//! Whether a task's `when` holds.

use crate::dag::plan::NodeIndex;
use crate::dag::template::Instance;
use crate::engine::graph::{Evaluated, Evaluation};
use crate::model::TaskError;
use crate::model::json::is_true;

use super::{Inputs, failure, reading};

pub(super) fn evaluate(
    question: &Evaluation,
    inputs: &Inputs,
    node: NodeIndex,
    map_index: Option<u32>,
) -> Result<Evaluated, TaskError> {
    let node = question.plan.node(node);
    let Some(when) = &node.templates.when else { return Ok(Evaluated::Condition(true)) };
    let task_id = node.name.as_str();
    let instance = Instance { id: None, task_id, map_index: reading::map_index(map_index), try_number: 0 };
    let scope = reading::of_run(&question.spec, &question.plan, inputs).for_instance(instance);
    let scope = match &question.element {
        Some(element) => reading::with_element(&scope, &element.input)?,
        None => scope,
    };
    let value = when.render(&scope).map_err(|error| failure(format!("`when` of task `{task_id}`: {error}")))?;
    Ok(Evaluated::Condition(is_true(&value)))
}
