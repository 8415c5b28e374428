//! What the sandbox promises, shown with guests that break every rule.

mod endings;
mod limits;
mod modules;
mod threads;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::*;
use crate::model::{Digest, Json, Limits, ModuleInfo, ModuleKind, Outcome, RetryAdvice, Span, TaskId, Timestamp};

/// Owns the timers of all guests in these tests.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("tokio")
});

/// A sandbox, and a directory for what it compiles.
struct House {
    sandbox: Sandbox,
    store: CompiledStore,
    dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self::with(SandboxSettings { guest_threads: 2, ..SandboxSettings::default() })
    }

    fn with(settings: SandboxSettings) -> Self {
        Self::of(Sandbox::new(&settings, RUNTIME.handle()))
    }

    fn of(sandbox: Result<Sandbox, SandboxError>) -> Self {
        let sandbox = sandbox.expect("a sandbox");
        let dir = tempfile::tempdir().expect("a directory");
        let store = CompiledStore::open(dir.path(), sandbox.compatibility(), [1; 32]).expect("a store");
        Self { sandbox, store, dir }
    }

    fn compiled(&self, wasm: &[u8]) -> CompiledFile {
        let code = self.sandbox.compile(wasm).expect("compiled");
        self.store.put(Digest::of(wasm), &code).expect("stored")
    }

    fn inspect(&self, wat: &str) -> Result<ModuleInfo, UploadError> {
        let file = self.compiled(&wat::parse_str(wat).expect("a well-formed text"));
        RUNTIME.block_on(self.sandbox.inspect(&file, 1))
    }

    fn module(&self, wasm: &[u8]) -> Arc<Module> {
        let file = self.compiled(wasm);
        let info = RUNTIME.block_on(self.sandbox.inspect(&file, wasm.len() as u64)).expect("inspected");
        self.sandbox.load(&file, Arc::new(info)).expect("loaded")
    }

    fn guest(&self, wat: &str) -> Arc<Module> {
        self.module(&wat::parse_str(wat).expect("a well-formed text"))
    }

    fn start(&self, module: &Arc<Module>, job: Job) -> GuestTask<Result<Ending, SandboxError>> {
        self.sandbox.threads().spawn(self.sandbox.run(module, job))
    }

    fn run(&self, module: &Arc<Module>, job: Job) -> Ending {
        wait(self.start(module, job)).expect("an ending")
    }
}

fn wait<T>(task: GuestTask<T>) -> T {
    RUNTIME.block_on(task).expect("the guest threads run")
}

const ABUSE: &str = include_str!("abuse.wat");
const WASI: &str = include_str!("wasi.wat");

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

fn job(function: &str, input: &str) -> Job {
    Job {
        function: function.into(),
        input: Json::parse(input.to_owned()).expect("JSON"),
        args: Arc::default(),
        grants: Arc::default(),
        limits: Limits::default(),
        context: TaskContext {
            task_id: TaskId::from_u64(1),
            try_number: 1,
            deadline: Timestamp::from_millis(0),
            run: None,
        },
        log: Arc::new(NoLog),
        stop: StopSignal::new(),
        on_wait: None,
    }
}

impl Job {
    fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    fn log(mut self, log: Arc<dyn LogSink>) -> Self {
        self.log = log;
        self
    }
}

/// Sends every line on, so that a test can wait for one.
struct Lines(Mutex<Sender<(LogStream, LogLevel, String)>>);

fn lines() -> (Arc<Lines>, Receiver<(LogStream, LogLevel, String)>) {
    let (sender, receiver) = channel();
    (Arc::new(Lines(Mutex::new(sender))), receiver)
}

impl LogSink for Lines {
    fn write(&self, line: LogLine<'_>) {
        let _ = self.0.lock().send((line.stream, line.level, line.message.to_owned()));
    }

    fn bytes(&self) -> u64 {
        0
    }
}

struct PanickingLog;

impl LogSink for PanickingLog {
    fn write(&self, _line: LogLine<'_>) {
        panic!("a defect of ours");
    }

    fn bytes(&self) -> u64 {
        0
    }
}
