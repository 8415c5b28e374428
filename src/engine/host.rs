//! Workers as the engine sees them: their room, and what happens when one is gone.

use std::time::Duration;

use crate::model::{TaskId, Timestamp};

use super::Engine;
use super::command::{Answer, Ending, HostId};
use super::task::Phase;

#[derive(Debug)]
pub(super) struct Host {
    /// Attempts that may compute at once.
    pub slots: u32,
    /// Attempts that may besides wait in a host call.
    pub waiting_room: u32,
    /// Attempts that compute. Those that go on after a wait may make it more than `slots`.
    pub computing: u32,
    /// Attempts that wait in a host call.
    pub waiting: u32,
    /// Its attempts cannot outlive this process.
    pub local: bool,
    pub draining: bool,
}

/// What an attempt does on its host, and so whose room it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    Computing,
    Waiting,
}

/// An attempt whose fence was closed before its host reported its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Orphan {
    pub host: HostId,
    pub activity: Activity,
}

impl Host {
    pub(super) fn new(slots: u32, waiting_room: u32, local: bool) -> Self {
        Self { slots, waiting_room, computing: 0, waiting: 0, local, draining: false }
    }

    /// Stands for every host of a former life, with the attempts they ran.
    pub(super) fn gone(attempts: u32) -> Self {
        Self { computing: attempts, draining: true, ..Self::new(attempts, 0, false) }
    }

    /// Whether another attempt may start here.
    pub(super) fn has_room(&self) -> bool {
        !self.draining && self.computing < self.slots && self.attempts() < self.most_attempts()
    }

    pub(super) fn attempts(&self) -> u32 {
        self.computing + self.waiting
    }

    pub(super) fn most_attempts(&self) -> u32 {
        self.slots.saturating_add(self.waiting_room)
    }

    pub(super) fn enter(&mut self, activity: Activity) {
        *self.count(activity) += 1;
    }

    pub(super) fn leave(&mut self, activity: Activity) {
        let count = self.count(activity);
        *count = count.checked_sub(1).expect("room that is given back was taken");
    }

    fn count(&mut self, activity: Activity) -> &mut u32 {
        match activity {
            Activity::Computing => &mut self.computing,
            Activity::Waiting => &mut self.waiting,
        }
    }
}

impl Engine {
    pub(super) fn host_joined(&mut self, host: HostId, slots: u32, waiting_room: u32, local: bool) -> Answer {
        self.hosts.insert(host, Host::new(slots, waiting_room, local));
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
        self.orphans.retain(|_, orphan| orphan.host != host);
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

    /// An attempt on the host has ended, whatever it did until then.
    pub(super) fn give_back_room(&mut self, host: HostId, activity: Activity) {
        if let Some(found) = self.hosts.get_mut(&host) {
            found.leave(activity);
        }
    }
}
