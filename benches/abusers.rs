//! Normal work beside abusers: 14 of 16 slots are held by guests that compute, allocate, print, log, call
//! the host and fill memory without end, and no-ops and probes go on.
//!
//! `cargo bench --bench abusers`; SECONDS=20 changes how long.

#![allow(clippy::unwrap_used, reason = "a benchmark says by its panic what went wrong")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Client, guests, setup, task};

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let seconds = std::env::var("SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, run(Duration::from_secs(seconds)));
}

async fn run(lasting: Duration) {
    let server = setup().with_setting("worker.slots", 16).start().await;
    let client = server.client();
    let ordinary = client.push(guests::tasks()).await;
    let abuse = client.push(guests::abuse()).await;
    let noop = client.push(&tradewind::sandbox::guests::noop()).await;
    let noop = json!({"module": noop, "input": {"input": ""}});
    client.run(&noop).await;
    report("alone", &client, &noop, lasting / 4).await;

    let over = Arc::new(AtomicBool::new(false));
    let fill = json!({"mib": 500, "rounds": 1_000_000});
    let kinds = [
        task(&ordinary, "spin", json!(null)),
        task(&ordinary, "alloc", json!({"mib": 2_000})),
        task(&abuse, "call_the_host", json!(null)),
        task(&abuse, "flood_stdout", json!(null)),
        task(&abuse, "flood_the_log", json!(null)),
        task(&abuse, "write_nothing", json!(null)),
        task(&abuse, "fill_memory", fill),
        task(&abuse, "hoard_handles", json!(null)),
        task(&abuse, "recurse", json!(null)),
        task(&abuse, "nap_between_work", json!(null)),
    ];
    for n in 0..14 {
        let mut abuse = kinds[n % kinds.len()].clone();
        let ceiling = 10_000_000_000_u64;
        abuse["limits"] =
            json!({"execution_timeout": "5m", "cpu_time": "5m", "memory_bytes": 512 << 20, "host_calls": ceiling});
        let (client, over) = (client.clone(), over.clone());
        tokio::task::spawn_local(async move {
            while !over.load(Ordering::Relaxed) {
                let _ = client.post("/api/v1/tasks?wait=60s", abuse.to_string()).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    report("beside 14 abusers of ten kinds", &client, &noop, lasting).await;
    println!("    the server holds {} MiB", support::resident_bytes(server.pid()) >> 20);
    over.store(true, Ordering::Relaxed);
}

async fn report(when: &str, client: &Client, noop: &Value, lasting: Duration) {
    let until = Instant::now() + lasting;
    let noops = async {
        let mut times = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            assert_eq!(client.run(noop).await["state"], "success");
            times.push(began.elapsed());
        }
        times
    };
    let probes = async {
        let mut times = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            assert_eq!(client.get("/healthz").await.unwrap().status, 200);
            times.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        times
    };
    let (noops, probes) = tokio::join!(noops, probes);
    println!("{when}");
    println!("    no-op, submit to result  {}", percentiles(noops));
    println!("    GET /healthz             {}", percentiles(probes));
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms ({} of them)", at(0.5), at(0.99), at(1.0), times.len())
}
