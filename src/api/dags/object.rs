//! How DAGs and their versions are shown.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{DagId, Digest, Json, Timestamp};
use crate::store::dag_reads::{DagRow, VersionContent, VersionRow};

/// A DAG.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Dag {
    #[schema(value_type = String)]
    dag_id: DagId,
    /// The version that new runs take.
    #[schema(value_type = String, example = "sha256:9f86…")]
    pub version: Digest,
    is_paused: bool,
    #[schema(required)]
    description: Option<String>,
    tags: BTreeSet<String>,
    /// Null: it runs when it is triggered.
    #[schema(value_type = Option<Value>, required)]
    schedule: Option<Json>,
    max_active_runs: u32,
    /// How many it has.
    tasks: usize,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it got another version, or was paused or unpaused.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<DagRow> for Dag {
    fn from(row: DagRow) -> Self {
        let DagRow { dag_id, version, is_paused, description, tags, max_active_runs, tasks, created_at, updated_at } =
            row;
        let schedule = None;
        Self { dag_id, version, is_paused, description, tags, schedule, max_active_runs, tasks, created_at, updated_at }
    }
}

/// A DAG with the content of its current version.
#[derive(Serialize, utoipa::ToSchema)]
pub struct WholeDag {
    #[serde(flatten)]
    pub dag: Dag,
    /// Canonical: defaults resolved, modules named by their digests.
    #[schema(value_type = Object)]
    pub definition: Json,
    /// As its author wrote it.
    pub source: String,
}

/// A version of a DAG.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Version {
    #[schema(value_type = String, example = "sha256:9f86…")]
    version: Digest,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    /// Whether new runs take it.
    current: bool,
}

impl From<VersionRow> for Version {
    fn from(row: VersionRow) -> Self {
        let (version, current) = (row.version, row.current);
        Self { version, created_at: row.created_at, created_by: row.created_by, current }
    }
}

/// A version of a DAG with its content.
#[derive(Serialize, utoipa::ToSchema)]
pub struct WholeVersion {
    #[schema(value_type = String)]
    dag_id: DagId,
    #[serde(flatten)]
    version: Version,
    /// Canonical: defaults resolved, modules named by their digests.
    #[schema(value_type = Object)]
    definition: Json,
    /// As its author wrote it.
    source: String,
}

impl From<VersionContent> for WholeVersion {
    fn from(content: VersionContent) -> Self {
        let VersionContent { row, dag_id, definition, source } = content;
        Self { dag_id, version: row.into(), definition, source }
    }
}

/// What became of a DAG that was sent.
#[derive(Serialize, utoipa::ToSchema)]
pub struct AppliedDag {
    #[schema(value_type = String)]
    pub dag_id: DagId,
    #[schema(value_type = String, example = "sha256:9f86…")]
    pub version: Digest,
    /// Whether new runs took another version before, or there was no such DAG; of a dry run, whether it would be so.
    pub created: bool,
    /// Whether there was a DAG of this name before.
    pub existed: bool,
    /// Whether nothing was changed, as was asked for.
    pub dry_run: bool,
    /// How many it has.
    pub tasks: usize,
    pub is_paused: bool,
    /// The file it is in, where files were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}
