//! The attempts that run now: to stop them, and to read their logs before they end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::model::TaskId;
use crate::sandbox::StopSignal;

use super::log::LogBuffer;

/// Cheap to clone; one for a worker.
#[derive(Clone, Default)]
pub struct LiveAttempts {
    attempts: Arc<Mutex<HashMap<(TaskId, u32), Live>>>,
}

#[derive(Clone)]
pub(super) struct Live {
    pub stop: StopSignal,
    /// Whether our side gave the attempt up, so that its end is not the task's.
    pub handed_back: Arc<AtomicBool>,
    pub log: Arc<LogBuffer>,
}

impl LiveAttempts {
    pub(super) fn add(&self, task: TaskId, fence: u32, live: Live) {
        self.attempts.lock().insert((task, fence), live);
    }

    /// Removes this attempt, and not a later one: after a failed commit its fence may have been given out again.
    pub(super) fn remove(&self, task: TaskId, fence: u32, live: &Live) {
        let mut attempts = self.attempts.lock();
        if attempts.get(&(task, fence)).is_some_and(|found| Arc::ptr_eq(&found.log, &live.log)) {
            attempts.remove(&(task, fence));
        }
    }

    pub(super) fn stop(&self, task: TaskId, fence: u32) {
        let live = self.attempts.lock().get(&(task, fence)).cloned();
        if let Some(live) = live {
            live.stop.stop();
        }
    }

    pub(super) fn hand_back_all(&self) {
        let all: Vec<Live> = self.attempts.lock().values().cloned().collect();
        for live in all {
            live.handed_back.store(true, Ordering::Release);
            live.stop.stop();
        }
    }

    /// What a running attempt has logged so far, as NDJSON. Ask only for a fence
    /// the store knows to be running: before that, nobody may see anything of it.
    pub async fn log(&self, task: TaskId, fence: u32) -> Option<std::io::Result<Vec<u8>>> {
        let log = self.attempts.lock().get(&(task, fence))?.log.clone();
        Some(log.read_so_far().await)
    }
}
