//! DAGs, their versions and variables, as the coordinator writes and reads them.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::dag::Definition;
use crate::dag::definition::Settings;
use crate::model::variable::{Variable, Variables};
use crate::model::{DagId, Digest, RunState, Timestamp};

use super::commit::{CommitError, as_json, why};
use super::load::History;
use super::reads::{ReadError, Reader};
use super::retention::forget_versions;
use super::rows::{digest, unknown};

/// A change of what DAGs or variables there are.
#[derive(Debug, Clone)]
pub enum DagChange {
    /// New runs take this version from here on.
    PutVersion {
        version: Digest,
        definition: Arc<Definition>,
        source: Arc<str>,
        at: Timestamp,
        by: Arc<str>,
    },
    Pause {
        dag: DagId,
        paused: bool,
        at: Timestamp,
    },
    /// Its versions stay as long as a run of it does.
    Delete {
        dag: DagId,
    },
    /// None takes it away.
    SetVariable {
        key: String,
        value: Option<Variable>,
        at: Timestamp,
        by: Arc<str>,
    },
}

/// What a list of DAGs says of a definition.
#[derive(Serialize, Deserialize)]
pub(super) struct Summary {
    pub description: Option<String>,
    pub tags: BTreeSet<String>,
    pub max_active_runs: u32,
    /// How many there are.
    pub tasks: usize,
}

impl Summary {
    fn of(definition: &Definition) -> Self {
        let Settings { description, tags, max_active_runs, .. } = &definition.settings;
        Self {
            description: description.clone(),
            tags: tags.clone(),
            max_active_runs: *max_active_runs,
            tasks: definition.tasks.len(),
        }
    }
}

pub(super) fn write_dag(connection: &Connection, change: &DagChange) -> rusqlite::Result<()> {
    match change {
        DagChange::PutVersion { version, definition, source, at, by } => {
            put_version(connection, *version, definition, source, *at, by)?;
            connection.execute(
                "INSERT INTO dags (dag_id, version, is_paused, created_at, updated_at, summary)
                 VALUES (?1, ?2, 0, ?3, ?3, ?4)
                 ON CONFLICT (dag_id) DO UPDATE SET version = ?2, updated_at = ?3, summary = ?4",
                params![
                    definition.dag_id.as_str(),
                    version.as_bytes(),
                    at.as_micros(),
                    as_json(&Summary::of(definition))
                ],
            )
        }
        DagChange::Pause { dag, paused, at } => connection.execute(
            "UPDATE dags SET is_paused = ?2, updated_at = ?3 WHERE dag_id = ?1",
            params![dag.as_str(), paused, at.as_micros()],
        ),
        DagChange::Delete { dag } => {
            let deleted = connection.execute("DELETE FROM dags WHERE dag_id = ?1", [dag.as_str()])?;
            forget_versions(connection, dag.as_str())?;
            Ok(deleted)
        }
        DagChange::SetVariable { key, value: Some(variable), at, by } => connection.execute(
            "INSERT INTO variables (key, value, description, updated_at, updated_by) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (key) DO UPDATE SET value = ?2, description = ?3, updated_at = ?4, updated_by = ?5",
            params![key, variable.value, variable.description, at.as_micros(), &**by],
        ),
        DagChange::SetVariable { key, value: None, .. } => {
            connection.execute("DELETE FROM variables WHERE key = ?1", [key])
        }
    }
    .map(drop)
}

fn put_version(
    connection: &Connection,
    version: Digest,
    definition: &Definition,
    source: &str,
    at: Timestamp,
    by: &str,
) -> rusqlite::Result<()> {
    // A version that comes back keeps its place in the history, and the text it has now.
    let seq: i64 = connection.query_row(
        "INSERT INTO dag_versions (dag_id, digest, definition, source, created_at, created_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (digest) DO UPDATE SET source = ?4 RETURNING seq",
        params![
            definition.dag_id.as_str(),
            version.as_bytes(),
            definition.canonical_json(),
            source,
            at.as_micros(),
            by
        ],
        |row| row.get(0),
    )?;
    let mut insert =
        connection.prepare_cached("INSERT OR IGNORE INTO dag_modules (digest, version) VALUES (?1, ?2)")?;
    for task in &definition.tasks {
        insert.execute(params![task.work.module.as_bytes(), seq])?;
    }
    Ok(())
}

/// The definition of a version.
pub(super) fn definition(connection: &Connection, version: &Digest) -> rusqlite::Result<Option<Definition>> {
    let mut statement = connection.prepare_cached("SELECT definition FROM dag_versions WHERE digest = ?1")?;
    let text: Option<String> = statement.query_row([version.as_bytes()], |row| row.get(0)).optional()?;
    let read = |text: String| serde_json::from_str(&text).map_err(|_| unknown(0, "a definition of a DAG"));
    text.map(read).transpose()
}

fn variables(connection: &Connection) -> rusqlite::Result<Variables> {
    let mut statement = connection.prepare_cached("SELECT key, value FROM variables")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

impl History {
    /// The version that new runs take, and whether the DAG is paused.
    pub fn current_version(&self, dag: &DagId) -> Result<Option<(Digest, bool)>, CommitError> {
        self.connection
            .prepare_cached("SELECT version, is_paused FROM dags WHERE dag_id = ?1")
            .and_then(|mut statement| {
                statement.query_row([dag.as_str()], |row| Ok((digest(row, 0)?, row.get(1)?))).optional()
            })
            .map_err(why)
    }

    pub fn definition(&self, version: &Digest) -> Result<Option<Definition>, CommitError> {
        definition(&self.connection, version).map_err(why)
    }

    /// Runs of the DAG that have not ended, as far as they are stored.
    pub fn active_runs(&self, dag: &DagId) -> Result<u64, CommitError> {
        let (queued, running) = (RunState::Queued.code(), RunState::Running.code());
        self.connection
            .prepare_cached(
                "SELECT count(*) FROM runs INDEXED BY runs_active
                 WHERE state IN (?1, ?2) AND dag_id = ?3 AND end_date IS NULL",
            )
            .and_then(|mut statement| {
                statement.query_row(params![queued, running, dag.as_str()], |row| row.get::<_, i64>(0))
            })
            .map(|count| count as u64)
            .map_err(why)
    }

    pub fn variables(&self) -> Result<Variables, CommitError> {
        variables(&self.connection).map_err(why)
    }
}

/// Versions that are looked at for each DAG that shall be found: one DAG may have many.
const VERSIONS_A_DAG: usize = 100;

impl Reader<'_> {
    pub fn definition(&self, version: &Digest) -> Result<Option<Definition>, ReadError> {
        Ok(definition(self.connection, version)?)
    }

    /// Some DAGs with a version that names the module, at most `limit`.
    pub fn dags_that_name(&self, module: &Digest, limit: usize) -> Result<Vec<DagId>, ReadError> {
        // In two steps, because of a few versions SQLite would rather read all.
        let mut versions =
            self.connection.prepare_cached("SELECT version FROM dag_modules WHERE digest = ?1 LIMIT ?2")?;
        let mut name = self.connection.prepare_cached("SELECT dag_id FROM dag_versions WHERE seq = ?1")?;
        let most = (limit * VERSIONS_A_DAG) as i64;
        let versions = versions.query_map(params![module.as_bytes(), most], |row| row.get::<_, i64>(0))?;
        let dags = versions.map(|version| name.query_row([version?], |row| super::rows::parsed::<DagId>(row, 0)));
        let dags: BTreeSet<DagId> = dags.collect::<rusqlite::Result<_>>()?;
        Ok(dags.into_iter().take(limit).collect())
    }
}
