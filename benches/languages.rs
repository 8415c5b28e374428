//! How many tasks of each form and language run in a second, through HTTP, each in a fresh sandbox.
//!
//! `cargo bench --bench languages`; TASKS=2000 changes how many. Builds the examples first.

#![allow(clippy::unwrap_used, reason = "a benchmark says by its panic what went wrong")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};
use support::{Client, guests, setup};

/// Tasks of one batch, all in flight at once.
const IN_FLIGHT: usize = 64;

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let tasks = std::env::var("TASKS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, run(tasks));
}

async fn run(tasks: usize) {
    let server = setup().start().await;
    let client = server.client();
    for example in ["typed-rust", "typed-python", "typed-javascript", "program-go", "programs"] {
        let output = guests::built_example(example);
        for (module, mut task) in first_successes(example) {
            let began = Instant::now();
            let wasm = std::fs::read(output.join(&module).with_extension("wasm")).unwrap();
            task["module"] = json!(client.push(&wasm).await);
            let taken_in_s = began.elapsed().as_secs_f64();
            let Measured { rate, cpu_ms, duration_ms } = measure(&client, &task, tasks).await;
            let size = wasm.len() as f64 / 1e6;
            println!(
                "{module:18} {rate:7.0} tasks/s, {cpu_ms:6.2} ms of processor in its sandbox, {duration_ms:6.2} ms each; \
                 {size:.1} MB taken in in {taken_in_s:.1} s"
            );
        }
    }
}

/// The first task of each module of an example that its `expected.json` says succeeds.
fn first_successes(example: &str) -> BTreeMap<String, Value> {
    let cases = std::fs::read(guests::example_directory(example).join("expected.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
    let mut first = BTreeMap::new();
    for case in cases.into_iter().filter(|case| case["outcome"].is_null()) {
        let module = case["module"].as_str().unwrap_or(example).to_owned();
        first.entry(module).or_insert_with(|| case["task"].clone());
    }
    first
}

/// Tasks a second, and of one of them what it took in its sandbox.
struct Measured {
    rate: f64,
    cpu_ms: f64,
    duration_ms: f64,
}

async fn measure(client: &Client, task: &Value, tasks: usize) -> Measured {
    client.run(task).await;
    let began = Instant::now();
    let mut lines = Vec::new();
    while lines.len() < tasks {
        lines.extend(client.batch(&vec![task.clone(); IN_FLIGHT], "?wait=60s").await);
    }
    let rate = lines.len() as f64 / began.elapsed().as_secs_f64();
    assert!(lines.iter().all(|line| line["state"] == json!("success")), "{}", lines[0]);
    let mean = |value: fn(&Value) -> f64| lines.iter().map(value).sum::<f64>() / lines.len() as f64;
    Measured {
        rate,
        cpu_ms: mean(|line| line["usage"]["cpu_us"].as_f64().unwrap() / 1e3),
        duration_ms: mean(|line| line["duration_ms"].as_f64().unwrap()),
    }
}
