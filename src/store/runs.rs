//! Runs, their expansions and the instances of their tasks, as rows.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::dag::Plan;
use crate::dag::plan::ROOT;
use crate::engine::graph::{Before, Element, Ends, Past, StoredExpansion, StoredInstance, StoredRun, Tries};
use crate::engine::{ClearedRows, ExpansionRow, Page, RunChange, RunEventRow};
use crate::model::task::{ArtifactRef, TaskResult};
use crate::model::{
    DagId, Digest, Json, RunId, RunName, RunRecord, RunSpec, RunState, RunType, TaskId, TaskState, Timestamp,
};

use super::commit::{CommitError, why};
use super::dags::definition;
use super::load::History;
use super::reads::{ReadError, Reader};
use super::rows::{digest, json, parsed, state, time, unknown};

/// The columns `run_from_row` reads, in its order.
pub(super) const RUN_COLUMNS: &str = "runs.id, dag_id, version, run_id, run_type, state, verdict, logical_date, \
     interval_start, interval_end, conf, params, note, first_task, queued_at, start_date, end_date";

pub(super) fn run_from_row(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let spec = RunSpec {
        dag_id: parsed::<DagId>(row, 1)?,
        version: digest(row, 2)?,
        run_id: parsed::<RunName>(row, 3)?,
        run_type: RunType::from_code(row.get(4)?).ok_or_else(|| unknown(4, "a type of run"))?,
        logical_date: time(row, 7)?,
        data_interval_start: time(row, 8)?,
        data_interval_end: time(row, 9)?,
        conf: json(row, 10)?.unwrap_or_else(Json::null),
        params: json(row, 11)?.unwrap_or_else(Json::null),
    };
    let verdict: Option<i64> = row.get(6)?;
    Ok(RunRecord {
        id: RunId::from_u64(row.get::<_, i64>(0)? as u64),
        spec: Arc::new(spec),
        first_task: TaskId::from_u64(row.get::<_, i64>(13)? as u64),
        state: run_state(row.get(5)?)?,
        verdict: verdict.map(run_state).transpose()?,
        queued_at: time(row, 14)?.unwrap_or(Timestamp::from_micros(0)),
        start_date: time(row, 15)?,
        end_date: time(row, 16)?,
        note: row.get::<_, Option<String>>(12)?.map(Into::into),
    })
}

fn run_state(code: i64) -> rusqlite::Result<RunState> {
    RunState::from_code(code).ok_or_else(|| unknown(5, "a state of a run"))
}

pub(super) fn write_runs(connection: &Connection, runs: &[RunChange]) -> rusqlite::Result<()> {
    for change in runs {
        let run = &*change.record;
        let (id, state, verdict) = (run.id.as_u64() as i64, run.state.code(), run.verdict.map(RunState::code));
        let start_date = run.start_date.map(Timestamp::as_micros);
        let end_date = run.end_date.map(Timestamp::as_micros);
        if !change.is_new {
            let updated = connection
                .prepare_cached(
                    "UPDATE runs SET state = ?2, verdict = ?3, start_date = ?4, end_date = ?5 WHERE id = ?1",
                )?
                .execute(params![id, state, verdict, start_date, end_date])?;
            if updated != 1 {
                return Err(rusqlite::Error::StatementChangedRows(updated));
            }
            continue;
        }
        let spec = &*run.spec;
        connection
            .prepare_cached(
                "INSERT INTO runs (id, dag_id, version, run_id, run_type, state, verdict, logical_date, interval_start,
                                   interval_end, conf, params, note, first_task, nodes, queued_at, start_date, end_date)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
            )?
            .execute(params![
                id,
                spec.dag_id.as_str(),
                spec.version.as_bytes(),
                spec.run_id.as_str(),
                spec.run_type.code(),
                state,
                verdict,
                spec.logical_date.map(Timestamp::as_micros),
                spec.data_interval_start.map(Timestamp::as_micros),
                spec.data_interval_end.map(Timestamp::as_micros),
                spec.conf.as_str(),
                spec.params.as_str(),
                run.note.as_deref(),
                run.first_task.as_u64() as i64,
                change.nodes,
                run.queued_at.as_micros(),
                start_date,
                end_date,
            ])?;
    }
    Ok(())
}

pub(super) fn write_run_events(connection: &Connection, events: &[RunEventRow]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO events (seq, task, previous, at, event, try_number, state, by, run)
         VALUES (?1, 0, 0, ?2, ?3, 0, ?4, ?5, ?6)",
    )?;
    for event in events {
        let (seq, run) = (event.seq as i64, event.run.as_u64() as i64);
        let (kind, state) = (event.event.code(), event.state.code());
        insert.execute(params![seq, event.at.as_micros(), kind, state, event.by.as_deref(), run])?;
    }
    Ok(())
}

pub(super) fn write_expansions(connection: &Connection, expansions: &[ExpansionRow]) -> rusqlite::Result<()> {
    for row in expansions {
        let (list, artifact) = match &row.list {
            TaskResult::Inline(list) => (Some(list.as_str()), None),
            TaskResult::Artifact(artifact) => (None, Some(artifact)),
        };
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO expansions (run, scope, total, list, list_digest, list_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                row.run.as_u64() as i64,
                row.scope,
                row.total,
                list,
                artifact.map(|artifact| artifact.digest.as_bytes()),
                artifact.map(|artifact| artifact.bytes as i64),
            ])?;
    }
    Ok(())
}

/// Takes back what instances did. Their events, logs and attempts stay.
pub(super) fn write_cleared(connection: &Connection, cleared: &[ClearedRows]) -> rusqlite::Result<()> {
    for rows in cleared {
        let mut reset = connection.prepare_cached(
            "UPDATE tasks SET state = ?2, max_tries = ?3, outcome = NULL, lost_in_row = 0, due_at = NULL,
                    start_date = NULL, end_date = NULL, result = NULL, result_digest = NULL, result_bytes = NULL,
                    error = NULL WHERE id = ?1",
        )?;
        for (id, max_tries) in &rows.reset {
            reset.execute(params![id.as_u64() as i64, TaskState::Scheduled.code(), max_tries])?;
        }
        let mut remove = connection.prepare_cached("DELETE FROM tasks WHERE id = ?1")?;
        let mut remove_input = connection.prepare_cached("DELETE FROM inputs WHERE task = ?1")?;
        for id in &rows.removed {
            remove_input.execute([id.as_u64() as i64])?;
            remove.execute([id.as_u64() as i64])?;
        }
        let mut forget = connection.prepare_cached("DELETE FROM expansions WHERE run = ?1 AND scope = ?2")?;
        for scope in &rows.lists {
            forget.execute(params![rows.run.as_u64() as i64, scope])?;
        }
    }
    Ok(())
}

/// Ids of runs that are read at once.
const PAGE_RUNS: usize = 256;

impl History {
    /// Runs under way, oldest first.
    pub(super) fn running_runs(&self) -> rusqlite::Result<Vec<RunId>> {
        let mut statement = self
            .connection
            .prepare("SELECT id FROM runs INDEXED BY runs_active WHERE state = ?1 AND end_date IS NULL ORDER BY id")?;
        let ids = statement.query_map([RunState::Running.code()], run_id)?;
        ids.collect()
    }

    /// DAGs that have queued runs: one index step each.
    pub(super) fn dags_with_queued_runs(&self) -> rusqlite::Result<Vec<DagId>> {
        let mut next = self.connection.prepare(
            "SELECT dag_id FROM runs INDEXED BY runs_active
             WHERE state = ?1 AND dag_id > ?2 AND end_date IS NULL ORDER BY dag_id LIMIT 1",
        )?;
        let mut found = Vec::new();
        let mut last = String::new();
        while let Some(dag) =
            next.query_row(params![RunState::Queued.code(), last], |row| row.get::<_, String>(0)).optional()?
        {
            found.extend(dag.parse());
            last = dag;
        }
        Ok(found)
    }

    pub(super) fn paused_dags(&self) -> rusqlite::Result<Vec<DagId>> {
        let mut statement = self.connection.prepare("SELECT dag_id FROM dags WHERE is_paused <> 0")?;
        statement.query_map([], |row| parsed(row, 0))?.collect()
    }

    /// Queued runs of the DAG behind this one.
    pub(super) fn waiting_runs(&self, dag: &DagId, after: RunId) -> rusqlite::Result<Page> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id FROM runs INDEXED BY runs_active
             WHERE state = ?1 AND dag_id = ?2 AND id > ?3 AND end_date IS NULL ORDER BY id LIMIT ?4",
        )?;
        let wanted = params![RunState::Queued.code(), dag.as_str(), after.as_u64() as i64, PAGE_RUNS as i64];
        let ids: Vec<RunId> = statement.query_map(wanted, run_id)?.collect::<rusqlite::Result<_>>()?;
        let complete = ids.len() < PAGE_RUNS;
        Ok(Page::Runs { ids, complete })
    }

    pub fn run_record(&self, id: RunId) -> Result<Option<RunRecord>, CommitError> {
        self.connection
            .prepare_cached(&format!("SELECT {RUN_COLUMNS} FROM runs WHERE id = ?1"))
            .and_then(|mut statement| statement.query_row([id.as_u64() as i64], run_from_row).optional())
            .map_err(why)
    }

    /// The run of the DAG that bears this name.
    pub fn run_named(&self, dag: &DagId, name: &RunName) -> Result<Option<RunId>, CommitError> {
        self.connection
            .prepare_cached("SELECT id FROM runs WHERE dag_id = ?1 AND run_id = ?2")
            .and_then(|mut statement| statement.query_row([dag.as_str(), name.as_str()], run_id).optional())
            .map_err(why)
    }

    /// The run with everything the engine has to know of it.
    pub fn stored_run(&self, record: RunRecord, plan: Arc<Plan>) -> Result<StoredRun, CommitError> {
        let read = || -> rusqlite::Result<StoredRun> {
            let past = self.run_before(record.id, &record.spec, &plan)?.past;
            let (instances, expansions) = match record.state {
                RunState::Queued => Default::default(),
                _ => (self.instances(record.id, &plan)?, self.expansions(record.id)?),
            };
            Ok(StoredRun { record: record.clone(), plan: plan.clone(), instances, expansions, past })
        };
        read().map_err(why)
    }

    fn instances(&self, run: RunId, plan: &Plan) -> rusqlite::Result<Vec<StoredInstance>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT tasks.id, node, map_index, state, map_label,
                    coalesce(input, (SELECT body FROM inputs WHERE inputs.task = tasks.id)),
                    result, result_digest, result_bytes, try_number, max_tries, fence, last_event, due_at
             FROM tasks WHERE run = ?1 ORDER BY tasks.id",
        )?;
        let mut rows = statement.query([run.as_u64() as i64])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let index: u32 = row.get(1)?;
            let Some(node) = plan.nodes.get(index as usize) else {
                return Err(unknown(1, "a task of the run's version"));
            };
            let state = state(row, 3)?;
            let map_index: Option<u32> = row.get(2)?;
            let result_matters = state.is_final() && (node.is_read || node.choice != crate::dag::plan::Choice::None);
            // Of an instance that is over, only others of its group want to know what it was given.
            let is_done_with = state.is_final() && plan.scope(node.scope).nodes.len() == 1;
            let element = match map_index {
                Some(_) if node.scope != ROOT && !is_done_with => Some(Element {
                    input: json(row, 5)?.unwrap_or_else(Json::null),
                    label: row.get::<_, Option<String>>(4)?.map(Into::into),
                }),
                _ => None,
            };
            let try_number: u32 = row.get(9)?;
            let tries = Tries {
                used: try_number - u32::from(state == TaskState::Running),
                most: row.get(10)?,
                fence: row.get(11)?,
                last_event: row.get::<_, i64>(12)? as u64,
            };
            found.push(StoredInstance {
                id: TaskId::from_u64(row.get::<_, i64>(0)? as u64),
                node: index,
                map_index,
                state,
                is_cleared: state == TaskState::Scheduled && row.get::<_, Option<i64>>(13)?.is_none(),
                tries,
                result: if result_matters { kept(row, 6)? } else { None },
                element,
            });
        }
        Ok(found)
    }

    fn expansions(&self, run: RunId) -> rusqlite::Result<Vec<StoredExpansion>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT scope, total, list, list_digest, list_bytes FROM expansions WHERE run = ?1 ORDER BY scope",
        )?;
        let rows = statement.query_map([run.as_u64() as i64], |row| {
            let list = kept(row, 2)?.ok_or_else(|| unknown(2, "a list"))?;
            Ok(StoredExpansion { scope: row.get(0)?, total: row.get(1)?, list })
        })?;
        rows.collect()
    }

    /// The run before this one: of those that were asked for before it the one with the next earlier
    /// logical date or, where it has none, the newest.
    pub fn before(&self, id: RunId, spec: &RunSpec, plan: &Plan) -> Result<Before, CommitError> {
        self.run_before(id, spec, plan).map_err(why)
    }

    fn run_before(&self, id: RunId, spec: &RunSpec, plan: &Plan) -> rusqlite::Result<Before> {
        if !plan.looks_back {
            return Ok(Before::default());
        }
        let (dag, id) = (spec.dag_id.as_str(), id.as_u64() as i64);
        let found = match spec.logical_date {
            Some(date) => self
                .connection
                .prepare_cached(
                    "SELECT id, logical_date, end_date IS NOT NULL FROM runs INDEXED BY runs_by_date
                     WHERE dag_id = ?1 AND logical_date < ?2 AND id < ?3 ORDER BY logical_date DESC, id DESC LIMIT 1",
                )?
                .query_row(params![dag, date.as_micros(), id], run_and_end)
                .optional()?,
            None => self
                .connection
                .prepare_cached(
                    "SELECT id, logical_date, end_date IS NOT NULL FROM runs INDEXED BY runs_of_dag
                     WHERE dag_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1",
                )?
                .query_row(params![dag, id], run_and_end)
                .optional()?,
        };
        let Some((id, logical_date, has_ended)) = found else { return Ok(Before::default()) };
        let past = if has_ended { Past::Ended(Arc::new(self.ends_of(id)?)) } else { Past::Run(id) };
        Ok(Before { past, logical_date })
    }

    /// The states of a run's tasks by their names: of a mapped one the worst. The run may be of another version.
    fn ends_of(&self, run: RunId) -> rusqlite::Result<Ends> {
        let mut version = self.connection.prepare_cached("SELECT version FROM runs WHERE id = ?1")?;
        let version = version.query_row([run.as_u64() as i64], |row| digest(row, 0))?;
        let Some(definition) = definition(&self.connection, &version)? else {
            return Ok(Ends { run, states: HashMap::new() });
        };
        let mut statement = self.connection.prepare_cached(
            "SELECT node, min(CASE WHEN state IN (?2, ?3) THEN state ELSE 0 END) FROM tasks
             WHERE run = ?1 AND state <> ?4 GROUP BY node",
        )?;
        let (success, skipped) = (TaskState::Success.code(), TaskState::Skipped.code());
        let removed = TaskState::Removed.code();
        let mut rows = statement.query(params![run.as_u64() as i64, success, skipped, removed])?;
        let mut states = HashMap::new();
        while let Some(row) = rows.next()? {
            let (node, code): (u32, i64) = (row.get(0)?, row.get(1)?);
            if let Some(task) = definition.tasks.get(node as usize) {
                states.insert(task.id.clone(), TaskState::from_code(code).unwrap_or(TaskState::Failed));
            }
        }
        Ok(Ends { run, states })
    }
}

fn run_id(row: &Row<'_>) -> rusqlite::Result<RunId> {
    Ok(RunId::from_u64(row.get::<_, i64>(0)? as u64))
}

fn run_and_end(row: &Row<'_>) -> rusqlite::Result<(RunId, Option<Timestamp>, bool)> {
    Ok((run_id(row)?, time(row, 1)?, row.get(2)?))
}

/// A value that stands in its row or is kept as an artifact: three columns.
fn kept(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<TaskResult>> {
    Ok(match (json(row, first)?, row.get::<_, Option<i64>>(first + 2)?) {
        (Some(value), _) => Some(TaskResult::Inline(value)),
        (None, Some(bytes)) => {
            let digest: Digest = digest(row, first + 1)?;
            Some(TaskResult::Artifact(ArtifactRef { digest, bytes: bytes as u64 }))
        }
        (None, None) => None,
    })
}

/// A result, and the name it lies under if it is an artifact.
#[derive(Debug, Clone)]
pub struct KeptResult {
    pub task: TaskId,
    pub fence: u32,
    pub result: TaskResult,
}

impl Reader<'_> {
    /// What the task left, if it succeeded.
    pub fn result_of(&self, task: TaskId) -> Result<Option<KeptResult>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, fence, result, result_digest, result_bytes FROM tasks WHERE id = ?1 AND state = ?2",
        )?;
        let found = statement.query_row(params![task.as_u64() as i64, TaskState::Success.code()], kept_result);
        Ok(found.optional()?.flatten())
    }

    /// How many elements the list of the scope has; 0 where it was not expanded.
    pub fn total_of(&self, run: RunId, scope: u32) -> Result<u32, ReadError> {
        Ok(total_of(self.connection, run, scope)?.unwrap_or(0))
    }

    /// The bytes of what the instances of a mapped task left: of those that succeeded.
    pub fn bytes_of_results(&self, run: RunId, node: u32) -> Result<u64, ReadError> {
        // `octet_length` does not read the text.
        let bytes: i64 = self
            .connection
            .prepare_cached(
                "SELECT coalesce(sum(coalesce(result_bytes, octet_length(result))), 0) FROM tasks INDEXED BY tasks_of_run
                 WHERE run = ?1 AND node = ?2 AND map_index IS NOT NULL AND state = ?3",
            )?
            .query_row(params![run.as_u64() as i64, node, TaskState::Success.code()], |row| row.get(0))?;
        Ok(bytes as u64)
    }

    /// What the instances of a mapped task left, by their place in the list: those that succeeded.
    /// Err: how many bytes they have, if these are more than `most`.
    pub fn results_of(
        &self,
        run: RunId,
        node: u32,
        most: u64,
    ) -> Result<Result<Vec<(u32, KeptResult)>, u64>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, fence, result, result_digest, result_bytes, map_index FROM tasks INDEXED BY tasks_of_run
             WHERE run = ?1 AND node = ?2 AND map_index IS NOT NULL AND state = ?3 ORDER BY map_index",
        )?;
        let mut rows = statement.query(params![run.as_u64() as i64, node, TaskState::Success.code()])?;
        let mut results = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let Some(kept) = kept_result(row)? else { continue };
            bytes += match &kept.result {
                TaskResult::Inline(value) => value.as_str().len() as u64,
                TaskResult::Artifact(artifact) => artifact.bytes,
            };
            if bytes > most {
                return Ok(Err(bytes));
            }
            results.push((row.get(5)?, kept));
        }
        Ok(Ok(results))
    }
}

/// How many elements the scope's list has; none where it was not expanded.
fn total_of(connection: &Connection, run: RunId, scope: u32) -> rusqlite::Result<Option<u32>> {
    connection
        .prepare_cached("SELECT total FROM expansions WHERE run = ?1 AND scope = ?2")?
        .query_row(params![run.as_u64() as i64, scope], |row| row.get(0))
        .optional()
}

fn kept_result(row: &Row<'_>) -> rusqlite::Result<Option<KeptResult>> {
    let (task, fence) = (TaskId::from_u64(row.get::<_, i64>(0)? as u64), row.get(1)?);
    Ok(kept(row, 2)?.map(|result| KeptResult { task, fence, result }))
}
