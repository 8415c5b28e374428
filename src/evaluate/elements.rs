//! Cuts elements out of a list that is kept, and says what each is called.

use std::sync::Arc;

use serde_json::Value;

use crate::dag::plan::{Expansion, ScopeIndex};
use crate::dag::template::{Bounds, Instance, Scope, Template};
use crate::engine::graph::{Element, Evaluated, Evaluation};
use crate::model::task::TaskResult;
use crate::model::{Json, TaskError};

use super::kept_list::KeptList;
use super::{Inputs, failure, reading};

/// Elements in one answer, at most.
pub const ELEMENTS_AT_ONCE: usize = 1_000;

/// Characters of a label. Airflow's column holds as many.
const MAX_LABEL_CHARS: usize = 250;

pub(super) fn evaluate(
    question: &Evaluation,
    inputs: &Inputs,
    scope: ScopeIndex,
    list: &TaskResult,
    from: u32,
    kept: Option<Arc<KeptList>>,
) -> Result<Evaluated, TaskError> {
    let expansion = question.plan.scope(scope).expansion.as_ref().expect("only what is mapped has elements");
    let kept = match (kept, list) {
        (Some(kept), _) => kept,
        (None, TaskResult::Inline(text)) => {
            Arc::new(KeptList::parse(text).map_err(|error| failure(error.to_string()))?)
        }
        (None, TaskResult::Artifact(artifact)) => {
            return Err(failure(format!("the list in artifact {} was not fetched", artifact.digest)));
        }
    };
    let run = reading::of_run(&question.spec, &question.plan, inputs);
    let elements = cut(expansion, &run, &kept, from, ELEMENTS_AT_ONCE);
    match elements.is_empty() {
        true => Err(failure(format!("there is no element {from} in a list of {}", kept.total()))),
        false => Ok(Evaluated::Elements(elements)),
    }
}

/// Elements from this one on; see `KeptList::slice`.
pub(super) fn cut(expansion: &Expansion, run: &Scope, kept: &KeptList, from: u32, count: usize) -> Vec<Element> {
    let elements = kept.slice(from, count).into_iter().zip(from..);
    let mut without_label = None;
    let labelled = elements.map(|(input, index)| {
        let template = expansion.list.label.as_ref();
        let label = template.and_then(|template| {
            // What an instance is called is no reason not to run it.
            label(template, run, &expansion.name, index, &input).unwrap_or_else(|error| {
                without_label.get_or_insert((index, error));
                None
            })
        });
        Element { label, input }
    });
    let labelled = labelled.collect();
    if let Some((map_index, error)) = without_label {
        // Airflow, too, says no more where its label cannot be rendered before the task.
        tracing::debug!(task = expansion.name, map_index, error.message, "a `map_index_template` cannot be rendered");
    }
    labelled
}

/// None where it comes to nothing.
fn label(
    template: &Template,
    run: &Scope,
    task_id: &str,
    index: u32,
    input: &Json,
) -> Result<Option<Arc<str>>, TaskError> {
    let instance = Instance { id: None, task_id, map_index: index.into(), try_number: 0 };
    let scope = reading::with_element(&run.for_instance(instance), input)?;
    let value = template.render_within(&scope, Bounds::LABEL).map_err(|error| failure(error.to_string()))?;
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        value => value.to_string(),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_LABEL_CHARS).collect();
    Ok((!text.trim().is_empty()).then(|| text.trim().into()))
}
