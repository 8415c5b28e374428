//! What the API shows: plain queries over what is committed.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::{EventKind, RunEventKind};
use crate::model::task::AttemptLog;
use crate::model::{
    Digest, Outcome, QueueName, RunId, RunState, TaskError, TaskId, TaskRecord, TaskState, Timestamp, Usage,
};

use super::load::earlier;
use super::rows::{TASK_COLUMNS, error, outcome, state, task_from_row, time, unknown, usage};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the store could not be read: {0}")]
    Failed(String),
    #[error("the reader broke off")]
    BrokenOff,
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A bounded pool of read-only connections, used on threads that may block.
#[derive(Debug, Clone)]
pub struct Reads {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    free: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Reads {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let permits = Arc::new(Semaphore::new(connections.len()));
        Self { pool: Arc::new(Pool { free: Mutex::new(connections), permits }) }
    }

    /// Runs `read` on a thread of its own; waits while all connections are in use.
    pub async fn run<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>) -> Result<T, ReadError> + Send + 'static,
    {
        let permit = self.pool.permits.clone().acquire_owned().await.map_err(|_| ReadError::BrokenOff)?;
        let connection = self.pool.free.lock().pop().expect("a permit stands for a free connection");
        let lent = Lent { connection: Some(connection), pool: self.pool.clone(), _permit: permit };
        // The work goes on when the caller is gone, and gives the connection back however it ends.
        let work = tokio::task::spawn_blocking(move || read(&Reader { connection: lent.connection() }));
        work.await.map_err(|_| ReadError::BrokenOff)?
    }
}

/// A connection out of the pool, on its way back when dropped.
struct Lent {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    /// Dropped last: whoever gets it next finds the connection.
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("it is given back when this is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.free.lock().extend(self.connection.take());
    }
}

/// One connection, for the time of one question.
pub struct Reader<'a> {
    pub(super) connection: &'a Connection,
}

/// Which tasks a list shows; all of the given must hold.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    pub state: Option<TaskState>,
    pub outcome: Option<Outcome>,
    pub module: Option<Digest>,
    pub queue: Option<QueueName>,
    pub label: Option<(String, String)>,
}

/// A page, and where the next one begins: a number, or a key.
#[derive(Debug, Clone)]
pub struct Page<T, C = u64> {
    pub items: Vec<T>,
    pub next_cursor: Option<C>,
}

impl<T, C> Page<T, C> {
    /// Of the items that were found, one more than there is room for where there are more.
    pub(super) fn of(mut items: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> C) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(cursor);
        Self { items, next_cursor }
    }
}

/// An attempt that has ended, or runs.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    pub try_number: u32,
    pub fence: u32,
    /// None while it runs, and for one our side gave up.
    pub outcome: Option<Outcome>,
    pub start_date: Timestamp,
    pub end_date: Option<Timestamp>,
    pub error: Option<Arc<TaskError>>,
    pub usage: Usage,
}

#[derive(Debug, Clone)]
pub struct EventRecord {
    pub seq: u64,
    pub at: Timestamp,
    /// The run that it is about, or that its task belongs to.
    pub run: Option<RunId>,
    pub happened: Happened,
    pub by: Option<String>,
}

/// What happened to whom, and the state afterwards.
#[derive(Debug, Clone)]
pub enum Happened {
    Task { task: TaskId, event: EventKind, try_number: u32, state: TaskState, outcome: Option<Outcome> },
    Run { event: RunEventKind, state: RunState },
}

/// Rows a filtered list looks at before it gives what it has and a cursor.
pub(super) const SCAN_ROWS: i64 = 50_000;

impl Reader<'_> {
    pub fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, ReadError> {
        let mut statement =
            self.connection.prepare_cached(&format!("SELECT {TASK_COLUMNS} FROM tasks WHERE id = ?1"))?;
        Ok(statement.query_row([id.as_u64() as i64], task_from_row).optional()?)
    }

    /// The task that was accepted with this key and this body.
    pub fn accepted_with(&self, key: &[u8; 32], body: &[u8; 32]) -> Result<Option<TaskRecord>, ReadError> {
        match earlier(self.connection, key)? {
            Some(earlier) if earlier.body == *body => self.task(earlier.task),
            _ => Ok(None),
        }
    }

    /// Newest first. A page may be short, even empty, and yet have a next one:
    /// where few tasks match, it ends after `SCAN_ROWS` it looked at.
    pub fn tasks(&self, filter: &TaskFilter, before: Option<u64>, limit: usize) -> Result<Page<TaskRecord>, ReadError> {
        let before = before.map_or(i64::MAX, |id| id as i64);
        let floor: Option<i64> = if uses_index(filter) {
            None
        } else {
            self.connection
                .prepare_cached("SELECT id FROM tasks WHERE id < ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2")?
                .query_row([before, SCAN_ROWS], |row| row.get(0))
                .optional()?
        };
        let (sql, mut arguments) = list_sql(filter);
        arguments.extend([Value::from(before), Value::from(floor.unwrap_or(-1)), Value::from(limit as i64 + 1)]);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut items = statement
            .query_map(params_from_iter(arguments), task_from_row)?
            .collect::<rusqlite::Result<Vec<TaskRecord>>>()?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor =
            if more { items.last().map(|task| task.id.as_u64()) } else { floor.map(|floor| floor as u64 + 1) };
        Ok(Page { items, next_cursor })
    }

    /// Oldest first.
    pub fn attempts(&self, id: TaskId) -> Result<Vec<AttemptRecord>, ReadError> {
        let Some(task) = self.task(id)? else { return Ok(Vec::new()) };
        let mut attempts: Vec<AttemptRecord> = self.chain(&task, |row| {
            let Some(fence) = row.get::<_, Option<u32>>(9)? else { return Ok(None) };
            let event = event_kind(row, 3)?;
            Ok(Some(AttemptRecord {
                try_number: row.get(4)?,
                fence,
                outcome: if event == EventKind::HandedBack { None } else { outcome(row, 6)? },
                start_date: time(row, 10)?.unwrap_or(task.queued_at),
                end_date: time(row, 2)?,
                error: error(row, 11)?,
                usage: usage(row, 12)?,
            }))
        })?;
        attempts.reverse();
        if task.state == TaskState::Running {
            attempts.push(AttemptRecord {
                try_number: task.try_number,
                fence: task.fence,
                outcome: None,
                start_date: task.start_date.unwrap_or(task.queued_at),
                end_date: None,
                error: None,
                usage: Usage::default(),
            });
        }
        Ok(attempts)
    }

    /// Oldest first.
    pub fn task_events(&self, id: TaskId) -> Result<Vec<EventRecord>, ReadError> {
        let Some(task) = self.task(id)? else { return Ok(Vec::new()) };
        let mut events = self.chain(&task, |row| event_from_row(row).map(Some))?;
        events.reverse();
        Ok(events)
    }

    /// The change feed of everything.
    pub fn events(&self, after: u64, limit: usize) -> Result<Vec<EventRecord>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, task, at, event, try_number, state, outcome, by, run
             FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let events = statement.query_map([after as i64, limit as i64], event_from_row)?;
        Ok(events.collect::<rusqlite::Result<_>>()?)
    }

    /// The newest number in the change feed.
    pub fn last_event(&self) -> Result<u64, ReadError> {
        let last: Option<i64> = self.connection.query_row("SELECT max(seq) FROM events", [], |row| row.get(0))?;
        Ok(last.unwrap_or(0) as u64)
    }

    /// Where the log of a closed try lies; the last attempt of that number counts. None when no such try was closed.
    pub fn log(&self, id: TaskId, try_number: Option<u32>) -> Result<Option<AttemptLog>, ReadError> {
        let Some(task) = self.task(id)? else { return Ok(None) };
        let closed = self.chain(&task, |row| {
            let (seq, this): (i64, u32) = (row.get(0)?, row.get(4)?);
            let ended = row.get::<_, Option<u32>>(9)?.is_some();
            Ok((ended && try_number.is_none_or(|wanted| wanted == this)).then_some(seq))
        })?;
        let Some(event) = closed.first() else { return Ok(None) };
        let found = self
            .connection
            .prepare_cached("SELECT body, pieces FROM logs WHERE event = ?1")?
            .query_row([event], |row| Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Option<String>>(1)?)))
            .optional()?;
        match found {
            None => Ok(Some(AttemptLog::Empty)),
            Some((Some(body), _)) => Ok(Some(AttemptLog::Inline(body.into()))),
            Some((None, pieces)) => serde_json::from_str(&pieces.unwrap_or_default())
                .map(|pieces| Some(AttemptLog::Segments(pieces)))
                .map_err(|error| ReadError::Failed(error.to_string())),
        }
    }

    /// Those of the segments that hold no attempt's log.
    pub fn unnamed_segments(&self, mut segments: Vec<u64>) -> Result<Vec<u64>, ReadError> {
        let mut named = self.connection.prepare_cached("SELECT segment FROM log_segments")?;
        let named = named.query_map([], |row| row.get::<_, i64>(0))?;
        let named = named.collect::<rusqlite::Result<std::collections::HashSet<i64>>>()?;
        segments.retain(|&segment| !named.contains(&(segment as i64)));
        Ok(segments)
    }

    /// Walks a task's events from the newest to the oldest.
    fn chain<T>(
        &self,
        task: &TaskRecord,
        mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<Option<T>>,
    ) -> Result<Vec<T>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, task, at, event, try_number, state, outcome, by, run, fence, started_at, error, cpu_us,
                    peak_memory_bytes, host_bytes, log_bytes, host_calls, previous
             FROM events WHERE seq = ?1",
        )?;
        let mut found = Vec::new();
        let mut next = task.last_event as i64;
        while next != 0 {
            let mut rows = statement.query([next])?;
            let Some(row) = rows.next()? else { break };
            found.extend(take(row)?);
            next = row.get(17)?;
        }
        Ok(found)
    }
}

/// Whether a partial index finds the tasks, so that the scan needs no bound.
fn uses_index(filter: &TaskFilter) -> bool {
    match filter.state {
        Some(TaskState::Running) => true,
        Some(state) if !is_unwell(state) => false,
        // Anything else may match nothing, however many rows are looked at.
        _ => filter.outcome.is_none() && filter.module.is_none() && filter.queue.is_none() && filter.label.is_none(),
    }
}

fn is_unwell(state: TaskState) -> bool {
    state.is_final() && state != TaskState::Success
}

/// The list in its filters' words, then `id < ?`, `id > ?` and the limit as the last three arguments.
fn list_sql(filter: &TaskFilter) -> (String, Vec<Value>) {
    // Few run at a time: found by their index and sorted, whatever SQLite believes of how many there
    // are. The plus keeps it from jumping through the index by ids instead.
    let (index, id) = if filter.state == Some(TaskState::Running) {
        (" INDEXED BY tasks_active", "+tasks.id")
    } else {
        ("", "tasks.id")
    };
    let mut sql = format!("SELECT {TASK_COLUMNS} FROM tasks{index} WHERE 1");
    let mut arguments: Vec<Value> = Vec::new();
    if let Some(state) = filter.state {
        let code = state.code();
        sql += &match state {
            TaskState::Running => format!(" AND state = {code} AND end_date IS NULL"),
            // The words of the partial index, because SQLite does not conclude them from the equality.
            state if is_unwell(state) => format!(" AND state > 6 AND state = {code}"),
            // Many: walked in the order of ids. The plus keeps SQLite from sorting a million rows instead.
            _ => format!(" AND +state = {code}"),
        };
    }
    if let Some(outcome) = filter.outcome {
        sql += " AND outcome = ?";
        arguments.push(outcome.code().into());
    }
    if let Some(module) = &filter.module {
        sql += " AND module = ?";
        arguments.push(module.as_bytes().to_vec().into());
    }
    if let Some(queue) = &filter.queue {
        sql += " AND queue = ?";
        arguments.push(queue.as_str().to_owned().into());
    }
    if let Some((key, value)) = &filter.label {
        sql += " AND json_extract(labels, ?) = ?";
        arguments.push(format!("$.{}", serde_json::Value::from(key.as_str())).into());
        arguments.push(value.clone().into());
    }
    sql += &format!(" AND {id} < ? AND {id} > ? ORDER BY tasks.id DESC LIMIT ?");
    (sql, arguments)
}

fn event_kind(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<EventKind> {
    EventKind::from_code(row.get(column)?).ok_or_else(|| unknown(column, "an event"))
}

/// Nine columns: `seq, task, at, event, try_number, state, outcome, by, run`.
pub(super) fn event_from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<EventRecord> {
    let happened = match row.get::<_, i64>(1)? {
        0 => Happened::Run {
            event: RunEventKind::from_code(row.get(3)?).ok_or_else(|| unknown(3, "an event of a run"))?,
            state: RunState::from_code(row.get(5)?).ok_or_else(|| unknown(5, "a state of a run"))?,
        },
        task => Happened::Task {
            task: TaskId::from_u64(task as u64),
            event: event_kind(row, 3)?,
            try_number: row.get(4)?,
            state: state(row, 5)?,
            outcome: outcome(row, 6)?,
        },
    };
    Ok(EventRecord {
        seq: row.get::<_, i64>(0)? as u64,
        at: time(row, 2)?.unwrap_or(Timestamp::from_micros(0)),
        run: row.get::<_, Option<i64>>(8)?.map(|run| RunId::from_u64(run as u64)),
        happened,
        by: row.get(7)?,
    })
}
