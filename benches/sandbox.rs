//! What a sandbox costs: one task, with nothing to do, in a fresh store.
//!
//! First a table of processor time per task (wall figures suffer from whatever
//! else runs on the machine), then divan's statistics.

use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use rustix::time::{ClockId, clock_gettime};
use tradewind::model::{Digest, Json, Limits, Outcome, TaskId, Timestamp};
use tradewind::sandbox::calibration::Bare;
use tradewind::sandbox::{
    CompiledStore, Job, LogLine, LogSink, Module, NoLog, Sandbox, SandboxSettings, StopSignal, TaskContext, guests,
};

/// Tasks handed to the guest threads at once.
const BATCH: usize = 1_000;

fn main() {
    println!("processor time, µs a task");
    let bare = Bare::new(&guests::noop()).expect("wasmtime");
    report("bare wasmtime, one thread", 100_000, || {
        (0..100_000).for_each(|_| bare.run().expect("an answer"));
    });
    for threads in [1, 2] {
        let house = House::new(threads, &guests::noop());
        let name = format!("sandbox, {threads} guest threads, batches of {BATCH}");
        report(&name, 100 * BATCH, || (0..100).for_each(|_| house.batch(BATCH)));
        report(&format!("sandbox, {threads} guest threads, one by one"), 20_000, || {
            (0..20_000).for_each(|_| house.batch(1));
        });
    }
    let house = House::new(1, &guests::one_line());
    report("sandbox, 1 guest thread, one log line", 100 * BATCH, || (0..100).for_each(|_| house.batch(BATCH)));
    divan::main();
}

fn report(name: &str, tasks: usize, work: impl Fn()) {
    work();
    let best = (0..3)
        .map(|_| {
            let before = clock_gettime(ClockId::ProcessCPUTime);
            let began = std::time::Instant::now();
            work();
            let wall = began.elapsed();
            let after = clock_gettime(ClockId::ProcessCPUTime);
            let cpu = Duration::new(after.tv_sec as u64, after.tv_nsec as u32)
                - Duration::new(before.tv_sec as u64, before.tv_nsec as u32);
            (cpu, wall)
        })
        .min()
        .expect("three rounds");
    let (cpu, wall) = (best.0.as_secs_f64() * 1e6 / tasks as f64, best.1.as_secs_f64() * 1e6 / tasks as f64);
    println!("{name:50} {cpu:6.1} cpu {wall:6.1} wall");
}

#[divan::bench]
fn bare_wasmtime(bencher: Bencher) {
    let bare = Bare::new(&guests::noop()).expect("wasmtime");
    bencher.bench_local(|| bare.run());
}

#[divan::bench(args = [1, 2])]
fn one_by_one(bencher: Bencher, threads: usize) {
    let house = House::new(threads, &guests::noop());
    bencher.bench_local(|| house.batch(1));
}

#[divan::bench(args = [1, 2])]
fn batches(bencher: Bencher, threads: usize) {
    let house = House::new(threads, &guests::noop());
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| house.batch(BATCH));
}

#[divan::bench]
fn one_log_line(bencher: Bencher) {
    let house = House::new(1, &guests::one_line());
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| house.batch(BATCH));
}

/// The whole sandbox, as a worker uses it.
struct House {
    sandbox: Sandbox,
    module: Arc<Module>,
    runtime: tokio::runtime::Runtime,
    job: Box<dyn Fn() -> Job>,
}

impl House {
    fn new(guest_threads: usize, wasm: &[u8]) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let settings = SandboxSettings { guest_threads, ..SandboxSettings::default() };
        let sandbox = Sandbox::new(&settings, runtime.handle()).expect("a sandbox");
        let dir = tempfile::tempdir().expect("a directory");
        let store = CompiledStore::open(dir.path(), sandbox.compatibility(), [0; 32]).expect("a store");
        let file = store.put(Digest::of(wasm), &sandbox.compile(wasm).expect("compiled")).expect("kept");
        let info = runtime.block_on(sandbox.inspect(&file, wasm.len() as u64)).expect("inspected");
        let module = sandbox.load(&file, Arc::new(info)).expect("loaded");
        let (function, input): (Arc<str>, _) = ("run".into(), Json::parse(r#"{"input":""}"#.to_owned()).expect("JSON"));
        let log: Arc<dyn LogSink> =
            if wasm.len() > guests::noop().len() { Arc::new(Counting) } else { Arc::new(NoLog) };
        let job = move || Job {
            function: function.clone(),
            input: input.clone(),
            args: Arc::default(),
            grants: Arc::default(),
            limits: Limits::default(),
            context: TaskContext {
                task_id: TaskId::from_u64(1),
                try_number: 1,
                deadline: Timestamp::from_millis(0),
                run: None,
            },
            log: log.clone(),
            stop: StopSignal::new(),
            on_wait: None,
        };
        Self { sandbox, module, runtime, job: Box::new(job) }
    }

    fn batch(&self, tasks: usize) {
        let tasks: Vec<_> =
            (0..tasks).map(|_| self.sandbox.threads().spawn(self.sandbox.run(&self.module, (self.job)()))).collect();
        self.runtime.block_on(async {
            for task in tasks {
                let ending = task.await.expect("the threads run").expect("an ending");
                assert_eq!(ending.outcome, Outcome::Success);
            }
        });
    }
}

struct Counting;

impl LogSink for Counting {
    fn write(&self, line: LogLine<'_>) {
        divan::black_box(line);
    }

    fn bytes(&self) -> u64 {
        0
    }
}
