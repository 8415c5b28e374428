//! What the coordinator reads: the head of what is active, and single rows of history.

use rusqlite::{Connection, OptionalExtension, params};

use crate::engine::{Earlier, Overview, Page, PageRequest};
use crate::model::run::Instance;
use crate::model::{RunId, TaskId, TaskRecord, TaskState, Timestamp};

use super::commit::{CommitError, why};
use super::rows::{TASK_COLUMNS, task_from_row};

/// Rows of one page, and the bytes of input after which it ends early.
const PAGE_ROWS: usize = 256;
const PAGE_BYTES: usize = 2 << 20;

/// Reads what is committed, on the coordinator's own thread: single indexed
/// reads and pages of bounded size, microseconds each.
#[derive(Debug)]
pub struct History {
    pub(super) connection: Connection,
}

impl History {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    #[cfg(test)]
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Where the active tasks are. Costs a step for each queue, not for each task.
    pub fn overview(&self) -> Result<Overview, CommitError> {
        let read = || -> rusqlite::Result<Overview> {
            let last_event: Option<i64> =
                self.connection.query_row("SELECT max(seq) FROM events", [], |row| row.get(0))?;
            // Retention may have taken the newest events of a quiet store; numbers are never given out twice.
            let kept: Option<String> = self
                .connection
                .query_row("SELECT value FROM meta WHERE key = 'last_event'", [], |row| row.get(0))
                .optional()?;
            let kept = kept.and_then(|text| text.parse().ok()).unwrap_or(0);
            let has_due = self.connection.query_row(
                "SELECT EXISTS (SELECT 1 FROM tasks WHERE due_at IS NOT NULL)",
                [],
                |row| row.get(0),
            )?;
            let mut running = self
                .connection
                .prepare(&format!("SELECT {TASK_COLUMNS} FROM tasks WHERE state = ?1 AND end_date IS NULL"))?;
            let running = running.query_map([TaskState::Running.code()], task_from_row)?;
            Ok(Overview {
                last_event: (last_event.unwrap_or(0) as u64).max(kept),
                last_id: self.greatest_id()?,
                runs: self.running_runs()?,
                waiting_dags: self.dags_with_queued_runs()?,
                paused_dags: self.paused_dags()?,
                queues: self.queues()?,
                has_due,
                running: running.collect::<rusqlite::Result<_>>()?,
            })
        };
        read().map_err(why)
    }

    /// The queues that have ready tasks: one index step each.
    fn queues(&self) -> rusqlite::Result<Vec<crate::model::QueueName>> {
        let mut next = self.connection.prepare(
            "SELECT queue FROM tasks WHERE state = ?1 AND queue > ?2 AND end_date IS NULL ORDER BY queue LIMIT 1",
        )?;
        let mut found = Vec::new();
        let mut last = String::new();
        while let Some(queue) =
            next.query_row(params![TaskState::Queued.code(), last], |row| row.get::<_, String>(0)).optional()?
        {
            found.extend(queue.parse());
            last = queue;
        }
        Ok(found)
    }

    /// The rows behind the request's key, in order; and whether there is nothing behind them.
    pub fn page(&self, request: &PageRequest) -> Result<Page, CommitError> {
        let read = || -> rusqlite::Result<Page> {
            match request {
                PageRequest::Ready { queue, after } => {
                    let (state, queue) = (TaskState::Queued.code(), queue.as_str());
                    let (priority_weight, id) = (after.priority_weight(), after.id().as_u64() as i64);
                    let mut page = PageOfRows::default();
                    let mut equals = self.connection.prepare_cached(&ready_equals_sql())?;
                    page.fill(equals.query(params![state, queue, priority_weight, id])?)?;
                    if !page.is_full() {
                        let mut lower = self.connection.prepare_cached(&ready_lower_sql())?;
                        page.fill(lower.query(params![state, queue, priority_weight])?)?;
                    }
                    Ok(page.finish())
                }
                PageRequest::Due { after: (due, id) } => {
                    let mut statement = self.connection.prepare_cached(&due_page_sql())?;
                    let mut page = PageOfRows::default();
                    page.fill(statement.query(params![due.as_micros(), id.as_u64() as i64])?)?;
                    Ok(page.finish())
                }
                PageRequest::Tasks { ids } => {
                    let sql = format!("SELECT {TASK_COLUMNS} FROM tasks WHERE id = ?1");
                    let mut statement = self.connection.prepare_cached(&sql)?;
                    let mut rows = Vec::with_capacity(ids.len());
                    for id in ids {
                        rows.extend(statement.query_row([id.as_u64() as i64], task_from_row).optional()?);
                    }
                    Ok(Page::Tasks { rows, complete: true })
                }
                PageRequest::WaitingRuns { dag, after } => self.waiting_runs(dag, *after),
                // Its plan is not the store's: see `run_record` and `stored_run`.
                PageRequest::Run { .. } => Ok(Page::Run(None)),
            }
        };
        read().map_err(why)
    }

    pub fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, CommitError> {
        self.connection
            .prepare_cached(&format!("SELECT {TASK_COLUMNS} FROM tasks WHERE id = ?1"))
            .and_then(|mut statement| statement.query_row([id.as_u64() as i64], task_from_row).optional())
            .map_err(why)
    }

    /// Which task of which run the id is kept for, where its turn has not come.
    pub fn instance_to_come(&self, id: TaskId) -> Result<Option<Instance>, CommitError> {
        let find = || -> rusqlite::Result<Option<Instance>> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT id, first_task, nodes FROM runs WHERE id < ?1 ORDER BY id DESC LIMIT 1")?;
            let found = statement.query_row([id.as_u64() as i64], |row| {
                let run = RunId::from_u64(row.get::<_, i64>(0)? as u64);
                let node = id.as_u64().checked_sub(row.get::<_, i64>(1)? as u64);
                let nodes: u32 = row.get(2)?;
                let node = node.and_then(|node| u32::try_from(node).ok()).filter(|node| *node < nodes);
                Ok(node.map(|node| Instance { run, node, map_index: None }))
            });
            Ok(found.optional()?.flatten())
        };
        find().map_err(why)
    }

    pub fn idempotency_key(&self, key: &[u8; 32]) -> Result<Option<Earlier>, CommitError> {
        earlier(&self.connection, key).map_err(why)
    }

    /// The greatest id given out, to a task or to a run and its tasks.
    pub fn last_id(&self) -> Result<Option<u64>, CommitError> {
        self.greatest_id().map_err(why)
    }

    fn greatest_id(&self) -> rusqlite::Result<Option<u64>> {
        let task: Option<i64> = self.connection.query_row("SELECT max(id) FROM tasks", [], |row| row.get(0))?;
        let run: Option<i64> = self
            .connection
            .query_row("SELECT first_task + nodes FROM runs ORDER BY id DESC LIMIT 1", [], |row| row.get(0))
            .optional()?;
        Ok(task.max(run).map(|id| id as u64))
    }
}

/// What an idempotency key stands for.
pub(super) fn earlier(connection: &Connection, key: &[u8; 32]) -> rusqlite::Result<Option<Earlier>> {
    connection
        .prepare_cached("SELECT task, body, at FROM idempotency WHERE key = ?1")?
        .query_row([key], |row| {
            Ok(Earlier {
                task: TaskId::from_u64(row.get::<_, i64>(0)? as u64),
                body: row.get(1)?,
                at: Timestamp::from_micros(row.get(2)?),
            })
        })
        .optional()
}

/// What is behind a key comes in two parts, because SQLite does not seek by a
/// row value whose columns run in opposite directions: first its equals in priority…
fn ready_equals_sql() -> String {
    format!(
        "SELECT {TASK_COLUMNS} FROM tasks
         WHERE state = ?1 AND queue = ?2 AND priority_weight = ?3 AND id > ?4 AND end_date IS NULL
         ORDER BY id LIMIT {}",
        PAGE_ROWS + 1
    )
}

/// …then those of lower priority.
fn ready_lower_sql() -> String {
    format!(
        "SELECT {TASK_COLUMNS} FROM tasks
         WHERE state = ?1 AND queue = ?2 AND priority_weight < ?3 AND end_date IS NULL
         ORDER BY priority_weight DESC, id LIMIT {}",
        PAGE_ROWS + 1
    )
}

fn due_page_sql() -> String {
    format!(
        "SELECT {TASK_COLUMNS} FROM tasks WHERE (due_at, id) > (?1, ?2) AND due_at IS NOT NULL
         ORDER BY due_at, id LIMIT {}",
        PAGE_ROWS + 1
    )
}

/// Rows up to the bounds of a page, and whether one more was there.
#[derive(Default)]
struct PageOfRows {
    rows: Vec<TaskRecord>,
    bytes: usize,
    more: bool,
}

impl PageOfRows {
    fn is_full(&self) -> bool {
        self.rows.len() == PAGE_ROWS || self.bytes > PAGE_BYTES
    }

    fn fill(&mut self, mut rows: rusqlite::Rows<'_>) -> rusqlite::Result<()> {
        while let Some(row) = rows.next()? {
            if self.is_full() {
                self.more = true;
                break;
            }
            let task = task_from_row(row)?;
            self.bytes += task.spec.input.as_str().len();
            self.rows.push(task);
        }
        Ok(())
    }

    fn finish(self) -> Page {
        // A page that is exactly full may have more behind it: the next one tells.
        let complete = !self.more && !self.is_full();
        Page::Tasks { rows: self.rows, complete }
    }
}
