//! DAGs, their versions and variables, as the API shows them.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, Row, params};
use serde::Deserialize;

use crate::dag::definition::Param;
use crate::model::{DagId, Digest, Json, ParamName, Timestamp};

use super::dags::Summary;
use super::reads::{Page, ReadError, Reader};
use super::rows::{digest, json_or, parsed, time};

/// A DAG with what its current version says of it.
#[derive(Debug, Clone)]
pub struct DagRow {
    pub dag_id: DagId,
    pub version: Digest,
    pub is_paused: bool,
    pub description: Option<String>,
    pub tags: BTreeSet<String>,
    pub max_active_runs: u32,
    pub tasks: usize,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A version in the list of its DAG's.
#[derive(Debug, Clone)]
pub struct VersionRow {
    pub version: Digest,
    pub created_at: Timestamp,
    pub created_by: String,
    /// Whether new runs take it.
    pub current: bool,
    seq: u64,
}

/// A version with its content.
#[derive(Debug, Clone)]
pub struct VersionContent {
    pub row: VersionRow,
    pub dag_id: DagId,
    /// Canonical.
    pub definition: Json,
    /// As its author wrote it.
    pub source: String,
}

/// What a run may be given.
#[derive(Debug, Clone)]
pub struct CurrentParams {
    pub version: Digest,
    pub params: BTreeMap<ParamName, Param>,
}

#[derive(Debug, Clone)]
pub struct VariableRow {
    pub key: String,
    pub value: String,
    pub description: Option<String>,
    pub updated_at: Timestamp,
    pub updated_by: String,
}

#[derive(Deserialize)]
struct OnlyParams {
    #[serde(default)]
    params: BTreeMap<ParamName, Param>,
}

const DAGS: &str = "SELECT dag_id, version, is_paused, created_at, updated_at, summary FROM dags";

impl Reader<'_> {
    /// In the order of their names.
    pub fn dags(&self, after: Option<&str>, limit: usize) -> Result<Page<DagRow, String>, ReadError> {
        let sql = format!("{DAGS} WHERE dag_id > ?1 ORDER BY dag_id LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![after.unwrap_or(""), limit as i64 + 1], dag_from_row)?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Page::of(rows, limit, |row| row.dag_id.as_str().to_owned()))
    }

    pub fn dag(&self, dag: &DagId) -> Result<Option<DagRow>, ReadError> {
        let mut statement = self.connection.prepare_cached(&format!("{DAGS} WHERE dag_id = ?1"))?;
        Ok(statement.query_row([dag.as_str()], dag_from_row).optional()?)
    }

    /// The version that new runs of the DAG take, and whether it is paused.
    pub fn dag_standing(&self, dag: &DagId) -> Result<Option<(Digest, bool)>, ReadError> {
        let mut statement = self.connection.prepare_cached("SELECT version, is_paused FROM dags WHERE dag_id = ?1")?;
        Ok(statement.query_row([dag.as_str()], |row| Ok((digest(row, 0)?, row.get(1)?))).optional()?)
    }

    /// What a new run of the DAG may be given.
    pub fn current_params(&self, dag: &DagId) -> Result<Option<CurrentParams>, ReadError> {
        // `CROSS JOIN` keeps the order: the DAG, and then its version by the digest, whatever SQLite believes of their number.
        let mut statement = self.connection.prepare_cached(
            "SELECT version, definition FROM dags CROSS JOIN dag_versions INDEXED BY dag_versions_by_digest ON dag_versions.digest = dags.version
             WHERE dags.dag_id = ?1",
        )?;
        let found = statement.query_row([dag.as_str()], |row| {
            let OnlyParams { params } = json_or(row, 1, || unreachable!("dag_versions.definition is never null"))?;
            Ok(CurrentParams { version: digest(row, 0)?, params })
        });
        Ok(found.optional()?)
    }

    /// The versions of a DAG, newest first; also of one that was deleted.
    pub fn versions(&self, dag: &DagId, before: Option<u64>, limit: usize) -> Result<Page<VersionRow>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, digest, created_at, created_by, digest = (SELECT version FROM dags WHERE dags.dag_id = ?1)
             FROM dag_versions INDEXED BY dag_versions_of_dag
             WHERE dag_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3",
        )?;
        let before = before.map_or(i64::MAX, |seq| seq as i64);
        let rows = statement.query_map(params![dag.as_str(), before, limit as i64 + 1], version_from_row)?;
        Ok(Page::of(rows.collect::<rusqlite::Result<_>>()?, limit, |row: &VersionRow| row.seq))
    }

    pub fn version(&self, wanted: &Digest) -> Result<Option<VersionContent>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, digest, created_at, created_by,
                    digest = (SELECT version FROM dags WHERE dags.dag_id = dag_versions.dag_id),
                    dag_id, definition, source
             FROM dag_versions WHERE digest = ?1",
        )?;
        let found = statement.query_row([wanted.as_bytes()], |row| {
            let definition = super::rows::json(row, 6)?.unwrap_or_else(Json::null);
            Ok(VersionContent { row: version_from_row(row)?, dag_id: parsed(row, 5)?, definition, source: row.get(7)? })
        });
        Ok(found.optional()?)
    }

    /// In the order of their keys.
    pub fn variables(&self, after: Option<&str>, limit: usize) -> Result<Page<VariableRow, String>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key, value, description, updated_at, updated_by FROM variables WHERE key > ?1 ORDER BY key LIMIT ?2",
        )?;
        let rows = statement.query_map(params![after.unwrap_or(""), limit as i64 + 1], variable_from_row)?;
        Ok(Page::of(rows.collect::<rusqlite::Result<_>>()?, limit, |row: &VariableRow| row.key.clone()))
    }

    pub fn variable(&self, key: &str) -> Result<Option<VariableRow>, ReadError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT key, value, description, updated_at, updated_by FROM variables WHERE key = ?1")?;
        Ok(statement.query_row([key], variable_from_row).optional()?)
    }
}

fn dag_from_row(row: &Row<'_>) -> rusqlite::Result<DagRow> {
    let Summary { description, tags, max_active_runs, tasks } =
        json_or(row, 5, || unreachable!("dags.summary is never null"))?;
    Ok(DagRow {
        dag_id: parsed(row, 0)?,
        version: digest(row, 1)?,
        is_paused: row.get(2)?,
        description,
        tags,
        max_active_runs,
        tasks,
        created_at: moment(row, 3)?,
        updated_at: moment(row, 4)?,
    })
}

/// The first five columns. Of a DAG that was deleted no version is current.
fn version_from_row(row: &Row<'_>) -> rusqlite::Result<VersionRow> {
    Ok(VersionRow {
        seq: row.get::<_, i64>(0)? as u64,
        version: digest(row, 1)?,
        created_at: moment(row, 2)?,
        created_by: row.get(3)?,
        current: row.get::<_, Option<bool>>(4)?.unwrap_or(false),
    })
}

fn variable_from_row(row: &Row<'_>) -> rusqlite::Result<VariableRow> {
    Ok(VariableRow {
        key: row.get(0)?,
        value: row.get(1)?,
        description: row.get(2)?,
        updated_at: moment(row, 3)?,
        updated_by: row.get(4)?,
    })
}

fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(time(row, column)?.unwrap_or(Timestamp::from_micros(0)))
}
