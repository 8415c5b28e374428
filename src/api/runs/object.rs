//! The run object: how a run is shown everywhere.

use std::sync::Arc;

use serde::Serialize;

use crate::model::{DagId, Digest, Json, RunId, RunName, RunRecord, RunState, RunType, Timestamp};

/// A run of a DAG.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Run {
    #[schema(value_type = String, example = "run_01KAQZ3X5T008")]
    id: RunId,
    /// The caller's name for it, unique within the DAG.
    #[schema(value_type = String, example = "manual__2026-11-23T08:00:00+00:00")]
    run_id: RunName,
    #[schema(value_type = String)]
    dag_id: DagId,
    #[schema(value_type = String, example = "sha256:9f86…")]
    dag_version: Digest,
    state: RunState,
    run_type: RunType,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    logical_date: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    data_interval_start: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    data_interval_end: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    queued_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    start_date: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    end_date: Option<Timestamp>,
    /// From its start to its end.
    #[schema(required)]
    duration_ms: Option<f64>,
    /// As it was given.
    #[schema(value_type = Object)]
    conf: Json,
    /// The DAG's params, overridden by `conf`.
    #[schema(value_type = Object)]
    params: Json,
    #[schema(value_type = Option<String>, required)]
    note: Option<Arc<str>>,
}

impl From<&RunRecord> for Run {
    fn from(record: &RunRecord) -> Self {
        let spec = &*record.spec;
        let ended = record.start_date.zip(record.end_date);
        Self {
            id: record.id,
            run_id: spec.run_id.clone(),
            dag_id: spec.dag_id.clone(),
            dag_version: spec.version,
            state: record.state,
            run_type: spec.run_type,
            logical_date: spec.logical_date,
            data_interval_start: spec.data_interval_start,
            data_interval_end: spec.data_interval_end,
            queued_at: record.queued_at,
            start_date: record.start_date,
            end_date: record.end_date,
            duration_ms: ended.map(|(start, end)| end.since(start).as_micros() as f64 / 1_000.0),
            conf: spec.conf.clone(),
            params: spec.params.clone(),
            note: record.note.clone(),
        }
    }
}
