//! What must hold after every command. Checked by the simulation, in any build.

use crate::model::TaskState;

use super::Engine;
use super::command::HostId;
use super::host::Activity;
use super::task::Phase;

impl Engine {
    /// Cheap: what can be told without looking at every task.
    pub fn check_quickly(&self) -> Result<(), String> {
        let room = self.has_room();
        if room && self.ready.has_near() {
            return Err("a ready task waits while a slot is free".into());
        }
        if room && self.needs_page().is_none() && self.ready.hungry(1, true).is_some() {
            return Err("a slot is free, the store has ready tasks, and nobody asks for them".into());
        }
        // One task of every queue, and one that waits for its time, stay near whatever they weigh.
        let too_many = self.near_tasks > self.config.resident_tasks || self.near_bytes > self.config.resident_bytes;
        if too_many && self.near_tasks > self.ready.len() + 1 {
            return Err(format!("{} near tasks of {} bytes are over the bound", self.near_tasks, self.near_bytes));
        }
        // More may compute than there are slots: those that went on after a wait.
        if let Some(host) = self.hosts.values().find(|host| host.attempts() > host.most_attempts()) {
            return Err(format!("{} attempts where there is room for {}", host.attempts(), host.most_attempts()));
        }
        Ok(())
    }

    /// Everything, from the tasks up.
    pub fn check(&self) -> Result<(), String> {
        self.check_quickly()?;
        let (mut near, mut near_bytes, mut deadlines) = (0, 0, 0);
        let mut attempts: Vec<(HostId, Activity)> = Vec::new();
        for (id, task) in &self.tasks {
            let fail = |what: &str| Err(format!("{id} ({:?}): {what}", task.phase));
            if task.tries_used > task.max_tries {
                return fail("more tries than the policy allows");
            }
            if task.near {
                near += 1;
                near_bytes += task.weight();
            }
            match &task.phase {
                Phase::Queued => {
                    let key = task.ready_key(*id);
                    if task.near != self.ready.is_near(task.queue(), &key) {
                        return fail("its mark and its queue disagree on whether it is near");
                    }
                    if !self.ready.contains(task.queue(), &key) {
                        return fail("queued, and in no queue");
                    }
                }
                Phase::Scheduled { due } | Phase::UpForRetry { due } => {
                    if task.near != self.timers.is_near(*due, *id) || !self.timers.contains(*due, *id) {
                        return fail("waits for a moment that no timer knows");
                    }
                }
                Phase::Running { host, deadline, activity, .. } => {
                    attempts.push((*host, *activity));
                    deadlines += usize::from(*host != HostId::GONE);
                    if !self.hosts.contains_key(host) {
                        return fail("runs on a host that is gone");
                    }
                    // Nobody is waited for that is known to be gone.
                    if *host != HostId::GONE && !self.timers.has_deadline(*deadline, *id, task.fence) {
                        return fail("runs without a deadline");
                    }
                }
                Phase::Ended { state, .. } => {
                    if !state.is_final() || task.near {
                        return fail("ended, and yet waits");
                    }
                    // Of an instance of a run somebody may have said so.
                    if *state == TaskState::Success && task.last.is_none() && task.instance.is_none() {
                        return fail("succeeded without an attempt");
                    }
                }
            }
            if !task.near && !matches!(task.phase, Phase::Running { .. }) && task.changed_in <= self.durable_batch {
                return fail("stays in memory though nothing needs it");
            }
        }
        self.check_runs()?;
        attempts.extend(self.orphans.values().map(|orphan| (orphan.host, orphan.activity)));
        self.check_room(&attempts)?;
        if (near, near_bytes) != (self.near_tasks, self.near_bytes)
            || near != self.ready.near_len() + self.timers.near_len()
        {
            return Err(format!("{near} near tasks of {near_bytes} bytes, but counted otherwise"));
        }
        if self.timers.deadlines() != deadlines {
            return Err("a deadline without an attempt".into());
        }
        Ok(())
    }

    /// The room that is taken is that of the attempts there are, orphans included.
    fn check_room(&self, attempts: &[(HostId, Activity)]) -> Result<(), String> {
        for (id, host) in &self.hosts {
            let count = |activity| attempts.iter().filter(|attempt| **attempt == (*id, activity)).count();
            let counted = (count(Activity::Computing), count(Activity::Waiting));
            if counted != (host.computing as usize, host.waiting as usize) {
                return Err(format!("{id:?} has (computing, waiting) = {counted:?}, but counted otherwise: {host:?}"));
            }
        }
        match attempts.iter().find(|(host, _)| !self.hosts.contains_key(host)) {
            Some((host, _)) => Err(format!("an attempt on {host:?}, which is gone")),
            None => Ok(()),
        }
    }
}
