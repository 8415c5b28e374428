//! The engine, the store, the hosts and the clients of one run, and what passes between them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tradewind::dag::Plan;
use tradewind::engine::graph::Evaluation;
use tradewind::engine::{Answer, Assignment, Changes, Command, Engine, EngineConfig, HostId, Page, PageRequest};
use tradewind::model::{DagId, RunId, RunName, TaskId, TaskSpec, Timestamp};

use super::clients::{Clients, Promise};
use super::guests::{Attempt, Message, Report, SimHost, Turn};
use super::profile::{Action, Profile};
use super::random::Random;
use super::store::Store;

pub struct World {
    pub seed: u64,
    pub profile: Profile,
    pub random: Random,
    pub now: Timestamp,
    /// The latest moment there was: `now` may step back.
    pub latest: Timestamp,
    pub engine: Engine,
    /// As of this life: after a crash it names the tasks to be careful with.
    pub config: EngineConfig,
    pub store: Store,
    /// The batch that is being committed while the engine goes on.
    pub flight: Option<Flight>,
    /// To be told when the open batch is durable.
    pub open: Vec<Promise>,
    pub clients: Clients,
    pub hosts: BTreeMap<HostId, SimHost>,
    pub last_host: u64,
    /// Reports on their way, and then copies of old ones, from former lives too.
    pub uplink: Vec<Report>,
    pub echoes: VecDeque<Report>,
    /// Words of waits that were heard once, of former lives too.
    pub turns: VecDeque<Turn>,
    /// What this life has handed out: on which host, as which try.
    pub assigned: HashMap<(TaskId, u32), (HostId, u32)>,
    /// Running attempts whose cancel was answered in this life.
    pub stopping: HashSet<(TaskId, u32)>,
    /// Fences that left this process, in any life.
    pub seen_outside: HashSet<(TaskId, u32)>,
    /// How often a killer has killed since its last submit or rerun.
    pub kills: HashMap<(TaskId, u32), u32>,
    pub plans: Vec<Arc<Plan>>,
    pub triggers: u64,
    /// Runs that were accepted, durable or not.
    pub runs: Vec<RunId>,
    pub names: HashMap<(DagId, RunName), RunId>,
    pub paused: HashSet<DagId>,
    /// Questions nobody has answered yet, and some that were.
    pub questions: Vec<Evaluation>,
    pub late_questions: Vec<Evaluation>,
    notes: VecDeque<(u64, Timestamp, Note)>,
    pub steps: u64,
}

/// A sealed batch on its way to the disk.
pub struct Flight {
    pub batch: u64,
    pub changes: Changes,
    pub starts: Vec<Assignment>,
    pub evaluations: Vec<Evaluation>,
    pub promises: Vec<Promise>,
    /// It is on the disk, which the engine does not know yet.
    pub landed: bool,
}

/// What is printed when a run fails.
#[derive(Debug)]
#[expect(dead_code, reason = "read by Debug only")]
pub enum Note {
    Step(Action),
    Applied { verb: &'static str, task: Option<TaskId>, fence: Option<u32>, answer: Answer },
    Start { host: HostId, task: TaskId, fence: u32, at_once: bool },
    Stop { host: HostId, task: TaskId, fence: u32 },
    Page { request: PageRequest, rows: usize },
    Sealed { batch: u64, tasks: usize, events: usize, starts: usize },
    Landed { batch: u64 },
    Durable { batch: u64 },
    Life { why: &'static str, running: usize },
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let profile = Profile::of(&mut random);
        let clients = Clients::new(&profile, &mut random);
        let start = Timestamp::from_millis(1_000_000_000);
        let spec = |random: &mut Random| TaskSpec { not_before: None, ..clients.spec(&profile, random, start) };
        let specs: Vec<_> = (0..8).map(|_| Arc::new(spec(&mut random))).collect();
        let plans: Vec<Arc<Plan>> = match profile.dag_tasks {
            0 => Vec::new(),
            most => (0..4).map(|number| super::plans::plan(&mut random, number, most, &specs)).collect(),
        };
        Self {
            seed,
            engine: Engine::new(profile.config.clone(), 0, None),
            config: profile.config.clone(),
            now: start,
            latest: start,
            store: Store::new(&plans),
            plans,
            triggers: 0,
            runs: Vec::new(),
            names: HashMap::new(),
            paused: HashSet::new(),
            questions: Vec::new(),
            late_questions: Vec::new(),
            flight: None,
            open: Vec::new(),
            clients,
            hosts: BTreeMap::new(),
            last_host: 0,
            uplink: Vec::new(),
            echoes: VecDeque::new(),
            turns: VecDeque::new(),
            assigned: HashMap::new(),
            stopping: HashSet::new(),
            seen_outside: HashSet::new(),
            kills: HashMap::new(),
            notes: VecDeque::new(),
            steps: 0,
            random,
            profile,
        }
    }

    pub fn note(&mut self, note: Note) {
        if self.notes.len() == 90 {
            self.notes.pop_front();
        }
        self.notes.push_back((self.steps, self.now, note));
    }

    /// Applies a command and carries out all that follows at once, as the coordinator does.
    pub fn apply(&mut self, command: Command) -> Answer {
        let (verb, task, fence) = match &command {
            Command::Submit { id, .. } => ("submit", Some(*id), None),
            Command::Report { task, fence, .. } => ("report", Some(*task), Some(*fence)),
            Command::Parked { task, fence, .. } => ("parked", Some(*task), Some(*fence)),
            Command::Resumed { task, fence, .. } => ("resumed", Some(*task), Some(*fence)),
            Command::Cancel { id, .. } => ("cancel", Some(*id), None),
            Command::Rerun { id, .. } => ("rerun", Some(*id), None),
            Command::HostJoined { .. } => ("host joined", None, None),
            Command::HostDraining { .. } => ("host draining", None, None),
            Command::HostLost { .. } => ("host lost", None, None),
            Command::PageIn { .. } => ("page in", None, None),
            Command::Trigger(_) => ("trigger", None, None),
            Command::CancelRun { .. } => ("cancel run", None, None),
            Command::Clear(_) => ("clear", None, None),
            Command::PauseDag { .. } => ("pause", None, None),
            Command::Evaluated { .. } => ("evaluated", None, None),
            Command::NoteRun { .. } => ("note", None, None),
            Command::Advance => ("advance", None, None),
        };
        let answer = self.engine.apply(command, self.now);
        self.note(Note::Applied { verb, task, fence, answer: answer.clone() });
        self.carry_out();
        answer
    }

    /// Starts, pages and stops, until the engine asks for nothing more.
    pub fn carry_out(&mut self) {
        self.start_at_once();
        let mut rounds = 0;
        while let Some(request) = self.engine.needs_page() {
            let limit = self.profile.page_size;
            let mut page = self.store.page(&request, limit);
            let rows = match &mut page {
                Page::Tasks { rows, complete } => {
                    // A store that reads no further than the page does not know that it was the last.
                    *complete = *complete && (rows.len() < limit || self.random.chance(50));
                    rows.len()
                }
                Page::Runs { ids, complete } => {
                    *complete = *complete && (ids.len() < limit || self.random.chance(50));
                    ids.len()
                }
                Page::Run(_) => 1,
            };
            self.note(Note::Page { request: request.clone(), rows });
            self.engine.apply(Command::PageIn { request, page }, self.now);
            self.start_at_once();
            rounds += 1;
            assert!(rounds < 1_000, "the engine asks for pages without end");
        }
        self.take_questions();
        self.pass_stops();
        self.check_quickly();
    }

    fn start_at_once(&mut self) {
        for assignment in self.engine.take_starts() {
            self.check_start(&assignment, true);
            self.check_order(&assignment);
            self.assigned.insert((assignment.task, assignment.fence), (assignment.host, assignment.try_number));
            self.hand_out(&assignment, true);
        }
    }

    /// Lets the host have its assignment: at once where it is in this process, by wire otherwise.
    pub fn hand_out(&mut self, assignment: &Assignment, at_once: bool) {
        let Assignment { host, task, fence, .. } = *assignment;
        self.note(Note::Start { host, task, fence, at_once });
        let Some(found) = self.hosts.get_mut(&host) else { return };
        if !found.local {
            assert!(self.seen_outside.insert((task, fence)), "{task}: fence {fence} was given out twice");
        }
        found.wire.push_back(Message::Start(Attempt::of(assignment)));
        if found.local {
            found.receive_all();
        }
        // While one waits for its commit, another may go on after a wait.
        assert!(!at_once || found.computing() <= found.slots as usize, "{task}: starts where no slot is free");
    }

    pub fn pass_stops(&mut self) {
        for (host, task, fence) in self.engine.take_stops() {
            self.note(Note::Stop { host, task, fence });
            let Some(found) = self.hosts.get_mut(&host) else { continue };
            found.wire.push_back(Message::Stop(task, fence));
            if found.local {
                found.receive_all();
            }
        }
    }

    /// Closes the open batch and sends it to the disk.
    pub fn seal(&mut self) {
        let sealed = self.engine.seal(self.now);
        let promises = std::mem::take(&mut self.open);
        for assignment in &sealed.starts {
            self.assigned.insert((assignment.task, assignment.fence), (assignment.host, assignment.try_number));
        }
        let (batch, starts, evaluations) = (sealed.batch, sealed.starts, sealed.evaluations);
        let (tasks, events) = (sealed.changes.tasks.len(), sealed.changes.events.len());
        self.note(Note::Sealed { batch, tasks, events, starts: starts.len() });
        self.flight = Some(Flight { batch, changes: sealed.changes, starts, evaluations, promises, landed: false });
    }

    /// The batch reaches the disk, though nobody knows yet.
    pub fn land(&mut self) {
        let Some(flight) = self.flight.as_mut().filter(|flight| !flight.landed) else { return };
        flight.landed = true;
        self.store.commit(&flight.changes, self.config.remember_keys, self.config.lost_attempts);
        for event in &flight.changes.events {
            let Some(attempt) = &event.attempt else { continue };
            if let Some((_, try_number)) = self.assigned.remove(&(event.task, attempt.fence)) {
                assert_eq!(event.try_number, try_number, "{}: the try that fence {} was", event.task, attempt.fence);
            }
        }
        let batch = flight.batch;
        self.note(Note::Landed { batch });
    }

    /// The engine learns that the batch is durable; everything that waited for it is released.
    pub fn complete(&mut self) {
        self.land();
        let Some(flight) = self.flight.take() else { return };
        self.note(Note::Durable { batch: flight.batch });
        self.engine.committed(flight.batch, &flight.changes);
        self.questions.extend(flight.evaluations);
        for promise in flight.promises {
            self.check_promise(&promise);
        }
        for assignment in &flight.starts {
            self.check_start(assignment, false);
            self.hand_out(assignment, false);
        }
        self.carry_out();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} ({}), step {}; the last notes:", self.seed, self.profile.name, self.steps);
            for (step, now, note) in &self.notes {
                eprintln!("  {step} {now} {note:?}");
            }
            let again = "cargo test --release --test simulation";
            eprintln!("again: TRADEWIND_SIMULATION_SEED={} {again}", self.seed);
        }
    }
}
