//! What the scheduler costs by itself: no store, no sandbox, no clock.
//!
//! `cargo bench --bench engine`. Each figure is for a batch of tasks, with the rate of tasks beside it.

use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use tradewind::engine::{Assignment, Command, Ending, Engine, EngineConfig, HostId};
use tradewind::model::ids::IdSource;
use tradewind::model::task::{AttemptLog, AttemptReport};
use tradewind::model::{Digest, Json, Outcome, RetryAdvice, TaskSpec, Timestamp, Usage};

const HOST: HostId = HostId(1);
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn main() {
    divan::main();
}

/// Submitted, started, ended and forgotten, all in one batch: the hot path.
#[divan::bench(args = [1, 100, 1_000])]
fn tasks_from_submit_to_end(bencher: Bencher, tasks: usize) {
    let mut house = House::new(16);
    bencher.counter(ItemsCount::new(tasks)).bench_local(|| {
        for _ in 0..tasks {
            house.submit("default");
            house.end_all();
        }
        house.commit();
    });
}

/// The same with others waiting before them: the cost must not grow with the queue.
#[divan::bench(args = [1_000, 10_000])]
fn tasks_behind_a_queue(bencher: Bencher, queued: usize) {
    let mut house = House::new(1);
    for _ in 0..queued {
        house.submit("default");
    }
    house.commit();
    const TASKS: usize = 100;
    bencher.counter(ItemsCount::new(TASKS)).bench_local(|| {
        for _ in 0..TASKS {
            house.submit("default");
            house.end_one();
        }
        house.commit();
    });
}

/// Slots are shared between queues, one after the other.
#[divan::bench(args = [1, 100])]
fn tasks_of_many_queues(bencher: Bencher, queues: usize) {
    let names: Vec<String> = (0..queues).map(|n| format!("queue-{n}")).collect();
    let mut house = House::new(16);
    const TASKS: usize = 1_000;
    bencher.counter(ItemsCount::new(TASKS)).bench_local(|| {
        for n in 0..TASKS {
            house.submit(&names[n % queues]);
        }
        while house.end_all() > 0 {}
        house.commit();
    });
}

/// An engine with one worker.
struct House {
    engine: Engine,
    ids: IdSource,
    spec: TaskSpec,
    by: Arc<str>,
    running: Vec<Assignment>,
}

impl House {
    fn new(slots: u32) -> Self {
        let mut engine = Engine::new(EngineConfig::default(), 0, None);
        engine.apply(Command::HostJoined { host: HOST, slots, waiting: 0, local: true }, NOW);
        let spec = TaskSpec::new(Digest::of(b"module"), "run", Json::null());
        Self { engine, ids: IdSource::after(None), spec, by: "bench".into(), running: Vec::new() }
    }

    fn submit(&mut self, queue: &str) {
        let spec = TaskSpec { queue: queue.parse().expect("a name"), ..self.spec.clone() };
        let id = self.ids.next(NOW);
        self.engine.apply(Command::Submit { id, spec: Arc::new(spec), once: None, by: self.by.clone() }, NOW);
    }

    fn end_one(&mut self) {
        self.running.extend(self.engine.take_starts());
        if let Some(attempt) = self.running.pop() {
            self.report(attempt);
        }
    }

    /// Ends what runs, and says how many that were.
    fn end_all(&mut self) -> usize {
        self.running.extend(self.engine.take_starts());
        let running = std::mem::take(&mut self.running);
        let ended = running.len();
        running.into_iter().for_each(|attempt| self.report(attempt));
        ended
    }

    fn report(&mut self, attempt: Assignment) {
        let report = AttemptReport {
            outcome: Outcome::Success,
            result: None,
            error: None,
            advice: RetryAdvice::default(),
            log: AttemptLog::Empty,
            usage: Usage::default(),
            started_at: NOW,
            ended_at: NOW,
        };
        let ending = Ending::Reported(Box::new(report));
        self.engine
            .apply(Command::Report { host: HOST, task: attempt.task, fence: attempt.fence, ending, seed: 1 }, NOW);
    }

    fn commit(&mut self) {
        let sealed = self.engine.seal(NOW + Duration::from_millis(1));
        self.engine.committed(sealed.batch, &sealed.changes);
    }
}
