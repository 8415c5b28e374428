//! What the sandbox promises, shown with guests that break every rule.

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

#[test]
fn a_function_answers_with_its_value() {
    let house = House::new();
    let ending = house.run(&house.module(&guests::noop()), job("run", r#"{"input": ""}"#));
    assert_eq!((ending.outcome, ending.result, ending.error), (Outcome::Success, Some(json("\"\"")), None));
    assert_eq!(ending.usage.peak_memory_bytes, 65536);
    assert!(ending.usage.cpu_us > 0);
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

#[test]
fn an_error_value_is_the_tasks_failure() {
    let house = House::new();
    let ending = house.run(&house.guest(ABUSE), job("fail", "{}"));
    let error = ending.error.expect("an error");
    assert_eq!((ending.outcome, ending.result), (Outcome::Failed, None));
    assert_eq!((error.message.as_str(), error.data), ("no coffee", Some(json("\"no coffee\""))));
}

#[test]
fn an_endless_loop_ends_with_its_wall_time() {
    let house = House::new();
    let module = house.guest(ABUSE);
    let ending =
        house.run(&module, job("spin", "{}").limits(|limits| limits.execution_timeout = Span::from_millis(30)));
    assert_eq!(ending.outcome, Outcome::TimedOut);
    assert!(ending.error.expect("an error").message.contains("execution_timeout of 30ms"));
}

#[test]
fn an_endless_loop_ends_with_its_cpu_time() {
    let house = House::new();
    let ending =
        house.run(&house.guest(ABUSE), job("spin", "{}").limits(|limits| limits.cpu_time = Span::from_millis(20)));
    assert_eq!(ending.outcome, Outcome::TimedOut);
    assert!(ending.error.expect("an error").message.contains("cpu_time of 20ms"));
    assert!((20_000..60_000).contains(&ending.usage.cpu_us), "{} µs", ending.usage.cpu_us);
}

#[test]
fn a_waiting_guest_ends_with_its_wall_time() {
    let house = House::new();
    let sleep = job("sleep", r#"{"nanoseconds": 3600000000000}"#)
        .limits(|limits| limits.execution_timeout = Span::from_millis(30));
    let ending = house.run(&house.guest(WASI), sleep);
    assert_eq!(ending.outcome, Outcome::TimedOut);
    assert!(ending.usage.cpu_us < 30_000, "waiting costs no processor: {} µs", ending.usage.cpu_us);
}

#[test]
fn time_limits_of_any_size_are_harmless() {
    let house = House::new();
    let module = house.guest(WASI);
    let noop = house.module(&guests::noop());
    for zero in [
        job("run", r#"{"input": ""}"#).limits(|limits| limits.execution_timeout = Span::ZERO),
        job("run", r#"{"input": ""}"#).limits(|limits| limits.cpu_time = Span::ZERO),
    ] {
        assert_eq!(house.run(&noop, zero).outcome, Outcome::TimedOut);
    }
    for nanoseconds in ["0", "1", "18446744073709551615"] {
        let sleep = job("sleep", &format!(r#"{{"nanoseconds": {nanoseconds}}}"#)).limits(|limits| {
            limits.execution_timeout = Span::MAX;
            limits.cpu_time = Span::MAX;
        });
        let (log, said) = lines();
        let sleep = sleep.log(log);
        let stop = sleep.stop.clone();
        let task = house.start(&module, sleep);
        said.recv().expect("it has started");
        if nanoseconds.len() > 1 {
            stop.stop();
        }
        let outcome = wait(task).expect("an ending").outcome;
        assert!(matches!(outcome, Outcome::Success | Outcome::Cancelled), "{outcome}");
    }
}

#[test]
fn a_cancelled_guest_ends_within_100_ms() {
    let house = House::new();
    let module = house.guest(WASI);
    for (function, input) in [("spin", "{}"), ("sleep", r#"{"nanoseconds": 3600000000000}"#)] {
        let (log, said) = lines();
        let job = job(function, input).log(log);
        let stop = job.stop.clone();
        let task = house.start(&module, job);
        said.recv().expect("it has started");
        let stopped_at = Instant::now();
        stop.stop();
        let ending = wait(task).expect("an ending");
        assert_eq!(ending.outcome, Outcome::Cancelled, "{function}");
        assert!(stopped_at.elapsed() < Duration::from_millis(100), "{function}: {:?}", stopped_at.elapsed());
    }
}

#[test]
fn an_attempt_cancelled_before_it_starts_never_runs() {
    let house = House::new();
    let (log, said) = lines();
    let job = job("spin", "{}").log(log);
    job.stop.stop();
    assert_eq!(house.run(&house.guest(WASI), job).outcome, Outcome::Cancelled);
    assert!(said.try_recv().is_err());
}

#[test]
fn memory_is_refused_beyond_the_limit_and_the_trap_is_named_by_its_cause() {
    let house = House::new();
    let module = house.guest(ABUSE);
    for function in ["memory-bomb", "table-bomb"] {
        let bomb = job(function, "{}").limits(|limits| limits.memory_bytes = 700_000);
        let ending = house.run(&module, bomb);
        assert_eq!(ending.outcome, Outcome::OutOfMemory, "{function}");
        assert!(ending.usage.peak_memory_bytes <= 700_000, "{function}");
        assert!(ending.error.expect("an error").message.contains("memory_bytes of 700000"), "{function}");
    }
    // A table is bounded even where memory is not.
    assert_eq!(house.run(&module, job("table-bomb", "{}")).outcome, Outcome::OutOfMemory);
    // Less than its first page: refused before it runs.
    let tiny = job("modest", "{}").limits(|limits| limits.memory_bytes = 1);
    assert_eq!(house.run(&module, tiny).outcome, Outcome::OutOfMemory);
}

#[test]
fn a_guest_that_lives_with_less_memory_succeeds() {
    let house = House::new();
    assert_eq!(house.run(&house.guest(ABUSE), job("modest", "{}")).outcome, Outcome::Success);
}

#[test]
fn deep_recursion_traps() {
    let house = House::new();
    let ending = house.run(&house.guest(ABUSE), job("recurse", r#"{"n": 0}"#));
    assert_eq!(ending.outcome, Outcome::Trapped);
    let error = ending.error.expect("an error");
    assert!(error.message.contains("stack"), "{}", error.message);
    assert_eq!(error.backtrace.len(), 32);
}

#[test]
fn a_trap_shows_where_it_happened() {
    let house = House::new();
    let error = house.run(&house.guest(ABUSE), job("trap", "{}")).error.expect("an error");
    assert!(error.message.contains("unreachable"), "{}", error.message);
    let names: Vec<&str> = error.backtrace.iter().filter_map(|frame| frame.split(' ').next()).collect();
    assert_eq!(names[..2], ["inner", "outer"]);
}

#[test]
fn an_output_beyond_the_limit_is_refused_not_copied() {
    let house = House::new();
    let module = house.guest(ABUSE);
    let large = |bytes: u32| {
        job("large", &format!(r#"{{"length": {bytes}}}"#)).limits(|limits| limits.output_bytes = 1_000_000)
    };
    assert_eq!(house.run(&module, large(1_000)).outcome, Outcome::Success);
    assert_eq!(house.run(&module, large(2_000_000)).outcome, Outcome::OutputTooLarge);
    // More than the host would ever copy.
    assert_eq!(house.run(&module, large(100_000_000)).outcome, Outcome::OutputTooLarge);
}

#[test]
fn an_answer_that_cannot_be_read_is_a_trap() {
    let house = House::new();
    assert_eq!(house.run(&house.guest(ABUSE), job("wild", "{}")).outcome, Outcome::Trapped);
}

#[test]
fn what_a_guest_prints_reaches_its_log_line_by_line() {
    let house = House::new();
    let (log, said) = lines();
    assert_eq!(house.run(&house.guest(WASI), job("print", "{}").log(log)).outcome, Outcome::Success);
    let lines: Vec<_> = said.try_iter().collect();
    let expected = ["first", "second", "third"].map(|line| (LogStream::Stdout, LogLevel::Info, line.to_owned()));
    assert_eq!(lines, expected);
}

#[test]
fn a_guest_that_exits_has_failed_with_its_code() {
    let house = House::new();
    let ending = house.run(&house.guest(WASI), job("exit", "{}"));
    assert_eq!((ending.outcome, ending.error.and_then(|error| error.exit_code)), (Outcome::Failed, Some(1)));
}

#[test]
fn a_full_pool_waits() {
    let house = House::with(SandboxSettings { slots: 1, guest_threads: 2, ..SandboxSettings::default() });
    let sleeper = house.guest(WASI);
    let noop = house.module(&guests::noop());
    let (log, said) = lines();
    let room = pool::places(&SandboxSettings { slots: 1, ..SandboxSettings::default() });
    let sleepers: Vec<_> = (0..room)
        .map(|_| {
            let job = job("sleep", r#"{"nanoseconds": 3600000000000}"#).log(log.clone());
            let stop = job.stop.clone();
            let task = house.start(&sleeper, job);
            said.recv().expect("it has started");
            (stop, task)
        })
        .collect();
    RUNTIME.block_on(async {
        let mut waiting = pin!(house.sandbox.run(&noop, job("run", r#"{"input": ""}"#)));
        poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending(), "there is no room");
            Poll::Ready(())
        })
        .await;
        let cancelled_while_waiting = job("run", r#"{"input": ""}"#);
        cancelled_while_waiting.stop.stop();
        let ending = house.sandbox.run(&noop, cancelled_while_waiting).await.expect("an ending");
        assert_eq!(ending.outcome, Outcome::Cancelled);
        sleepers[0].0.stop();
        assert_eq!(waiting.await.expect("an ending").outcome, Outcome::Success);
    });
    for (stop, task) in sleepers {
        stop.stop();
        assert_eq!(wait(task).expect("an ending").outcome, Outcome::Cancelled);
    }
}

/// Notes every word about a wait.
#[derive(Default)]
struct Heard(Mutex<Vec<&'static str>>);

impl WaitListener for Heard {
    fn parked(&self) {
        self.0.lock().push("parked");
    }

    fn resumed(&self) {
        self.0.lock().push("resumed");
    }
}

#[test]
fn it_is_told_when_a_guest_waits_and_when_it_computes_again() {
    let house = House::new();
    let module = house.guest(WASI);
    for (function, input, expected) in [
        ("print", "{}", &[][..]),
        // Gives way at the end of each slice, which is no wait.
        ("spin", "{}", &[]),
        ("sleep", r#"{"nanoseconds": 0}"#, &[]),
        // It goes on for less than a slice.
        ("sleep", r#"{"nanoseconds": 20000000}"#, &["parked"]),
        ("sleep-and-spin", r#"{"nanoseconds": 20000000}"#, &["parked", "resumed"]),
    ] {
        let heard = Arc::new(Heard::default());
        let mut job = job(function, input).limits(|limits| limits.cpu_time = Span::from_millis(30));
        job.on_wait = Some(heard.clone());
        house.run(&module, job);
        assert_eq!(*heard.0.lock(), expected, "{function}");
    }
}

#[test]
fn a_panic_of_ours_is_an_error_of_that_attempt_alone() {
    let house = House::with(SandboxSettings { guest_threads: 1, ..SandboxSettings::default() });
    let module = house.module(&guests::one_line());
    let panicking = job("run", r#"{"input": ""}"#).log(Arc::new(PanickingLog));
    match wait(house.start(&module, panicking)) {
        Err(SandboxError::Panicked(message)) => assert_eq!(message, "a defect of ours"),
        other => panic!("{other:?}"),
    }
    assert_eq!(house.run(&module, job("run", r#"{"input": ""}"#)).outcome, Outcome::Success);
}

#[test]
fn endless_loops_do_not_keep_short_tasks_from_running() {
    let house = House::new();
    let module = house.guest(WASI);
    let noop = house.module(&guests::noop());
    let (log, said) = lines();
    let loops: Vec<_> = (0..14)
        .map(|_| {
            let job = job("spin", "{}").log(log.clone());
            let stop = job.stop.clone();
            (stop, house.start(&module, job))
        })
        .collect();
    for _ in 0..14 {
        said.recv().expect("all of them start");
    }
    let mut took: Vec<Duration> = (0..200)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(house.run(&noop, job("run", r#"{"input": ""}"#)).outcome, Outcome::Success);
            started.elapsed()
        })
        .collect();
    took.sort();
    for (stop, _) in &loops {
        stop.stop();
    }
    for (_, task) in loops {
        assert_eq!(wait(task).expect("an ending").outcome, Outcome::Cancelled);
    }
    assert!(took[198] < Duration::from_millis(50), "p50 {:?}, p99 {:?}", took[100], took[198]);
}

#[test]
fn guests_under_way_are_dropped_at_shut_down() {
    let house = House::new();
    let module = house.guest(WASI);
    let (log, said) = lines();
    let tasks = [("spin", "{}"), ("sleep", r#"{"nanoseconds": 3600000000000}"#)].map(|(function, input)| {
        let task = house.start(&module, job(function, input).log(log.clone()));
        said.recv().expect("it has started");
        task
    });
    house.sandbox.shut_down();
    for (number, task) in tasks.into_iter().enumerate() {
        if number == 0 {
            assert!(RUNTIME.block_on(task).is_none(), "the loop was in a queue and is dropped with it");
        } else {
            drop(task);
        }
    }
}

fn sdk(version: &str, schema: &str) -> String {
    let length: String = (schema.len() as u32).to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect();
    include_str!("sdk.wat")
        .replace("VERSION", version)
        .replace("SCHEMA_LENGTH", &length)
        .replace("SCHEMA_TEXT", &schema.replace('"', "\\22"))
}

#[test]
fn a_module_of_any_1_x_of_the_sdk_world_is_asked_for_its_tasks_and_runs() {
    let house = House::new();
    for version in ["1.0.0", "1.7.3"] {
        let module = house.guest(&sdk(version, r#"{"type":"string"}"#));
        assert_eq!(module.info().kind, ModuleKind::Sdk, "{version}");
        let greet = module.info().function("greet").expect("the task it lists");
        assert_eq!((greet.input_schema.as_str(), greet.docs.as_str()), (r#"{"type":"string"}"#, "Hi"));
        assert!(module.check_input("greet", &json("\"x\"")).is_ok());
        assert_eq!(module.check_input("greet", &json("1")).expect_err("a problem").len(), 1);
        assert!(module.check_input("other", &json("1")).is_err());

        let echoed = house.run(&module, job("greet", "\"x\""));
        assert_eq!((echoed.outcome, echoed.result), (Outcome::Success, Some(json("\"x\""))));
        let failed = house.run(&module, job("greet", "\"f\""));
        assert_eq!((failed.outcome, failed.advice), (Outcome::Failed, RetryAdvice::After(Duration::from_millis(7))));
        assert_eq!(failed.error.expect("an error").message, "not now");
        let skipped = house.run(&module, job("greet", "\"s\""));
        assert_eq!((skipped.outcome, skipped.error.expect("a reason").message.as_str()), (Outcome::Skipped, "not now"));
    }
}

#[test]
fn a_task_with_a_schema_that_reaches_outside_is_refused() {
    let house = House::new();
    for schema in [r#"{"$ref":"http://127.0.0.1:1/x"}"#, r#"{"type":7}"#, "{"] {
        match house.inspect(&sdk("1.0.0", schema)) {
            Err(UploadError::Refused(refused)) => assert_eq!(refused.code, "invalid_descriptors", "{refused}"),
            other => panic!("{schema}: {other:?}"),
        }
    }
}

#[test]
fn a_module_that_is_asked_for_its_tasks_is_bounded_in_time_memory_and_text() {
    let house = House::new();
    let list = r#"(func (export "list-tasks") (result i32) (i32.const 16))"#;
    let lists = |body: &str| {
        let changed = format!(r#"(func (export "list-tasks") (result i32) {body} (i32.const 16))"#);
        sdk("1.0.0", "{}").replace(list, &changed)
    };
    let endless = lists("(loop $again (br $again))");
    // 64 MiB are 1 024 pages, and two are there.
    let greedy = lists("(if (i32.eq (memory.grow (i32.const 1023)) (i32.const -1)) (then unreachable))");
    let modest = lists("(if (i32.eq (memory.grow (i32.const 1022)) (i32.const -1)) (then unreachable))");
    let long = sdk("1.0.0", "{}")
        .replace("\\02\\00\\00\\00\" \"\\48", "\\01\\00\\05\\00\" \"\\48")
        .replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 10)");
    for (wat, said) in
        [(&endless, "longer than a second"), (&greedy, "failed when asked"), (&long, "larger than 262144 bytes")]
    {
        match house.inspect(wat) {
            Err(UploadError::Refused(refused)) => {
                assert_eq!(refused.code, "invalid_descriptors", "{refused}");
                assert!(refused.reason.contains(said), "{refused}");
            }
            other => panic!("{said}: {other:?}"),
        }
    }
    assert!(house.inspect(&modest).is_ok());
}

#[test]
fn a_pattern_of_a_schema_takes_linear_time() {
    let house = House::new();
    let module = house.guest(&sdk("1.0.0", r#"{"type":"string","pattern":"^(a+)+$"}"#));
    let hostile = json(&format!("\"{}!\"", "a".repeat(50_000)));
    assert_eq!(module.check_input("greet", &hostile).expect_err("it does not match").len(), 1);
    // What could take any time is no pattern here.
    assert!(house.inspect(&sdk("1.0.0", r#"{"pattern":"(?=a)a"}"#)).is_err());
}

/// What a 1.9.0 of the guest contract may look like: the same, and more.
#[test]
fn a_component_built_for_1_0_runs_on_a_host_of_1_9() {
    let house = House::new();
    let engine = &house.sandbox.machine().engine;
    let mut linker = wasmtime::component::Linker::<()>::new(engine);
    let mut log = linker.instance("tradewind:task/log@1.9.0").expect("an instance");
    log.func_new("write", |_, _, _, _| Ok(())).expect("defined");
    log.func_new("write-fields", |_, _, _, _| Ok(())).expect("defined");
    let component = wasmtime::component::Component::new(engine, guests::one_line()).expect("compiled");
    assert!(linker.instantiate_pre(&component).is_ok());
}

#[test]
fn functions_that_cannot_be_called_are_listed_with_the_reason() {
    let house = House::new();
    let info = house
        .inspect(
            r#"(component
                (core module $m (func (export "f")) (func (export "g") (result i32) (i32.const 0)))
                (core instance $i (instantiate $m))
                (type $r' (resource (rep i32)))
                (export $r "r" (type $r'))
                (func $f (canon lift (core func $i "f")))
                (func $g (result (own $r)) (canon lift (core func $i "g")))
                (instance $iface (export "f" (func $f)))
                (export "my:pkg/iface@1.2.0" (instance $iface))
                (export "g" (func $g)))"#,
        )
        .expect("described");
    let names: Vec<_> =
        info.functions.iter().map(|function| (function.name.as_str(), function.not_callable.is_some())).collect();
    assert!(names.contains(&("my:pkg/iface@1.2.0#f", false)) && names.contains(&("g", true)), "{names:?}");
}

#[test]
fn what_is_no_component_of_ours_is_refused_with_its_reason() {
    let house = House::new();
    let noop = guests::noop();
    let native = house.sandbox.compile(&noop).expect("compiled");
    let wat = |text: &str| wat::parse_str(text).expect("a well-formed text");
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (Vec::new(), "not_wasm", "upload the .wasm file"),
        (b"#!/bin/sh".to_vec(), "not_wasm", "upload the .wasm file"),
        (wat("(module)"), "core_module", "wasm32-wasip2"),
        (native, "precompiled", "the WebAssembly component it was made from"),
        (noop[..noop.len() / 2].to_vec(), "invalid_component", "complete"),
        (noop[..6].to_vec(), "invalid_component", "complete"),
        (wat("(component (core module (memory 1 1 shared)))"), "invalid_component", "threads"),
        (wat("(component (core module (memory i64 1)))"), "invalid_component", "64-bit"),
        (
            wat(r#"(component (import "wasi:http/types@0.2.0" (instance)) (import "acme:x/y" (instance)))"#),
            "unknown_imports",
            ": `acme:x/y`",
        ),
        (
            wat(r#"(component (import "tradewind:task/log@1.0.0" (instance (export "shout" (func)))))"#),
            "unknown_imports",
            "shout",
        ),
    ];
    for (bytes, code, told) in cases {
        let refused = house.sandbox.compile(&bytes).expect_err(code);
        assert_eq!(refused.code, code, "{refused}");
        assert!(refused.to_string().contains(told), "{refused}");
    }
    match house.inspect("(component)") {
        Err(UploadError::Refused(refused)) => assert_eq!(refused.code, "no_functions"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_module_that_is_instantiated_often_counts_as_often() {
    let house = House::with(SandboxSettings { guest_threads: 1, ..SandboxSettings::default() });
    let component = |instances: usize| {
        let instance = "(core instance (instantiate $m))".repeat(instances);
        wat::parse_str(format!("(component (core module $m (memory 1)) {instance})")).expect("a well-formed text")
    };
    let most = pool::MOST_MEMORIES as usize;
    assert!(house.sandbox.compile(&component(most)).is_ok());
    // The child's engine has no pool that would refuse it.
    let engine = engine::on_demand().expect("an engine");
    let linker = host::linker(&engine).expect("a linker");
    let bounds = compile::Bounds { max_memory_bytes: 1 << 30 };
    let refused = compile::machine_code(&engine, &linker, &component(most + 1), bounds).expect_err("refused");
    assert_eq!(refused.code, "too_large");
    let said = format!("has {} memories, more than max_memories of {most}", most + 1);
    assert!(refused.reason.contains(&said), "{refused}");
}

#[test]
fn what_only_the_pool_can_tell_is_refused_when_it_is_looked_through() {
    let house = House::with(SandboxSettings { guest_threads: 1, ..SandboxSettings::default() });
    // Nested often, nine core instances each: no count of the binary shows them all.
    let nested = pool::CORE_INSTANCES_EACH as usize / 9 + 1;
    let inner = "(core instance (instantiate $m))".repeat(9);
    let outer = "(instance (instantiate $c))".repeat(nested);
    let text = format!("(component (component $c (core module $m) {inner}) {outer})");
    let wasm = wat::parse_str(text).expect("a well-formed text");
    let engine = engine::on_demand().expect("an engine");
    let linker = host::linker(&engine).expect("a linker");
    let bounds = compile::Bounds { max_memory_bytes: 1 << 30 };
    let code = compile::machine_code(&engine, &linker, &wasm, bounds).expect("compiled");
    let file = house.store.put(Digest::of(&wasm), &code).expect("stored");
    match RUNTIME.block_on(house.sandbox.inspect(&file, 1)) {
        Err(UploadError::Refused(refused)) => {
            assert_eq!(refused.code, "too_large");
            let said = format!("{} core module instances", nested * 9);
            assert!(refused.reason.contains(&said), "{refused}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_said_to_be_offered_is_linked() {
    let house = House::new();
    let mut linker = host::linker(&house.sandbox.machine().engine).expect("a linker");
    let mut define = |name: &str| linker.root().func_wrap(name, |_, (): ()| Ok(()));
    for (interface, major) in compile::OFFERED {
        // Under the very version that is linked, the name is taken.
        let version = if *major == "0.2." { "0.2.12" } else { "1.0.0" };
        assert!(define(&format!("{interface}@{version}")).is_err(), "{interface}");
    }
    assert!(define("wasi:http/incoming-handler@0.2.12").is_ok());
}

#[test]
fn guests_run_where_address_space_is_short() {
    let house = House::of(Sandbox::within(Some(1 << 30), &SandboxSettings::default(), RUNTIME.handle()));
    assert_eq!(house.sandbox.allocator(), "on_demand");
    assert_eq!(house.run(&house.module(&guests::noop()), job("run", r#"{"input": ""}"#)).outcome, Outcome::Success);
    let bomb = job("memory-bomb", "{}").limits(|limits| limits.memory_bytes = 1 << 20);
    assert_eq!(house.run(&house.guest(ABUSE), bomb).outcome, Outcome::OutOfMemory);
}

#[test]
fn the_cache_loads_each_module_once_and_stays_within_its_bounds() {
    let house = House::new();
    let store =
        Arc::new(CompiledStore::open(house.dir.path(), house.sandbox.compatibility(), [1; 32]).expect("a store"));
    let cache = ModuleCache::new(house.sandbox.clone(), store.clone(), CacheBounds { modules: 1, bytes: u64::MAX });
    let info = |wasm: &[u8]| house.module(wasm).info().clone();
    let (noop, one_line) = (guests::noop(), guests::one_line());
    let (noop_info, one_line_info) = (info(&noop), info(&one_line));
    store.remove(noop_info.digest).expect("removed");

    let fetched = std::sync::atomic::AtomicUsize::new(0);
    let fetch = || async {
        fetched.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, std::io::Error>(bytes::Bytes::from(noop.clone()))
    };
    let (a, b) = RUNTIME.block_on(async {
        futures_util::future::join(cache.get_or_load(&noop_info, fetch()), cache.get_or_load(&noop_info, fetch())).await
    });
    assert!(Arc::ptr_eq(&a.expect("loaded"), &b.expect("loaded")));
    assert_eq!(fetched.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(store.get(noop_info.digest).expect("an answer").is_some(), "kept on disk");

    // Another module pushes it out; from disk it comes back without a fetch.
    RUNTIME.block_on(cache.get_or_load(&one_line_info, fetch())).expect("loaded from disk");
    assert!(cache.get(noop_info.digest).is_none());
    RUNTIME.block_on(cache.get_or_load(&noop_info, fetch())).expect("loaded from disk");
    assert_eq!(fetched.load(std::sync::atomic::Ordering::SeqCst), 1);

    // Bytes that are not the module's are not compiled under its name.
    cache.remove(one_line_info.digest).expect("removed");
    match RUNTIME.block_on(cache.get_or_load(&one_line_info, fetch())) {
        Err(LoadError::WrongBytes { asked, .. }) => assert_eq!(asked, one_line_info.digest),
        other => panic!("{:?}", other.map(|module| module.digest())),
    }
}
