//! DAG runs through HTTP, durable, each task in a fresh sandbox: chains, fans, maps, many runs at once.
//!
//! `cargo bench --bench dags`; names behind `--` choose: chain fan fibonacci map runs. ROUNDS=5, MAP=100000,
//! RUNS=1000 change how much. Figures of peers, and what these are made of, stand in the README.

#![allow(clippy::unwrap_used, reason = "a benchmark says by its panic what went wrong")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Client, TestServer, setup};
use tradewind::sandbox::guests;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--bench")).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let is_wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        if is_wanted("chain") {
            chain().await;
        }
        if is_wanted("fan") {
            fan().await;
        }
        if is_wanted("fibonacci") {
            fibonacci().await;
        }
        if is_wanted("map") {
            map(10_000).await;
            map(setting("MAP", 100_000)).await;
        }
        if is_wanted("runs") {
            runs(setting("RUNS", 1_000)).await;
        }
    });
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn rounds() -> usize {
    setting("ROUNDS", 5)
}

/// A server of its own with the guests of the benchmarks.
struct House {
    server: TestServer,
    client: Client,
    noop: String,
    fibonacci: String,
}

impl House {
    async fn new() -> Self {
        let server = setup().start().await;
        let client = server.client();
        let (noop, fibonacci) = (client.push(&guests::noop()).await, client.push(&guests::fibonacci()).await);
        Self { server, client, noop, fibonacci }
    }

    async fn apply(&self, dag: &Value) {
        let path = format!("/api/v1/dags/{}", dag["dag_id"].as_str().unwrap());
        let put = self.client.request(reqwest::Method::PUT, &path).body(dag.to_string());
        let answer = support::client::send(put).await.unwrap();
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    }

    /// Triggers a run and waits for its end: the run, and how long that took from here.
    async fn run(&self, dag: &str) -> (Value, Duration) {
        let began = Instant::now();
        let answer = self.client.post(&format!("/api/v1/dags/{dag}/runs?wait=60s"), "{}").await.unwrap();
        let took = began.elapsed();
        let run = answer.expect(201);
        assert_eq!(run["state"], "success", "{run}");
        (run, took)
    }

    /// The best and the middle of some runs, after one that warms up.
    async fn rounds(&self, dag: &str) -> (Duration, Duration) {
        self.run(dag).await;
        let mut times = Vec::new();
        for _ in 0..rounds() {
            times.push(self.run(dag).await.1);
        }
        times.sort();
        (times[0], times[times.len() / 2])
    }

    fn no_op(&self) -> Value {
        json!({"module": self.noop, "function": "run", "input": {"input": ""}})
    }
}

/// Tasks that wait for each other.
fn chain_of(dag_id: &str, length: usize, task: &Value) -> Value {
    let tasks = (0..length).map(|place| {
        let mut task = task.clone();
        if place > 0 {
            task["upstream"] = json!([format!("t{}", place - 1)]);
        }
        (format!("t{place}"), task)
    });
    json!({"dag_id": dag_id, "tasks": tasks.collect::<serde_json::Map<_, _>>()})
}

/// Tasks that wait for nobody.
fn fan_of(dag_id: &str, width: usize, task: &Value) -> Value {
    let tasks = (0..width).map(|place| (format!("t{place}"), task.clone()));
    json!({"dag_id": dag_id, "tasks": tasks.collect::<serde_json::Map<_, _>>()})
}

/// How long it takes from the end of a task to the end of the next: the whole of what a step costs.
async fn chain() {
    let house = House::new().await;
    house.apply(&chain_of("chain", 1_000, &house.no_op())).await;
    house.run("chain").await;
    for _ in 0..rounds() {
        let (run, took) = house.run("chain").await;
        let tasks = house.client.items(&format!("/api/v1/runs/{}/tasks?limit=1000", run["id"].as_str().unwrap())).await;
        let mut ends: Vec<i64> = tasks.iter().map(|task| micros(&task["end_date"])).collect();
        ends.sort_unstable();
        let mut hops: Vec<i64> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
        hops.sort_unstable();
        let at = |percent: usize| hops[(hops.len() * percent / 100).min(hops.len() - 1)] as f64 / 1_000.0;
        println!(
            "chain of 1 000: {:.0} ms from POST to answer; a hop p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms",
            millis(took),
            at(50),
            at(99),
            at(100)
        );
    }
}

async fn fan() {
    let house = House::new().await;
    house.apply(&fan_of("fan", 100, &house.no_op())).await;
    let (best, middle) = house.rounds("fan").await;
    println!("100 in parallel: POST to run success, best {:.1} ms, median {:.1} ms", millis(best), millis(middle));
}

/// The comparison of the field: light steps in sequence, and heavy ones beside the same code in a bare loop.
async fn fibonacci() {
    let house = House::new().await;
    let task = |n: u32| json!({"module": house.fibonacci, "function": "fibonacci", "input": {"n": n}});
    house.apply(&chain_of("light", 40, &task(10))).await;
    house.apply(&chain_of("heavy", 10, &task(33))).await;
    let (best, middle) = house.rounds("light").await;
    println!("40 x fibonacci(10) in sequence: best {:.1} ms, median {:.1} ms", millis(best), millis(middle));
    let bare = BareLoop::new();
    let mut ratios = Vec::new();
    house.run("heavy").await;
    for _ in 0..rounds() {
        // One after the other, so that the machine's moods hit both.
        let (before, (_, took), after) = (bare.run(10, 33), house.run("heavy").await, bare.run(10, 33));
        let bare = (before + after) / 2;
        ratios.push(took.as_secs_f64() / bare.as_secs_f64());
        println!("10 x fibonacci(33) in sequence: {:.1} ms; bare loop {:.1} ms", millis(took), millis(bare));
    }
    ratios.sort_by(f64::total_cmp);
    println!("10 x fibonacci(33): {:.3} of the bare loop (median)", ratios[ratios.len() / 2]);
}

/// wasmtime alone, with epochs, a fresh store for each call.
struct BareLoop {
    engine: Engine,
    component: Component,
}

impl BareLoop {
    fn new() -> Self {
        let mut config = Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config).unwrap();
        let component = Component::new(&engine, guests::fibonacci()).unwrap();
        Self { engine, component }
    }

    fn run(&self, times: usize, n: u32) -> Duration {
        let began = Instant::now();
        for _ in 0..times {
            let mut store = Store::new(&self.engine, ());
            store.set_epoch_deadline(u64::MAX / 2);
            let instance = Linker::new(&self.engine).instantiate(&mut store, &self.component).unwrap();
            let function = instance.get_typed_func::<(u32,), (u64,)>(&mut store, "fibonacci").unwrap();
            function.call(&mut store, (n,)).unwrap();
        }
        began.elapsed()
    }
}

async fn map(width: usize) {
    let house = House::new().await;
    let mut each = house.no_op();
    each["input"] = json!({});
    each["expand"] = json!({"input": "{{ tasks.list.output }}"});
    each["upstream"] = json!(["list"]);
    let tasks = json!({"list": house.list_task(width).await, "each": each});
    house.apply(&json!({"dag_id": "map", "tasks": tasks})).await;
    let (run, took) = house.run("map").await;
    let run = run["id"].as_str().unwrap();
    let events = house.client.items(&format!("/api/v1/runs/{run}/events?limit=1000")).await;
    let expanded = events.iter().find(|event| event["map_index"] == 0).map(|event| micros(&event["at"])).unwrap();
    let last_start = house.last_start(run, width).await;
    println!(
        "map {width} wide: {:.0} ms from POST to run success; all dispatched {:.0} ms after the first; {:.0} MiB resident at most",
        millis(took),
        (last_start - expanded) as f64 / 1_000.0,
        peak_memory(house.server.pid()) as f64 / (1 << 20) as f64
    );
}

impl House {
    /// A task that returns so many texts: bytes in base64, as the no-op takes them.
    async fn list_task(&self, width: usize) -> Value {
        let echo = self.client.push(support::guests::tasks()).await;
        let items: Vec<String> = (0..width).map(|place| format!("{:04}", place % 10_000)).collect();
        json!({"module": echo, "function": "echo", "input": items})
    }

    async fn last_start(&self, run: &str, width: usize) -> i64 {
        let database = support::history::open(&self.server.data());
        let sql = "SELECT max(tasks.start_date), count(*) FROM tasks JOIN runs ON runs.id = tasks.run WHERE map_index IS NOT NULL";
        let (last, count): (i64, i64) = database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(count, width as i64, "{run}");
        last
    }
}

/// Many runs at once, and the same number of single tasks beside them.
async fn runs(count: usize) {
    const TASKS: usize = 10;
    let house = House::new().await;
    let mut dag = chain_of("ten", TASKS, &house.no_op());
    dag["max_active_runs"] = json!(count);
    house.apply(&dag).await;
    let mut ratios = Vec::new();
    for _ in 0..rounds() {
        let singles = house.singles(count * TASKS).await;
        let of_runs = house.many_runs(count, TASKS).await;
        ratios.push(of_runs / singles);
        println!("{count} runs of {TASKS}: {of_runs:.0} tasks/s; as single tasks {singles:.0} tasks/s");
    }
    ratios.sort_by(f64::total_cmp);
    println!("{count} runs of {TASKS}: {:.2} of single tasks (median)", ratios[ratios.len() / 2]);
}

impl House {
    /// Single tasks, submitted and ended in a second.
    async fn singles(&self, count: usize) -> f64 {
        const LINES: usize = 500;
        let line = self.no_op().to_string() + "\n";
        let body = line.repeat(LINES);
        let began = Instant::now();
        // As many at once as keep the server busy; it answers eight.
        let callers = (0..4).map(|caller| {
            let body = &body;
            async move {
                for _ in (caller..count / LINES).step_by(4) {
                    let answer = self.client.post("/api/v1/tasks/batch?wait=60s", body.clone()).await.unwrap();
                    assert_eq!(answer.lines().len(), LINES, "{}", answer.text());
                }
            }
        });
        futures_util::future::join_all(callers).await;
        count as f64 / began.elapsed().as_secs_f64()
    }

    /// Tasks of runs, triggered and ended in a second.
    async fn many_runs(&self, count: usize, tasks: usize) -> f64 {
        const CALLERS: usize = 64;
        let began = Instant::now();
        let callers = (0..CALLERS).map(|caller| async move {
            let mut last = None;
            for _ in (caller..count).step_by(CALLERS) {
                let answer = self.client.post("/api/v1/dags/ten/runs", "{}").await.unwrap();
                last = Some(answer.expect(201)["id"].as_str().unwrap().to_owned());
            }
            last
        });
        let last: Vec<Option<String>> = futures_util::future::join_all(callers).await;
        let _ = last;
        // The feed tells of each end; the last of them is waited for.
        loop {
            let active = self.client.items("/api/v1/runs?state=running&limit=1").await.len()
                + self.client.items("/api/v1/runs?state=queued&limit=1").await.len();
            if active == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (count * tasks) as f64 / began.elapsed().as_secs_f64()
    }
}

fn micros(date: &Value) -> i64 {
    let date: jiff::Timestamp = date.as_str().unwrap().parse().unwrap();
    date.as_microsecond()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}
