//! What waits for a moment: tasks for their time, attempts for their deadline.

use std::collections::BTreeSet;

use crate::model::{TaskId, Timestamp};

use super::paged::Paged;

#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Scheduled tasks and tasks between two tries.
    due: Paged<(Timestamp, TaskId)>,
    /// When an attempt's host must have reported: moment, task, fence.
    deadlines: BTreeSet<(Timestamp, TaskId, u32)>,
}

/// Waiting tasks are paged in when fewer than this are near.
const LOW_WATER: usize = 64;

impl Timers {
    /// Announces that the store has tasks that wait for their time.
    pub(super) fn announce(&mut self) {
        self.due = Paged::behind((Timestamp::from_micros(i64::MIN), TaskId::from_u64(0)));
    }

    /// Returns whether the task is near, that is, must stay in memory.
    pub(super) fn wait_until(&mut self, due: Timestamp, id: TaskId) -> bool {
        self.due.insert((due, id))
    }

    pub(super) fn forget(&mut self, due: Timestamp, id: TaskId) {
        self.due.remove(&(due, id));
    }

    pub(super) fn forget_far(&mut self, due: Timestamp, id: TaskId) {
        self.due.forget_far(&(due, id));
    }

    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<TaskId> {
        self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.pop_first().map(|(_, id)| id)
    }

    pub(super) fn set_deadline(&mut self, deadline: Timestamp, id: TaskId, fence: u32) {
        self.deadlines.insert((deadline, id, fence));
    }

    pub(super) fn clear_deadline(&mut self, deadline: Timestamp, id: TaskId, fence: u32) {
        self.deadlines.remove(&(deadline, id, fence));
    }

    pub(super) fn pop_deadline(&mut self, now: Timestamp) -> Option<(TaskId, u32)> {
        self.deadlines.first().filter(|(deadline, ..)| *deadline <= now)?;
        self.deadlines.pop_first().map(|(_, id, fence)| (id, fence))
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        let due = self.due.first().map(|(due, _)| due);
        let deadline = self.deadlines.first().map(|(deadline, ..)| *deadline);
        due.into_iter().chain(deadline).min()
    }

    pub(super) fn evict(&mut self) -> Option<TaskId> {
        self.due.evict_last().map(|(_, id)| id)
    }

    pub(super) fn hungry(&self, full: bool) -> Option<(Timestamp, TaskId)> {
        let enough = if full { 1 } else { LOW_WATER };
        self.due.horizon().filter(|_| self.due.near_len() < enough)
    }

    pub(super) fn page_in(&mut self, keys: &[(Timestamp, TaskId)], up_to: Option<(Timestamp, TaskId)>) -> Vec<TaskId> {
        self.due.page_in(keys, up_to).into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn is_near(&self, due: Timestamp, id: TaskId) -> bool {
        self.due.is_near(&(due, id))
    }

    pub(super) fn contains(&self, due: Timestamp, id: TaskId) -> bool {
        self.due.contains(&(due, id))
    }

    pub(super) fn near_len(&self) -> usize {
        self.due.near_len()
    }

    pub(super) fn has_deadline(&self, deadline: Timestamp, id: TaskId, fence: u32) -> bool {
        self.deadlines.contains(&(deadline, id, fence))
    }

    pub(super) fn deadlines(&self) -> usize {
        self.deadlines.len()
    }
}
