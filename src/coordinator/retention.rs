//! Decides when the next bounded step of retention is due.

use std::time::Duration;

use crate::model::{TaskId, Timestamp};
use crate::store::Swept;

use super::writer::Job;

#[derive(Debug, Clone)]
pub struct RetentionSettings {
    /// Ended tasks are kept this long, with their events, logs and artifacts. Default 30 days.
    pub ended_tasks: Duration,
    /// Tasks looked at in one step. Default 500.
    pub step: usize,
    /// Pause between two walks over the store. Default 10 min.
    pub interval: Duration,
    /// How long an idempotency key is remembered. Default 24 h.
    pub keys: Duration,
    /// Where files go that nothing names any more; they are removed elsewhere.
    pub unnamed: Option<tokio::sync::mpsc::UnboundedSender<Swept>>,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            ended_tasks: Duration::from_secs(30 * 24 * 3600),
            step: 500,
            interval: Duration::from_secs(600),
            keys: Duration::from_secs(24 * 3600),
            unnamed: None,
        }
    }
}

/// Pause between two steps of one walk, so that commits go between them.
const STEP_PAUSE: Duration = Duration::from_millis(20);

/// Walks over the store from the oldest task on, step by step, again and again.
pub(super) struct Sweeper {
    settings: RetentionSettings,
    after: TaskId,
    next: Timestamp,
}

impl Sweeper {
    pub(super) fn new(settings: RetentionSettings) -> Self {
        // Not at once: a start has other things to do.
        let next = Timestamp::now() + settings.interval.min(Duration::from_secs(60));
        Self { settings, after: TaskId::from_u64(0), next }
    }

    pub(super) fn next(&self) -> Timestamp {
        self.next
    }

    pub(super) fn due(&mut self, now: Timestamp) -> Option<Job> {
        if now < self.next {
            return None;
        }
        // Until the writer says what became of it.
        self.next = now + self.settings.interval;
        Some(Job::Sweep {
            cutoff: now - self.settings.ended_tasks,
            after: self.after,
            step: self.settings.step,
            keys_cutoff: now - self.settings.keys,
        })
    }

    pub(super) fn swept(&mut self, swept: Swept, now: Timestamp) {
        self.after = swept.next.unwrap_or(TaskId::from_u64(0));
        let goes_on = swept.next.is_some() || swept.more_keys;
        self.next = now + if goes_on { STEP_PAUSE } else { self.settings.interval };
        if let Some(unnamed) = &self.settings.unnamed
            && (!swept.artifacts.is_empty() || !swept.runs.is_empty() || !swept.segments.is_empty())
        {
            // The remover lives as long as the server.
            let _ = unnamed.send(swept);
        }
    }

    pub(super) fn failed(&mut self, now: Timestamp) {
        self.next = now + self.settings.interval;
    }
}
