//! The model of the store's runs, and what must hold of them: told from the rows alone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tradewind::dag::Plan;
use tradewind::dag::plan::{Choice, NodeIndex, ROOT, Role};
use tradewind::dag::trigger_rule::{Upstream, Verdict};
use tradewind::engine::graph::{Before, Element, Ends, Past, StoredExpansion, StoredInstance, StoredRun, Tries};
use tradewind::engine::{ClearedRows, EventKind, EventRow, ExpansionRow, Page, RunChange, RunEventKind, RunEventRow};
use tradewind::model::task::TaskResult;
use tradewind::model::{DagId, Digest, RunId, RunName, RunRecord, RunState, TaskId, TaskRecord, TaskState, Timestamp};

#[derive(Default)]
pub struct StoredRuns {
    plans: HashMap<Digest, Arc<Plan>>,
    runs: BTreeMap<RunId, Arc<RunRecord>>,
    names: HashMap<(DagId, RunName), RunId>,
    /// Each task instance once.
    tasks: HashMap<RunId, BTreeMap<(NodeIndex, Option<u32>), TaskId>>,
    expansions: BTreeMap<(RunId, u32), ExpansionRow>,
    last_id: Option<u64>,
    /// Of the tasks of runs.
    first_events: HashMap<TaskId, u64>,
    /// Runs whose end was told.
    ended: HashSet<RunId>,
    /// Runs that had ended and go on.
    reopened: HashSet<RunId>,
    /// The last time that tasks of the run were cleared.
    cleared_at: HashMap<RunId, u64>,
    /// Tasks that ended on somebody's word.
    marked: HashSet<TaskId>,
}

impl StoredRuns {
    pub fn new(plans: HashMap<Digest, Arc<Plan>>) -> Self {
        Self { plans, ..Self::default() }
    }

    pub fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    pub fn state(&self, id: RunId) -> Option<RunState> {
        self.runs.get(&id).map(|run| run.state)
    }

    pub fn active(&self) -> usize {
        self.runs.values().rev().filter(|run| !run.state.is_final()).count()
    }

    pub fn running(&self) -> Vec<RunId> {
        self.runs.values().filter(|run| run.state == RunState::Running).map(|run| run.id).collect()
    }

    pub fn waiting_dags(&self) -> Vec<DagId> {
        let queued = self.runs.values().filter(|run| run.state == RunState::Queued);
        let mut dags: Vec<DagId> = queued.map(|run| run.spec.dag_id.clone()).collect();
        dags.sort();
        dags.dedup();
        dags
    }

    pub fn waiting(&self, dag: &DagId, after: RunId, limit: usize) -> Page {
        let queued = |run: &&Arc<RunRecord>| run.state == RunState::Queued && run.spec.dag_id == *dag && run.id > after;
        let mut ids = self.runs.values().filter(queued).map(|run| run.id);
        let page = ids.by_ref().take(limit).collect();
        Page::Runs { ids: page, complete: ids.next().is_none() }
    }

    pub fn named(&self, dag: &DagId, name: &RunName) -> Option<RunId> {
        self.names.get(&(dag.clone(), name.clone())).copied()
    }

    /// Runs whose tasks may wait for a past that will not come.
    pub fn that_may_wait_for_ever(&self) -> Vec<RunId> {
        let may = |run: &&Arc<RunRecord>| !run.state.is_final() && self.plans[&run.spec.version].looks_back;
        self.runs.values().filter(may).map(|run| run.id).collect()
    }

    pub fn before<'a>(
        &self,
        id: RunId,
        logical_date: Option<Timestamp>,
        plan: &Plan,
        row: impl Fn(TaskId) -> Option<&'a TaskRecord>,
    ) -> Before {
        let mut of_dag = self.runs.range(..id).map(|(_, run)| run).filter(|run| run.spec.dag_id == plan.dag_id);
        let before = match logical_date {
            None => of_dag.next_back(),
            Some(date) => {
                let earlier = of_dag.filter(|run| run.spec.logical_date.is_some_and(|other| other < date));
                earlier.max_by_key(|run| (run.spec.logical_date, run.id))
            }
        };
        let past = match before {
            Some(before) if plan.looks_back && before.state.is_final() => {
                let mut ends = HashMap::new();
                for ((node, _), task) in self.tasks.get(&before.id).into_iter().flatten() {
                    let state = row(*task).expect("its row is stored").state;
                    if state == TaskState::Removed {
                        continue;
                    }
                    let worst = ends.entry(plan.node(*node).name.clone()).or_insert(state);
                    if !matches!(state, TaskState::Success | TaskState::Skipped) {
                        *worst = state;
                    }
                }
                Past::Ended(Arc::new(Ends { run: before.id, states: ends }))
            }
            Some(before) if plan.looks_back => Past::Run(before.id),
            _ => Past::None,
        };
        Before { past, logical_date: before.and_then(|before| before.spec.logical_date) }
    }

    pub fn stored<'a>(&self, id: RunId, row: impl Fn(TaskId) -> Option<&'a TaskRecord>) -> Option<StoredRun> {
        let record = self.runs.get(&id)?;
        let plan = self.plans[&record.spec.version].clone();
        let mut rows: Vec<&TaskRecord> =
            self.tasks.get(&id).into_iter().flatten().filter_map(|(_, task)| row(*task)).collect();
        rows.sort_by_key(|row| row.id);
        let instances = rows.into_iter().map(|row| {
            let instance = row.instance.expect("it is of a run");
            let element =
                instance.map_index.map(|_| Element { input: row.spec.input.clone(), label: row.label.clone() });
            let (node, map_index, result) = (instance.node, instance.map_index, row.result.clone());
            let tries = Tries {
                used: row.try_number - u32::from(row.state == TaskState::Running),
                most: row.max_tries,
                fence: row.fence,
                last_event: row.last_event,
            };
            let is_cleared = row.waits_for_its_turn().is_some();
            StoredInstance { id: row.id, node, map_index, state: row.state, is_cleared, tries, result, element }
        });
        let expansions = self.expansions.range((id, 0)..=(id, u32::MAX)).map(|(_, row)| StoredExpansion {
            scope: row.scope,
            total: row.total,
            list: row.list.clone(),
        });
        let begun = record.state != RunState::Queued;
        Some(StoredRun {
            past: self.before(id, record.spec.logical_date, &plan, &row).past,
            record: (**record).clone(),
            plan,
            instances: instances.filter(|_| begun).collect(),
            expansions: expansions.filter(|_| begun).collect(),
        })
    }

    pub fn take(&mut self, change: &RunChange) {
        let run = &change.record;
        let id = run.id;
        assert_eq!(change.is_new, !self.runs.contains_key(&id), "{id}: is_new");
        if change.is_new {
            let name = (run.spec.dag_id.clone(), run.spec.run_id.clone());
            assert!(self.names.insert(name, id).is_none(), "{id}: two runs of one name");
            let last = run.first_task.as_u64() + u64::from(change.nodes) - 1;
            self.last_id = self.last_id.max(Some(last));
        }
        if let Some(before) = self.runs.get(&id) {
            let reopened = self.reopened.remove(&id);
            assert!(!before.state.is_final() || reopened, "{id}: changed after its end");
            let begun_once = before.start_date.is_none() || before.start_date == run.start_date;
            assert!(begun_once || reopened, "{id}: begun twice");
        }
        assert_eq!(run.state.is_final(), run.end_date.is_some(), "{id}: end_date");
        assert_eq!(run.state.is_final(), self.ended.contains(&id), "{id}: its row and its events differ");
        self.runs.insert(id, run.clone());
    }

    pub fn take_event(&mut self, event: &RunEventRow) {
        if event.event == RunEventKind::Cleared {
            self.cleared_at.insert(event.run, event.seq);
            if self.ended.remove(&event.run) {
                self.reopened.insert(event.run);
            }
            return;
        }
        assert!(!self.ended.contains(&event.run), "{}: {} after its end", event.run, event.event);
        if event.event == RunEventKind::Ended {
            self.ended.insert(event.run);
        }
    }

    /// Before the rows of the same batch.
    pub fn clear(&mut self, rows: &ClearedRows) {
        for id in &rows.removed {
            let tasks = self.tasks.get_mut(&rows.run).expect("its run has tasks");
            tasks.retain(|_, task| task != id);
            self.first_events.remove(id);
            self.marked.remove(id);
        }
        for scope in &rows.lists {
            assert!(self.expansions.remove(&(rows.run, *scope)).is_some(), "{}: no list {scope}", rows.run);
        }
    }

    pub fn take_task_event(&mut self, event: &EventRow, was_cleared: bool) {
        match event.event {
            EventKind::Marked => drop(self.marked.insert(event.task)),
            _ if was_cleared => drop(self.marked.remove(&event.task)),
            _ => {}
        }
        let begins = event.previous == 0 || was_cleared || event.event == EventKind::Marked;
        if event.run.is_some() && begins {
            self.first_events.insert(event.task, event.seq);
        }
    }

    pub fn take_expansion(&mut self, row: &ExpansionRow) {
        let before = self.expansions.insert((row.run, row.scope), row.clone());
        assert_eq!(before, None, "{}: scope {} is expanded twice", row.run, row.scope);
    }

    pub fn take_task(&mut self, record: &TaskRecord, is_new: bool) {
        let Some(instance) = record.instance else { return };
        let tasks = self.tasks.entry(instance.run).or_default();
        let known = tasks.insert((instance.node, instance.map_index), record.id);
        let expected = if is_new { None } else { Some(record.id) };
        assert_eq!(known, expected, "{}: {instance:?} is recorded twice", record.id);
    }

    /// How these tasks ended, as one in this lane sees it.
    fn counts<'a>(
        &self,
        (run, plan): (RunId, &Plan),
        (scope, lane): (u32, Option<u32>),
        nodes: &[NodeIndex],
        row: &impl Fn(TaskId) -> Option<&'a TaskRecord>,
    ) -> Upstream {
        let mut counts = Upstream::default();
        let tasks = &self.tasks[&run];
        for index in nodes {
            let node = plan.node(*index);
            let is_setup = node.role == Role::Setup;
            let list = self.expansions.get(&(run, node.scope)).filter(|list| node.scope != scope && list.total > 0);
            let total = list.map_or(1, |list| list.total);
            counts.recount(0, total, is_setup);
            let one = (node.scope == scope).then_some(lane);
            for ((_, at), task) in tasks.range((*index, None)..=(*index, Some(u32::MAX))) {
                let state = row(*task).expect("its row is stored").state;
                // A list made anew may be shorter than it was.
                let counts_here = list.map_or(at.is_none(), |list| at.is_some_and(|index| index < list.total));
                if one.map_or(counts_here, |lane| lane == *at) && state.is_final() {
                    counts.note(state, is_setup);
                }
            }
        }
        counts
    }

    /// No task before its upstream allows; and what ended without being tried had a reason.
    pub fn check_task<'a>(&self, record: &TaskRecord, row: impl Fn(TaskId) -> Option<&'a TaskRecord>) {
        let (Some(instance), id) = (record.instance, record.id) else { return };
        // What stands before it may be done again meanwhile.
        let cleared_at = self.cleared_at.get(&instance.run).copied().unwrap_or(0);
        if self.marked.contains(&id) || self.first_events[&id] < cleared_at {
            return;
        }
        let run = &self.runs[&instance.run];
        let plan = &self.plans[&run.spec.version];
        let node = plan.node(instance.node);
        let scope = plan.scope(node.scope);
        let of_a_map =
            scope.expansion.as_ref().is_some_and(|expansion| !expansion.is_group) && instance.map_index.is_some();
        if of_a_map && cleared_at > 0 {
            // What stood before it when its rule was asked may have been done again.
            return;
        }
        // The rule was asked for the whole of a mapped task, where each sees the same.
        let sees = (node.scope, if of_a_map { None } else { instance.map_index });
        let of = (run.id, &**plan);
        let counts = self.counts(of, sees, &node.upstream, &row);
        let by_rule = if node.role.is_teardown() {
            let cleaned = self.counts(of, sees, &node.cleans_up_after, &row);
            node.rule.decide_teardown(&counts, &cleaned, None)
        } else {
            let setups = self.counts(of, sees, &node.setups, &row);
            node.rule.decide_in_setups(&counts, &setups, None)
        };
        let passed_over = self.is_passed_over(of, record, &row);
        let tried = record.outcome.is_some() || !record.state.is_final();
        // A run that is stopped makes maps shorter, so that counts are no witness any more.
        let stopped = run.verdict.is_some() || run.state.is_final();
        if tried {
            assert!(by_rule == Verdict::Run || stopped, "{id}: tried, and its rule says {by_rule:?} to {counts:?}");
            assert!(passed_over != Some(true), "{id}: tried on a branch that was not taken");
        } else if record.state == TaskState::UpstreamFailed && !stopped {
            let unmade = node.scope != ROOT && instance.map_index.is_none();
            assert!(by_rule != Verdict::Run || unmade, "{id}: upstream_failed, and its rule says {by_rule:?}");
        } else if record.state == TaskState::Skipped && !stopped {
            let may = by_rule == Verdict::Skip
                || passed_over != Some(false)
                || node.has_condition
                || (node.scope != ROOT && instance.map_index.is_none())
                // Skipped by what was known first.
                || by_rule == Verdict::UpstreamFailed;
            assert!(
                may,
                "{id}: skipped without a reason: {by_rule:?} {instance:?} {run:?} {:?} {:?} {:?} {counts:?}",
                node.rule, node.role, node.upstream
            );
        }
    }

    /// Whether some choice went another way. None: it cannot be told from here.
    fn is_passed_over<'a>(
        &self,
        (run, plan): (RunId, &Plan),
        record: &TaskRecord,
        row: &impl Fn(TaskId) -> Option<&'a TaskRecord>,
    ) -> Option<bool> {
        let instance = record.instance.expect("it is of a run");
        let (index, lane) = (instance.node, instance.map_index);
        let scope = plan.node(index).scope;
        for (choice, node) in plan.nodes.iter().enumerate() {
            if node.choice == Choice::None || (node.scope != ROOT && node.scope != scope) {
                continue;
            }
            let at = (choice as NodeIndex, if node.scope == scope { lane } else { None });
            let Some(chosen) = self.tasks[&run].get(&at).and_then(|task| row(*task)) else { continue };
            if chosen.state != TaskState::Success {
                continue;
            }
            let Some(TaskResult::Inline(result)) = &chosen.result else { return None };
            let value = result.to_value().expect("JSON");
            let direct = node.downstream.contains(&index);
            let passed = match node.choice {
                Choice::None => false,
                Choice::ShortCircuit { all } => {
                    let behind = plan.reachable_from(&node.downstream).contains(&index);
                    let spared = all && plan.node(index).role.is_teardown();
                    value != serde_json::Value::Bool(true) && (direct || (all && behind)) && !spared
                }
                Choice::Branch => {
                    let names = value.as_array().into_iter().flatten().filter_map(|name| name.as_str());
                    let followed: Vec<NodeIndex> = names.filter_map(|name| plan.find(name)).collect();
                    direct && !plan.reachable_from(&followed).contains(&index)
                }
            };
            if passed {
                // A rule that waits for no choice may have let it go before.
                let known_before = chosen.last_event < self.first_events[&record.id];
                return known_before.then_some(true);
            }
        }
        Some(false)
    }

    /// A run that ended by itself has tried or ended every task.
    pub fn check_end<'a>(&self, run: &RunRecord, row: impl Fn(TaskId) -> Option<&'a TaskRecord>) {
        let id = run.id;
        let empty = BTreeMap::new();
        let tasks = self.tasks.get(&id).unwrap_or(&empty);
        if run.state == RunState::Queued {
            assert!(tasks.is_empty(), "{id}: has not begun, and has tasks");
        }
        if !run.state.is_final() || run.start_date.is_none() {
            return;
        }
        let plan = &self.plans[&run.spec.version];
        for (index, node) in plan.nodes.iter().enumerate() {
            let own: Vec<_> = tasks.range((index as u32, None)..=(index as u32, Some(u32::MAX))).collect();
            for (_, task) in &own {
                assert!(row(**task).expect("stored").state.is_final(), "{id}: ended before {task}");
            }
            let expected = match self.expansions.get(&(id, node.scope)) {
                Some(expansion) => expansion.total.max(1) as usize,
                None => 1,
            };
            assert!(
                own.len() >= expected || run.verdict_was_given(),
                "{id}: {} of {expected} of {}",
                own.len(),
                node.name
            );
        }
        if !run.verdict_was_given() {
            let unwell = |index: usize| {
                let own = tasks.range((index as u32, None)..=(index as u32, Some(u32::MAX)));
                let mut states = own.map(|(_, task)| row(*task).expect("stored").state);
                // What stood behind the end of a list that was made anew is of no account.
                states.any(|state| !matches!(state, TaskState::Success | TaskState::Skipped | TaskState::Removed))
            };
            let failed = plan.nodes.iter().enumerate().any(|(index, node)| node.decides_run && unwell(index));
            let expected = if failed { RunState::Failed } else { RunState::Success };
            assert_eq!(run.state, expected, "{id}: how it ended");
        }
    }
}

trait Verdicts {
    fn verdict_was_given(&self) -> bool;
}

impl Verdicts for RunRecord {
    /// Somebody or something ended the run before its time.
    fn verdict_was_given(&self) -> bool {
        self.verdict.is_some()
    }
}
