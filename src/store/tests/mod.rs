//! What the store promises, on a real database in a directory of its own.

mod keeps;
mod plans;
mod runs;
mod sweeps;

use std::sync::Arc;

use tempfile::TempDir;

use super::{Batch, DataDirectory, History, Writer};
use crate::engine::{AttemptRow, Changes, EventKind, EventRow, TaskChange};
use crate::model::ids::IdSource;
use crate::model::task::AttemptLog;
use crate::model::{Digest, Json, Outcome, TaskId, TaskRecord, TaskSpec, TaskState, Timestamp, Usage};

/// An open store that goes with its directory.
struct TestStore {
    writer: Writer,
    history: History,
    directory: DataDirectory,
    ids: IdSource,
    last_event: u64,
    _root: TempDir,
}

impl TestStore {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let directory = DataDirectory::open(root.path()).expect("a data directory");
        let writer = directory.writer().expect("a writer");
        let history = directory.history().expect("a reader");
        Self { writer, history, directory, ids: IdSource::after(None), last_event: 0, _root: root }
    }

    fn next_id(&mut self, now: Timestamp) -> TaskId {
        self.ids.next(now)
    }

    /// Stores a task that was submitted and, if its state says so, has ended.
    fn put(&mut self, record: TaskRecord) -> TaskRecord {
        self.put_with_log(record, AttemptLog::Empty)
    }

    fn put_with_log(&mut self, record: TaskRecord, log: AttemptLog) -> TaskRecord {
        let mut batch = Batch::default();
        let record = self.add(&mut batch, record, log);
        self.writer.commit(&batch).expect("committed");
        record
    }

    /// Like `put`, with others in one commit.
    fn add(&mut self, batch: &mut Batch, mut record: TaskRecord, log: AttemptLog) -> TaskRecord {
        let mut event = |event, previous, attempt| {
            self.last_event += 1;
            batch.changes.events.push(EventRow {
                seq: self.last_event,
                task: record.id,
                run: record.instance.map(|instance| instance.run),
                previous,
                at: record.queued_at,
                event,
                try_number: record.try_number,
                state: record.state,
                outcome: record.outcome,
                by: None,
                attempt,
            });
            self.last_event
        };
        record.last_event = event(EventKind::Submitted, 0, None);
        if record.state.is_final() {
            let attempt = AttemptRow {
                fence: record.fence,
                started_at: record.queued_at,
                error: None,
                usage: Usage::default(),
                log,
            };
            record.last_event = event(EventKind::Ended, record.last_event, Some(Box::new(attempt)));
        }
        batch.changes.tasks.push(TaskChange { is_new: true, is_renewed: false, record: Arc::new(record.clone()) });
        record
    }

    fn count(&mut self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.writer.connection().query_row(&sql, [], |row| row.get(0)).expect("a count")
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn queued(id: TaskId, queued_at: Timestamp) -> TaskRecord {
    let spec = TaskSpec::new(Digest::of(b"module"), "run", Json::null());
    TaskRecord {
        id,
        instance: None,
        label: None,
        note: None,
        spec: Arc::new(spec),
        state: TaskState::Queued,
        outcome: None,
        try_number: 0,
        max_tries: 1,
        fence: 0,
        lost_in_row: 0,
        due_at: None,
        queued_at,
        start_date: None,
        end_date: None,
        result: None,
        error: None,
        usage: Usage::default(),
        last_event: 0,
    }
}

fn ended(id: TaskId, queued_at: Timestamp, state: TaskState) -> TaskRecord {
    TaskRecord {
        state,
        outcome: Some(if state == TaskState::Success { Outcome::Success } else { Outcome::Failed }),
        try_number: 1,
        fence: 1,
        start_date: Some(queued_at),
        end_date: Some(queued_at),
        ..queued(id, queued_at)
    }
}
