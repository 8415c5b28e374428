//! What an attempt of a run's task is given: its input and its arguments.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dag::plan::{Node, Plan};
use crate::dag::template::{Bounds, Instance, JsonTemplate, Scope};
use crate::engine::graph::InstanceContext;
use crate::model::task::{MAX_ARGS, MAX_ARGS_BYTES};
use crate::model::{Json, TaskError, TaskId, TaskSpec};

use super::{Inputs, failure, reading};

/// What an input may come to: outputs that are passed on whole are larger than what can be looked into. 64 MiB.
pub const INPUT_BYTES: usize = 64 << 20;

const INPUT: Bounds = Bounds { output_bytes: INPUT_BYTES, fuel: 100_000 };

/// An attempt that is about to start.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    pub context: &'a InstanceContext,
    /// The instance's own: where it is mapped, the input is its element.
    pub spec: &'a TaskSpec,
    pub task: TaskId,
    /// Counted from 1.
    pub try_number: u32,
}

/// What the guest is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// Null where there is nothing. `INPUT_BYTES` at most, and the element of a mapped task besides.
    pub input: Json,
    pub args: Arc<[String]>,
}

/// Costs next to nothing where there is no template and no mapping.
pub fn input_of(attempt: &Attempt<'_>, inputs: &Inputs) -> Result<Given, TaskError> {
    let Attempt { context, spec, .. } = attempt;
    let node = context.plan.node(context.node);
    let templates = &node.templates;
    let scope = if templates.make_input() { Some(scope(attempt, node, inputs)?) } else { None };
    let input = match (&templates.input, &scope) {
        (Some(template), Some(scope)) => {
            let input = template.render_text(scope, INPUT);
            input.map_err(|error| fails(node, "input", &with_place(&error.pointer, &error.message)))?
        }
        _ => node.spec.input.clone(),
    };
    let args = match (&templates.args, &scope) {
        (Some(template), Some(scope)) => args(template, scope, node)?,
        _ => node.spec.args.clone(),
    };
    let input = if is_mapped_itself(&context.plan, node) { merge(node, &input, &spec.input)? } else { input };
    Ok(Given { input, args })
}

/// Unlike a task in a mapped group, which only knows the keys by name.
fn is_mapped_itself(plan: &Plan, node: &Node) -> bool {
    plan.scope(node.scope).expansion.as_ref().is_some_and(|expansion| !expansion.is_group)
}

fn scope(attempt: &Attempt<'_>, node: &Node, inputs: &Inputs) -> Result<Scope, TaskError> {
    let Attempt { context, spec, task, try_number } = *attempt;
    let run = reading::of_run(&context.spec, &context.plan, inputs);
    let scope = run.for_instance(Instance {
        id: Some(task),
        task_id: node.name.as_str(),
        map_index: reading::map_index(context.map_index),
        try_number,
    });
    match context.map_index {
        Some(_) => reading::with_element(&scope, &spec.input),
        None => Ok(scope),
    }
}

fn args(template: &JsonTemplate, scope: &Scope, node: &Node) -> Result<Arc<[String]>, TaskError> {
    // A little more than is let through, so that it is the limit of arguments that is named.
    let bounds = Bounds { output_bytes: 8 * MAX_ARGS_BYTES, ..Bounds::default() };
    let values = template.render_within(scope, bounds);
    let values = values.map_err(|error| fails(node, "args", &with_place(&error.pointer, &error.message)))?;
    let Value::Array(values) = values else { unreachable!("a list of texts is rendered as a list") };
    let text = |(index, value): (usize, Value)| match value {
        Value::String(text) if text.contains('\0') => {
            Err(fails(node, "args", &format!("argument {index} has a NUL in it")))
        }
        Value::String(text) => Ok(text),
        Value::Null => {
            let reason = format!("argument {index} came to null; give it a value, as in `{{{{ … or '' }}}}`");
            Err(fails(node, "args", &reason))
        }
        value => Ok(value.to_string()),
    };
    let args = values.into_iter().enumerate().map(text).collect::<Result<Vec<_>, _>>()?;
    let bytes: usize = args.iter().map(|arg| arg.len() + 1).sum();
    if args.len() > MAX_ARGS || bytes > MAX_ARGS_BYTES {
        let reason =
            format!("{} arguments of {bytes} bytes are more than {MAX_ARGS} or {MAX_ARGS_BYTES} bytes", args.len());
        return Err(fails(node, "args", &format!("{reason}; pass large data as `input`")));
    }
    Ok(args.into())
}

/// The element's keys over those of the input that all instances share.
fn merge(node: &Node, input: &Json, element: &Json) -> Result<Json, TaskError> {
    type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;
    if input.is_null() {
        return Ok(element.clone());
    }
    let mut merged: Object<'_> = serde_json::from_str(input.as_str())
        .map_err(|_| fails(node, "input", "it is no object, so that the keys it is mapped over cannot be added"))?;
    let own: Object<'_> = serde_json::from_str(element.as_str())
        .map_err(|_| fails(node, "input", "the element it is mapped over is no object"))?;
    merged.extend(own);
    Ok(Json::of(&merged).expect("keys and JSON values make an object"))
}

fn fails(node: &Node, key: &str, reason: &str) -> TaskError {
    failure(format!("`{key}` of task `{}`: {reason}", node.name))
}

fn with_place(pointer: &str, message: &str) -> String {
    if pointer.is_empty() { message.to_owned() } else { format!("{pointer}: {message}") }
}
