//! What must hold of engine, store and hosts together.

use std::collections::HashSet;

use tradewind::engine::{Answer, Assignment, HostId, ReadyKey};
use tradewind::model::{TaskId, TaskState};

use super::clients::{Asked, Promise};
use super::guests::{Attempt, Message};
use super::world::World;

impl World {
    /// After every step.
    pub fn check_quickly(&self) {
        if let Err(what) = self.engine.check_quickly() {
            panic!("{what}");
        }
    }

    /// Every now and then, and at the end.
    pub fn check_fully(&self) {
        if let Err(what) = self.engine.check() {
            panic!("{what}");
        }
        self.check_against_store();
        self.check_waiting();
        for host in self.hosts.values() {
            let on_the_way = host.wire.iter().filter_map(|message| match message {
                Message::Start(attempt) => Some(attempt),
                Message::Stop(..) => None,
            });
            for attempt in host.attempts.iter().chain(on_the_way) {
                let Attempt { task, fence, .. } = attempt;
                let wanted = self.is_current(*task, *fence) && !self.stopping.contains(&(*task, *fence));
                assert!(wanted || host.will_stop(attempt), "{task}: nobody stops the attempt with fence {fence}");
            }
        }
    }

    /// Those that wait are counted, and beside them at most those whose end is on its way.
    fn check_waiting(&self) {
        let guests = self.hosts.values().flat_map(|host| &host.attempts);
        let waiting = guests.filter(|attempt| attempt.waits).count();
        let counted = self.engine.gauges().waiting as usize;
        assert!(
            (waiting..=waiting + self.uplink.len()).contains(&counted),
            "{waiting} wait, and {counted} are counted"
        );
    }

    /// What is not being changed is in memory as it is in the store, or not at all.
    fn check_against_store(&self) {
        let in_flight: HashSet<TaskId> =
            self.flight.iter().flat_map(|flight| &flight.changes.tasks).map(|change| change.record.id).collect();
        let room = self.engine.has_room();
        for row in self.store.active() {
            let id = row.id;
            let Some(resident) = self.engine.peek(id) else {
                assert!(!in_flight.contains(&id), "{id}: left memory before its change is durable");
                assert!(row.state != TaskState::Running, "{id}: runs, and the engine does not know it");
                assert!(row.state != TaskState::Queued || !room, "{id}: waits in the store while a slot is free");
                continue;
            };
            assert!(resident.state != TaskState::Queued || !room, "{id}: waits while a slot is free");
            if !in_flight.contains(&id) && self.engine.place_in_batch(id).is_none() {
                assert_eq!(resident, *row, "{id}: memory and store differ, and no change is under way");
            }
        }
    }

    /// Whether the fence owns its task.
    pub fn is_current(&self, task: TaskId, fence: u32) -> bool {
        self.engine.peek(task).is_some_and(|record| record.state == TaskState::Running && record.fence == fence)
    }

    pub fn owns(&self, host: HostId, task: TaskId, fence: u32) -> bool {
        self.assigned.get(&(task, fence)).is_some_and(|(owner, _)| *owner == host)
    }

    /// An attempt that may start now.
    pub fn check_start(&self, assignment: &Assignment, at_once: bool) {
        let Assignment { host, task, fence, .. } = *assignment;
        assert!(assignment.spec.not_before.is_none_or(|due| due <= self.latest), "{task}: starts before its time");
        if at_once {
            assert!(self.hosts[&host].local, "{task}: leaves this process before its fence is durable");
            let age = assignment.instance.as_ref().map_or(task.as_u64(), |instance| instance.run.as_u64());
            assert!(self.config.cautious_before.is_none_or(|before| age >= before), "{task}: starts without a trace");
        } else {
            let durable = self.store.row(task).map_or(0, |row| row.fence);
            assert!(fence <= durable, "{task}: fence {fence} is given out while {durable} is durable");
        }
    }

    /// Nothing that was ready and goes first was passed over.
    pub fn check_order(&self, assignment: &Assignment) {
        let spec = &assignment.spec;
        let key = ReadyKey::new(spec.priority_weight, assignment.task);
        for id in self.store.ready_before(&spec.queue, key) {
            let waits = self.engine.peek(id).is_none_or(|record| record.state == TaskState::Queued);
            assert!(!waits, "{}: starts before {id}", assignment.task);
        }
        for id in self.clients.known.iter().rev().take(8) {
            let Some(record) = self.engine.peek(*id) else { continue };
            if record.state == TaskState::Queued && record.spec.queue == spec.queue {
                assert!(
                    ReadyKey::new(record.spec.priority_weight, *id) > key,
                    "{}: starts before {id}",
                    assignment.task
                );
            }
        }
    }

    /// What a client is told stands in the store.
    pub fn check_promise(&mut self, promise: &Promise) {
        let stored =
            |id: TaskId| self.store.row(id).unwrap_or_else(|| panic!("{id}: {promise:?}, and it is not stored"));
        let ended =
            |id| stored(id).state.is_final() || self.store.history(id).is_some_and(|history| history.reruns > 0);
        match (promise.asked, &promise.answer) {
            (Asked::Submit(submit), Answer::Accepted(id)) => {
                stored(*id);
                let remembered =
                    submit.key.is_none_or(|key| self.store.key(&key).is_some_and(|row| row.body == submit.body));
                assert!(remembered, "{id}: its key is not stored");
                self.clients.promised.push(*id);
            }
            (Asked::Submit(_), Answer::Replayed(id) | Answer::KeyMismatch(id)) => drop(stored(*id)),
            (Asked::Report { task, fence }, Answer::Recorded) => {
                let ended = self.store.history(task).map_or(0, |history| history.ended_fence);
                assert!(ended >= fence, "{task}: the end of fence {fence} is not stored");
            }
            (Asked::Cancel { task }, Answer::Cancelled | Answer::AlreadyEnded) => {
                assert!(ended(task), "{task}: cancelled, and yet open")
            }
            (Asked::Rerun { task }, Answer::Done) => {
                assert!(
                    self.store.history(task).is_some_and(|history| history.reruns > 0),
                    "{task}: its rerun is not stored"
                )
            }
            (Asked::Trigger, Answer::RunAccepted(run) | Answer::RunExists(run)) => {
                assert!(self.store.runs.state(*run).is_some(), "{run}: accepted, and not stored")
            }
            (Asked::CancelRun { run }, Answer::Cancelled | Answer::AlreadyEnded) => {
                let ended = self.store.runs.state(run).is_some_and(|state| state.is_final());
                assert!(ended, "{run}: cancelled, and yet open")
            }
            _ => {}
        }
    }
}
