//! How many tasks of each form and language run in a second, through HTTP, each in a fresh sandbox.
//!
//! `cargo bench --bench languages`; TASKS=2000 changes how many. Builds the examples first.

#![allow(clippy::unwrap_used, reason = "a benchmark says by its panic what went wrong")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use serde_json::{Value, json};
use support::{Client, examples, setup};

/// Tasks in flight.
const IN_FLIGHT: usize = 16;

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
    for example in examples::all() {
        for module in &example.modules {
            let began = Instant::now();
            let digest = client.push(&std::fs::read(&module.path).unwrap()).await;
            let taken_in = began.elapsed();
            let Some(case) = module.cases.iter().find(|case| case.succeeds()) else { continue };
            let task = case.task(&digest);
            let (rate, cpu_us, ms) = measure(&client, &task, tasks).await;
            println!(
                "{:34} {rate:8.0} tasks/s, {:7.3} ms in its sandbox, {ms:7.3} ms each; taken in in {:.1} s",
                module.name,
                cpu_us / 1e3,
                taken_in.as_secs_f64()
            );
        }
    }
}

/// Tasks a second, and of one: processor time in its sandbox, and duration.
async fn measure(client: &Client, task: &Value, tasks: usize) -> (f64, f64, f64) {
    client.run(task).await;
    let began = Instant::now();
    let mut lines = Vec::new();
    while lines.len() < tasks {
        lines.extend(client.batch(&vec![task.clone(); IN_FLIGHT.max(tasks / 10)], "?wait=60s").await);
    }
    let rate = lines.len() as f64 / began.elapsed().as_secs_f64();
    let mean = |value: fn(&Value) -> f64| lines.iter().map(value).sum::<f64>() / lines.len() as f64;
    assert!(lines.iter().all(|line| line["state"] == json!("success")), "{}", lines[0]);
    (rate, mean(|line| line["usage"]["cpu_us"].as_f64().unwrap()), mean(|line| line["duration_ms"].as_f64().unwrap()))
}
