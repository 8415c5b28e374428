//! A DAG run: what was asked for, and how far it is.

use std::sync::Arc;

use super::states::words;
use super::{DagId, Digest, Json, RunId, RunName, TaskId, Timestamp};

words! {
    /// Airflow's states of a run, and `cancelled`.
    RunState {
        /// Waits because as many runs of the DAG are under way as may be, or the DAG is paused.
        Queued = 1 "queued",
        Running = 2 "running",
        Success = 3 "success",
        Failed = 4 "failed",
        Cancelled = 5 "cancelled",
    }
}

impl RunState {
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Success | Self::Failed | Self::Cancelled => true,
        }
    }
}

words! {
    /// Why there is a run.
    RunType {
        /// Somebody asked for it.
        Manual = 1 "manual",
        Scheduled = 2 "scheduled",
        Backfill = 3 "backfill",
    }
}

/// What was asked for. Fixed when the run is accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSpec {
    pub dag_id: DagId,
    /// Digest of the DAG version that it runs.
    pub version: Digest,
    /// The caller's name for it, unique within the DAG.
    pub run_id: RunName,
    pub run_type: RunType,
    pub logical_date: Option<Timestamp>,
    pub data_interval_start: Option<Timestamp>,
    pub data_interval_end: Option<Timestamp>,
    /// As it was given; an object.
    pub conf: Json,
    /// The DAG's params, overridden by `conf`; an object.
    pub params: Json,
}

/// A run as it is stored and shown.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    pub id: RunId,
    pub spec: Arc<RunSpec>,
    /// The task of the version's node `n` is this plus `n`, unless it is mapped.
    pub first_task: TaskId,
    pub state: RunState,
    /// How it will end, where it is being stopped.
    pub verdict: Option<RunState>,
    pub queued_at: Timestamp,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub note: Option<Arc<str>>,
}

/// Which instance of which run a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance {
    pub run: RunId,
    /// Its node in the plan of the run's version.
    pub node: u32,
    /// None where it is not mapped.
    pub map_index: Option<u32>,
}
