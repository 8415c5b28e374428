//! How a life of the server ends and the next one begins.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tradewind::engine::{Command, Ending, Engine, EngineConfig, HostId, PageRequest};
use tradewind::model::{Outcome, QueueName, RetryAdvice, TaskId, Timestamp};

use super::guests::{Report, any_ending, reported};
use super::store::Store;
use super::world::{Note, World};

impl World {
    pub fn begin(&mut self) {
        if self.profile.local_slots > 0 {
            self.join(self.profile.local_slots, true);
        }
        for _ in 0..self.profile.remote_hosts {
            self.join(1 + self.last_host as u32 % 3, false);
        }
    }

    /// The process dies between two steps. What was on its way to the disk may have reached it.
    pub fn crash(&mut self) {
        if self.random.chance(50) {
            self.land();
        }
        // One of the older tasks may have been the cause.
        self.config.cautious_before = Some(self.engine.ids().next(self.now).as_u64());
        self.next_life("crash", false);
    }

    /// The disk refuses a batch, or nobody can tell whether it took it: the engine
    /// is discarded with all it knows, and nothing is released.
    pub fn commit_fails(&mut self) {
        if self.flight.is_none() {
            return self.commit_goes_on();
        }
        if self.random.chance(30) {
            self.land();
        }
        self.next_life("commit failed", true);
    }

    /// Everything is made durable; then another engine must go on exactly as this one would.
    pub fn restart(&mut self) {
        self.make_durable();
        self.check_fully();
        let page = self.profile.page_size;
        let here = order_of_starts(&mut self.engine, &self.store, page, self.now);
        let runs = self.engine.describe_runs();
        let mut tiny = Engine::load(self.config.clone(), self.store.overview());
        let mut vast = Engine::load(self.vast_config(), self.store.overview());
        for engine in [&mut tiny, &mut vast] {
            load_runs(engine, &self.store, page, self.now);
            assert_eq!(engine.check(), Ok(()), "just after loading");
            for (id, run) in engine.describe_runs() {
                assert_eq!(run, runs[&id], "{id}: the loaded engine sees it otherwise");
            }
        }
        let loaded = order_of_starts(&mut tiny, &self.store, page, self.now);
        assert_eq!(here, loaded, "the loaded engine starts tasks in another order");
        assert_eq!(
            loaded,
            order_of_starts(&mut vast, &self.store, 1_000, self.now),
            "paging changes the order of starts"
        );
        self.next_life("restart", true);
    }

    /// What memory knows, the store knows.
    pub fn make_durable(&mut self) {
        self.complete();
        while self.engine.has_changes() || !self.open.is_empty() {
            self.seal();
            self.complete();
        }
    }

    /// The same engine with all the memory it could wish for.
    fn vast_config(&self) -> EngineConfig {
        let EngineConfig { open_lanes, resident_runs, .. } = self.config;
        EngineConfig { open_lanes, resident_runs, ..EngineConfig::default() }
    }

    fn next_life(&mut self, why: &'static str, hand_back: bool) {
        (self.flight, self.open) = (None, Vec::new());
        self.late_questions.append(&mut self.questions);
        self.late_questions.truncate(16);
        let mut overview = self.store.overview();
        if why == "crash" {
            // Who would have answered has died, too.
            self.late_questions.clear();
        } else {
            overview.last_id = overview.last_id.max(self.engine.ids().last());
        }
        self.paused = self.store.paused.clone();
        self.forget_what_was_not_stored();
        let mut alive = HashSet::new();
        for (host, sim) in std::mem::take(&mut self.hosts) {
            alive.extend(sim.attempts.iter().map(|attempt| (attempt.task, attempt.fence)));
            // Remote guests do not know yet, and report to a server that has forgotten them.
            for attempt in sim.attempts.into_iter().filter(|_| !sim.local) {
                let ending = any_ending(&mut self.random, attempt.told_to_stop, self.now);
                self.echoes.push_back(Report { host, task: attempt.task, fence: attempt.fence, ending, seed: 1 });
            }
        }
        self.echoes.extend(self.uplink.drain(..));
        self.echoes.truncate(64);
        (self.assigned, self.stopping) = Default::default();
        let running: Vec<(TaskId, u32)> = overview.running.iter().map(|row| (row.id, row.fence)).collect();
        for row in &overview.running {
            self.assigned.insert((row.id, row.fence), (HostId::GONE, row.try_number));
        }
        self.note(Note::Life { why, running: running.len() });
        self.engine = Engine::load(self.config.clone(), overview);
        // The runs of what ran are there before it is taken back.
        self.carry_out();
        assert_eq!(self.engine.check(), Ok(()), "just after loading");
        if hand_back && self.random.chance(50) {
            for (task, fence) in running.into_iter().filter(|attempt| alive.contains(attempt)) {
                let ending = Ending::HandedBack { reason: "the server starts anew".into(), pause: Duration::ZERO };
                self.report(Report { host: HostId::GONE, task, fence, ending, seed: 1 });
            }
        }
        self.apply(Command::HostLost { host: HostId::GONE });
        self.begin();
        self.advance();
    }

    /// The host dies with all it runs and all that is on its way to it.
    pub fn lose(&mut self, host: HostId) {
        self.hosts.remove(&host);
        let (gone, left) = std::mem::take(&mut self.uplink).into_iter().partition(|report| report.host == host);
        let gone: Vec<Report> = gone;
        self.uplink = left;
        self.echoes.extend(gone);
        self.apply(Command::HostLost { host });
    }

    /// A guest kills what it runs on: a host, or this very process.
    pub fn kill(&mut self, host: HostId, place: usize) {
        let task = self.hosts[&host].attempts[place].task;
        let reruns = self.store.history(task).map_or(0, |history| history.reruns);
        let kills = self.kills.entry((task, reruns)).or_default();
        *kills += 1;
        // Once without a trace, before it was known to be dangerous; then as often as a task may be lost.
        let bound = 1 + self.config.lost_attempts;
        assert!(*kills <= bound, "{task}: killed its host {kills} times");
        if self.hosts[&host].local { self.crash() } else { self.lose(host) }
    }

    /// Nothing goes wrong any more: everything that was promised must end.
    pub fn drain(&mut self) {
        let mut rounds = 0;
        while self.store.active_len() > 0
            || self.store.runs.active() > 0
            || self.engine.has_changes()
            || self.flight.is_some()
        {
            rounds += 1;
            let left = (self.store.active_len(), self.store.runs.active());
            assert!(rounds < 5_000, "{} tasks and {} runs never end", left.0, left.1);
            self.unblock_runs();
            if self.hosts.values().all(|host| host.draining) {
                self.join(4, true);
            }
            self.hosts.values_mut().for_each(|host| host.receive_all());
            for report in std::mem::take(&mut self.uplink) {
                self.report(report);
            }
            self.guests_succeed();
            self.complete();
            self.seal();
            self.complete();
            let idle = self.hosts.values().all(|host| host.attempts.is_empty() && host.wire.is_empty());
            if let Some(deadline) = self.engine.next_deadline().filter(|_| idle) {
                self.now = self.now.max(deadline);
                self.pass_time(Duration::ZERO);
            }
            self.advance();
            self.check_fully();
        }
        let gauges = self.engine.gauges();
        assert_eq!((gauges.resident, gauges.attempts()), (0, 0), "something is left in memory");
        for id in &self.clients.promised {
            let row = self.store.row(*id).unwrap_or_else(|| panic!("{id}: promised, and lost"));
            assert!(row.state.is_final(), "{id}: promised, and still {}", row.state);
        }
    }

    fn guests_succeed(&mut self) {
        let running: Vec<HostId> = self.hosts.keys().copied().collect();
        for host in running {
            while let Some(attempt) = self.hosts.get(&host).and_then(|found| found.attempts.first()).cloned() {
                if attempt.killer && !attempt.told_to_stop {
                    self.kill(host, 0);
                    break;
                }
                self.hosts.get_mut(&host).expect("it was just found").attempts.remove(0);
                let mut ending = reported(Outcome::Success, RetryAdvice::ByPolicy, self.now);
                attempt.put_output(&mut ending, &mut self.random);
                self.report(Report { host, task: attempt.task, fence: attempt.fence, ending, seed: 1 });
            }
        }
    }
}

/// Gives the engine the runs it asks for.
fn load_runs(engine: &mut Engine, store: &Store, page: usize, now: Timestamp) {
    while let Some(request) = engine.needs_page().filter(|request| matches!(request, PageRequest::Run { .. })) {
        let page = store.page(&request, page);
        engine.apply(Command::PageIn { request, page }, now);
    }
}

/// In which order an engine would start all that is ready, queue by queue. It is of no use afterwards.
fn order_of_starts(
    engine: &mut Engine,
    store: &Store,
    page: usize,
    now: Timestamp,
) -> BTreeMap<QueueName, Vec<TaskId>> {
    engine.apply(Command::HostJoined { host: HostId(u64::MAX), slots: 1_000_000, waiting: 0, local: false }, now);
    while let Some(request) = engine.needs_page() {
        let page = store.page(&request, page);
        engine.apply(Command::PageIn { request, page }, now);
    }
    let mut order: BTreeMap<QueueName, Vec<TaskId>> = BTreeMap::new();
    for assignment in engine.seal(now).starts {
        let spec: &Arc<_> = &assignment.spec;
        order.entry(spec.queue.clone()).or_default().push(assignment.task);
    }
    order
}
