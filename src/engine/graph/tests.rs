//! Small DAGs played to their end: who runs, who does not, and in which order.

mod expansion;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::dag::Plan;
use crate::dag::plan::{Choice, Expansion, Node, NodeIndex, Role, Scope};
use crate::dag::trigger_rule::TriggerRule;
use crate::engine::scene::{LOCAL, reported, spec};
use crate::engine::{Answer, Assignment, Changes, Command, Ending, Engine, EngineConfig, PageRequest};
use crate::model::task::TaskResult;
use crate::model::{Digest, Json, Outcome, RunId, RunSpec, RunState, RunType, TaskError, TaskState, Timestamp};

use super::{Before, Element, Evaluated, Evaluation, Past, Progress, Question, Trigger};

const SECOND: Duration = Duration::from_secs(1);

/// A DAG in the making: tasks by name, each behind others.
struct Draft {
    plan: Plan,
}

impl Draft {
    fn new(tasks: &[(&str, &[&str])]) -> Self {
        let mut plan = Plan {
            dag_id: "dag".parse().expect("a name"),
            version: Digest::of(b"dag"),
            nodes: Vec::new(),
            scopes: vec![Scope { nodes: Vec::new(), expansion: None }],
            fail_fast: false,
            timeout: None,
            max_active_runs: 16,
            looks_back: false,
            groups: HashMap::new(),
        };
        for (name, upstream) in tasks {
            let mut node = Node::new(name.parse().expect("a name"), Arc::new(spec(0, SECOND)));
            node.upstream = upstream.iter().map(|before| plan.find(before).expect("it stands before")).collect();
            plan.nodes.push(node);
        }
        Self { plan }
    }

    fn with(mut self, name: &str, change: impl FnOnce(&mut Node)) -> Self {
        let index = self.plan.find(name).expect("a task");
        change(&mut self.plan.nodes[index as usize]);
        self
    }

    fn rule(self, name: &str, rule: TriggerRule) -> Self {
        self.with(name, |node| node.rule = rule)
    }

    /// A task that is mapped over what these leave, or a group of such tasks.
    fn mapped(mut self, names: &[&str], reads: &[&str]) -> Self {
        let reads = reads.iter().map(|read| self.plan.find(read).expect("a task")).collect();
        let expansion = Expansion { name: names[0].to_owned(), reads, is_group: names.len() > 1, list: Arc::default() };
        self.plan.scopes.push(Scope { nodes: Vec::new(), expansion: Some(expansion) });
        let scope = self.plan.scopes.len() as u32 - 1;
        for name in names {
            let index = self.plan.find(name).expect("a task");
            self.plan.nodes[index as usize].scope = scope;
        }
        self
    }

    fn plays(self) -> Play {
        let mut plan = self.plan;
        plan.link().expect("few setups");
        Play::of(Arc::new(plan))
    }
}

/// A run of a DAG on a host with room, its guests and templates told what to do.
struct Play {
    engine: Engine,
    now: Timestamp,
    plan: Arc<Plan>,
    run: RunId,
    /// What an attempt returns or how it fails; success without an output where nothing is said.
    endings: HashMap<String, Ending>,
    conditions: HashMap<String, bool>,
    lists: HashMap<String, u32>,
    /// What each instance of a mapped task is given.
    element: Json,
    /// The first element that cannot be had any more.
    lost_from: u32,
    /// Tasks whose attempts do not end.
    endless: BTreeSet<String>,
    started: Vec<String>,
    most_at_once: usize,
    under_way: Vec<Assignment>,
    states: BTreeMap<String, TaskState>,
    errors: BTreeMap<String, String>,
    /// The most that elements in memory had.
    most_bytes: usize,
    run_state: RunState,
}

impl Play {
    fn of(plan: Arc<Plan>) -> Self {
        let config = EngineConfig { open_lanes: 4, ..EngineConfig::default() };
        let mut engine = Engine::new(config, 0, None);
        let now = Timestamp::from_millis(1_000_000);
        engine.apply(Command::HostJoined { host: LOCAL, slots: 100, waiting: 0, local: true }, now);
        let mut play = Self {
            engine,
            now,
            run: RunId::from_u64(0),
            plan,
            endings: HashMap::new(),
            conditions: HashMap::new(),
            lists: HashMap::new(),
            element: Json::null(),
            lost_from: u32::MAX,
            endless: BTreeSet::new(),
            started: Vec::new(),
            most_at_once: 0,
            under_way: Vec::new(),
            states: BTreeMap::new(),
            errors: BTreeMap::new(),
            most_bytes: 0,
            run_state: RunState::Queued,
        };
        play.run = play.trigger("run", Past::None);
        play
    }

    fn trigger(&mut self, name: &str, past: Past) -> RunId {
        let (id, first_task) = self.engine.ids().next_run(self.now, self.plan.nodes.len());
        let object = || Json::parse("{}".to_owned()).expect("JSON");
        let spec = Arc::new(RunSpec {
            dag_id: self.plan.dag_id.clone(),
            version: self.plan.version,
            run_id: name.parse().expect("a name"),
            run_type: RunType::Manual,
            logical_date: None,
            data_interval_start: None,
            data_interval_end: None,
            conf: object(),
            params: object(),
        });
        let (plan, by) = (self.plan.clone(), "someone".into());
        let trigger = Trigger {
            id,
            first_task,
            spec,
            plan,
            earlier: None,
            once: None,
            before: Before { past, logical_date: None },
            note: None,
            by,
        };
        assert_eq!(self.apply(Command::Trigger(Box::new(trigger))), Answer::RunAccepted(id));
        id
    }

    fn fails(self, name: &str) -> Self {
        self.ends(name, reported(Outcome::Failed))
    }

    fn skips(self, name: &str) -> Self {
        self.ends(name, reported(Outcome::Skipped))
    }

    fn returns(self, name: &str, json: &str) -> Self {
        let mut ending = reported(Outcome::Success);
        if let Ending::Reported(report) = &mut ending {
            report.result = Some(TaskResult::Inline(Json::parse(json.to_owned()).expect("JSON")));
        }
        self.ends(name, ending)
    }

    fn ends(mut self, name: &str, ending: Ending) -> Self {
        self.endings.insert(name.to_owned(), ending);
        self
    }

    fn list(mut self, name: &str, length: u32) -> Self {
        self.lists.insert(name.to_owned(), length);
        self
    }

    fn when(mut self, name: &str, holds: bool) -> Self {
        self.conditions.insert(name.to_owned(), holds);
        self
    }

    fn never_ends(mut self, name: &str) -> Self {
        self.endless.insert(name.to_owned());
        self
    }

    fn apply(&mut self, command: Command) -> Answer {
        let answer = self.engine.apply(command, self.now);
        assert_eq!(self.engine.check(), Ok(()));
        let scopes = self.engine.graph.runs.get(&self.run).into_iter().flat_map(|run| &run.scopes);
        let open =
            scopes.filter_map(|scope| if let Progress::Open(open) = &scope.progress { Some(open) } else { None });
        self.most_bytes = open.map(|open| open.bytes).fold(self.most_bytes, usize::max);
        answer
    }

    /// Until nothing more happens.
    fn play(mut self) -> Self {
        self.go_on();
        self
    }

    fn go_on(&mut self) {
        loop {
            let starts = self.engine.take_starts();
            let questions = self.engine.take_evaluations();
            let stops = self.engine.take_stops();
            let sealed = self.engine.seal(self.now);
            self.note(&sealed.changes);
            self.engine.committed(sealed.batch, &sealed.changes);
            let names: Vec<String> = starts.iter().chain(&sealed.starts).map(|start| self.name_of(start)).collect();
            self.started.extend(names);
            self.under_way.extend(starts.into_iter().chain(sealed.starts));
            self.most_at_once = self.most_at_once.max(self.under_way.len());
            let questions: Vec<Evaluation> = questions.into_iter().chain(sealed.evaluations).collect();
            let stopped = !stops.is_empty();
            for (_, task, fence) in stops {
                let place = self.under_way.iter().position(|one| (one.task, one.fence) == (task, fence));
                let attempt = self.under_way.remove(place.expect("what is stopped was started"));
                self.report(&attempt, reported(Outcome::Cancelled));
            }
            if !questions.is_empty() {
                questions.iter().for_each(|question| self.answer(question));
            } else if let Some(place) = self.next_to_end() {
                let attempt = self.under_way.remove(place);
                let ending = self.endings.get(&self.name_of(&attempt)).cloned();
                self.report(&attempt, ending.unwrap_or_else(|| reported(Outcome::Success)));
            } else if !stopped && !self.engine.has_changes() {
                return;
            }
        }
    }

    fn next_to_end(&self) -> Option<usize> {
        self.under_way.iter().position(|attempt| !self.endless.contains(&self.name_of(attempt)))
    }

    fn report(&mut self, attempt: &Assignment, ending: Ending) {
        let Assignment { host, task, fence, .. } = *attempt;
        assert_eq!(self.apply(Command::Report { host, task, fence, ending, seed: 1 }), Answer::Recorded);
    }

    fn answer(&mut self, question: &Evaluation) {
        let elements = |from: u32, to: u32| -> Vec<Element> {
            (from..to).map(|_| Element { input: self.element.clone(), label: None }).collect()
        };
        let answer = match &question.question {
            Question::Condition { node, .. } => {
                Evaluated::Condition(self.conditions[self.plan.node(*node).name.as_str()])
            }
            Question::List { scope } => {
                let name = &self.plan.scope(*scope).expansion.as_ref().expect("it is mapped").name;
                match self.lists.get(name).copied() {
                    Some(total) => {
                        let list = TaskResult::Inline(Json::of(&total).expect("a number"));
                        Evaluated::List { total, list, elements: elements(0, total.min(2)) }
                    }
                    None => Evaluated::Failed(Arc::new(TaskError::message("it is no list"))),
                }
            }
            Question::Elements { from, .. } if *from >= self.lost_from => {
                Evaluated::Failed(Arc::new(TaskError::message("the list is gone")))
            }
            Question::Elements { list: TaskResult::Inline(total), from, .. } => {
                let total: u32 = total.as_str().parse().expect("a number");
                Evaluated::Elements(elements(*from, total.min(from + 3)))
            }
            Question::Elements { .. } => unreachable!("lists are short here"),
        };
        let Evaluation { run, ticket, about, .. } = *question;
        self.apply(Command::Evaluated { run, ticket, about, answer });
    }

    fn note(&mut self, changes: &Changes) {
        for change in &changes.tasks {
            let instance = change.record.instance.expect("it is of the run");
            if instance.run == self.run {
                let name = self.instance_name(instance.node, instance.map_index);
                self.errors.extend(change.record.error.iter().map(|error| (name.clone(), error.message.clone())));
                self.states.insert(name, change.record.state);
            }
        }
        for change in changes.runs.iter().filter(|change| change.record.id == self.run) {
            self.run_state = change.record.state;
        }
    }

    fn name_of(&self, attempt: &Assignment) -> String {
        let instance = attempt.instance.as_ref().expect("it is of the run");
        self.instance_name(instance.node, instance.map_index)
    }

    fn instance_name(&self, node: NodeIndex, map_index: Option<u32>) -> String {
        let name = &self.plan.node(node).name;
        map_index.map_or_else(|| name.to_string(), |index| format!("{name}[{index}]"))
    }

    /// `a:success b:skipped`, in the order of names; then how the run stands.
    fn states(&self) -> String {
        let states: Vec<String> = self.states.iter().map(|(name, state)| format!("{name}:{state}")).collect();
        format!("{} | {}", states.join(" "), self.run_state)
    }

    fn started(&self) -> String {
        self.started.join(" ")
    }
}

#[test]
fn a_chain_goes_step_by_step_and_a_diamond_waits_for_both() {
    let play = Draft::new(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])]).plays().play();
    assert_eq!(play.started(), "a b c d");
    assert_eq!(play.states(), "a:success b:success c:success d:success | success");
}

#[test]
fn a_failure_is_handed_on_and_rules_see_it() {
    let table = [
        (TriggerRule::AllSuccess, "upstream_failed"),
        (TriggerRule::AllDone, "success"),
        (TriggerRule::OneFailed, "success"),
        (TriggerRule::NoneFailed, "upstream_failed"),
        (TriggerRule::AllFailed, "skipped"),
        (TriggerRule::Always, "success"),
        (TriggerRule::OneSuccess, "success"),
        (TriggerRule::OneDone, "success"),
    ];
    for (rule, state) in table {
        let draft = Draft::new(&[("a", &[]), ("b", &[]), ("c", &["a", "b"])]).rule("c", rule);
        let play = draft.plays().fails("a").play();
        assert_eq!(play.states["c"].as_str(), state, "{rule:?}");
    }
}

#[test]
fn the_last_tasks_decide_how_the_run_ended() {
    let draft = || Draft::new(&[("work", &[]), ("tidy", &["work"])]).rule("tidy", TriggerRule::AllDone);
    assert_eq!(draft().plays().fails("work").play().states(), "tidy:success work:failed | success");
    assert_eq!(draft().plays().fails("tidy").play().states(), "tidy:failed work:success | failed");
}

#[test]
fn what_skips_itself_skips_what_stands_behind_it() {
    let draft = Draft::new(&[("a", &[]), ("b", &["a"]), ("c", &["b"])]).rule("c", TriggerRule::NoneFailed);
    assert_eq!(draft.plays().skips("a").play().states(), "a:skipped b:skipped c:success | success");
}

#[test]
fn a_branch_is_followed_where_it_points() {
    let draft = || {
        Draft::new(&[("choose", &[]), ("left", &["choose"]), ("right", &["choose"]), ("join", &["left", "right"])])
            .with("choose", |node| node.choice = Choice::Branch)
            .rule("join", TriggerRule::NoneFailedMinOneSuccess)
    };
    let table = [
        (r#""left""#, "choose:success join:success left:success right:skipped | success"),
        (r#"["left", "right"]"#, "choose:success join:success left:success right:success | success"),
        ("null", "choose:success join:skipped left:skipped right:skipped | success"),
        (r#""join""#, "choose:failed join:upstream_failed left:upstream_failed right:upstream_failed | failed"),
        ("7", "choose:failed join:upstream_failed left:upstream_failed right:upstream_failed | failed"),
    ];
    for (output, states) in table {
        assert_eq!(draft().plays().returns("choose", output).play().states(), states, "{output}");
    }
}

#[test]
fn a_short_circuit_cuts_off_what_is_behind_it() {
    let draft = |all| {
        Draft::new(&[("check", &[]), ("next", &["check"]), ("last", &["next"])])
            .with("check", |node| node.choice = Choice::ShortCircuit { all })
            .rule("last", TriggerRule::AllDone)
    };
    let states = |all, output| draft(all).plays().returns("check", output).play().states();
    assert_eq!(states(true, "true"), "check:success last:success next:success | success");
    assert_eq!(states(true, "false"), "check:success last:skipped next:skipped | success");
    assert_eq!(states(false, "0"), "check:success last:success next:skipped | success");
}

#[test]
fn a_condition_is_asked_before_the_task() {
    let draft = || Draft::new(&[("a", &[]), ("b", &["a"])]).with("b", |node| node.has_condition = true);
    assert_eq!(draft().plays().when("b", true).play().states(), "a:success b:success | success");
    assert_eq!(draft().plays().when("b", false).play().states(), "a:success b:skipped | success");
}

#[test]
fn a_teardown_cleans_up_whatever_became_of_the_work() {
    let draft = || {
        Draft::new(&[("up", &[]), ("work", &["up"]), ("down", &["up", "work"])])
            .with("up", |node| node.role = Role::Setup)
            .with("down", |node| {
                node.role = Role::Teardown { fails_run: false };
                node.rule = TriggerRule::AllDoneSetupSuccess;
            })
    };
    assert_eq!(draft().plays().fails("work").play().states(), "down:success up:success work:failed | failed");
    assert_eq!(
        draft().plays().fails("up").play().states(),
        "down:upstream_failed up:failed work:upstream_failed | failed"
    );
    assert_eq!(draft().plays().fails("down").play().states(), "down:failed up:success work:success | success");
}

#[test]
fn the_first_failure_ends_a_run_that_is_told_so() {
    let mut draft = Draft::new(&[("a", &[]), ("b", &[]), ("c", &["b"])]);
    draft.plan.fail_fast = true;
    let play = draft.plays().never_ends("b").fails("a").play();
    assert_eq!(play.states(), "a:failed b:cancelled c:skipped | failed");
}

#[test]
fn a_run_that_takes_too_long_fails() {
    let mut draft = Draft::new(&[("a", &[]), ("b", &["a"])]);
    draft.plan.timeout = Some(60 * SECOND);
    let mut play = draft.plays().never_ends("a").play();
    assert_eq!(play.engine.next_deadline(), Some(play.now + 60 * SECOND).min(play.engine.next_deadline()));
    play.now = play.now + 60 * SECOND;
    play.apply(Command::Advance);
    play.go_on();
    assert_eq!(play.states(), "a:cancelled b:skipped | failed");
}

#[test]
fn a_cancelled_run_stops_and_still_cleans_up() {
    let draft = Draft::new(&[("up", &[]), ("work", &["up"]), ("more", &["work"]), ("down", &["up", "more"])])
        .with("up", |node| node.role = Role::Setup)
        .with("down", |node| {
            node.role = Role::Teardown { fails_run: false };
            node.rule = TriggerRule::AllDoneSetupSuccess;
        });
    let mut play = draft.plays().never_ends("work").play();
    let cancel = Command::CancelRun { id: play.run, stored: None, by: "someone".into() };
    assert_eq!(play.apply(cancel), Answer::Stopping);
    play.go_on();
    assert_eq!(play.states(), "down:success more:skipped up:success work:cancelled | cancelled");
}

#[test]
fn a_paused_dag_begins_nothing() {
    let mut play = Draft::new(&[("a", &[]), ("b", &["a"])]).plays();
    let pause = |paused| Command::PauseDag { dag: "dag".parse().expect("a name"), paused };
    play.apply(pause(true));
    play.go_on();
    assert_eq!(play.states(), "a:success | running", "what runs may end");
    play.apply(pause(false));
    play.go_on();
    assert_eq!(play.states(), "a:success b:success | success");
}

#[test]
fn only_so_many_runs_of_a_dag_are_under_way() {
    let mut draft = Draft::new(&[("a", &[])]);
    draft.plan.max_active_runs = 1;
    let mut play = draft.plays().never_ends("a").play();
    let first = play.run;
    play.run = play.trigger("second", Past::None);
    play.go_on();
    assert_eq!((play.run_state, play.engine.has_run(first)), (RunState::Queued, true));
    assert_eq!(play.engine.needs_page(), None);
    play.endless.clear();
    play.go_on();
    // It left memory while it waited, and is asked for now.
    assert_eq!(play.engine.needs_page(), Some(PageRequest::Run { id: play.run }));
}

#[test]
fn what_depends_on_the_past_waits_for_it() {
    let draft = || Draft::new(&[("a", &[])]).with("a", |node| node.depends_on_past = true);
    let mut play = draft().plays().never_ends("a").play();
    let first = play.run;
    play.run = play.trigger("second", Past::Run(first));
    play.states.clear();
    play.go_on();
    assert_eq!(play.states(), " | running", "the run is under way, and its task waits");
    play.endless.clear();
    play.go_on();
    assert_eq!(play.states(), "a:success | success");

    let mut play = draft().plays().fails("a").play();
    play.run = play.trigger("second", Past::None);
    play.states.clear();
    play.go_on();
    assert_eq!(play.states(), "a:failed | failed", "without a past nothing is waited for");
}
