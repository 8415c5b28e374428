//! The coordinator's thread: takes the mailbox, applies it, commits, releases.

mod clearing;
mod commit;
mod graph;
mod outage;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use crate::engine::{Answer, Command, Ending, Engine, HostId, Once, PageRequest};
use crate::model::variable::Stock;
use crate::model::{Digest, TaskId, Timestamp};
use crate::store::{Batch, CommitError, History};
use crate::worker::LocalWorker;

use super::answers::{Ack, Postman, ReplyTo, Waiters};
use super::evaluator::Evaluator;
use super::retention::Sweeper;
use super::writer::Job;
use super::{
    ChangeError, ChangeReply, CommitFailed, CoordinatorSettings, Message, Readiness, Shared, Submission, SubmitError,
    random_seed,
};

/// How often a failing store is asked whether it works again.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

pub(super) struct Turn {
    settings: CoordinatorSettings,
    shared: Arc<Shared>,
    history: History,
    writer: mpsc::Sender<Job>,
    worker: LocalWorker,
    evaluator: Evaluator,

    engine: Engine,
    host: HostId,
    blocked_modules: HashSet<Digest>,
    /// Submissions taken from the mailbox and not applied: a batch takes only so many.
    backlog: VecDeque<Pending>,
    acks: Vec<Ack>,
    /// What the next batch stores besides the engine's changes.
    pending: Batch,
    clearings: Clearings,
    versions_under_way: VersionsUnderWay,
    /// As they will be when all that was accepted is stored.
    variables: Stock,
    run_waiters: RunWaiters,
    waiters: Waiters,
    postman: Postman,
    sweeper: Sweeper,

    in_flight: Option<InFlight>,
    writer_busy: bool,
    health: Health,
    stop: Option<Stopping>,
}

struct Pending {
    submission: Submission,
    wait: Option<Duration>,
    reply: ReplyTo,
}

enum Health {
    Well,
    /// The store failed: nothing starts, nothing is accepted, until it takes a write again.
    Failing {
        reason: String,
        next_probe: Timestamp,
    },
}

enum Stopping {
    /// Attempts may end until then.
    Draining {
        until: Timestamp,
    },
    /// The rest was told to come back.
    HandingBack {
        until: Timestamp,
    },
    Closing,
    Closed,
}

use clearing::Clearings;
use commit::InFlight;
use graph::{RunWaiters, VersionsUnderWay};

impl Turn {
    pub(super) fn load(
        settings: CoordinatorSettings,
        shared: Arc<Shared>,
        history: History,
        writer: mpsc::Sender<Job>,
        worker: LocalWorker,
        evaluator: Evaluator,
    ) -> Result<Self, CommitError> {
        let engine = Engine::load(settings.engine.clone(), history.overview()?);
        let variables = Stock::of(&history.variables()?);
        let mut turn = Self {
            variables,
            sweeper: Sweeper::new(settings.retention.clone()),
            settings,
            shared,
            history,
            writer,
            worker,
            evaluator,
            engine,
            host: HostId::GONE,
            blocked_modules: HashSet::new(),
            backlog: VecDeque::new(),
            acks: Vec::new(),
            pending: Batch::default(),
            clearings: Clearings::default(),
            versions_under_way: VersionsUnderWay::new(),
            run_waiters: RunWaiters::default(),
            waiters: Waiters::default(),
            postman: Postman::default(),
            in_flight: None,
            writer_busy: false,
            health: Health::Well,
            stop: None,
        };
        let now = Timestamp::now();
        // The runs of what ran have to be there before it is taken back.
        turn.page_in(now)?;
        turn.engine.apply(Command::HostLost { host: HostId::GONE }, now);
        turn.join_host(now);
        turn.shared.readiness.send_replace(Readiness::Ready);
        Ok(turn)
    }

    pub(super) fn run(mut self) {
        let mut letters = Vec::new();
        // The first turn waits for nobody: what the store holds wants to run.
        let mut patience = Some(Duration::ZERO);
        while !matches!(self.stop, Some(Stopping::Closed)) {
            self.shared.mailbox.take(&mut letters, patience);
            let now = Timestamp::now();
            for letter in letters.drain(..) {
                self.receive(letter, now);
            }
            self.carry_out_clearings(now);
            self.admit_backlog(now);
            self.pass_time(now);
            if let Err(error) = self.page_in(now) {
                self.fail(error, now);
            }
            self.release_starts();
            self.write(now);
            self.postman.flush();
            self.publish_gauges();
            patience = self.patience(Timestamp::now());
        }
        self.waiters.release_all(&mut self.postman);
        self.run_waiters.expire(Timestamp::from_micros(i64::MAX));
        self.postman.flush();
        // Whoever wrote after that is told, instead of waiting for ever.
        self.shared.mailbox.close();
    }

    /// How long nothing needs to be done unless a letter arrives.
    fn patience(&self, now: Timestamp) -> Option<Duration> {
        if self.clearings.are_waited_for() {
            // Nothing else is done meanwhile; that a batch is written is a letter.
            return (!self.writer_busy).then_some(Duration::ZERO);
        }
        if !self.backlog.is_empty() && !self.batch_is_full() {
            return Some(Duration::ZERO);
        }
        // What the writer has to do waits for it; its answer is a letter.
        let writer_is_free = !self.writer_busy;
        let health = match &self.health {
            Health::Failing { next_probe, .. } if writer_is_free => Some(*next_probe),
            Health::Failing { .. } | Health::Well => None,
        };
        let sweep = (writer_is_free && self.may_sweep()).then(|| self.sweeper.next());
        let stop = match &self.stop {
            Some(Stopping::Draining { until }) => Some(*until),
            Some(Stopping::HandingBack { until }) if writer_is_free => Some(*until),
            Some(Stopping::HandingBack { .. } | Stopping::Closing | Stopping::Closed) | None => None,
        };
        let timers = self.engine.next_deadline();
        let waiters = [self.waiters.next_deadline(), self.run_waiters.next_deadline()];
        let deadlines = [timers, waiters[0], waiters[1], sweep, health, stop];
        deadlines.into_iter().flatten().min().map(|first| first.since(now))
    }

    fn may_sweep(&self) -> bool {
        self.stop.is_none() && matches!(self.health, Health::Well)
    }

    fn handle(&mut self, letter: Message, now: Timestamp) {
        match letter {
            Message::Submit { submission, wait, reply } => self.backlog.push_back(Pending { submission, wait, reply }),
            Message::SubmitMany { lines, wait, replies } => {
                self.backlog.extend(lines.into_iter().map(|(index, submission)| {
                    let reply = ReplyTo::Line { index, batch: replies.clone() };
                    Pending { submission, wait, reply }
                }));
            }
            Message::Report { host, task, fence, ending } => self.report(host, task, fence, ending, now),
            // Late words are as good as none. Nothing of these is stored, so they alone make no commit.
            Message::Parked { host, task, fence } => {
                self.engine.apply(Command::Parked { host, task, fence }, now);
            }
            Message::Resumed { host, task, fence } => {
                self.engine.apply(Command::Resumed { host, task, fence }, now);
            }
            Message::Cancel { id, by, reply } => {
                self.change(id, reply, now, |stored| Command::Cancel { id, stored, by });
            }
            Message::Rerun { id, by, reply } => self.change(id, reply, now, |stored| Command::Rerun { id, stored, by }),
            Message::ChangeModules { changes, reply } => {
                if let Some(reason) = self.failing() {
                    return drop(reply.send(Err(CommitFailed(reason.to_owned()))));
                }
                self.pending.modules.extend(changes);
                self.acks.push(Ack::Modules { reply });
            }
            Message::BlockModule { digest, reply } => {
                if let Some(reason) = self.failing() {
                    return drop(reply.send(Err(CommitFailed(reason.to_owned()))));
                }
                self.blocked_modules.insert(digest);
                self.acks.push(Ack::Modules { reply });
            }
            Message::UnblockModule { digest } => drop(self.blocked_modules.remove(&digest)),
            Message::Graph(message) => self.handle_graph(message, now),
            Message::Written(written) => self.written(written, now),
            Message::Stop => self.begin_to_stop(now),
        }
    }

    // Submissions

    fn batch_is_full(&self) -> bool {
        self.acks.len() >= self.settings.batch_changes
    }

    fn admit_backlog(&mut self, now: Timestamp) {
        while !self.backlog.is_empty() && !self.batch_is_full() && !self.clearings.are_waited_for() {
            let Some(pending) = self.backlog.pop_front() else { return };
            self.shared.waiting_submissions.fetch_sub(1, Ordering::Relaxed);
            self.submit(pending, now);
        }
    }

    fn submit(&mut self, pending: Pending, now: Timestamp) {
        let Pending { submission: Submission { spec, idempotency, by }, wait, reply } = pending;
        if let Err(error) = self.may_accept(&spec) {
            return self.postman.answer(reply, Err(error));
        }
        let once = match idempotency {
            None => None,
            Some(given) => match self.history.idempotency_key(&given.key) {
                Ok(earlier) => Some(Once { key: given.key, body: given.body, earlier }),
                Err(error) => {
                    let unavailable = SubmitError::Unavailable { reason: error.to_string() };
                    return self.postman.answer(reply, Err(unavailable));
                }
            },
        };
        let id = self.engine.ids().next(now);
        let ack = match self.engine.apply(Command::Submit { id, spec, once, by }, now) {
            Answer::Accepted(id) => {
                let place = self.engine.place_in_batch(id).expect("what was accepted has changed");
                Ack::Accepted { place, wait, reply }
            }
            Answer::Replayed(id) => Ack::Replayed { id, wait, reply },
            Answer::KeyMismatch(id) => {
                let error = match self.key_of(id) {
                    Ok(became) => SubmitError::IdempotencyMismatch { became },
                    Err(error) => SubmitError::Unavailable { reason: error.to_string() },
                };
                Ack::Refused { error, reply }
            }
            other => unreachable!("a submit is not answered by {other:?}"),
        };
        self.acks.push(ack);
    }

    fn may_accept(&self, spec: &crate::model::TaskSpec) -> Result<(), SubmitError> {
        if let Some(reason) = self.failing() {
            return Err(SubmitError::Unavailable { reason: reason.to_owned() });
        }
        if self.stop.is_some() {
            return Err(super::stopping());
        }
        if self.blocked_modules.contains(&spec.module) {
            return Err(SubmitError::ModuleGone(spec.module));
        }
        // A row the store cannot hold would take its whole batch with it.
        let labels: usize = spec.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        let args: usize = spec.args.iter().map(String::len).sum();
        let bytes = spec.input.as_str().len() + spec.terms.grants.bytes() + args + labels;
        if bytes > self.settings.max_task_bytes {
            return Err(SubmitError::TooLarge { bytes: bytes as u64, limit: self.settings.max_task_bytes as u64 });
        }
        Ok(())
    }

    // Everything else that is asked

    fn report(&mut self, host: HostId, task: TaskId, fence: u32, ending: Ending, now: Timestamp) {
        let seed = random_seed();
        match self.engine.apply(Command::Report { host, task, fence, ending, seed }, now) {
            Answer::Recorded => {}
            _ => self.shared.metrics.report_fenced(),
        }
    }

    fn change(
        &mut self,
        id: TaskId,
        reply: ChangeReply,
        now: Timestamp,
        command: impl FnOnce(Option<Box<crate::model::TaskRecord>>) -> Command,
    ) {
        if let Some(reason) = self.failing() {
            return drop(reply.send(Err(ChangeError::Unavailable { reason: reason.to_owned() })));
        }
        // A task that is not resident is exactly what the store says of it.
        let stored = if self.engine.is_resident(id) { Ok(None) } else { self.history.task(id) };
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => return drop(reply.send(Err(ChangeError::Unavailable { reason: error.to_string() }))),
        };
        let as_stored = stored.clone();
        match self.engine.apply(command(stored.map(Box::new)), now) {
            Answer::Cancelled | Answer::Done => {
                let place = self.engine.place_in_batch(id).expect("what was changed is in the batch");
                self.acks.push(Ack::Changed { place, reply });
            }
            Answer::Stopping => {
                let record = Arc::new(self.engine.peek(id).expect("what is being stopped is resident"));
                // The engine closes the fence of a guest that does not stop, so this deadline is never met.
                self.waiters.cancel(record, now + self.settings.engine.stop_grace * 10, reply);
            }
            Answer::AlreadyEnded => {
                let record = as_stored.or_else(|| self.engine.peek(id)).expect("what has ended was found");
                self.acks.push(Ack::ChangeRefused { error: ChangeError::AlreadyEnded(Arc::new(record)), reply });
            }
            Answer::NotEnded(state) => {
                self.acks.push(Ack::ChangeRefused { error: ChangeError::NotEnded(state), reply });
            }
            Answer::NotFound => {
                let error = match self.history.instance_to_come(id) {
                    Ok(Some(instance)) => ChangeError::BelongsTo(instance),
                    Ok(None) => ChangeError::NotFound,
                    Err(error) => ChangeError::Unavailable { reason: error.to_string() },
                };
                drop(reply.send(Err(error)));
            }
            Answer::BelongsTo(instance) => drop(reply.send(Err(ChangeError::BelongsTo(instance)))),
            other => unreachable!("a change is not answered by {other:?}"),
        }
    }

    // Time, pages, starts

    fn pass_time(&mut self, now: Timestamp) {
        if self.engine.next_deadline().is_some_and(|deadline| deadline <= now) && !self.clearings.are_waited_for() {
            self.engine.apply(Command::Advance, now);
        }
        self.waiters.expire(now, &mut self.postman);
        self.run_waiters.expire(now);
        if !self.writer_busy {
            if let Health::Failing { next_probe, .. } = &self.health {
                if *next_probe <= now {
                    self.send(Job::Probe);
                }
            } else if self.may_sweep()
                && !self.engine.has_changes()
                && let Some(job) = self.sweeper.due(now)
            {
                self.send(job);
            }
        }
        match self.stop {
            Some(Stopping::Draining { until }) if until <= now || self.engine.gauges().attempts() == 0 => {
                self.worker.hand_back_all();
                self.stop = Some(Stopping::HandingBack { until: now + Duration::from_secs(2) });
            }
            // A store that fails takes nothing back: what ran is handed back when the next server loads it.
            Some(Stopping::HandingBack { until })
                if until <= now && !self.writer_busy && !matches!(self.health, Health::Well) =>
            {
                self.stop = Some(Stopping::Closing);
                self.send(Job::Close);
            }
            _ => {}
        }
    }

    /// No runnable task waits in the store while a slot is free.
    fn page_in(&mut self, now: Timestamp) -> Result<(), CommitError> {
        while let Some(request) = self.engine.needs_page() {
            let page = match &request {
                PageRequest::Run { id } => self.run_page(*id),
                request => self.history.page(request),
            };
            self.engine.apply(Command::PageIn { request, page: page? }, now);
        }
        Ok(())
    }

    fn release_starts(&mut self) {
        let starts = self.engine.take_starts();
        if !starts.is_empty() {
            self.worker.start(starts);
        }
        self.evaluator.answer(self.engine.take_evaluations());
        for (host, task, fence) in self.engine.take_stops() {
            if host == self.host {
                self.worker.stop(task, fence);
            }
        }
    }

    /// Offers this process's room, under a name that no attempt of before carries.
    fn join_host(&mut self, now: Timestamp) {
        self.host = self.worker.new_life();
        let CoordinatorSettings { slots, waiting, .. } = self.settings;
        self.engine.apply(Command::HostJoined { host: self.host, slots, waiting, local: true }, now);
    }

    // The end

    fn begin_to_stop(&mut self, now: Timestamp) {
        if self.stop.is_none() {
            self.engine.apply(Command::HostDraining { host: self.host }, now);
            self.shared.readiness.send_replace(Readiness::Stopping);
            self.stop = Some(Stopping::Draining { until: now + self.settings.graceful_stop });
        }
    }

    fn publish_gauges(&self) {
        self.shared.metrics.gauges(self.engine.gauges());
    }
}
