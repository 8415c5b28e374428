//! What a durable commit costs, by how much it holds and by how much is stored already.
//!
//! `cargo bench --bench store`. The database lies in the working directory, on a real disk. Each
//! figure is for one commit; most of a small one is the disk's answer to fdatasync.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use tradewind::engine::{AttemptRow, Changes, EventKind, EventRow, TaskChange};
use tradewind::model::ids::IdSource;
use tradewind::model::task::AttemptLog;
use tradewind::model::{Digest, Json, Outcome, TaskId, TaskRecord, TaskSpec, TaskState, Timestamp, Usage};
use tradewind::store::{Batch, DataDirectory, Writer};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn main() {
    divan::main();
}

/// Tasks that were submitted and ended since the last commit: one row and two events each.
#[divan::bench(args = [1, 10, 100, 1_000])]
fn commit_of_ended_tasks(bencher: Bencher, tasks: usize) {
    let mut house = House::new();
    bencher.counter(ItemsCount::new(tasks)).bench_local(|| house.commit_ended(tasks));
}

/// The same in a store that holds many: the cost must not grow with history.
#[divan::bench(args = [0, 300_000], sample_count = 30)]
fn commit_behind_history(bencher: Bencher, stored: usize) {
    let mut house = House::new();
    (0..stored / 1_000).for_each(|_| house.commit_ended(1_000));
    bencher.counter(ItemsCount::new(100_usize)).bench_local(|| house.commit_ended(100));
}

/// Tasks that are queued in one commit and ended in another.
#[divan::bench(args = [100, 1_000])]
fn two_commits_of_queued_tasks(bencher: Bencher, tasks: usize) {
    let mut house = House::new();
    bencher.counter(ItemsCount::new(tasks)).bench_local(|| {
        let ids: Vec<TaskId> = (0..tasks).map(|_| house.ids.next(NOW)).collect();
        for state in [TaskState::Queued, TaskState::Success] {
            let mut batch = Batch::default();
            ids.iter().for_each(|&id| house.add(&mut batch.changes, id, state, state == TaskState::Queued));
            house.writer.commit(&batch).expect("committed");
        }
    });
}

/// One task by its id, among many.
#[divan::bench]
fn read_a_task(bencher: Bencher) {
    let mut house = House::new();
    (0..100).for_each(|_| house.commit_ended(1_000));
    let history = house.directory.history().expect("a reader");
    let newest = TaskId::from_u64(history.last_id().expect("read").expect("a task"));
    bencher.bench_local(|| history.task(newest).expect("read").expect("a task"));
}

struct House {
    writer: Writer,
    directory: DataDirectory,
    ids: IdSource,
    last_event: u64,
    spec: Arc<TaskSpec>,
    _root: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let root = tempfile::tempdir_in(".").expect("a directory on a real disk");
        let directory = DataDirectory::open(root.path()).expect("a data directory");
        let spec = TaskSpec::new(Digest::of(b"module"), "run", Json::null());
        Self {
            writer: directory.writer().expect("a writer"),
            directory,
            ids: IdSource::after(None),
            last_event: 0,
            spec: Arc::new(spec),
            _root: root,
        }
    }

    fn commit_ended(&mut self, tasks: usize) {
        let mut batch = Batch::default();
        for _ in 0..tasks {
            let id = self.ids.next(NOW);
            self.add(&mut batch.changes, id, TaskState::Success, true);
        }
        self.writer.commit(&batch).expect("committed");
    }

    fn add(&mut self, changes: &mut Changes, id: TaskId, state: TaskState, is_new: bool) {
        let ended = state.is_final();
        let mut previous = 0;
        let mut event = |event, attempt| {
            self.last_event += 1;
            changes.events.push(EventRow {
                seq: self.last_event,
                task: id,
                run: None,
                previous,
                at: NOW,
                event,
                try_number: 1,
                state,
                outcome: ended.then_some(Outcome::Success),
                by: None,
                attempt,
            });
            previous = self.last_event;
        };
        if is_new {
            event(EventKind::Submitted, None);
        }
        if ended {
            let usage = Usage::default();
            let attempt = AttemptRow { fence: 1, started_at: NOW, error: None, usage, log: AttemptLog::Empty };
            event(EventKind::Ended, Some(Box::new(attempt)));
        }
        let record = TaskRecord {
            id,
            instance: None,
            label: None,
            note: None,
            spec: self.spec.clone(),
            state,
            outcome: ended.then_some(Outcome::Success),
            try_number: u32::from(ended),
            max_tries: 1,
            fence: u32::from(ended),
            lost_in_row: 0,
            due_at: None,
            queued_at: NOW,
            start_date: ended.then_some(NOW),
            end_date: ended.then_some(NOW),
            result: None,
            error: None,
            usage: Usage::default(),
            last_event: self.last_event,
        };
        changes.tasks.push(TaskChange { is_new, is_renewed: false, record: Arc::new(record) });
    }
}
