//! Decides what runs, when and where: the scheduler as a pure state machine.
//!
//! No I/O, no clock, no SQL, no wasmtime. A command goes in with the time it is
//! applied at; out come an answer for the one who asked, changes to persist and
//! attempts to start. The coordinator persists the changes of many commands in
//! one transaction and only then releases what others may see.
//!
//! Two rules keep memory bounded without a lost task:
//!
//! * Only what is near to running is *resident*. Ready tasks beyond a queue's
//!   horizon stay in the store and are paged in when the queue runs low.
//! * A task leaves memory only when its last change is durable. So a task that
//!   is not resident is, at that moment, exactly what the store says of it.

mod cancel;
pub mod changes;
pub mod command;
mod dispatch;
pub mod graph;
mod host;
mod invariants;
mod page;
mod paged;
mod park;
mod ready;
mod report;
mod rerun;
#[cfg(test)]
mod scene;
mod submit;
mod task;
mod timers;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::model::ids::IdSource;
use crate::model::{DagId, RunId, RunName, TaskId, TaskRecord, Timestamp};

pub use changes::{
    AttemptRow, Changes, ClearedRows, EventKind, EventRow, ExpansionRow, OnceRow, RunChange, RunEventKind, RunEventRow,
    Sealed, TaskChange,
};

pub use command::{Answer, Assignment, Command, Earlier, Ending, HostId, Once, Page, PageRequest};
use graph::{DagRooms, Evaluation, Run};
use host::{Activity, Host, Orphan};
pub use page::Overview;
pub use ready::ReadyKey;
use ready::ReadyQueues;
use task::Task;
use timers::Timers;

/// Bounds of the engine, each with its default.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Waiting tasks kept in memory; the rest stays in the store. Default 20 000.
    pub resident_tasks: usize,
    /// Bytes of waiting tasks kept in memory, inputs included. Default 64 MiB.
    pub resident_bytes: usize,
    /// A queue with fewer resident tasks and more in the store is paged in. Default 512.
    pub low_water: usize,
    /// Instances of one mapped task, or of a mapped group, that are under way at once; the others are made
    /// when these have ended. Default 1 000.
    pub open_lanes: usize,
    /// Runs under way at once, of all DAGs; more wait. Default 10 000.
    pub resident_runs: usize,
    /// How long after its time-out an attempt's host may take to say so, the loading
    /// of its module included, which may mean to compile it. Default 5 min.
    pub report_grace: Duration,
    /// How long a stopped guest may take to end before its fence is closed without it. Default 2 s.
    pub stop_grace: Duration,
    /// Attempts lost in a row after which a task is given up. Default 3.
    pub lost_attempts: u32,
    /// How long an idempotency key is remembered. Default 24 h.
    pub remember_keys: Duration,
    /// Tasks, and tasks of runs, with an id below this start only after their fence is durable. Set after
    /// a crash: one of them may have caused it, and must leave a trace next time.
    pub cautious_before: Option<u64>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            resident_tasks: 20_000,
            resident_bytes: 64 << 20,
            low_water: 512,
            open_lanes: 1_000,
            resident_runs: 10_000,
            report_grace: Duration::from_secs(300),
            stop_grace: Duration::from_secs(2),
            lost_attempts: 3,
            remember_keys: Duration::from_secs(24 * 3600),
            cautious_before: None,
        }
    }
}

/// The scheduler's state.
pub struct Engine {
    config: EngineConfig,
    tasks: HashMap<TaskId, Task>,
    ready: ReadyQueues,
    timers: Timers,
    hosts: BTreeMap<HostId, Host>,
    /// Attempts whose fence was closed before their host reported: their room is still taken.
    orphans: HashMap<(TaskId, u32), Orphan>,
    /// Keys accepted but not durable yet; afterwards the store knows them.
    recent_keys: HashMap<[u8; 32], OnceRow>,
    /// Waiting tasks that are near, and their bytes: what the residency bounds count.
    near_tasks: usize,
    near_bytes: usize,
    /// How many stayed near when a bound was last met. Nothing is paged in ahead
    /// of need until half of them have gone: it would have to leave again at once.
    full_at: Option<usize>,
    /// The open batch: what has changed since the last `seal`.
    batch: u64,
    durable_batch: u64,
    changes: Changes,
    touched: Vec<TaskId>,
    last_event: u64,
    starts: Vec<Assignment>,
    starts_after_commit: Vec<Assignment>,
    stops: Vec<(HostId, TaskId, u32)>,
    ids: IdSource,
    graph: Graph,
}

/// What the engine knows of runs.
#[derive(Default)]
struct Graph {
    /// Those under way, and those whose last change is not durable.
    runs: HashMap<RunId, Box<Run>>,
    rooms: DagRooms,
    /// Names given to runs that are not durable yet; afterwards the store knows them.
    recent: HashMap<(DagId, RunName), RunId>,
    /// Runs whose tasks depend on the past, by the run before them.
    followers: HashMap<RunId, BTreeSet<RunId>>,
    /// Runs that shall go on, and are only in the store.
    to_fetch: VecDeque<RunId>,
    /// Runs in which something may follow from what happened elsewhere.
    to_look_at: Vec<RunId>,
    may_begin: bool,
    deadlines: BTreeSet<(Timestamp, RunId)>,
    /// Tasks to be stopped because their run is.
    to_stop: Vec<TaskId>,
    touched: Vec<RunId>,
    evaluations: Vec<Evaluation>,
    evaluations_after_commit: Vec<Evaluation>,
}

/// How full the engine is: resident tasks, attempts, slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Tasks in memory.
    pub resident: usize,
    /// Attempts that compute, those included that were given up and are not known to have ended.
    pub computing: u32,
    /// Attempts that wait in a host call, likewise.
    pub waiting: u32,
    /// Slots of all hosts.
    pub slots: u32,
}

impl Gauges {
    /// Attempts under way, whatever they do.
    pub fn attempts(&self) -> u32 {
        self.computing + self.waiting
    }
}

impl Engine {
    /// An empty engine whose events continue after `last_event`, and whose ids after `last_id`.
    pub fn new(config: EngineConfig, last_event: u64, last_id: Option<u64>) -> Self {
        Self {
            config,
            tasks: HashMap::new(),
            ready: ReadyQueues::default(),
            timers: Timers::default(),
            hosts: BTreeMap::new(),
            orphans: HashMap::new(),
            recent_keys: HashMap::new(),
            near_tasks: 0,
            near_bytes: 0,
            full_at: None,
            batch: 1,
            durable_batch: 0,
            changes: Changes::default(),
            touched: Vec::new(),
            last_event,
            starts: Vec::new(),
            starts_after_commit: Vec::new(),
            stops: Vec::new(),
            ids: IdSource::after(last_id),
            graph: Graph::default(),
        }
    }

    /// Gives out the ids of what is submitted.
    pub fn ids(&mut self) -> &mut IdSource {
        &mut self.ids
    }

    /// Applies one command. Everything it causes, successors and starts
    /// included, has happened when this returns.
    pub fn apply(&mut self, command: Command, now: Timestamp) -> Answer {
        let answer = match command {
            Command::Submit { id, spec, once, by } => self.submit(id, spec, once, by, now),
            Command::Report { host, task, fence, ending, seed } => self.report(host, task, fence, ending, seed, now),
            Command::Cancel { id, stored, by } => self.cancel(id, stored, by, now),
            Command::Rerun { id, stored, by } => self.rerun(id, stored, by, now),
            Command::Parked { host, task, fence } => self.turn_to(Activity::Waiting, host, task, fence),
            Command::Resumed { host, task, fence } => self.turn_to(Activity::Computing, host, task, fence),
            Command::HostJoined { host, slots, waiting, local } => self.host_joined(host, slots, waiting, local),
            Command::HostDraining { host } => self.host_draining(host),
            Command::HostLost { host } => self.host_lost(host, now),
            Command::PageIn { request, page } => self.page_in(request, page, now),
            Command::Advance => self.advance(now),
            Command::Trigger(trigger) => self.trigger(*trigger, now),
            Command::NoteRun { id, note } => self.note_run(id, note),
            Command::CancelRun { id, stored, by } => self.cancel_run(id, stored, by, now),
            Command::Clear(clear) => self.clear(*clear, now),
            Command::PauseDag { dag, paused } => self.pause_dag(&dag, paused),
            Command::Evaluated { run, ticket, about, answer } => self.evaluated(run, ticket, about, answer, now),
        };
        self.go_on_with_runs(now);
        self.dispatch(now);
        self.keep_within_bounds();
        answer
    }

    /// When `Advance` has to be applied next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let runs = self.graph.deadlines.first().map(|(deadline, _)| *deadline);
        self.timers.next().into_iter().chain(runs).min()
    }

    /// Which part of the store has to be paged in before anything else happens.
    pub fn needs_page(&self) -> Option<PageRequest> {
        if let Some(request) = self.needs_for_runs() {
            return Some(request);
        }
        let total_full = self.is_full();
        self.ready
            .hungry(self.config.low_water, total_full)
            .map(|(queue, after)| PageRequest::Ready { queue, after })
            .or_else(|| self.timers.hungry(total_full).map(|after| PageRequest::Due { after }))
    }

    /// Attempts to start at once: nobody outside can tell before the next commit.
    pub fn take_starts(&mut self) -> Vec<Assignment> {
        std::mem::take(&mut self.starts)
    }

    /// Questions to answer: nobody outside can tell them before the next commit.
    pub fn take_evaluations(&mut self) -> Vec<Evaluation> {
        std::mem::take(&mut self.graph.evaluations)
    }

    /// Guests to stop: host, task, fence.
    pub fn take_stops(&mut self) -> Vec<(HostId, TaskId, u32)> {
        std::mem::take(&mut self.stops)
    }

    pub fn has_changes(&self) -> bool {
        // Questions wait for the commit of what they ask about, even where that is long done.
        !self.touched.is_empty()
            || !self.graph.touched.is_empty()
            || !self.changes.is_empty()
            || !self.graph.evaluations_after_commit.is_empty()
    }

    /// Whether something of the run, or of a task of it, has changed since the last batch was sealed.
    pub fn has_changes_of(&self, run: RunId) -> bool {
        let is_of_run = |id: &TaskId| self.tasks[id].instance.is_some_and(|instance| instance.run == run);
        self.graph.touched.contains(&run) || self.touched.iter().any(is_of_run)
    }

    /// Where in the open batch's tasks this task will be found, if it has changed.
    pub fn place_in_batch(&self, id: TaskId) -> Option<usize> {
        self.tasks.get(&id).filter(|task| task.changed_in == self.batch).map(|task| task.place_in_batch)
    }

    /// The task as it is now, committed or not. Not for the eyes of others.
    pub fn peek(&self, id: TaskId) -> Option<TaskRecord> {
        self.tasks.get(&id).map(|task| task.record(id))
    }

    pub fn has_run(&self, id: RunId) -> bool {
        self.graph.runs.contains_key(&id)
    }

    pub fn is_resident(&self, id: TaskId) -> bool {
        self.tasks.contains_key(&id)
    }

    /// How full the engine is.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges { resident: self.tasks.len(), ..Gauges::default() };
        for host in self.hosts.values() {
            gauges.computing += host.computing;
            gauges.waiting += host.waiting;
            gauges.slots += host.slots;
        }
        gauges
    }

    /// Whether a task that became ready now would start in the same command.
    pub fn has_room(&self) -> bool {
        self.hosts.values().any(Host::has_room)
    }

    /// Looks a resident task up, or takes in what the store says of one that is not.
    fn adopt(&mut self, id: TaskId, stored: Option<Box<TaskRecord>>) -> Option<&mut Task> {
        match self.tasks.entry(id) {
            Entry::Occupied(resident) => Some(resident.into_mut()),
            Entry::Vacant(place) => {
                let record = stored.filter(|record| record.id == id)?;
                Some(place.insert(Task::from_record(*record)))
            }
        }
    }
}
