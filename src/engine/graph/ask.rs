//! What the engine has evaluated by others: conditions and the lists of mapped tasks.
//!
//! Templates are not the engine's. It asks with a number; an answer with another
//! number than the one a place waits for is too late and changes nothing.

use std::sync::Arc;

use crate::dag::Plan;
use crate::dag::plan::{NodeIndex, ScopeIndex};
use crate::model::task::TaskResult;
use crate::model::{Json, RunId, RunSpec, TaskError, TaskId, TaskState, Timestamp};

use super::super::Engine;
use super::super::command::Answer;
use super::decide::Next;
use super::{At, Open, PlacePhase, Progress, Run, Todo};

/// A question about a run.
#[derive(Debug, Clone)]
pub struct Evaluation {
    pub ticket: u64,
    pub run: RunId,
    /// Who waits for the answer.
    pub about: About,
    pub spec: Arc<RunSpec>,
    pub plan: Arc<Plan>,
    pub question: Question,
    /// What the tasks left that the question's templates name.
    pub outputs: Vec<(NodeIndex, Output)>,
    /// Of an instance of a mapped group.
    pub element: Option<Element>,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// A task in a lane.
    Task { node: NodeIndex, map_index: Option<u32> },
    /// A mapped scope as a whole.
    Scope(ScopeIndex),
}

#[derive(Debug, Clone)]
pub enum Question {
    /// Whether the task's `when` holds.
    Condition { node: NodeIndex, map_index: Option<u32> },
    /// What the task or group is mapped over.
    List { scope: ScopeIndex },
    /// The elements of a list from this one on.
    Elements { scope: ScopeIndex, list: TaskResult, from: u32 },
}

/// The answer to a question.
#[derive(Debug, Clone)]
pub enum Evaluated {
    Condition(bool),
    /// How long the list is, the list as it is kept, and its first elements.
    List {
        total: u32,
        list: TaskResult,
        elements: Vec<Element>,
    },
    /// In order, at least one.
    Elements(Vec<Element>),
    /// The task's own failure: its template is wrong for what it got. To a question for elements: they cannot be had
    /// any more, and the instances that have none fail.
    Failed(Arc<TaskError>),
}

/// What one instance of a mapped task or group is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// An object of the mapped keys.
    pub input: Json,
    /// By `map_index_template`.
    pub label: Option<Arc<str>>,
}

/// What a task left for those that name its output.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// It did not succeed.
    None,
    Inline(Json),
    /// Stands in the task's row; read from there.
    Stored(TaskId),
    /// A list of the outputs of its instances.
    Mapped,
}

/// Longer outputs are read from the store where they are needed.
const KEPT_OUTPUT_BYTES: usize = 1 << 10;

impl Output {
    pub(super) fn of(task: TaskId, state: TaskState, result: Option<&TaskResult>) -> Self {
        match (state, result) {
            (TaskState::Success, Some(TaskResult::Inline(json))) if json.as_str().len() <= KEPT_OUTPUT_BYTES => {
                Self::Inline(json.clone())
            }
            (TaskState::Success, Some(_)) => Self::Stored(task),
            _ => Self::None,
        }
    }

    /// Whether it can be had only from what is durable.
    pub fn is_in_store(&self) -> bool {
        match self {
            Self::None | Self::Inline(_) => false,
            Self::Stored(_) | Self::Mapped => true,
        }
    }
}

impl Run {
    /// What these tasks left, as one in this lane sees it.
    pub(super) fn outputs(&self, reads: &[NodeIndex], lane: Option<u32>) -> Vec<(NodeIndex, Output)> {
        reads.iter().map(|node| (*node, self.output(*node, lane))).collect()
    }

    fn output(&self, node: NodeIndex, lane: Option<u32>) -> Output {
        if self.scopes[self.plan.node(node).scope as usize].total == Some(0) {
            return Output::Inline(Json::empty_list());
        }
        let beside = self.place(At { node, lane });
        match beside.or_else(|| self.place(At { node, lane: None })) {
            Some(place) => place.output.clone().unwrap_or(Output::None),
            None => Output::Mapped,
        }
    }
}

impl Engine {
    /// Asks on behalf of a task.
    pub(super) fn ask(&mut self, run: &mut Run, at: At, next: Next, now: Timestamp) {
        let (question, reads) = match next {
            Next::AskCondition => {
                let reads = run.plan.node(at.node).condition_reads.clone();
                (Question::Condition { node: at.node, map_index: at.lane }, reads)
            }
            Next::AskExpansion(scope) => (Question::List { scope }, run.list_reads(scope)),
            Next::Nothing | Next::End(_) | Next::Hold | Next::Start => unreachable!("there is nothing to ask"),
        };
        let element = run.lane(at).and_then(|lane| lane.element.clone());
        let outputs = run.outputs(&reads, at.lane);
        let about = About::Task { node: at.node, map_index: at.lane };
        let ticket = self.pose(run, about, question, outputs, element, now);
        run.place_mut(at).expect("who asks is in a lane").phase = PlacePhase::Asked(ticket);
    }

    /// Asks for the list of a mapped group.
    pub(super) fn ask_list(&mut self, run: &mut Run, scope: ScopeIndex, now: Timestamp) {
        let outputs = run.outputs(&run.list_reads(scope), None);
        let ticket = self.pose(run, About::Scope(scope), Question::List { scope }, outputs, None, now);
        run.scopes[scope as usize].asked = Some(ticket);
    }

    /// Asks for elements behind those at hand.
    pub(super) fn ask_elements(&mut self, run: &mut Run, scope: ScopeIndex, now: Timestamp) {
        let Some(open) = run.open(scope) else { return };
        let from = open.next + open.elements.len() as u32;
        let question = Question::Elements { scope, list: open.list.clone(), from };
        let ticket = self.pose(run, About::Scope(scope), question, Vec::new(), None, now);
        run.scopes[scope as usize].asked = Some(ticket);
    }

    fn pose(
        &mut self,
        run: &Run,
        about: About,
        question: Question,
        outputs: Vec<(NodeIndex, Output)>,
        element: Option<Element>,
        now: Timestamp,
    ) -> u64 {
        // Of the numbers that are never given out twice: a former life's questions may still be answered.
        let ticket = self.ids.next(now).as_u64();
        let needs_store = outputs.iter().any(|(_, output)| output.is_in_store());
        let (spec, plan) = (run.spec.clone(), run.plan.clone());
        let evaluation = Evaluation { ticket, run: run.id, about, spec, plan, question, outputs, element };
        if needs_store {
            self.graph.evaluations_after_commit.push(evaluation);
        } else {
            self.graph.evaluations.push(evaluation);
        }
        ticket
    }

    /// The answer to a question.
    pub(in crate::engine) fn evaluated(
        &mut self,
        id: RunId,
        ticket: u64,
        about: About,
        answer: Evaluated,
        now: Timestamp,
    ) -> Answer {
        self.with_run(id, |engine, run| engine.take_answer(run, ticket, about, answer, now)).unwrap_or(Answer::Fenced)
    }

    fn take_answer(&mut self, run: &mut Run, ticket: u64, about: About, answer: Evaluated, now: Timestamp) -> Answer {
        let mut todo = Todo::new();
        let scope = match about {
            About::Task { node, map_index } => {
                let at = At { node, lane: map_index };
                match run.place_mut(at) {
                    Some(place) if place.phase == PlacePhase::Asked(ticket) => place.phase = PlacePhase::Waiting,
                    _ => return Answer::Fenced,
                }
                match &answer {
                    Evaluated::Condition(true) => {
                        run.place_mut(at).expect("it was found above").condition_holds = true;
                        todo.push_back(at);
                    }
                    Evaluated::Condition(false) => {
                        self.end_without_attempt(run, at, TaskState::Skipped, None, &mut todo, now);
                    }
                    Evaluated::Failed(error) => {
                        self.end_without_attempt(run, at, TaskState::Failed, Some(error.clone()), &mut todo, now);
                    }
                    Evaluated::List { .. } | Evaluated::Elements(_) => {}
                }
                run.plan.node(node).scope
            }
            About::Scope(scope) => {
                let asked = &mut run.scopes[scope as usize].asked;
                if *asked != Some(ticket) {
                    return Answer::Fenced;
                }
                *asked = None;
                if let Evaluated::Failed(error) = &answer {
                    match &mut run.scopes[scope as usize].progress {
                        Progress::Open(open) => {
                            open.lost = Some(error.clone());
                            run.to_open.push(scope);
                        }
                        Progress::Whole | Progress::Closed | Progress::Over => {
                            self.list_failed(run, scope, error.clone(), &mut todo, now);
                        }
                    }
                }
                scope
            }
        };
        match answer {
            Evaluated::List { total, list, elements } => {
                self.expand(run, scope, Open::new(total, list, elements), &mut todo, now);
            }
            Evaluated::Elements(elements) => {
                run.take_elements(scope, elements);
                run.to_open.push(scope);
            }
            Evaluated::Condition(_) | Evaluated::Failed(_) => {}
        }
        self.settle(run, todo, now);
        Answer::Recorded
    }
}
