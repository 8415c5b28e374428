//! Task instances and events as rows.

use std::sync::{Arc, LazyLock};

use rusqlite::Row;
use rusqlite::types::Type;

use crate::model::run::Instance;
use crate::model::task::{ArtifactRef, TaskResult, Terms};
use crate::model::{
    Digest, Json, Outcome, QueueName, RunId, TaskError, TaskId, TaskRecord, TaskSpec, TaskState, Timestamp, Usage,
};

/// Inputs longer than this lie in a table of their own.
pub(super) const INLINE_INPUT_BYTES: usize = 1024;

/// The columns `task_from_row` reads, in its order.
pub(super) const TASK_COLUMNS: &str = "tasks.id, state, outcome, module, function, queue, priority_weight, not_before, labels, \
     terms, coalesce(input, (SELECT body FROM inputs WHERE inputs.task = tasks.id)), try_number, max_tries, fence, \
     lost_in_row, due_at, queued_at, start_date, end_date, result, result_digest, result_bytes, error, cpu_us, \
     peak_memory_bytes, host_bytes, log_bytes, tasks.host_calls, last_event, args, run, node, map_index, map_label, note";

/// Most tasks share these, so they share one allocation.
pub(super) fn default_terms() -> &'static Arc<Terms> {
    static DEFAULT: LazyLock<Arc<Terms>> = LazyLock::new(Arc::default);
    &DEFAULT
}

pub(super) fn task_from_row(row: &Row<'_>) -> rusqlite::Result<TaskRecord> {
    let spec = TaskSpec {
        module: digest(row, 3)?,
        function: row.get::<_, String>(4)?.into(),
        queue: parsed::<QueueName>(row, 5)?,
        priority_weight: row.get(6)?,
        not_before: time(row, 7)?,
        labels: json_or(row, 8, Default::default)?,
        terms: match row.get_ref(9)? {
            rusqlite::types::ValueRef::Null => default_terms().clone(),
            _ => Arc::new(json_or(row, 9, Terms::default)?),
        },
        input: json(row, 10)?.unwrap_or_else(Json::null),
        args: json_or(row, 29, Default::default)?,
    };
    let result = match (json(row, 19)?, row.get::<_, Option<i64>>(21)?) {
        (Some(value), _) => Some(TaskResult::Inline(value)),
        (None, Some(bytes)) => {
            Some(TaskResult::Artifact(ArtifactRef { digest: digest(row, 20)?, bytes: bytes as u64 }))
        }
        (None, None) => None,
    };
    Ok(TaskRecord {
        id: TaskId::from_u64(row.get::<_, i64>(0)? as u64),
        instance: instance(row, 30)?,
        label: row.get::<_, Option<String>>(33)?.map(Into::into),
        note: row.get::<_, Option<String>>(34)?.map(Into::into),
        state: state(row, 1)?,
        outcome: outcome(row, 2)?,
        try_number: row.get(11)?,
        max_tries: row.get(12)?,
        fence: row.get(13)?,
        lost_in_row: row.get(14)?,
        due_at: time(row, 15)?,
        queued_at: time(row, 16)?.unwrap_or(Timestamp::from_micros(0)),
        start_date: time(row, 17)?,
        end_date: time(row, 18)?,
        result,
        error: error(row, 22)?,
        usage: usage(row, 23)?,
        last_event: row.get::<_, i64>(28)? as u64,
        spec: Arc::new(spec),
    })
}

/// Which task of which run it is: three columns from `first` on.
fn instance(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Instance>> {
    let Some(run) = row.get::<_, Option<i64>>(first)? else { return Ok(None) };
    let (run, node, map_index) = (RunId::from_u64(run as u64), row.get(first + 1)?, row.get(first + 2)?);
    Ok(Some(Instance { run, node, map_index }))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<TaskState> {
    TaskState::from_code(row.get(column)?).ok_or_else(|| unknown(column, "a state"))
}

pub(super) fn outcome(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Outcome>> {
    let code: Option<i64> = row.get(column)?;
    code.map(|code| Outcome::from_code(code).ok_or_else(|| unknown(column, "an outcome"))).transpose()
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    row.get::<_, [u8; 32]>(column).map(Digest::from_bytes)
}

pub(super) fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Json>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| Json::parse(text).map_err(|error| malformed(column, error))).transpose()
}

pub(super) fn error(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Arc<TaskError>>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map(Arc::new).map_err(|error| malformed(column, error))).transpose()
}

/// Five columns from `first` on.
pub(super) fn usage(row: &Row<'_>, first: usize) -> rusqlite::Result<Usage> {
    let number = |offset| row.get::<_, Option<i64>>(first + offset).map(|n| n.unwrap_or(0) as u64);
    Ok(Usage {
        cpu_us: number(0)?,
        peak_memory_bytes: number(1)?,
        host_bytes: number(2)?,
        log_bytes: number(3)?,
        host_calls: number(4)?,
    })
}

pub(super) fn json_or<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    default: impl FnOnce() -> T,
) -> rusqlite::Result<T> {
    match row.get::<_, Option<String>>(column)? {
        None => Ok(default()),
        Some(text) => serde_json::from_str(&text).map_err(|error| malformed(column, error)),
    }
}

pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| malformed(column, error))
}

pub(super) fn unknown(column: usize, what: &str) -> rusqlite::Error {
    malformed(column, std::io::Error::other(format!("not {what} this version knows")))
}

fn malformed(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
