//! Removes what has ended long ago, a bounded step at a time.

use rusqlite::{OptionalExtension, params};

use crate::model::task::SegmentPiece;
use crate::model::{TaskId, Timestamp};

use super::commit::{CommitError, Writer, segments_of, why};

/// What a step removed, and what may be removed with it.
#[derive(Debug, Default, PartialEq)]
pub struct Swept {
    /// Where the next step continues; none when this one reached the end.
    pub next: Option<TaskId>,
    pub tasks: usize,
    /// Tasks some attempt of which may have left an artifact, with their last fence.
    pub artifacts: Vec<(TaskId, u32)>,
    /// Log segments that hold no attempt's log any more.
    pub segments: Vec<u64>,
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
        {
            let mut candidates = transaction.prepare_cached(
                "SELECT id, end_date < ?4, last_event, fence, result_digest IS NOT NULL OR fence > 1 FROM tasks
                 WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3",
            )?;
            let rows = candidates.query_map(
                params![
                    after.as_u64() as i64,
                    TaskId::earliest(cutoff).as_u64() as i64,
                    step as i64,
                    cutoff.as_micros()
                ],
                |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, Option<bool>>(1)?.unwrap_or(false),
                        row.get::<_, i64>(2)?,
                        row.get::<_, u32>(3)?,
                        row.get::<_, bool>(4)?,
                    ))
                },
            )?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            if rows.len() == step {
                swept.next = rows.last().map(|(id, ..)| TaskId::from_u64(*id as u64));
            }
            let mut delete_task = transaction.prepare_cached("DELETE FROM tasks WHERE id = ?1")?;
            let mut delete_input = transaction.prepare_cached("DELETE FROM inputs WHERE task = ?1")?;
            let mut previous = transaction.prepare_cached("SELECT previous, fence FROM events WHERE seq = ?1")?;
            let mut delete_event = transaction.prepare_cached("DELETE FROM events WHERE seq = ?1")?;
            let mut pieces = transaction.prepare_cached("SELECT pieces FROM logs WHERE event = ?1")?;
            let mut leave_segment = transaction.prepare_cached(
                "UPDATE log_segments SET attempts = attempts - 1 WHERE segment = ?1 RETURNING attempts",
            )?;
            let mut delete_log = transaction.prepare_cached("DELETE FROM logs WHERE event = ?1")?;
            let mut newest_event = 0;
            for (id, ended, last_event, fence, may_have_artifact) in rows {
                if !ended {
                    continue;
                }
                newest_event = newest_event.max(last_event);
                let mut event = last_event;
                while event != 0 {
                    let mut found = previous.query([event])?;
                    let Some(row) = found.next()? else { break };
                    let (before, ends_attempt): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
                    drop(found);
                    if ends_attempt.is_some() {
                        let mut found = pieces.query([event])?;
                        if let Some(row) = found.next()? {
                            let text: Option<String> = row.get(0)?;
                            let named: Vec<SegmentPiece> =
                                text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
                            for segment in segments_of(&named) {
                                let left: Option<i64> =
                                    leave_segment.query_row([segment], |row| row.get(0)).optional()?;
                                swept.segments.extend((left == Some(0)).then_some(segment as u64));
                            }
                        }
                        drop(found);
                        delete_log.execute([event])?;
                    }
                    delete_event.execute([event])?;
                    event = before;
                }
                delete_input.execute([id])?;
                delete_task.execute([id])?;
                swept.tasks += 1;
                swept.artifacts.extend(may_have_artifact.then_some((TaskId::from_u64(id as u64), fence)));
            }
            // Event numbers are never given out twice, even if the newest event has gone.
            transaction.execute(
                "INSERT INTO meta (key, value) VALUES ('last_event', ?1)
                 ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER), ?1)",
                [newest_event],
            )?;
            transaction.execute("DELETE FROM log_segments WHERE attempts = 0", [])?;
        }
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
