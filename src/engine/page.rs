//! Which tasks are in memory: waiting, paging in, leaving.

use crate::model::{DagId, QueueName, RunId, TaskId, TaskRecord, Timestamp};

use super::command::{Answer, HostId, Page, PageRequest};
use super::ready::ReadyKey;
use super::task::{Phase, Task};
use super::{Engine, EngineConfig};

/// Where the store's active tasks are, without the tasks themselves.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    pub last_event: u64,
    /// The greatest id of a task or run.
    pub last_id: Option<u64>,
    /// Runs under way.
    pub runs: Vec<RunId>,
    /// DAGs with queued runs.
    pub waiting_dags: Vec<DagId>,
    pub paused_dags: Vec<DagId>,
    /// Queues with ready tasks.
    pub queues: Vec<QueueName>,
    /// Whether a task waits for its time.
    pub has_due: bool,
    /// Attempts that ran when the former life ended.
    pub running: Vec<TaskRecord>,
}

impl Engine {
    /// The engine of a store: only the head of it is loaded, by `needs_page`.
    ///
    /// What ran belongs to `HostId::GONE`: report the attempts that are known to be
    /// over (handed back, say), then apply `HostLost` for it to put back the others.
    pub fn load(config: EngineConfig, overview: Overview) -> Self {
        let mut engine = Self::new(config, overview.last_event, overview.last_id);
        engine.load_runs(overview.runs, overview.waiting_dags, &overview.paused_dags);
        for queue in overview.queues {
            engine.ready.announce(queue);
        }
        if overview.has_due {
            engine.timers.announce();
        }
        for record in overview.running {
            engine.tasks.insert(record.id, Task::from_record(record));
        }
        engine.hosts.insert(HostId::GONE, super::Host::gone(engine.tasks.len() as u32));
        engine
    }

    /// Puts a task where its phase makes it wait.
    pub(super) fn wait(&mut self, id: TaskId) {
        let task = self.tasks.get(&id).expect("only a resident task waits");
        let near = match task.phase {
            Phase::Queued => self.ready.push(&task.spec.queue, task.ready_key(id)),
            Phase::Scheduled { due } | Phase::UpForRetry { due } => self.timers.wait_until(due, id),
            Phase::Running { .. } | Phase::Ended { .. } => return,
        };
        if near {
            self.mark_near(id);
        }
    }

    /// Takes a waiting task out of where it waits.
    pub(super) fn stop_waiting(&mut self, id: TaskId) {
        let task = self.tasks.get(&id).expect("only a resident task waits");
        match task.phase {
            Phase::Queued => self.ready.remove(&task.spec.queue, task.ready_key(id)),
            Phase::Scheduled { due } | Phase::UpForRetry { due } => self.timers.forget(due, id),
            Phase::Running { .. } | Phase::Ended { .. } => {}
        }
        self.mark_not_near(id);
    }

    pub(super) fn mark_near(&mut self, id: TaskId) {
        let task = self.tasks.get_mut(&id).expect("only a resident task is near");
        if !std::mem::replace(&mut task.near, true) {
            self.near_tasks += 1;
            self.near_bytes += task.weight();
        }
    }

    pub(super) fn mark_not_near(&mut self, id: TaskId) {
        let task = self.tasks.get_mut(&id).expect("only a resident task is near");
        if std::mem::replace(&mut task.near, false) {
            self.near_tasks -= 1;
            self.near_bytes -= task.weight();
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.full_at.is_some()
            || self.near_tasks >= self.config.resident_tasks
            || self.near_bytes >= self.config.resident_bytes
    }

    /// Moves what goes last behind the horizon until the bounds hold. The first
    /// task of every queue stays, so the bounds may be passed by one task a queue.
    pub(super) fn keep_within_bounds(&mut self) {
        self.full_at = self.full_at.filter(|at| self.near_tasks > at / 2);
        while self.near_tasks > self.config.resident_tasks || self.near_bytes > self.config.resident_bytes {
            // Whoever holds most gives: neither what is ready nor what waits crowds the other out.
            let waiting = self.timers.near_len().max(1);
            let Some(id) = self.ready.evict(waiting).or_else(|| self.timers.evict()) else { return };
            self.mark_not_near(id);
            self.leave_if_idle(id);
            self.full_at = Some(self.near_tasks);
        }
    }

    /// Drops the task from memory if the store knows all of it and nothing here needs it.
    pub(super) fn leave_if_idle(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        if task.changed_in > self.durable_batch || task.near {
            return;
        }
        match task.phase {
            Phase::Running { .. } => return,
            Phase::Ended { .. } => {}
            Phase::Queued => self.ready.forget_far(&task.spec.queue, task.ready_key(id)),
            Phase::Scheduled { due } | Phase::UpForRetry { due } => self.timers.forget_far(due, id),
        }
        self.tasks.remove(&id);
    }

    pub(super) fn page_in(&mut self, request: PageRequest, page: Page, now: Timestamp) -> Answer {
        match (request, page) {
            (PageRequest::Ready { queue, .. }, Page::Tasks { rows, complete }) => {
                let key_of = |row: &TaskRecord| ReadyKey::new(row.spec.priority_weight, row.id);
                let end = rows.last().map(key_of).filter(|_| !complete);
                let fresh = self.take_in(rows);
                let keys: Vec<ReadyKey> = fresh.iter().map(|id| self.tasks[id].ready_key(*id)).collect();
                let reached = self.ready.page_in(&queue, &keys, end);
                fresh.into_iter().chain(reached).for_each(|id| self.mark_near(id));
            }
            (PageRequest::Due { .. }, Page::Tasks { rows, complete }) => {
                let end = rows.last().and_then(|row| Some((row.due_at?, row.id))).filter(|_| !complete);
                let fresh = self.take_in(rows);
                let keys: Vec<_> = fresh.iter().filter_map(|id| Some((self.tasks[id].due()?, *id))).collect();
                let reached = self.timers.page_in(&keys, end);
                fresh.into_iter().chain(reached).for_each(|id| self.mark_near(id));
            }
            (PageRequest::Tasks { .. }, Page::Tasks { rows, .. }) => self.tasks_to_stop_in(rows, now),
            (PageRequest::Run { .. }, Page::Run(run)) => self.run_in(run.map(|run| *run), now),
            (PageRequest::WaitingRuns { dag, .. }, Page::Runs { ids, complete }) => {
                self.waiting_runs_in(&dag, &ids, complete);
            }
            (request, _) => unreachable!("{request:?} is answered by another page"),
        }
        Answer::Done
    }

    /// Makes the rows resident, but for those that are: memory knows more of them than the store.
    fn take_in(&mut self, rows: Vec<TaskRecord>) -> Vec<TaskId> {
        let mut fresh = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.id;
            if let std::collections::hash_map::Entry::Vacant(place) = self.tasks.entry(id) {
                place.insert(Task::from_record(row));
                fresh.push(id);
            }
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::scene::{LOCAL, REMOTE, Scene, TASK, handed_back, report, spec};
    use super::super::{Command, Engine};
    use super::*;
    use crate::model::{Json, TaskSpec, TaskState};

    #[test]
    fn a_new_life_takes_back_what_ran_at_no_cost() {
        let row = Scene::new().with_slot(REMOTE).submits(spec(0, Duration::ZERO)).task();
        let overview = Overview { running: vec![row], ..Overview::default() };
        let mut scene = Scene::new();
        scene.engine = Engine::load(EngineConfig::default(), overview);
        assert_eq!(scene.engine.check(), Ok(()));
        assert_eq!(scene.apply(report(HostId::GONE, 1, handed_back())), Answer::Recorded);
        let scene = scene.does(Command::HostLost { host: HostId::GONE }).with_slot(LOCAL);
        let task = scene.task();
        assert_eq!((task.state, task.fence, task.lost_in_row), (TaskState::Running, 2, 0));
    }

    #[test]
    fn a_page_that_does_not_fit_is_not_asked_for_again() {
        let input = Json::parse(format!("\"{}\"", "x".repeat(1_000))).expect("JSON");
        let spec = Arc::new(TaskSpec { input, ..spec(0, Duration::ZERO) });
        let row = |id| TaskRecord {
            id: TaskId::from_u64(id),
            spec: spec.clone(),
            ..Scene::new().submits(spec.as_ref().clone()).task()
        };
        let config = EngineConfig { resident_bytes: 4_000, ..EngineConfig::default() };
        let mut engine = Engine::load(config, Overview { queues: vec![spec.queue.clone()], ..Overview::default() });
        let now = Scene::new().now;
        let request = engine.needs_page().expect("the store has ready tasks");
        engine.apply(
            Command::PageIn { request, page: Page::Tasks { rows: (1..10).map(row).collect(), complete: false } },
            now,
        );
        assert_eq!((engine.needs_page(), engine.check()), (None, Ok(())));
    }

    #[test]
    fn tasks_that_wait_for_their_time_leave_room_for_those_that_are_ready() {
        let mut scene = Scene::new();
        scene.engine.config.resident_tasks = 10;
        let later = TaskSpec { not_before: Some(scene.now + Duration::from_secs(60)), ..spec(0, Duration::ZERO) };
        for id in 0..40 {
            let spec = if id < 20 { later.clone() } else { spec(0, Duration::ZERO) };
            let id = TaskId::from_u64(TASK.as_u64() + id);
            scene.apply(Command::Submit { id, spec: Arc::new(spec), once: None, by: "someone".into() });
        }
        assert_eq!((scene.engine.ready.near_len(), scene.engine.timers.near_len()), (5, 5));
    }
}
