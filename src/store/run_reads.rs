//! Runs, their tasks and their events, as the API shows them.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params, params_from_iter};

use crate::model::{DagId, Digest, RunId, RunName, RunRecord, RunState, TaskId, TaskRecord};

use super::load::earlier;
use super::reads::{EventRecord, Page, ReadError, Reader, SCAN_ROWS, event_from_row};
use super::rows::{TASK_COLUMNS, digest, parsed, task_from_row};
use super::runs::{RUN_COLUMNS, run_from_row};

/// Which runs a list shows; all of the given must hold.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    pub state: Option<RunState>,
    pub dag_id: Option<DagId>,
}

/// What a run is called.
#[derive(Debug, Clone)]
pub struct RunNames {
    pub dag_id: DagId,
    pub run_id: RunName,
    pub version: Digest,
}

/// A task of a run.
#[derive(Debug, Clone)]
pub enum RunTask {
    Begun(Box<TaskRecord>),
    /// No instance of the node was made yet.
    ToCome {
        node: u32,
    },
}

/// What happened to a run, or to one of its tasks.
#[derive(Debug, Clone)]
pub struct RunEventRecord {
    pub event: EventRecord,
    /// Of the task, as far as there is still a row of it.
    pub node: Option<u32>,
    pub map_index: Option<u32>,
}

/// The tasks of a run behind some place, in the order of the plan and of their map index.
#[derive(Debug, Clone, Copy)]
pub struct TaskPage {
    pub run: RunId,
    /// Of the run's version.
    pub nodes: u32,
    /// `next_cursor` of the page before.
    pub after: Option<u64>,
    pub limit: usize,
}

impl Reader<'_> {
    /// The run, and the node in its plan, that this id is kept for.
    pub fn run_of_node(&self, task: TaskId) -> Result<Option<(RunRecord, u32)>, ReadError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {RUN_COLUMNS}, nodes FROM runs WHERE id < ?1 ORDER BY id DESC LIMIT 1"))?;
        let found =
            statement.query_row([task.as_u64() as i64], |row| Ok((run_from_row(row)?, row.get::<_, u32>("nodes")?)));
        // Its tasks' ids are those behind its own.
        Ok(found.optional()?.and_then(|(run, nodes)| {
            let node = task.as_u64().checked_sub(run.first_task.as_u64())?;
            let node = u32::try_from(node).ok().filter(|node| *node < nodes)?;
            Some((run, node))
        }))
    }

    pub fn run(&self, id: RunId) -> Result<Option<RunRecord>, ReadError> {
        let mut statement = self.connection.prepare_cached(&format!("SELECT {RUN_COLUMNS} FROM runs WHERE id = ?1"))?;
        Ok(statement.query_row([id.as_u64() as i64], run_from_row).optional()?)
    }

    /// The run of the DAG that bears this name.
    pub fn run_by_name(&self, dag: &DagId, name: &RunName) -> Result<Option<RunRecord>, ReadError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {RUN_COLUMNS} FROM runs WHERE dag_id = ?1 AND run_id = ?2"))?;
        Ok(statement.query_row([dag.as_str(), name.as_str()], run_from_row).optional()?)
    }

    /// The run that was accepted with this key and this body.
    pub fn run_accepted_with(&self, key: &[u8; 32], body: &[u8; 32]) -> Result<Option<RunRecord>, ReadError> {
        match earlier(self.connection, key)? {
            // Runs and tasks share their numbers: of a key that stands for a task there is no run.
            Some(earlier) if earlier.body == *body => self.run(RunId::from_u64(earlier.task.as_u64())),
            _ => Ok(None),
        }
    }

    pub fn run_names(&self, id: RunId) -> Result<Option<RunNames>, ReadError> {
        let mut statement = self.connection.prepare_cached("SELECT dag_id, run_id, version FROM runs WHERE id = ?1")?;
        let names = statement.query_row([id.as_u64() as i64], |row| {
            Ok(RunNames { dag_id: parsed(row, 0)?, run_id: parsed(row, 1)?, version: digest(row, 2)? })
        });
        Ok(names.optional()?)
    }

    /// Newest first. A page may be short, even empty, and yet have a next one:
    /// where few runs match, it ends after `SCAN_ROWS` it looked at.
    pub fn runs(&self, filter: &RunFilter, before: Option<u64>, limit: usize) -> Result<Page<RunRecord>, ReadError> {
        let before = before.map_or(i64::MAX, |id| id as i64);
        let floor = self.scan_floor(filter, before)?;
        let (sql, mut arguments) = list_sql(filter);
        arguments.extend([Value::from(before), Value::from(floor.unwrap_or(-1)), Value::from(limit as i64 + 1)]);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let items = statement.query_map(params_from_iter(arguments), run_from_row)?;
        let mut page = Page::of(items.collect::<rusqlite::Result<_>>()?, limit, |run: &RunRecord| run.id.as_u64());
        page.next_cursor = page.next_cursor.or(floor.map(|floor| floor as u64 + 1));
        Ok(page)
    }

    /// Where a walk through runs that may not match ends.
    fn scan_floor(&self, filter: &RunFilter, before: i64) -> Result<Option<i64>, ReadError> {
        if matches!(walk(filter), Walk::Index) {
            return Ok(None);
        }
        let floor = match &filter.dag_id {
            None => self
                .connection
                .prepare_cached("SELECT id FROM runs WHERE id < ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2")?
                .query_row([before, SCAN_ROWS], |row| row.get(0))
                .optional(),
            Some(dag) => self
                .connection
                .prepare_cached(
                    "SELECT id FROM runs INDEXED BY runs_of_dag
                     WHERE dag_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3",
                )?
                .query_row(params![dag.as_str(), before, SCAN_ROWS], |row| row.get(0))
                .optional(),
        };
        Ok(floor?)
    }

    /// The tasks of a run, those that are still to come among them.
    pub fn run_tasks(&self, page: TaskPage) -> Result<Page<RunTask>, ReadError> {
        let after = page.after.map(Position::from_cursor);
        let (node, map_index) = after.map_or((-1, -1), |after| (i64::from(after.node), after.map_index));
        // Behind a task that is not mapped (−1) come those of its node that are, and then other nodes: SQLite takes
        // null for neither more nor less than a number.
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {TASK_COLUMNS} FROM tasks INDEXED BY tasks_of_run
             WHERE run = ?1 AND (node, map_index) > (?2, ?3) ORDER BY node, map_index LIMIT ?4"
        ))?;
        let wanted = params![page.run.as_u64() as i64, node, map_index, page.limit as i64 + 1];
        let rows = statement.query_map(wanted, task_from_row)?.collect::<rusqlite::Result<Vec<TaskRecord>>>()?;
        let complete = rows.len() <= page.limit;
        let mut items = Vec::new();
        let mut next = after.map_or(0, |after| after.node + 1);
        for row in rows {
            let node = row.instance.map_or(0, |instance| instance.node);
            items.extend((next..node).map(|node| RunTask::ToCome { node }));
            items.push(RunTask::Begun(Box::new(row)));
            next = next.max(node + 1);
        }
        if complete {
            items.extend((next..page.nodes).map(|node| RunTask::ToCome { node }));
        }
        Ok(Page::of(items, page.limit, |last| Position::of(last).to_cursor()))
    }

    /// What happened to the run and its tasks, oldest first.
    pub fn run_events(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<RunEventRecord>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, task, at, event, events.try_number, events.state, events.outcome, by, events.run,
                    tasks.node, tasks.map_index
             FROM events INDEXED BY events_of_run LEFT JOIN tasks ON tasks.id = events.task
             WHERE events.run = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
        )?;
        let events = statement.query_map(params![run.as_u64() as i64, after as i64, limit as i64], |row| {
            Ok(RunEventRecord { event: event_from_row(row)?, node: row.get(9)?, map_index: row.get(10)? })
        });
        Ok(events?.collect::<rusqlite::Result<_>>()?)
    }
}

/// Where a task stands in the list of its run's.
#[derive(Clone, Copy)]
struct Position {
    node: u32,
    /// −1: it is not mapped.
    map_index: i64,
}

impl Position {
    fn of(task: &RunTask) -> Self {
        match task {
            RunTask::ToCome { node } => Self { node: *node, map_index: -1 },
            RunTask::Begun(record) => {
                let (node, map_index) =
                    record.instance.map_or((0, None), |instance| (instance.node, instance.map_index));
                Self { node, map_index: map_index.map_or(-1, i64::from) }
            }
        }
    }

    fn to_cursor(self) -> u64 {
        u64::from(self.node) << 32 | (self.map_index + 1) as u64
    }

    fn from_cursor(cursor: u64) -> Self {
        Self { node: (cursor >> 32) as u32, map_index: i64::from(cursor as u32) - 1 }
    }
}

/// How a list finds its runs.
enum Walk {
    /// Each row that an index gives is shown.
    Index,
    /// Rows are looked at that may not match: up to a floor.
    Bounded,
}

fn walk(filter: &RunFilter) -> Walk {
    match (filter.state, &filter.dag_id) {
        (None, _) | (Some(RunState::Running), _) | (Some(RunState::Queued), Some(_)) => Walk::Index,
        (Some(RunState::Failed | RunState::Cancelled), None) => Walk::Index,
        (Some(_), _) => Walk::Bounded,
    }
}

/// The list in its filters' words, then `id < ?`, `id > ?` and the limit as the last three arguments.
fn list_sql(filter: &RunFilter) -> (String, Vec<Value>) {
    // The words of the partial indexes, because SQLite does not conclude them from the equality. A plus keeps it
    // from another index than the one that is named, or from sorting where the order of ids does.
    let dag = filter.dag_id.as_ref();
    let (index, id, state) = match (filter.state, dag) {
        (None, None) => ("", "runs.id", String::new()),
        (None, Some(_)) => (" INDEXED BY runs_of_dag", "runs.id", String::new()),
        // Few run at a time: found by their index and sorted.
        (Some(state @ RunState::Running), None) => {
            (" INDEXED BY runs_active", "+runs.id", format!(" AND state = {} AND end_date IS NULL", state.code()))
        }
        (Some(state @ (RunState::Running | RunState::Queued)), Some(_)) => {
            (" INDEXED BY runs_active", "runs.id", format!(" AND state = {} AND end_date IS NULL", state.code()))
        }
        (Some(state @ (RunState::Failed | RunState::Cancelled)), None) => {
            (" INDEXED BY runs_unwell", "runs.id", format!(" AND state > 3 AND state = {}", state.code()))
        }
        (Some(state), None) => ("", "runs.id", format!(" AND +state = {}", state.code())),
        (Some(state), Some(_)) => (" INDEXED BY runs_of_dag", "runs.id", format!(" AND +state = {}", state.code())),
    };
    let mut sql = format!("SELECT {RUN_COLUMNS} FROM runs{index} WHERE 1{state}");
    let mut arguments = Vec::new();
    if let Some(dag) = dag {
        sql += " AND dag_id = ?";
        arguments.push(Value::from(dag.as_str().to_owned()));
    }
    sql += &format!(" AND {id} < ? AND {id} > ? ORDER BY runs.id DESC LIMIT ?");
    (sql, arguments)
}
