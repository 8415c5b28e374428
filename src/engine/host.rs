//! Workers as the engine sees them: slots, and what happens when one is gone.

use std::time::Duration;

use crate::model::{TaskId, Timestamp};

use super::Engine;
use super::command::{Answer, Ending, HostId};
use super::task::Phase;

#[derive(Debug)]
pub(super) struct Host {
    pub slots: u32,
    pub busy: u32,
    /// Its attempts cannot outlive this process.
    pub local: bool,
    pub draining: bool,
}

impl Host {
    /// Stands for every host of a former life, with the attempts they ran.
    pub(super) fn gone(attempts: u32) -> Self {
        Self { slots: attempts, busy: attempts, local: false, draining: true }
    }

    pub(super) fn has_room(&self) -> bool {
        !self.draining && self.busy < self.slots
    }
}

impl Engine {
    pub(super) fn host_joined(&mut self, host: HostId, slots: u32, local: bool) -> Answer {
        self.hosts.insert(host, Host { slots, busy: 0, local, draining: false });
        Answer::Done
    }

    pub(super) fn host_draining(&mut self, host: HostId) -> Answer {
        match self.hosts.get_mut(&host) {
            Some(found) => {
                found.draining = true;
                Answer::Done
            }
            None => Answer::NotFound,
        }
    }

    /// Every attempt of the host is lost: back to the queue, at no cost. One that
    /// still waits for its commit has not started, so it was not lost either.
    pub(super) fn host_lost(&mut self, host: HostId, now: Timestamp) -> Answer {
        if self.hosts.remove(&host).is_none() {
            return Answer::NotFound;
        }
        self.orphans.retain(|_, of| *of != host);
        let mut lost: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.phase, Phase::Running { host: on, .. } if on == host))
            .map(|(id, _)| *id)
            .collect();
        lost.sort_unstable();
        for id in lost {
            let ending = if self.has_started(id) {
                Ending::Lost { reason: "its host died".into() }
            } else {
                Ending::HandedBack { reason: "its host died before it started".into(), pause: Duration::ZERO }
            };
            self.conclude(id, ending, 0, now);
        }
        Answer::Done
    }

    /// Whether the running attempt of the task has been let go, and did not only get its slot.
    pub(super) fn has_started(&self, id: TaskId) -> bool {
        match self.tasks.get(&id).map(|task| &task.phase) {
            Some(Phase::Running { starts_after, .. }) => *starts_after <= Some(self.durable_batch),
            _ => false,
        }
    }

    pub(super) fn free_slot(&mut self, host: HostId) {
        if let Some(found) = self.hosts.get_mut(&host) {
            found.busy = found.busy.checked_sub(1).expect("a slot that is freed was taken");
        }
    }
}
