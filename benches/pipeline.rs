//! The whole path but HTTP: coordinator, store with fsync, sandboxes. What HTTP
//! costs is this figure against that of `tradewind bench`.
//!
//! `cargo bench --bench pipeline`; TASKS=100000 LINES=500 IN_FLIGHT=2000 change the load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tradewind::artifacts::Artifacts;
use tradewind::coordinator::{
    Coordinator, CoordinatorSettings, InputSource, Modules, ModulesSettings, Naming, RetentionSettings, Submission,
};
use tradewind::engine::EngineConfig;
use tradewind::metrics::Metrics;
use tradewind::model::{Json, TaskSpec, TaskState};
use tradewind::sandbox::{CacheBounds, CompiledStore, ModuleCache, Sandbox, SandboxSettings, guests};
use tradewind::store::DataDirectory;
use tradewind::worker::{LiveAttempts, LocalWorker, Segments};

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (tasks, lines, in_flight) = (setting("TASKS", 100_000), setting("LINES", 500), setting("IN_FLIGHT", 4_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir_in(".").expect("a directory on a real disk");
    let data = DataDirectory::open(&directory.path().join("data")).expect("a data directory");
    let settings = CoordinatorSettings {
        engine: EngineConfig::default(),
        slots: 16,
        waiting: 0,
        max_waiting_submissions: 1_000_000,
        batch_changes: setting("BATCH", 2_048),
        max_task_bytes: 8 << 20,
        graceful_stop: Duration::from_secs(5),
        retention: RetentionSettings::default(),
    };
    let metrics = Arc::new(Metrics::default());
    let coordinator = Coordinator::new(&settings, metrics);
    let sandbox = Sandbox::new(&SandboxSettings::default(), runtime.handle()).expect("a sandbox");
    println!("allocator: {}", sandbox.allocator());
    let key = [7; 32];
    let compiled = data.path().join("compiled");
    let compiled = Arc::new(CompiledStore::open(&compiled, sandbox.compatibility(), key).expect("compiled"));
    let artifacts = Artifacts::local(&data.path().join("artifacts")).expect("artifacts");
    drop(data.writer().expect("a schema"));
    let reads = data.reads(2).expect("readers");
    let modules = Modules::new(
        ModulesSettings { incoming: data.path().join("incoming"), max_bytes: 1 << 28, uploads: 1 },
        sandbox.clone(),
        compiled.clone(),
        ModuleCache::new(sandbox.clone(), compiled, CacheBounds::default()),
        artifacts.clone(),
        reads.clone(),
        coordinator.clone(),
    )
    .expect("modules");
    let segments = Segments::open(&data.path().join("logs")).expect("segments");
    let worker = LocalWorker::new(
        sandbox.clone(),
        modules.clone(),
        InputSource::new(reads.clone(), artifacts.clone()),
        artifacts,
        segments,
        coordinator.reports(),
        LiveAttempts::default(),
    );
    let writer = data.writer().expect("a writer");
    let running = coordinator.start(settings, writer, &data, reads, worker).expect("a coordinator");
    for (name, guest) in [("no-op", guests::noop()), ("no-op with a log line", guests::one_line())] {
        let by: Arc<str> = "bench".into();
        let bytes = bytes::Bytes::from(guest);
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes)]);
        let naming = Naming { name: None, by: by.clone() };
        let upload = async { modules.take_in(modules.receive(body).await?, naming, Box::new(|_| {})).await };
        let uploaded = runtime.block_on(upload).expect("an upload");
        let function = uploaded.info.functions[0].name.as_str();
        let input = Json::parse("{\"input\":\"\"}".into()).expect("JSON");
        let spec = Arc::new(TaskSpec::new(uploaded.info.digest, function, input));
        let before = cpu();
        let start = Instant::now();
        runtime.block_on(async {
            let senders = (in_flight / lines).max(1);
            let rounds = tasks / lines / senders;
            let mut load = Vec::new();
            for _ in 0..senders {
                let (coordinator, spec, by) = (coordinator.clone(), spec.clone(), by.clone());
                load.push(tokio::spawn(async move {
                    for _ in 0..rounds {
                        let batch = (0..lines as u32)
                            .map(|n| (n, Submission { spec: spec.clone(), idempotency: None, by: by.clone() }))
                            .collect();
                        let mut answers = coordinator.submit_batch(batch, Some(Duration::from_secs(60))).expect("room");
                        let mut answered = 0;
                        while let Some(piece) = answers.recv().await {
                            for (_, answer) in piece {
                                assert_eq!(answer.expect("an answer").record.state, TaskState::Success);
                                answered += 1;
                            }
                        }
                        assert_eq!(answered, lines);
                    }
                }));
            }
            for sender in load {
                sender.await.expect("a sender");
            }
        });
        let (elapsed, spent) = (start.elapsed(), cpu() - before);
        let done = tasks / lines / (in_flight / lines).max(1) * (in_flight / lines).max(1) * lines;
        println!(
            "{name}: {:.0} tasks/s, {:.1} µs CPU a task",
            done as f64 / elapsed.as_secs_f64(),
            spent.as_secs_f64() * 1e6 / done as f64
        );
    }
    coordinator.stop();
    running.join();
    sandbox.shut_down();
}

/// Time on processors of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
