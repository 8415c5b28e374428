//! Normal work beside abusers: endless loops and memory bombs hold 14 of 16 slots, and no-ops and
//! probes go on.
//!
//! `cargo bench --bench abusers`; SECONDS=20 changes how long.

#![allow(clippy::unwrap_used, reason = "a benchmark says by its panic what went wrong")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Client, setup, task};

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let seconds = std::env::var("SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, run(Duration::from_secs(seconds)));
}

async fn run(lasting: Duration) {
    let (_server, client, module) = setup().start_with_guests().await;
    let noop = client.push(&tradewind::sandbox::guests::noop()).await;
    let noop = json!({"module": noop, "input": {"input": ""}});
    client.run(&noop).await;
    report("alone", &client, &noop, lasting / 4).await;

    let over = Arc::new(AtomicBool::new(false));
    let bomb = |limits: Value| json!({"execution_timeout": "5m", "cpu_time": "5m", "memory_bytes": limits});
    for n in 0..14 {
        let mut abuse =
            if n % 2 == 0 { task(&module, "spin", json!(null)) } else { task(&module, "alloc", json!({"mib": 2_000})) };
        abuse["limits"] = bomb(json!(512 << 20));
        let (client, over) = (client.clone(), over.clone());
        tokio::task::spawn_local(async move {
            while !over.load(Ordering::Relaxed) {
                let _ = client.post("/api/v1/tasks?wait=60s", abuse.to_string()).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    report("beside 7 endless loops and 7 memory bombs", &client, &noop, lasting).await;
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
