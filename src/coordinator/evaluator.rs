//! Answers the engine's questions about runs: conditions, and what tasks are mapped over.
//!
//! Outputs are fetched and templates evaluated away from the coordinator's thread; the answer comes
//! back as a letter. That something cannot be read is our failure: the question is asked again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::engine::Command;
use crate::engine::graph::{Evaluated, Evaluation, Question};
use crate::evaluate::{Inputs, KeptList, evaluate};
use crate::model::TaskError;

use super::graph::GraphMessage;
use super::inputs::{FetchError, InputSource};
use super::{Message, Shared};

/// Questions answered at once that need what lies in the store: each may hold 256 MiB of outputs.
const AT_ONCE: usize = 8;

/// Pause before a question is tried again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Evaluator {
    shared: Arc<Shared>,
    inputs: InputSource,
    runtime: tokio::runtime::Handle,
    room: Arc<Semaphore>,
}

impl Evaluator {
    pub(super) fn new(shared: Arc<Shared>, inputs: InputSource, runtime: tokio::runtime::Handle) -> Self {
        Self { shared, inputs, runtime, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    pub(super) fn inputs(&self) -> &InputSource {
        &self.inputs
    }

    /// Does not wait for the answers.
    pub(super) fn answer(&self, questions: Vec<Evaluation>) {
        for question in questions {
            let this = self.clone();
            self.runtime.spawn(async move { this.answer_one(question).await });
        }
    }

    async fn answer_one(self, question: Evaluation) {
        let (run, ticket, about) = (question.run, question.ticket, question.about);
        let question = Arc::new(question);
        let answer = loop {
            match self.try_answer(&question).await {
                Ok(answer) => break answer,
                Err(error @ FetchError::TooLarge { .. }) => {
                    break Evaluated::Failed(Arc::new(TaskError::message(error.to_string())));
                }
                Err(FetchError::Unavailable(reason)) => {
                    tracing::warn!(%run, reason, "a question about a run could not be answered; it will be tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let command = Command::Evaluated { run, ticket, about, answer };
        self.shared.mailbox.push(Message::Graph(GraphMessage::Evaluated(command)));
    }

    async fn try_answer(&self, question: &Arc<Evaluation>) -> Result<Evaluated, FetchError> {
        let fetches = question.outputs.iter().any(|(_, output)| output.is_in_store());
        let _room = match fetches {
            true => Some(self.room.acquire().await.map_err(|error| FetchError::Unavailable(error.to_string()))?),
            false => None,
        };
        let list = match &question.question {
            Question::Elements { scope, list, .. } => Some(self.inputs.list(question.run, *scope, list).await?),
            Question::Condition { .. } | Question::List { .. } => None,
        };
        let inputs = self.inputs.fetch(question.run, &question.plan, &question.outputs).await?;
        let answer = self.evaluate_aside(question.clone(), inputs, list).await?;
        match (answer, &question.question) {
            (Evaluated::List { total, list, elements }, Question::List { scope }) => {
                let list = self.inputs.keep_list(question.run, *scope, list).await?;
                Ok(Evaluated::List { total, list, elements })
            }
            // The list is there and was read: what is wrong with it is ours.
            (Evaluated::Failed(error), Question::Elements { .. }) => {
                Err(FetchError::Unavailable(error.message.clone()))
            }
            (answer, _) => Ok(answer),
        }
    }

    async fn evaluate_aside(
        &self,
        question: Arc<Evaluation>,
        inputs: Inputs,
        list: Option<Arc<KeptList>>,
    ) -> Result<Evaluated, FetchError> {
        // Templates may work for tens of milliseconds.
        let work = self.runtime.spawn_blocking(move || evaluate(&question, &inputs, list));
        work.await.map_err(|error| FetchError::Unavailable(error.to_string()))
    }
}
