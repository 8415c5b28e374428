//! Steps of runs: triggers, evaluations, pauses, ends.

use std::sync::Arc;

use tradewind::dag::Plan;
use tradewind::dag::plan::Choice;
use tradewind::engine::graph::{Clear, Element, Evaluated, Evaluation, Mark, Question, Selection, StoredRun, Trigger};
use tradewind::engine::{Answer, Command};
use tradewind::model::task::TaskResult;
use tradewind::model::{Json, RunSpec, RunState, RunType, TaskError, TaskState, Timestamp};

use super::clients::{Asked, Promise};
use super::random::Random;
use super::world::World;

impl World {
    pub fn trigger(&mut self) {
        let plan = self.random.pick(&self.plans).clone();
        self.triggers += 1;
        // Now and then a name that was used before.
        let number = if self.random.chance(10) { self.random.below(self.triggers + 1) } else { self.triggers };
        let name: tradewind::model::RunName = format!("run-{number}").parse().expect("a name");
        let (id, first_task) = self.engine.ids().next_run(self.now, plan.nodes.len());
        let earlier = self.store.runs.named(&plan.dag_id, &name);
        let known = earlier.or_else(|| self.names.get(&(plan.dag_id.clone(), name.clone())).copied());
        // Some are asked for out of order, and some on the same date.
        let logical_date = self.random.chance(50).then(|| Timestamp::from_micros(self.random.below(20) as i64));
        let spec = Arc::new(RunSpec {
            dag_id: plan.dag_id.clone(),
            version: plan.version,
            run_id: name.clone(),
            run_type: RunType::Manual,
            logical_date,
            data_interval_start: None,
            data_interval_end: None,
            conf: object(),
            params: object(),
        });
        let before = self.store.runs.before(id, logical_date, &plan, |task| self.store.row(task));
        let trigger = Trigger {
            id,
            first_task,
            spec,
            plan: plan.clone(),
            earlier,
            once: None,
            before,
            note: None,
            by: self.clients.by.clone(),
        };
        let answer = self.apply(Command::Trigger(Box::new(trigger)));
        self.open.push(Promise { asked: Asked::Trigger, answer: answer.clone() });
        match answer {
            Answer::RunAccepted(accepted) => {
                assert_eq!((accepted, known), (id, None), "accepted twice under one name");
                self.names.insert((plan.dag_id.clone(), name), id);
                self.runs.push(id);
            }
            Answer::RunExists(earlier) => assert_eq!(Some(earlier), known),
            other => panic!("{other:?} to a trigger"),
        }
    }

    /// Some question is answered: soon, late, or by a former life.
    pub fn evaluate(&mut self) {
        if self.questions.is_empty() {
            return self.guest_ends();
        }
        let place = self.random.index(self.questions.len());
        let question = self.questions.swap_remove(place);
        if self.random.chance(5) {
            self.late_questions.push(question.clone());
        }
        self.answer(&question, true);
    }

    pub fn late_answer(&mut self) {
        if let Some(question) = self.late_questions.pop() {
            self.answer(&question, false);
        }
    }

    pub fn answer(&mut self, evaluation: &Evaluation, may_count: bool) {
        let answer = answer_to(evaluation, &mut self.random);
        let Evaluation { run, ticket, about, .. } = *evaluation;
        let result = self.apply(Command::Evaluated { run, ticket, about, answer });
        assert!(may_count || result == Answer::Fenced, "{run}: an answer counts twice: {about:?}");
    }

    pub fn cancel_run(&mut self) {
        let Some(last) = self.runs.len().checked_sub(1) else { return };
        let id = self.runs[last - self.random.index(20).min(last)];
        let by = self.clients.by.clone();
        let stored =
            (!self.engine.has_run(id)).then(|| self.store.runs.stored(id, |task| self.store.row(task))).flatten();
        let answer = self.apply(Command::CancelRun { id, stored: stored.map(Box::new), by });
        match answer {
            Answer::Cancelled | Answer::Stopping | Answer::AlreadyEnded => {}
            other => panic!("{other:?} to the cancel of a run"),
        }
        self.open.push(Promise { asked: Asked::CancelRun { run: id }, answer });
    }

    /// Tasks of a run are done again, or somebody says how one ended.
    pub fn clear(&mut self) {
        let Some(last) = self.runs.len().checked_sub(1) else { return };
        let id = self.runs[last - self.random.index(20).min(last)];
        let is_asked_for = |promise: &Promise| matches!(promise.asked, Asked::CancelRun { run } if run == id);
        if self.flight.is_some() || self.open.iter().any(is_asked_for) || self.engine.has_changes_of(id) {
            self.make_durable();
        }
        let Some(run) = self.store.runs.stored(id, |task| self.store.row(task)) else { return };
        let mark = if self.random.chance(30) { self.any_mark(&run) } else { None };
        let selection = match &mark {
            Some(mark) => Selection {
                tasks: Some(vec![(mark.node, mark.map_index)]),
                downstream: true,
                only_failed: true,
                upstream: false,
            },
            None => self.any_selection(&run),
        };
        let Ok(mut cleared) = selection.of(&run) else { return };
        if let Some(mark) = &mark {
            cleared.retain(|place| {
                let instance = &run.instances[*place];
                (instance.node, instance.map_index) != (mark.node, mark.map_index)
            });
        }
        let by = self.clients.by.clone();
        let clear = Clear { run: Box::new(run), cleared, mark, by };
        assert_eq!(self.apply(Command::Clear(Box::new(clear))), Answer::Done);
    }

    fn any_selection(&mut self, run: &StoredRun) -> Selection {
        let random = &mut self.random;
        let node = random.index(run.plan.nodes.len()) as u32;
        let lane = if random.chance(30) { Some(random.below(5) as u32) } else { None };
        Selection {
            tasks: random.chance(80).then(|| vec![(node, lane)]),
            upstream: random.chance(10),
            downstream: random.chance(70),
            only_failed: random.chance(40),
        }
    }

    fn any_mark(&mut self, run: &StoredRun) -> Option<Mark> {
        let random = &mut self.random;
        if run.record.state == RunState::Queued {
            return None;
        }
        let state = *random.pick(&[TaskState::Success, TaskState::Failed, TaskState::Skipped]);
        let (node, map_index, stored) = if run.instances.is_empty() || random.chance(20) {
            (random.index(run.plan.nodes.len()) as u32, None, None)
        } else {
            let instance = random.pick(&run.instances);
            (instance.node, instance.map_index, Some(instance.id))
        };
        let known = run.instances.iter().find(|other| (other.node, other.map_index) == (node, map_index));
        let active = known.is_some_and(|known| !known.state.is_final() && !known.is_cleared);
        if active || run.plan.cannot_mark(node, map_index, state).is_some() {
            return None;
        }
        let stored = known.map(|known| known.id).or(stored);
        let stored = stored.map(|id| Box::new(self.store.row(id).expect("its row is stored").clone()));
        Some(Mark { node, map_index, state, stored })
    }

    pub fn pause(&mut self) {
        let dag = self.random.pick(&self.plans).dag_id.clone();
        let paused = !self.paused.remove(&dag);
        self.store.paused.remove(&dag);
        if paused {
            self.paused.insert(dag.clone());
            self.store.paused.insert(dag.clone());
        }
        self.apply(Command::PauseDag { dag, paused });
    }

    /// Everything that could wait for ever goes on: pauses end, and what depends on a past that went wrong is cancelled.
    pub fn unblock_runs(&mut self) {
        self.store.paused.clear();
        for dag in std::mem::take(&mut self.paused) {
            self.apply(Command::PauseDag { dag, paused: false });
        }
        for question in std::mem::take(&mut self.questions) {
            self.answer(&question, true);
        }
        for id in self.store.runs.that_may_wait_for_ever() {
            let by = self.clients.by.clone();
            self.apply(Command::CancelRun { id, stored: None, by });
        }
    }

    /// A new life knows only what was stored.
    pub fn forget_what_was_not_stored(&mut self) {
        let runs = &self.store.runs;
        self.names.retain(|_, run| runs.state(*run).is_some());
        self.runs.retain(|run| runs.state(*run).is_some());
    }

    pub fn take_questions(&mut self) {
        let questions = self.engine.take_evaluations();
        self.questions.extend(questions);
    }
}

fn answer_to(evaluation: &Evaluation, random: &mut Random) -> Evaluated {
    if random.chance(4) {
        return Evaluated::Failed(Arc::new(TaskError::message("the template is wrong")));
    }
    match &evaluation.question {
        Question::Condition { .. } => Evaluated::Condition(random.chance(70)),
        Question::List { .. } => {
            let total = *random.pick(&[0, 1, 2, 3, 5, 9, 17]);
            let list = TaskResult::Inline(Json::of(&total).expect("a number"));
            let at_hand = if random.chance(50) { total } else { total.min(1 + random.below(4) as u32) };
            Evaluated::List { total, list, elements: elements(0, at_hand) }
        }
        Question::Elements { list, from, .. } => {
            let TaskResult::Inline(total) = list else { unreachable!("lists are short here") };
            let total: u32 = total.as_str().parse().expect("a number");
            assert!(*from < total, "elements behind the last are asked for");
            Evaluated::Elements(elements(*from, total.min(from + 1 + random.below(4) as u32)))
        }
    }
}

fn elements(from: u32, to: u32) -> Vec<Element> {
    (from..to).map(|index| Element { input: Json::of(&index).expect("a number"), label: None }).collect()
}

pub fn object() -> Json {
    Json::parse("{}".to_owned()).expect("JSON")
}

/// What a guest returns, where it means something to those behind.
pub fn output_of(plan: &Plan, node: u32, random: &mut Random) -> Json {
    let found = plan.node(node);
    match found.choice {
        Choice::None => Json::of(&random.below(1_000)).expect("a number"),
        Choice::ShortCircuit { .. } => Json::of(&random.chance(50)).expect("a bool"),
        Choice::Branch if random.chance(5) => Json::of("nobody").expect("a text"),
        Choice::Branch => {
            let names: Vec<&str> = found
                .downstream
                .iter()
                .filter(|_| random.chance(50))
                .map(|behind| plan.node(*behind).name.as_str())
                .collect();
            Json::of(&names).expect("a list")
        }
    }
}
