//! One random step: what it does, and what the engine must answer to it.

use std::sync::Arc;
use std::time::Duration;

use tradewind::engine::{Answer, Command, Earlier, HostId, Once};
use tradewind::model::{TaskId, TaskState};

use super::clients::{Asked, Promise, Submit};
use super::guests::{Report, SimHost, Turn, any_ending};
use super::profile::Action;
use super::world::{Note, World};

impl World {
    pub fn step(&mut self) {
        self.steps += 1;
        let length = Duration::from_micros(self.random.below(300));
        self.pass_time(length);
        let action = self.profile.next_action(&mut self.random);
        self.note(Note::Step(action));
        match action {
            Action::Submit if self.store.active_len() < self.profile.backlog => {
                let submit = self.clients.fresh(&mut self.random);
                self.submit(submit);
            }
            Action::RepeatSubmit => {
                let submit = self.clients.repeat(&mut self.random);
                self.submit(submit);
            }
            Action::Submit | Action::GuestEnds => self.guest_ends(),
            Action::GuestTurns => self.guest_turns(),
            Action::LateTurn => self.late_turn(),
            Action::LateReport => self.late_report(),
            Action::Cancel => self.cancel(),
            Action::Rerun => self.rerun(),
            Action::Trigger if self.store.runs.active() < 20 && self.store.active_len() < self.profile.backlog => {
                self.trigger();
            }
            Action::Trigger => self.guest_ends(),
            Action::Evaluate => self.evaluate(),
            Action::LateAnswer => self.late_answer(),
            Action::CancelRun => self.cancel_run(),
            Action::Clear => self.clear(),
            Action::Pause => self.pause(),
            Action::TimePasses => self.time_passes(),
            Action::Deliver => self.deliver(),
            Action::HostJoins => self.host_joins(),
            Action::HostDrains => self.host_drains(),
            Action::HostIsLost => self.host_is_lost(),
            Action::Commit => self.commit_goes_on(),
            Action::CommitFails => self.commit_fails(),
            Action::Crash => self.crash(),
            Action::Restart => self.restart(),
        }
        self.check_quickly();
        if self.steps.is_multiple_of(64) {
            self.check_fully();
        }
    }

    /// Applies what somebody asked; they are told when the open batch is durable.
    fn ask(&mut self, asked: Asked, command: Command) -> Answer {
        let answer = self.apply(command);
        self.open.push(Promise { asked, answer: answer.clone() });
        answer
    }

    pub fn submit(&mut self, submit: Submit) {
        let id = self.engine.ids().next(self.now);
        let spec = Arc::new(self.clients.spec(&self.profile, &mut self.random, self.now));
        let once = submit.key.map(|key| {
            let earlier = self.store.key(&key).map(|row| Earlier { task: row.task, body: row.body, at: row.at });
            Once { key, body: submit.body, earlier }
        });
        let by = self.clients.by.clone();
        let answer = self.ask(Asked::Submit(submit), Command::Submit { id, spec, once, by });
        match answer {
            Answer::Accepted(accepted) => {
                assert_eq!(accepted, id);
                self.clients.known.push(id);
            }
            Answer::Replayed(_) | Answer::KeyMismatch(_) => {
                assert!(submit.key.is_some(), "{id}: replayed without a key")
            }
            other => panic!("{id}: {other:?} to a submit"),
        }
    }

    pub fn guest_ends(&mut self) {
        let running: Vec<HostId> =
            self.hosts.iter().filter(|(_, host)| !host.attempts.is_empty()).map(|(id, _)| *id).collect();
        if running.is_empty() {
            return self.commit_goes_on();
        }
        let host = *self.random.pick(&running);
        let found = self.hosts.get_mut(&host).expect("it was just found");
        let place = self.random.index(found.attempts.len());
        if found.attempts[place].killer && !found.attempts[place].told_to_stop {
            return self.kill(host, place);
        }
        let attempt = found.attempts.remove(place);
        let mut ending = any_ending(&mut self.random, attempt.told_to_stop, self.now);
        attempt.put_output(&mut ending, &mut self.random);
        let report = Report { host, task: attempt.task, fence: attempt.fence, ending, seed: self.random.next() };
        if self.random.chance(30) {
            self.uplink.push(report);
        } else {
            self.report(report);
        }
    }

    /// Some guest begins to wait, or goes on; its host says so.
    fn guest_turns(&mut self) {
        let guests = self.hosts.iter().flat_map(|(host, found)| (0..found.attempts.len()).map(|place| (*host, place)));
        let guests: Vec<(HostId, usize)> = guests.collect();
        if guests.is_empty() {
            return;
        }
        let (host, place) = *self.random.pick(&guests);
        let found = self.hosts.get_mut(&host).expect("it was just found");
        let attempt = &mut found.attempts[place];
        attempt.waits = !attempt.waits;
        let turn = Turn { host, task: attempt.task, fence: attempt.fence, waits: attempt.waits };
        self.turn(turn);
        if self.turns.len() == 32 {
            self.turns.pop_front();
        }
        self.turns.push_back(turn);
    }

    fn turn(&mut self, turn: Turn) {
        let Turn { host, task, fence, .. } = turn;
        let current = self.is_current(task, fence) && self.owns(host, task, fence);
        let changed = self.engine.has_changes();
        let answer = self.apply(turn.command());
        let expected = if current { Answer::Done } else { Answer::Fenced };
        assert_eq!(answer, expected, "{task}: the answer to a word of a wait under fence {fence}");
        // A wait may let another start; nothing else of it is to be stored.
        assert!(turn.waits || self.engine.has_changes() == changed, "{task}: going on changes nothing");
    }

    /// A word of a wait comes again: as long as the guest is there it says what is true.
    fn late_turn(&mut self) {
        if self.turns.is_empty() {
            return;
        }
        let place = self.random.index(self.turns.len());
        let turn = self.turns[place];
        let attempts = self.hosts.get(&turn.host).map(|found| &found.attempts);
        let guest = attempts.and_then(|all| all.iter().find(|one| (one.task, one.fence) == (turn.task, turn.fence)));
        match guest.map(|guest| guest.waits) {
            Some(waits) => {
                let before = self.engine.gauges();
                self.turn(Turn { waits, ..turn });
                assert_eq!(self.engine.gauges(), before, "{}: said twice, it counts twice", turn.task);
            }
            None => self.turn(turn),
        }
    }

    /// A report arrives: what follows from it, and that nothing follows from it twice.
    pub fn report(&mut self, report: Report) {
        let Report { host, task, fence, ending, seed } = report.clone();
        let current = self.is_current(task, fence) && self.owns(host, task, fence);
        let answer = self.ask(Asked::Report { task, fence }, Command::Report { host, task, fence, ending, seed });
        let expected = if current { Answer::Recorded } else { Answer::Fenced };
        assert_eq!(answer, expected, "{task}: the answer to a report under fence {fence}");
        if self.echoes.len() == 32 {
            self.echoes.pop_front();
        }
        self.echoes.push_back(report);
    }

    fn late_report(&mut self) {
        if !self.uplink.is_empty() && self.random.chance(70) {
            let place = self.random.index(self.uplink.len());
            let report = self.uplink.swap_remove(place);
            self.report(report);
        } else if !self.echoes.is_empty() {
            let place = self.random.index(self.echoes.len());
            let mut report = self.echoes[place].clone();
            if self.random.chance(20) {
                // Somebody else claims to have run it, or claims another fence.
                report.host = HostId(self.random.below(self.last_host + 1));
                report.fence += self.random.below(2) as u32;
                let Report { host, task, fence, .. } = report;
                // Unless it is the truth, or may be: what the open batch starts is not known here yet.
                if self.owns(host, task, fence) || self.engine.place_in_batch(task).is_some() {
                    return;
                }
            }
            self.report(report);
        }
    }

    /// The engine's view of a task, or where it has none the store's; and what the command brings of it.
    fn look_up(&self, id: TaskId) -> (Option<TaskState>, Option<Box<tradewind::model::TaskRecord>>) {
        match self.engine.peek(id) {
            Some(record) => (Some(record.state), None),
            None => {
                let stored = self.store.row(id).cloned().map(Box::new);
                (stored.as_ref().map(|record| record.state), stored)
            }
        }
    }

    fn cancel(&mut self) {
        let id = self.clients.any_task(&mut self.random);
        let (state, stored) = self.look_up(id);
        let waits_in = stored.as_ref().and_then(|record| record.waits_for_its_turn());
        let fence = self.engine.peek(id).map_or(0, |record| record.fence);
        let by = self.clients.by.clone();
        let answer = self.ask(Asked::Cancel { task: id }, Command::Cancel { id, stored, by });
        let expected = match state {
            None => Answer::NotFound,
            Some(TaskState::Scheduled) if waits_in.is_some() => Answer::BelongsTo(waits_in.expect("it waits")),
            Some(TaskState::Running) => Answer::Stopping,
            Some(state) if state.is_final() => Answer::AlreadyEnded,
            Some(_) => Answer::Cancelled,
        };
        assert_eq!(answer, expected, "{id}: the answer to a cancel of what is {state:?}");
        if answer == Answer::Stopping {
            self.stopping.insert((id, fence));
        }
    }

    fn rerun(&mut self) {
        let id = self.clients.any_task(&mut self.random);
        let (state, stored) = self.look_up(id);
        // The id of a task that was lost in a crash may be another's by now.
        let instance = stored.as_deref().cloned().or(self.engine.peek(id)).and_then(|record| record.instance);
        let by = self.clients.by.clone();
        let answer = self.ask(Asked::Rerun { task: id }, Command::Rerun { id, stored, by });
        let expected = match (state, instance) {
            (Some(_), Some(instance)) => Answer::BelongsTo(instance),
            (None, _) => Answer::NotFound,
            (Some(state), None) if state.is_final() => Answer::Done,
            (Some(state), None) => Answer::NotEnded(state),
        };
        assert_eq!(answer, expected, "{id}: the answer to a rerun of what is {state:?}");
    }

    pub fn pass_time(&mut self, length: Duration) {
        self.now = self.now + length;
        self.latest = self.latest.max(self.now);
    }

    fn time_passes(&mut self) {
        let random = &mut self.random;
        let length = match random.below(100) {
            0..40 => Duration::from_micros(random.below(10_000)),
            40..65 => Duration::from_millis(random.below(3_000)),
            65..90 => self.engine.next_deadline().map_or(Duration::ZERO, |deadline| deadline.since(self.now)),
            90..96 => Duration::from_secs(random.below(120)),
            96..98 => Duration::from_secs(random.below(5_000)),
            // Clocks are set back at times.
            _ => {
                self.now = self.now - Duration::from_millis(random.below(2_000));
                Duration::ZERO
            }
        };
        self.pass_time(length);
        if self.random.chance(90) {
            self.advance();
        }
    }

    /// Applies `Advance` until nothing is due: what was paged in may be due too.
    pub fn advance(&mut self) {
        self.apply(Command::Advance);
        while self.engine.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.apply(Command::Advance);
        }
    }

    fn deliver(&mut self) {
        let waiting: Vec<HostId> =
            self.hosts.iter().filter(|(_, host)| !host.wire.is_empty()).map(|(id, _)| *id).collect();
        if waiting.is_empty() {
            return self.guest_ends();
        }
        let host = *self.random.pick(&waiting);
        self.hosts.get_mut(&host).expect("it was just found").receive();
    }

    pub fn join(&mut self, slots: u32, local: bool) {
        self.last_host += 1;
        let host = HostId(self.last_host);
        let waiting = self.random.below(self.profile.waiting + 1) as u32;
        self.hosts.insert(host, SimHost::new(slots, waiting, local));
        self.apply(Command::HostJoined { host, slots, waiting, local });
    }

    fn host_joins(&mut self) {
        let has_local = self.hosts.values().any(|host| host.local && !host.draining);
        if !has_local && self.profile.local_slots > 0 {
            self.join(self.profile.local_slots, true);
        } else if self.hosts.len() <= self.profile.remote_hosts {
            let slots = 1 + self.random.below(3) as u32;
            self.join(slots, false);
        }
    }

    fn any_host(&mut self) -> Option<HostId> {
        let hosts: Vec<HostId> = self.hosts.keys().copied().collect();
        (!hosts.is_empty()).then(|| *self.random.pick(&hosts))
    }

    fn host_drains(&mut self) {
        let Some(host) = self.any_host() else { return self.host_joins() };
        self.hosts.get_mut(&host).expect("it was just found").draining = true;
        self.apply(Command::HostDraining { host });
    }

    fn host_is_lost(&mut self) {
        if let Some(host) = self.any_host() {
            self.lose(host);
        }
    }

    /// A commit is sealed, lands, and is known to have landed, with other steps in between.
    pub fn commit_goes_on(&mut self) {
        match &self.flight {
            None if self.engine.has_changes() || !self.open.is_empty() => self.seal(),
            None => {}
            Some(flight) if !flight.landed && self.random.chance(50) => self.land(),
            Some(_) => self.complete(),
        }
    }
}
