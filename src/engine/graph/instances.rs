//! Makes task instances of a run, and takes them back when they have ended.

use std::sync::Arc;

use crate::dag::Plan;
use crate::dag::plan::{Choice, NodeIndex, ScopeIndex};
use crate::model::json::is_true;
use crate::model::run::Instance;
use crate::model::task::{AttemptReport, TaskResult};
use crate::model::{Outcome, RetryAdvice, RunId, RunSpec, RunState, TaskError, TaskId, TaskSpec, TaskState, Timestamp};

use super::super::Engine;
use super::super::changes::EventKind;
use super::super::command::Ending;
use super::super::task::{Phase, Task};
use super::ask::Output;
use super::decide::Next;
use super::{At, Element, PlacePhase, Run, Todo};

/// What an attempt of a run's task has to know beside its own terms.
#[derive(Debug, Clone)]
pub struct InstanceContext {
    pub run: RunId,
    pub spec: Arc<RunSpec>,
    pub plan: Arc<Plan>,
    pub node: NodeIndex,
    pub map_index: Option<u32>,
    /// What the tasks left that the templates of its input name.
    pub outputs: Vec<(NodeIndex, Output)>,
}

impl InstanceContext {
    /// Whether its input is made of what only the store has.
    pub(in crate::engine) fn needs_store(&self) -> bool {
        self.outputs.iter().any(|(_, output)| output.is_in_store())
    }
}

impl Run {
    /// The instance has ended: those that read its output or stand behind it may go on.
    fn take_back(&mut self, at: At, id: TaskId, state: TaskState, result: Option<TaskResult>, todo: &mut Todo) {
        let plan = self.plan.clone();
        let node = plan.node(at.node);
        if node.is_read
            && let Some(place) = self.place_mut(at)
        {
            place.output = Some(Output::of(id, state, result.as_ref()));
        }
        self.choose(at, state, result.as_ref(), todo);
        self.over(at, state, todo);
    }

    /// A task that chooses between those behind it has ended.
    pub(super) fn choose(&mut self, at: At, state: TaskState, result: Option<&TaskResult>, todo: &mut Todo) {
        if state != TaskState::Success || self.plan.node(at.node).choice == Choice::None {
            return;
        }
        match read_choice(&self.plan, at.node, result).expect("a choice is checked when it is reported") {
            Chosen::Follow(followed) => self.follow(at, &followed, todo),
            Chosen::GoOn => {}
            Chosen::Cut => self.cut(at, todo),
        }
    }
}

impl Engine {
    /// Looks at everything on `todo`, and at what that brings, until nothing more follows.
    pub(super) fn settle(&mut self, run: &mut Run, mut todo: Todo, now: Timestamp) {
        loop {
            while let Some(at) = todo.pop_front() {
                self.look_at(run, at, &mut todo, now);
            }
            if let Some(scope) = run.lists_to_look_at.pop() {
                self.look_at_list(run, scope, &mut todo, now);
            } else if let Some(scope) = run.to_open.pop() {
                if run.verdict().is_some() {
                    self.close_scope(run, scope, &mut todo);
                } else {
                    self.open_lanes(run, scope, &mut todo, now);
                }
            } else if run.plan.fail_fast && run.has_failure && run.is_running() && run.verdict().is_none() {
                self.close_down(run, RunState::Failed, &mut todo, now);
            } else {
                break;
            }
        }
        self.end_if_over(run, now);
    }

    fn look_at(&mut self, run: &mut Run, at: At, todo: &mut Todo, now: Timestamp) {
        if !run.is_running() || (self.is_paused(run) && run.verdict().is_none()) {
            return;
        }
        match run.decide(at) {
            Next::Nothing => {}
            Next::End(state) => self.end_without_attempt(run, at, state, None, todo, now),
            next @ (Next::AskCondition | Next::AskExpansion(_)) => self.ask(run, at, next, now),
            Next::Hold => {
                run.place_mut(at).expect("it was decided upon").phase = PlacePhase::Held;
                run.tallies[at.node as usize].held.push_back(at.lane);
            }
            Next::Start => self.make_instance(run, at, now),
        }
    }

    /// A mapped group waits for nothing but its list.
    fn look_at_list(&mut self, run: &mut Run, scope: ScopeIndex, todo: &mut Todo, now: Timestamp) {
        let found = &run.scopes[scope as usize];
        if matches!(found.progress, super::Progress::Whole) {
            // A part of it was cleared, and what it is mapped over was done again.
            todo.extend(run.plan.clone().scope(scope).nodes.iter().map(|node| At { node: *node, lane: None }));
            return;
        }
        if !matches!(found.progress, super::Progress::Closed) || found.asked.is_some() || self.is_paused(run) {
            return;
        }
        let stopping = run.verdict().is_some();
        match run.can_expand(scope) {
            Some(true) if !stopping => self.ask_list(run, scope, now),
            None if !stopping => {}
            _ => {
                run.stand_whole(scope);
                todo.extend(run.plan.clone().scope(scope).nodes.iter().map(|node| At { node: *node, lane: None }));
            }
        }
    }

    fn make_instance(&mut self, run: &mut Run, at: At, now: Timestamp) {
        let (id, mut task) = self.new_task(run, at, now);
        task.phase = Phase::first(&task.spec, now);
        let event = if task.stored { EventKind::Rerun } else { EventKind::Submitted };
        run.place_mut(at).expect("it was decided upon").phase = PlacePhase::Active(id);
        run.tallies[at.node as usize].active += 1;
        self.tasks.insert(id, task);
        self.record_event(id, event.note(now));
        self.wait(id);
    }

    /// A task of the run: one that nobody has seen yet, or one that is done again.
    fn new_task(&mut self, run: &mut Run, at: At, now: Timestamp) -> (TaskId, Task) {
        let node = run.plan.node(at.node);
        let element = run.lane(at).and_then(|lane| lane.element.as_ref());
        let spec = match element {
            // What the instance is given stands in its row; the rest is the plan's.
            Some(Element { input, .. }) => Arc::new(TaskSpec { input: input.clone(), ..(*node.spec).clone() }),
            None => node.spec.clone(),
        };
        let label = element.and_then(|element| element.label.clone());
        let (id, mut task) = match (run.take_cleared(at), at.lane) {
            (Some((id, tries)), _) => (id, Task { is_renewed: true, ..Task::again(spec, tries, now) }),
            (None, None) => (run.first_task.of_node(at.node), Task::new(spec, now)),
            (None, Some(_)) => (self.ids.next(now), Task::new(spec, now)),
        };
        task.instance = Some(Instance { run: run.id, node: at.node, map_index: at.lane });
        task.label = label;
        (id, task)
    }

    /// The task ends as it is, without ever having been tried.
    pub(super) fn end_without_attempt(
        &mut self,
        run: &mut Run,
        at: At,
        state: TaskState,
        error: Option<Arc<TaskError>>,
        todo: &mut Todo,
        now: Timestamp,
    ) {
        let (id, mut task) = self.new_task(run, at, now);
        task.phase = Phase::Ended { state, at: now };
        task.unstarted_error = error;
        self.tasks.insert(id, task);
        self.record_event(id, EventKind::Ended.note(now));
        run.over(at, state, todo);
    }

    /// The task has ended. If it belongs to a run, the run goes on.
    pub(in crate::engine) fn after_end(&mut self, id: TaskId, now: Timestamp) {
        let task = self.tasks.get(&id).expect("what ends is resident");
        let Some(Instance { run, node, map_index }) = task.instance else { return };
        let Phase::Ended { state, .. } = task.phase else { return };
        let result = task.last.as_ref().and_then(|last| last.result.clone());
        let at = At { node, lane: map_index };
        self.with_run(run, |engine, run| {
            let mut todo = Todo::new();
            run.take_back(at, id, state, result, &mut todo);
            engine.settle(run, todo, now);
        });
    }

    /// What the attempt has to know of its run.
    pub(in crate::engine) fn context_of(&self, instance: Instance) -> Option<InstanceContext> {
        let Instance { run, node, map_index } = instance;
        let found = self.graph.runs.get(&run).expect("the run of an active task is resident");
        let outputs = found.outputs(&found.plan.node(node).reads, map_index);
        Some(InstanceContext { run, spec: found.spec.clone(), plan: found.plan.clone(), node, map_index, outputs })
    }

    /// An attempt that chose what cannot be chosen has failed.
    pub(in crate::engine) fn check_choice(&self, id: TaskId, ending: Ending) -> Ending {
        let Ending::Reported(report) = &ending else { return ending };
        let Some(Instance { run, node, .. }) = self.tasks.get(&id).and_then(|task| task.instance) else {
            return ending;
        };
        let Some(run) = self.graph.runs.get(&run) else { return ending };
        if report.outcome != Outcome::Success || run.plan.node(node).choice == Choice::None {
            return ending;
        }
        match read_choice(&run.plan, node, report.result.as_ref()) {
            Ok(_) => ending,
            Err(reason) => Ending::Reported(Box::new(AttemptReport {
                outcome: Outcome::Failed,
                error: Some(Arc::new(TaskError::message(reason))),
                advice: RetryAdvice::Never,
                result: None,
                ..(**report).clone()
            })),
        }
    }
}

/// What a branch or a short circuit chose.
enum Chosen {
    Follow(Vec<NodeIndex>),
    GoOn,
    Cut,
}

fn read_choice(plan: &Plan, index: NodeIndex, result: Option<&TaskResult>) -> Result<Chosen, String> {
    let node = plan.node(index);
    let value = match result {
        None => serde_json::Value::Null,
        Some(TaskResult::Inline(json)) => json.to_value().map_err(|error| error.to_string())?,
        Some(TaskResult::Artifact(artifact)) => {
            return Err(format!("`{}` chooses with an output of {} bytes; name tasks only", node.name, artifact.bytes));
        }
    };
    match node.choice {
        Choice::ShortCircuit { .. } => Ok(if is_true(&value) { Chosen::GoOn } else { Chosen::Cut }),
        Choice::Branch | Choice::None => {
            let names: Vec<&str> = match &value {
                serde_json::Value::Null => Vec::new(),
                serde_json::Value::String(name) => vec![name],
                serde_json::Value::Array(names) if names.iter().all(serde_json::Value::is_string) => {
                    names.iter().filter_map(serde_json::Value::as_str).collect()
                }
                _ => {
                    let name = &node.name;
                    return Err(format!(
                        "branch `{name}` returned neither the id of a task nor a list of ids nor null"
                    ));
                }
            };
            let mut followed = Vec::new();
            for name in names {
                let shown: String = name.chars().take(100).collect();
                let found = plan.followed_by(index, name);
                if found.is_empty() {
                    let reason = format!("branch `{}` follows `{shown}`, which is not directly behind it", node.name);
                    return Err(format!("{reason}; return ids out of {}", plan.names(&node.downstream)));
                }
                followed.extend(found);
            }
            Ok(Chosen::Follow(followed))
        }
    }
}
