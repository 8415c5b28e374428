//! The model of the store: what was durably committed, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tradewind::dag::Plan;
use tradewind::engine::{Changes, ClearedRows, EventKind, EventRow, OnceRow, Overview, Page, PageRequest, ReadyKey};
use tradewind::model::{DagId, Digest, Outcome, QueueName, TaskId, TaskRecord, TaskState, Timestamp};

use super::stored_runs::StoredRuns;

/// The error that a guest reports which asks for no other try.
pub const NEVER_AGAIN: &str = "never again";

#[derive(Default)]
pub struct Store {
    rows: BTreeMap<TaskId, Arc<TaskRecord>>,
    histories: HashMap<TaskId, History>,
    keys: HashMap<[u8; 32], OnceRow>,
    ready: BTreeMap<QueueName, BTreeSet<ReadyKey>>,
    due: BTreeSet<(Timestamp, TaskId)>,
    active: BTreeSet<TaskId>,
    pub(super) runs: StoredRuns,
    pub paused: HashSet<DagId>,
    /// Wait for their turn to be done again.
    cleared: HashSet<TaskId>,
    last_event: u64,
    commits: u64,
}

/// What a task's events say, read in order.
#[derive(Default)]
pub struct History {
    last_event: u64,
    state: Option<TaskState>,
    /// Attempts end in the order of their fences, each once.
    pub ended_fence: u32,
    /// Submitted or rerun, and not ended since.
    open: bool,
    pub reruns: u32,
    /// Somebody said how it ended.
    marked: bool,
    /// Tries that counted since the last submit or rerun.
    tries: u32,
    lost_in_row: u32,
    changed_in: u64,
}

impl Store {
    pub fn new(plans: &[Arc<Plan>]) -> Self {
        let plans: HashMap<Digest, Arc<Plan>> = plans.iter().map(|plan| (plan.version, plan.clone())).collect();
        Self { runs: StoredRuns::new(plans), ..Self::default() }
    }

    pub fn row(&self, id: TaskId) -> Option<&TaskRecord> {
        self.rows.get(&id).map(|row| &**row)
    }

    pub fn history(&self, id: TaskId) -> Option<&History> {
        self.histories.get(&id)
    }

    pub fn key(&self, key: &[u8; 32]) -> Option<OnceRow> {
        self.keys.get(key).copied()
    }

    /// Tasks that have not ended.
    pub fn active(&self) -> impl Iterator<Item = &TaskRecord> {
        self.active.iter().map(|id| &*self.rows[id])
    }

    pub fn active_len(&self) -> usize {
        self.active.len()
    }

    /// Ready tasks that go before the key.
    pub fn ready_before(&self, queue: &QueueName, key: ReadyKey) -> impl Iterator<Item = TaskId> {
        self.ready.get(queue).into_iter().flat_map(move |keys| keys.range(..key)).map(|key| key.id())
    }

    pub fn overview(&self) -> Overview {
        Overview {
            last_event: self.last_event,
            last_id: self.rows.keys().next_back().map(|id| id.as_u64()).max(self.runs.last_id()),
            runs: self.runs.running(),
            waiting_dags: self.runs.waiting_dags(),
            paused_dags: self.paused.iter().cloned().collect(),
            queues: self.ready.iter().filter(|(_, keys)| !keys.is_empty()).map(|(queue, _)| queue.clone()).collect(),
            has_due: !self.due.is_empty(),
            running: self.active().filter(|row| row.state == TaskState::Running).cloned().collect(),
        }
    }

    /// At most `limit` rows, and whether there are no more.
    pub fn page(&self, request: &PageRequest, limit: usize) -> Page {
        use std::ops::Bound::{Excluded, Unbounded};
        let take = |ids: &mut dyn Iterator<Item = TaskId>| {
            let rows: Vec<TaskRecord> = ids.take(limit).map(|id| (*self.rows[&id]).clone()).collect();
            let complete = ids.next().is_none();
            Page::Tasks { rows, complete }
        };
        match request {
            PageRequest::Ready { queue, after } => match self.ready.get(queue) {
                Some(keys) => take(&mut keys.range((Excluded(*after), Unbounded)).map(|key| key.id())),
                None => Page::Tasks { rows: Vec::new(), complete: true },
            },
            PageRequest::Due { after } => take(&mut self.due.range((Excluded(*after), Unbounded)).map(|(_, id)| *id)),
            PageRequest::Tasks { ids } => {
                let rows = ids.iter().filter_map(|id| self.row(*id).cloned()).collect();
                Page::Tasks { rows, complete: true }
            }
            PageRequest::Run { id } => Page::Run(self.runs.stored(*id, |task| self.row(task)).map(Box::new)),
            PageRequest::WaitingRuns { dag, after } => self.runs.waiting(dag, *after, limit),
        }
    }

    /// One transaction, and every rule that the stored history keeps.
    pub fn commit(&mut self, changes: &Changes, remember_keys: Duration, lost_attempts: u32) {
        self.commits += 1;
        for key in &changes.keys {
            if let Some(earlier) = self.keys.insert(key.key, *key) {
                assert!(key.at >= earlier.at + remember_keys, "one key, two tasks: {} and {}", earlier.task, key.task);
            }
        }
        for rows in &changes.cleared {
            self.clear(rows);
        }
        // Both kinds of events share their numbers.
        let mut of_runs = changes.run_events.iter().map(|event| event.seq).peekable();
        for event in &changes.events {
            while of_runs.next_if(|seq| *seq < event.seq).is_some() {
                self.last_event += 1;
            }
            let was_cleared = self.cleared.remove(&event.task);
            self.append(event, was_cleared);
            self.runs.take_task_event(event, was_cleared);
        }
        self.last_event += of_runs.count() as u64;
        for change in &changes.tasks {
            let record = &change.record;
            let id = record.id;
            assert_eq!(change.is_new, !self.rows.contains_key(&id), "{id}: is_new");
            let history = self.histories.get_mut(&id).unwrap_or_else(|| panic!("{id}: a row without an event"));
            assert_ne!(history.changed_in, self.commits, "{id}: two rows of a task in one batch");
            history.changed_in = self.commits;
            assert_eq!(record.last_event, history.last_event, "{id}: the end of its chain of events");
            assert_eq!(Some(record.state), history.state, "{id}: its row and its last event tell two states");
            assert_eq!(record.state.is_final(), !history.open, "{id}: open or ended");
            assert_eq!(record.state.is_final(), record.end_date.is_some(), "{id}: end_date");
            assert!(record.try_number <= record.max_tries, "{id}: more tries than there may be");
            assert!(record.fence >= history.ended_fence, "{id}: a fence went back");
            let unstarted = record.instance.is_some() && record.start_date.is_none();
            assert!(
                !record.state.is_final() || record.outcome.is_some() || unstarted,
                "{id}: ended without an outcome"
            );
            self.unindex(id);
            self.index(record);
            self.rows.insert(id, record.clone());
            self.check_tries(record, lost_attempts);
            self.runs.take_task(record, change.is_new);
        }
        for event in &changes.run_events {
            self.runs.take_event(event);
        }
        for change in &changes.runs {
            self.runs.take(change);
        }
        for row in &changes.expansions {
            self.runs.take_expansion(row);
        }
        for change in &changes.tasks {
            self.runs.check_task(&change.record, |task| self.rows.get(&task).map(|row| &**row));
        }
        for change in &changes.runs {
            self.runs.check_end(&change.record, |task| self.rows.get(&task).map(|row| &**row));
        }
    }

    fn clear(&mut self, rows: &ClearedRows) {
        for (id, max_tries) in &rows.reset {
            self.unindex(*id);
            let row = self.rows.get_mut(id).expect("what is cleared is stored");
            assert!(row.state.is_final(), "{id}: cleared before its end");
            *row = Arc::new(TaskRecord {
                state: TaskState::Scheduled,
                outcome: None,
                max_tries: *max_tries,
                lost_in_row: 0,
                start_date: None,
                end_date: None,
                result: None,
                error: None,
                ..(**row).clone()
            });
            self.active.insert(*id);
            self.cleared.insert(*id);
        }
        for id in &rows.removed {
            self.unindex(*id);
            let row = self.rows.remove(id).expect("what is cleared is stored");
            assert_eq!(row.fence, 0, "{id}: its history is lost");
            self.histories.remove(id);
        }
        self.runs.clear(rows);
    }

    fn append(&mut self, event: &EventRow, was_cleared: bool) {
        let id = event.task;
        self.last_event += 1;
        assert_eq!(event.seq, self.last_event, "{id}: events are numbered without a gap");
        let earlier = self.rows.get(&id);
        let history = self.histories.entry(id).or_default();
        assert_eq!(event.previous, history.last_event, "{id}: its chain of events is broken");
        match event.event {
            EventKind::Submitted => assert!(history.last_event == 0, "{id}: submitted twice"),
            EventKind::Rerun => assert!(!history.open, "{id}: rerun before its end"),
            // A task of a run may end without ever having been tried.
            EventKind::Ended if event.run.is_some() && (history.last_event == 0 || was_cleared) => history.open = true,
            EventKind::Marked => {}
            _ => assert!(history.open, "{id}: {:?} after its end", event.event),
        }
        if let (EventKind::Ready, Some(row)) = (event.event, earlier.filter(|row| row.last_event == event.previous)) {
            assert!(row.due_at.is_some_and(|due| due <= event.at), "{id}: ready before its time");
        }
        match event.event {
            EventKind::Submitted | EventKind::Rerun => {
                history.open = true;
                history.reruns += u32::from(event.event == EventKind::Rerun);
                (history.tries, history.lost_in_row) = (0, 0);
            }
            EventKind::Ended | EventKind::Marked => {
                history.marked = event.event == EventKind::Marked;
                history.open = false;
                assert!(event.state.is_final(), "{id}: ended as {}", event.state);
            }
            _ => assert!(!event.state.is_final(), "{id}: {:?} into {}", event.event, event.state),
        }
        if let Some(attempt) = &event.attempt {
            assert!(attempt.fence > history.ended_fence, "{id}: fence {} ended twice", attempt.fence);
            assert!(event.try_number >= 1, "{id}: an attempt that is no try");
            history.ended_fence = attempt.fence;
            let lost = event.outcome == Some(Outcome::Lost);
            let handed_back = event.event == EventKind::HandedBack;
            history.tries += u32::from(!lost && !handed_back);
            history.lost_in_row =
                if lost { history.lost_in_row + 1 } else { history.lost_in_row * u32::from(handed_back) };
        }
        (history.last_event, history.state) = (event.seq, Some(event.state));
    }

    /// Tries never exceed the policy, and none that is due is kept back.
    fn check_tries(&self, record: &TaskRecord, lost_attempts: u32) {
        let id = record.id;
        let policy = &record.spec.terms.retry;
        let history = &self.histories[&id];
        assert!(history.tries <= policy.retries + 1, "{id}: {} tries of {}", history.tries, policy.retries + 1);
        assert!(history.lost_in_row <= lost_attempts, "{id}: lost {} times in a row", history.lost_in_row);
        let failed = record.state == TaskState::Failed && !history.marked;
        let Some(outcome) = record.outcome.filter(|_| failed) else { return };
        let never = record
            .error
            .as_ref()
            .is_some_and(|error| error.message == NEVER_AGAIN || error.message.starts_with("branch `"));
        if outcome == Outcome::Lost {
            assert_eq!(history.lost_in_row, lost_attempts, "{id}: given up too early");
        } else if policy.retry_on.contains(&outcome) && !never {
            assert_eq!(history.tries, policy.retries + 1, "{id}: ended with tries left");
        }
    }

    fn index(&mut self, record: &TaskRecord) {
        if !record.state.is_final() {
            self.active.insert(record.id);
        }
        if record.state == TaskState::Queued {
            let keys = self.ready.entry(record.spec.queue.clone()).or_default();
            keys.insert(ReadyKey::new(record.spec.priority_weight, record.id));
        }
        if let Some(due) = record.due_at {
            self.due.insert((due, record.id));
        }
    }

    fn unindex(&mut self, id: TaskId) {
        let Some(row) = self.rows.get(&id) else { return };
        self.active.remove(&id);
        if let Some(keys) = self.ready.get_mut(&row.spec.queue) {
            keys.remove(&ReadyKey::new(row.spec.priority_weight, id));
        }
        if let Some(due) = row.due_at {
            self.due.remove(&(due, id));
        }
    }
}
