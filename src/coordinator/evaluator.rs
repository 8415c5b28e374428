//! Answers the engine's questions about runs: conditions, and what tasks are mapped over.
//!
//! Outputs are fetched and templates evaluated away from the coordinator's thread; the answer comes
//! back as a letter. That something cannot be read now is our failure: the question is asked again,
//! after ever longer pauses. What is damaged is not: that is the answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::engine::Command;
use crate::engine::graph::{Evaluated, Evaluation, Question};
use crate::evaluate::{KeptList, evaluate};
use crate::model::TaskError;

use super::graph::GraphMessage;
use super::inputs::{FetchError, Fetched, InputSource};
use super::{Message, Shared};

/// Questions answered at once that read outputs or make lists: these take memory.
const AT_ONCE: usize = 8;

/// Pauses before a question is tried again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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
        let mut pause = FIRST_PAUSE;
        let answer = loop {
            match self.try_answer(&question).await {
                Ok(answer) => break answer,
                Err(error @ (FetchError::TooLarge { .. } | FetchError::Damaged(_))) => {
                    break Evaluated::Failed(Arc::new(TaskError::message(error.to_string())));
                }
                Err(FetchError::Unavailable(reason)) => {
                    tracing::warn!(%run, reason, ?pause, "a question about a run could not be answered; it will be tried again");
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        };
        let command = Command::Evaluated { run, ticket, about, answer };
        self.shared.mailbox.push(Message::Graph(GraphMessage::Evaluated(command)));
    }

    async fn try_answer(&self, question: &Arc<Evaluation>) -> Result<Evaluated, FetchError> {
        let is_small = matches!(question.question, Question::Condition { .. })
            && !question.outputs.iter().any(|(_, output)| output.is_in_store());
        let _room = match is_small {
            true => None,
            false => Some(self.room.acquire().await.map_err(|error| FetchError::Unavailable(error.to_string()))?),
        };
        let Evaluation { run, plan, .. } = &**question;
        let list = match &question.question {
            Question::Elements { scope, list, .. } => Some(self.inputs.list(*run, plan, *scope, list).await?),
            Question::Condition { .. } | Question::List { .. } => None,
        };
        let fetched = self.inputs.fetch(*run, plan, &question.outputs).await?;
        let answer = self.evaluate_aside(question.clone(), fetched, list).await?;
        match (answer, &question.question) {
            (Evaluated::List { total, list, elements }, Question::List { scope }) => {
                let list = self.inputs.keep_list(*run, *scope, list).await?;
                Ok(Evaluated::List { total, list, elements })
            }
            (answer, _) => Ok(answer),
        }
    }

    async fn evaluate_aside(
        &self,
        question: Arc<Evaluation>,
        fetched: Fetched,
        list: Option<Arc<KeptList>>,
    ) -> Result<Evaluated, FetchError> {
        // Templates may work for tens of milliseconds.
        let work = self.runtime.spawn_blocking(move || evaluate(&question, &fetched.inputs, list));
        match work.await {
            Ok(answer) => Ok(answer),
            // It would do so again.
            Err(error) if error.is_panic() => {
                let reason = "its templates cannot be evaluated, by a defect of the server; the server's log says more";
                Ok(Evaluated::Failed(Arc::new(TaskError::message(reason))))
            }
            Err(error) => Err(FetchError::Unavailable(error.to_string())),
        }
    }
}
