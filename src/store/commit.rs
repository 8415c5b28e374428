//! Writes one batch in one transaction: all of it is durable, or none.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, params};

use crate::engine::{Changes, EventRow, OnceRow};
use crate::model::task::{AttemptLog, SegmentPiece, TaskResult};
use crate::model::{Digest, ModuleInfo, ModuleName, RunId, Tag, TaskId, TaskRecord, Timestamp};

use super::checkpoints::Checkpoints;
use super::dags::{DagChange, write_dag};
use super::rows::{INLINE_INPUT_BYTES, default_terms};
use super::runs::{write_cleared, write_expansions, write_run_events, write_runs};

/// What one commit stores.
#[derive(Debug, Default)]
pub struct Batch {
    pub changes: Changes,
    pub modules: Vec<ModuleChange>,
    pub dags: Vec<DagChange>,
    pub notes: Vec<NoteChange>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        let Self { changes, modules, dags, notes } = self;
        changes.is_empty() && modules.is_empty() && dags.is_empty() && notes.is_empty()
    }
}

/// What somebody remarks on a run or a task. None takes it away.
#[derive(Debug, Clone)]
pub struct NoteChange {
    pub of: Noted,
    pub note: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    Task(TaskId),
    Run(RunId),
}

#[derive(Debug, Clone)]
pub enum ModuleChange {
    Put {
        info: Arc<ModuleInfo>,
        at: Timestamp,
        by: Arc<str>,
    },
    /// None takes the tag away.
    Tag {
        name: ModuleName,
        tag: Tag,
        digest: Option<Digest>,
        at: Timestamp,
        by: Arc<str>,
    },
    Delete {
        digest: Digest,
    },
}

/// Why nothing of the batch was stored.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("the disk of the data directory is full")]
    DiskFull,
    #[error("the store failed: {0}")]
    Failed(String),
}

/// The one connection that writes.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    /// Dropped after the connection, which it waits for.
    _checkpoints: Checkpoints,
}

impl Writer {
    pub(super) fn new(connection: Connection, checkpoints: Checkpoints) -> Self {
        Self { connection, _checkpoints: checkpoints }
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Returns once the batch is on disk.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        write(&mut self.connection, batch).map_err(why)
    }

    /// A small durable write, to learn whether the store works again.
    pub fn probe(&mut self, now: Timestamp) -> Result<(), CommitError> {
        self.set_meta("probed_at", &now.to_string())
    }

    pub fn set_meta(&mut self, key: &str, value: &str) -> Result<(), CommitError> {
        self.connection
            .execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
                [key, value],
            )
            .map(drop)
            .map_err(why)
    }

    pub fn meta(&self, key: &str) -> Option<String> {
        self.connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).ok()
    }

    /// Copies the write-ahead log into the database, so that it starts over.
    pub fn checkpoint(&mut self) -> Result<(), CommitError> {
        self.connection.busy_timeout(Duration::from_secs(1)).map_err(why)?;
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(why)
    }
}

fn write(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    write_cleared(&transaction, &batch.changes.cleared)?;
    write_tasks(&transaction, batch)?;
    write_events(&transaction, &batch.changes.events)?;
    write_runs(&transaction, &batch.changes.runs)?;
    write_run_events(&transaction, &batch.changes.run_events)?;
    write_expansions(&transaction, &batch.changes.expansions)?;
    write_keys(&transaction, &batch.changes.keys)?;
    for change in &batch.modules {
        write_module(&transaction, change)?;
    }
    for change in &batch.dags {
        write_dag(&transaction, change)?;
    }
    for note in &batch.notes {
        write_note(&transaction, note)?;
    }
    transaction.commit()
}

fn write_tasks(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO tasks (id, state, outcome, module, function, queue, priority_weight, not_before, labels, terms,
                            input, try_number, max_tries, fence, lost_in_row, due_at, queued_at, start_date, end_date,
                            result, result_digest, result_bytes, error, cpu_us, peak_memory_bytes, host_bytes,
                            log_bytes, host_calls, last_event, args, run, node, map_index, map_label)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
                 ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34)",
    )?;
    let mut update = connection.prepare_cached(
        "UPDATE tasks SET state = ?2, outcome = ?3, try_number = ?4, max_tries = ?5, fence = ?6, lost_in_row = ?7,
                due_at = ?8, queued_at = ?9, start_date = ?10, end_date = ?11, result = ?12, result_digest = ?13,
                result_bytes = ?14, error = ?15, cpu_us = ?16, peak_memory_bytes = ?17, host_bytes = ?18,
                log_bytes = ?19, host_calls = ?20, last_event = ?21
         WHERE id = ?1",
    )?;
    for change in &batch.changes.tasks {
        let task = &*change.record;
        let cells = Cells::of(task);
        if change.is_new {
            let spec = &*task.spec;
            let input = spec.input.as_str();
            let inline = input.len() <= INLINE_INPUT_BYTES;
            if !inline {
                connection
                    .prepare_cached("INSERT INTO inputs (task, body) VALUES (?1, ?2)")?
                    .execute(params![cells.id, input])?;
            }
            let labels = (!spec.labels.is_empty()).then(|| as_json(&spec.labels));
            let args = (!spec.args.is_empty()).then(|| as_json(&*spec.args));
            let terms = (spec.terms != *default_terms()).then(|| as_json(&*spec.terms));
            insert.execute(params![
                cells.id,
                task.state.code(),
                cells.outcome,
                spec.module.as_bytes(),
                &*spec.function,
                spec.queue.as_str(),
                spec.priority_weight,
                spec.not_before.map(Timestamp::as_micros),
                labels,
                terms,
                inline.then_some(input),
                task.try_number,
                task.max_tries,
                task.fence,
                task.lost_in_row,
                cells.due_at,
                task.queued_at.as_micros(),
                cells.start_date,
                cells.end_date,
                cells.result,
                cells.result_digest,
                cells.result_bytes,
                cells.error,
                task.usage.cpu_us as i64,
                task.usage.peak_memory_bytes as i64,
                task.usage.host_bytes as i64,
                task.usage.log_bytes as i64,
                task.usage.host_calls as i64,
                task.last_event as i64,
                args,
                task.instance.map(|instance| instance.run.as_u64() as i64),
                task.instance.map(|instance| instance.node),
                task.instance.and_then(|instance| instance.map_index),
                task.label.as_deref(),
            ])?;
        } else {
            let updated = update.execute(params![
                cells.id,
                task.state.code(),
                cells.outcome,
                task.try_number,
                task.max_tries,
                task.fence,
                task.lost_in_row,
                cells.due_at,
                task.queued_at.as_micros(),
                cells.start_date,
                cells.end_date,
                cells.result,
                cells.result_digest,
                cells.result_bytes,
                cells.error,
                task.usage.cpu_us as i64,
                task.usage.peak_memory_bytes as i64,
                task.usage.host_bytes as i64,
                task.usage.log_bytes as i64,
                task.usage.host_calls as i64,
                task.last_event as i64,
            ])?;
            if change.is_renewed {
                renew_input(connection, task)?;
            }
            if updated != 1 {
                // Retention took it meanwhile. Whoever asked for the change is told so.
                return Err(rusqlite::Error::StatementChangedRows(updated));
            }
        }
    }
    Ok(())
}

/// The instance is done again, and its list was made anew.
fn renew_input(connection: &Connection, task: &TaskRecord) -> rusqlite::Result<()> {
    let (id, input) = (task.id.as_u64() as i64, task.spec.input.as_str());
    let inline = input.len() <= INLINE_INPUT_BYTES;
    connection.prepare_cached("DELETE FROM inputs WHERE task = ?1")?.execute([id])?;
    if !inline {
        connection.prepare_cached("INSERT INTO inputs (task, body) VALUES (?1, ?2)")?.execute(params![id, input])?;
    }
    connection
        .prepare_cached("UPDATE tasks SET input = ?2, map_label = ?3 WHERE id = ?1")?
        .execute(params![id, inline.then_some(input), task.label.as_deref()])
        .map(drop)
}

/// What needs a word before it is a column.
struct Cells<'a> {
    id: i64,
    outcome: Option<i64>,
    due_at: Option<i64>,
    start_date: Option<i64>,
    end_date: Option<i64>,
    result: Option<&'a str>,
    result_digest: Option<&'a [u8; 32]>,
    result_bytes: Option<i64>,
    error: Option<String>,
}

impl<'a> Cells<'a> {
    fn of(task: &'a TaskRecord) -> Self {
        let (result, artifact) = match &task.result {
            Some(TaskResult::Inline(value)) => (Some(value.as_str()), None),
            Some(TaskResult::Artifact(artifact)) => (None, Some(artifact)),
            None => (None, None),
        };
        Self {
            id: task.id.as_u64() as i64,
            outcome: task.outcome.map(|outcome| outcome.code()),
            due_at: task.due_at.map(Timestamp::as_micros),
            start_date: task.start_date.map(Timestamp::as_micros),
            end_date: task.end_date.map(Timestamp::as_micros),
            result,
            result_digest: artifact.map(|artifact| artifact.digest.as_bytes()),
            result_bytes: artifact.map(|artifact| artifact.bytes as i64),
            error: task.error.as_deref().map(as_json),
        }
    }
}

fn write_events(connection: &Connection, events: &[EventRow]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO events (seq, task, previous, at, event, try_number, state, outcome, by, run)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let mut insert_end = connection.prepare_cached(
        "INSERT INTO events (seq, task, previous, at, event, try_number, state, outcome, by, run, fence, started_at,
                             error, cpu_us, peak_memory_bytes, host_bytes, log_bytes, host_calls)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?;
    for event in events {
        let seq = event.seq as i64;
        let task = event.task.as_u64() as i64;
        let outcome = event.outcome.map(|outcome| outcome.code());
        let by = event.by.as_deref();
        let run = event.run.map(|run| run.as_u64() as i64);
        match &event.attempt {
            None => insert.execute(params![
                seq,
                task,
                event.previous as i64,
                event.at.as_micros(),
                event.event.code(),
                event.try_number,
                event.state.code(),
                outcome,
                by,
                run,
            ])?,
            Some(attempt) => {
                write_log(connection, seq, &attempt.log)?;
                insert_end.execute(params![
                    seq,
                    task,
                    event.previous as i64,
                    event.at.as_micros(),
                    event.event.code(),
                    event.try_number,
                    event.state.code(),
                    outcome,
                    by,
                    run,
                    attempt.fence,
                    attempt.started_at.as_micros(),
                    attempt.error.as_deref().map(as_json),
                    attempt.usage.cpu_us as i64,
                    attempt.usage.peak_memory_bytes as i64,
                    attempt.usage.host_bytes as i64,
                    attempt.usage.log_bytes as i64,
                    attempt.usage.host_calls as i64,
                ])?
            }
        };
    }
    Ok(())
}

fn write_log(connection: &Connection, event: i64, log: &AttemptLog) -> rusqlite::Result<()> {
    let (body, pieces) = match log {
        AttemptLog::Empty => return Ok(()),
        AttemptLog::Inline(body) => (Some(&**body), None),
        AttemptLog::Segments(pieces) => {
            for segment in segments_of(pieces) {
                connection
                    .prepare_cached(
                        "INSERT INTO log_segments (segment, attempts) VALUES (?1, 1)
                         ON CONFLICT (segment) DO UPDATE SET attempts = attempts + 1",
                    )?
                    .execute([segment])?;
            }
            (None, Some(as_json(pieces)))
        }
    };
    connection
        .prepare_cached("INSERT INTO logs (event, body, pieces) VALUES (?1, ?2, ?3)")?
        .execute(params![event, body, pieces])
        .map(drop)
}

/// The segments that hold a piece, each once.
pub(super) fn segments_of(pieces: &[SegmentPiece]) -> Vec<i64> {
    let mut segments: Vec<i64> = pieces.iter().map(|piece| piece.segment as i64).collect();
    segments.sort_unstable();
    segments.dedup();
    segments
}

fn write_keys(connection: &Connection, keys: &[OnceRow]) -> rusqlite::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    // A key that comes again after it was forgotten gets a new row, at the end.
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO idempotency (key, body, task, at) VALUES (?1, ?2, ?3, ?4)")?;
    for row in keys {
        insert.execute(params![row.key, row.body, row.task.as_u64() as i64, row.at.as_micros()])?;
    }
    Ok(())
}

fn write_note(connection: &Connection, change: &NoteChange) -> rusqlite::Result<()> {
    let (sql, id) = match change.of {
        Noted::Task(id) => ("UPDATE tasks SET note = ?2 WHERE id = ?1", id.as_u64()),
        Noted::Run(id) => ("UPDATE runs SET note = ?2 WHERE id = ?1", id.as_u64()),
    };
    connection.prepare_cached(sql)?.execute(params![id as i64, change.note.as_deref()]).map(drop)
}

fn write_module(connection: &Connection, change: &ModuleChange) -> rusqlite::Result<()> {
    match change {
        ModuleChange::Put { info, at, by } => connection.execute(
            "INSERT INTO modules (digest, info, created_at, created_by) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (digest) DO UPDATE SET info = ?2",
            params![info.digest.as_bytes(), as_json(&**info), at.as_micros(), &**by],
        ),
        ModuleChange::Tag { name, tag, digest, at, by } => connection.execute(
            "INSERT INTO module_tags (name, tag, digest, set_at, set_by) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![name.as_str(), tag.as_str(), digest.as_ref().map(Digest::as_bytes), at.as_micros(), &**by],
        ),
        ModuleChange::Delete { digest } => {
            connection.execute("DELETE FROM modules WHERE digest = ?1", params![digest.as_bytes()])
        }
    }
    .map(drop)
}

pub(super) fn as_json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("the model's types have JSON forms")
}

pub(super) fn why(error: rusqlite::Error) -> CommitError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => CommitError::DiskFull,
        _ => CommitError::Failed(error.to_string()),
    }
}
