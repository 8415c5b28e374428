//! Removes what has ended long ago, a bounded step at a time.

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::task::SegmentPiece;
use crate::model::{RunId, TaskId, Timestamp};

use super::commit::{CommitError, Writer, segments_of, why};

/// What a step removed, and what may be removed with it.
#[derive(Debug, Default, PartialEq)]
pub struct Swept {
    /// Where the next step continues; none when this one reached the end.
    pub next: Option<TaskId>,
    pub tasks: usize,
    /// Tasks some attempt of which may have left an artifact, with their last fence.
    pub artifacts: Vec<(TaskId, u32)>,
    /// Runs that were removed: lists of theirs may be artifacts.
    pub runs: Vec<RunId>,
    /// Log segments that hold no attempt's log any more.
    pub segments: Vec<u64>,
    /// Whether there are more idempotency keys to forget.
    pub more_keys: bool,
}

impl Writer {
    /// Looks at up to `step` tasks submitted before `cutoff`, behind `after`,
    /// and removes those that ended before it: rows, events and logs in one
    /// transaction. Files go later, when nothing names them any more.
    pub fn sweep(&mut self, cutoff: Timestamp, after: TaskId, step: usize) -> Result<Swept, CommitError> {
        self.sweep_rows(cutoff, after, step).map_err(why)
    }

    fn sweep_rows(&mut self, cutoff: Timestamp, after: TaskId, step: usize) -> rusqlite::Result<Swept> {
        let transaction = self.connection().transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut swept = Swept::default();
        // Whole runs first: nobody sees one that has lost a part of its tasks.
        let runs = remove_runs(&transaction, cutoff, after, step, &mut swept)?;
        // Behind the last run that was removed the next step goes on.
        let before = runs.end.unwrap_or(TaskId::earliest(cutoff));
        let candidates = candidates(&transaction, cutoff, after, before, step)?;
        swept.next = match candidates.last() {
            Some(last) if candidates.len() == step => Some(last.id()),
            _ => runs.end,
        };
        for task in candidates.iter().filter(|task| task.ended_before) {
            remove(&transaction, task, &mut swept)?;
        }
        // Event numbers are never given out twice, even if the newest event has gone.
        let newest_event = candidates.iter().filter(|task| task.ended_before).map(|task| task.last_event).max();
        transaction.execute(
            "INSERT INTO meta (key, value) VALUES ('last_event', ?1)
             ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER), ?1)",
            [newest_event.unwrap_or(0).max(runs.newest_event)],
        )?;
        transaction.execute("DELETE FROM log_segments WHERE attempts = 0", [])?;
        transaction.commit()?;
        Ok(swept)
    }

    /// Forgets up to `step` idempotency keys accepted before `cutoff`; returns how many.
    pub fn sweep_keys(&mut self, cutoff: Timestamp, step: usize) -> Result<usize, CommitError> {
        self.connection()
            .execute(
                // A range, because SQLite may look through the whole table for a list.
                "DELETE FROM idempotency WHERE seq <=
                   (SELECT max(seq) FROM (SELECT seq, at FROM idempotency ORDER BY seq LIMIT ?2) WHERE at < ?1)",
                params![cutoff.as_micros(), step as i64],
            )
            .map_err(why)
    }
}

/// A task that may be old enough.
struct Candidate {
    id: i64,
    ended_before: bool,
    last_event: i64,
    fence: u32,
    may_have_artifact: bool,
}

impl Candidate {
    fn id(&self) -> TaskId {
        TaskId::from_u64(self.id as u64)
    }
}

/// The next tasks submitted before `before`, whether they have ended or not.
fn candidates(
    connection: &Connection,
    cutoff: Timestamp,
    after: TaskId,
    before: TaskId,
    step: usize,
) -> rusqlite::Result<Vec<Candidate>> {
    let mut statement = connection.prepare_cached(
        // A task of a run goes when its run has gone.
        "SELECT id, end_date < ?4 AND (run IS NULL OR NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = tasks.run)),
                last_event, fence, result_digest IS NOT NULL OR fence > 1 FROM tasks
         WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3",
    )?;
    let (after, before) = (after.as_u64() as i64, before.as_u64() as i64);
    let rows = statement.query_map(params![after, before, step as i64, cutoff.as_micros()], |row| {
        Ok(Candidate {
            id: row.get(0)?,
            ended_before: row.get::<_, Option<bool>>(1)?.unwrap_or(false),
            last_event: row.get(2)?,
            fence: row.get(3)?,
            may_have_artifact: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// What became of a step's runs.
#[derive(Default)]
struct RunsGone {
    /// The greatest number of an event of theirs.
    newest_event: i64,
    /// Where the step ends early, because there was enough to do.
    end: Option<TaskId>,
}

/// Events of runs and their tasks that a step looks at for each task it may remove.
const EVENTS_A_TASK: i64 = 20;

/// Removes runs that ended before `cutoff`, with their own events and lists, as many as make a step. Their tasks follow.
fn remove_runs(
    connection: &Connection,
    cutoff: Timestamp,
    after: TaskId,
    step: usize,
    swept: &mut Swept,
) -> rusqlite::Result<RunsGone> {
    let mut gone = RunsGone::default();
    let (mut events, mut looked_at) = (0, 0);
    let mut statement = connection.prepare_cached(
        "SELECT id, dag_id FROM runs WHERE id > ?1 AND id < ?2 AND end_date < ?4 ORDER BY id LIMIT ?3",
    )?;
    let (after, before) = (after.as_u64() as i64, TaskId::earliest(cutoff).as_u64() as i64);
    let runs = statement
        .query_map(params![after, before, step as i64, cutoff.as_micros()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
    for (run, dag_id) in runs {
        connection.prepare_cached("DELETE FROM expansions WHERE run = ?1")?.execute([run])?;
        swept.runs.push(RunId::from_u64(run as u64));
        let (newest, seen) = connection
            .prepare_cached("SELECT max(seq), count(*) FROM events INDEXED BY events_of_run WHERE run = ?1")?
            .query_row([run], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?)))?;
        gone.newest_event = gone.newest_event.max(newest.unwrap_or(0));
        events += seen;
        looked_at += 1;
        // Its own, and those of instances that were cleared before they were tried.
        connection
            .prepare_cached(
                "DELETE FROM events WHERE run = ?1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = events.task)",
            )?
            .execute([run])?;
        connection.prepare_cached("DELETE FROM runs WHERE id = ?1")?.execute([run])?;
        forget_versions(connection, &dag_id)?;
        // A run may be 100 000 tasks wide: nobody else writes while a step does.
        if looked_at == step || events > EVENTS_A_TASK * step as i64 {
            gone.end = Some(TaskId::from_u64(run as u64));
            break;
        }
    }
    Ok(gone)
}

/// Removes the versions of a DAG that was deleted and has no runs any more.
pub(super) fn forget_versions(connection: &Connection, dag_id: &str) -> rusqlite::Result<()> {
    let is_there =
        |sql: &str| -> rusqlite::Result<bool> { connection.prepare_cached(sql)?.query_row([dag_id], |row| row.get(0)) };
    if is_there("SELECT EXISTS (SELECT 1 FROM dags WHERE dag_id = ?1)")?
        || is_there("SELECT EXISTS (SELECT 1 FROM runs INDEXED BY runs_of_dag WHERE dag_id = ?1)")?
    {
        return Ok(());
    }
    connection
        .prepare_cached("DELETE FROM dag_modules WHERE version IN (SELECT seq FROM dag_versions WHERE dag_id = ?1)")?
        .execute([dag_id])?;
    connection
        .prepare_cached("DELETE FROM dag_versions INDEXED BY dag_versions_of_dag WHERE dag_id = ?1")?
        .execute([dag_id])
        .map(drop)
}

/// Removes a task's rows, its events from the newest to the oldest.
fn remove(connection: &Connection, task: &Candidate, swept: &mut Swept) -> rusqlite::Result<()> {
    let mut event = task.last_event;
    while event != 0 {
        let found = connection
            .prepare_cached("SELECT previous, fence FROM events WHERE seq = ?1")?
            .query_row([event], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))
            .optional()?;
        let Some((previous, ends_attempt)) = found else { break };
        if ends_attempt.is_some() {
            remove_log(connection, event, swept)?;
        }
        connection.prepare_cached("DELETE FROM events WHERE seq = ?1")?.execute([event])?;
        event = previous;
    }
    connection.prepare_cached("DELETE FROM inputs WHERE task = ?1")?.execute([task.id])?;
    connection.prepare_cached("DELETE FROM tasks WHERE id = ?1")?.execute([task.id])?;
    swept.tasks += 1;
    swept.artifacts.extend(task.may_have_artifact.then_some((task.id(), task.fence)));
    Ok(())
}

/// Removes the log of the attempt that the event ended, and leaves the segments that held it.
fn remove_log(connection: &Connection, event: i64, swept: &mut Swept) -> rusqlite::Result<()> {
    let pieces: Option<Option<String>> = connection
        .prepare_cached("SELECT pieces FROM logs WHERE event = ?1")?
        .query_row([event], |row| row.get(0))
        .optional()?;
    let Some(pieces) = pieces else { return Ok(()) };
    let named: Vec<SegmentPiece> = pieces.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    for segment in segments_of(&named) {
        let left: Option<i64> = connection
            .prepare_cached("UPDATE log_segments SET attempts = attempts - 1 WHERE segment = ?1 RETURNING attempts")?
            .query_row([segment], |row| row.get(0))
            .optional()?;
        swept.segments.extend((left == Some(0)).then_some(segment as u64));
    }
    connection.prepare_cached("DELETE FROM logs WHERE event = ?1")?.execute([event]).map(drop)
}
