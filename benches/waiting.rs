//! Ten thousand tasks wait in a call of the host while no-ops come and go.
//!
//! `cargo bench --bench waiting`; SLEEPERS=10000 RATE=1000 SECONDS=20 change the load.

#![allow(clippy::unwrap_used, reason = "a benchmark says by its panic what went wrong")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Client, setup, task};

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, run());
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn run() {
    let (sleepers, rate, seconds) = (setting("SLEEPERS", 10_000), setting("RATE", 1_000), setting("SECONDS", 20));
    let (server, client, module) = setup().with_setting("worker.waiting", sleepers).start_with_guests().await;
    let noop = client.push(&tradewind::sandbox::guests::noop()).await;
    let noop = json!({"module": noop, "input": {"input": ""}});
    client.run(&noop).await;
    let resident = || memory(server.pid());
    println!("before: {}", resident());
    report("alone", &client, &noop, rate, seconds / 4).await;

    let sleeper = task(&module, "sleep", json!({"ms": 3_600_000}));
    let began = Instant::now();
    for _ in 0..sleepers.div_ceil(1_000) {
        client.batch(&vec![sleeper.clone(); sleepers.min(1_000)], "").await;
    }
    while (gauge(&client, "waiting_attempts").await as usize) < sleepers {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{sleepers} wait after {:.2} s: {}", began.elapsed().as_secs_f64(), resident());
    report("beside them", &client, &noop, rate, seconds).await;
    println!("after: {}, {} threads", resident(), threads(server.pid()));
}

/// Pages of a module's image that guests have only read are the same for all, and counted for each.
fn memory(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().unwrap() >> 10
    };
    format!("{} MiB resident, {} MiB of it its own, {} MiB of page tables", mib("VmRSS"), mib("RssAnon"), mib("VmPTE"))
}

fn threads(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

async fn gauge(client: &Client, name: &str) -> f64 {
    let text = client.get("/metrics").await.unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("tradewind_{name} ")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no metric {name}")).parse().unwrap()
}

/// Submits at a fixed rate, whatever the answers take, and measures each from when it was due.
async fn report(when: &str, client: &Client, noop: &Value, rate: usize, seconds: usize) {
    let (body, began) = (noop.to_string(), Instant::now());
    let mut asked = Vec::new();
    for n in 0..rate * seconds {
        let due = began + Duration::from_secs_f64(n as f64 / rate as f64);
        tokio::time::sleep_until(due.into()).await;
        let (client, body) = (client.clone(), body.clone());
        asked.push(tokio::task::spawn_local(async move {
            let answer = client.post("/api/v1/tasks?wait=30s", body).await.unwrap();
            assert_eq!(answer.expect(201)["state"], "success");
            due.elapsed()
        }));
    }
    let mut times = Vec::with_capacity(asked.len());
    for task in asked {
        times.push(task.await.unwrap());
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    println!("{when}: {rate} no-ops a second, submit to result p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms");
}
