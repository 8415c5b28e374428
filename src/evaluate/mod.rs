//! Evaluates what a run leaves open: conditions, the lists of mapped tasks and groups, and the input of attempts.
//!
//! Pure: what the templates read has been fetched, and an answer is only computed. It may take some tens of
//! milliseconds (see `dag::template::Bounds`), so it is not for a thread that must not wait.
//!
//! What goes wrong in here is the task's own failure and would be the same the next time: a `TaskError`.

mod condition;
mod elements;
mod input;
mod kept_list;
mod list;
mod reading;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::dag::plan::NodeIndex;
use crate::dag::template;
use crate::engine::graph::{Evaluated, Evaluation, Question};
use crate::model::TaskError;
use crate::model::variable::Variables;

pub use elements::ELEMENTS_AT_ONCE;
pub use input::{Attempt, Given, INPUT_BYTES, input_of};
pub use kept_list::{KeptList, MAX_ELEMENTS, NotAKeptList};

/// What the templates of one evaluation may read.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// What the tasks left that the question names; null for one that left nothing.
    pub outputs: Vec<(NodeIndex, Arc<template::Output>)>,
    pub variables: Arc<Variables>,
}

/// Answers a question of the engine's. `kept` is needed for a question after elements whose list is an artifact; a list
/// that stands in the question is read anew where it is not given.
///
/// A list is answered in one text, of 8 MiB at most, that `KeptList` reads; nothing here makes an artifact of it.
pub fn evaluate(question: &Evaluation, inputs: &Inputs, kept: Option<Arc<KeptList>>) -> Evaluated {
    let answer = match &question.question {
        Question::Condition { node, map_index } => condition::evaluate(question, inputs, *node, *map_index),
        Question::List { scope } => list::evaluate(question, inputs, *scope),
        Question::Elements { scope, list, from } => elements::evaluate(question, inputs, *scope, list, *from, kept),
    };
    answer.unwrap_or_else(|error| Evaluated::Failed(Arc::new(error)))
}

fn failure(message: String) -> TaskError {
    TaskError::message(message)
}
