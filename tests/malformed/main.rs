//! Uploads thousands of malformed and random modules and runs what is accepted. Nothing comes of it but refusals
//! with a reason and tasks with an outcome, and the server's memory stays flat.
//!
//! `TRADEWIND_MALFORMED_COUNT` says how many (default 3 000), `TRADEWIND_MALFORMED_SEED` repeats them. The long run:
//!
//! ```sh
//! TRADEWIND_MALFORMED_COUNT=100000 cargo test --release --test malformed -- --nocapture
//! ```
//!
//! A module that did harm is left in a file; its path, seed and number are printed. `TRADEWIND_MALFORMED_ONLY` makes
//! the module of one number, and no other.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]
#![allow(unreachable_pub, reason = "modules of a test are not reached from outside")]

mod binary;
mod check;
mod inputs;
#[path = "../simulation/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;
mod uploads;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use check::{Answers, check};
use futures_util::StreamExt;
use serde_json::json;
use support::{Client, poll, setup, task};
use uploads::{Bases, Kind, Upload};

/// Uploads on their way at once, those that run among them. One is compiled at a time.
const IN_FLIGHT: usize = 4;

/// The server's memory is looked at so often, evenly spread.
const SAMPLES: u64 = 10;

/// What the server may hold more at any later sample than it held after the first half. Its caches, and what free
/// places of the pool keep, are full by then.
const MOST_GROWTH_BYTES: u64 = 64 << 20;

/// More need not be seen to know that something is wrong.
const MOST_FAILURES: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_modules_end_in_refusals_and_outcomes_and_memory_stays_flat() {
    let count = number("TRADEWIND_MALFORMED_COUNT").unwrap_or(3_000);
    let seed = number("TRADEWIND_MALFORMED_SEED").unwrap_or_else(|| std::process::id().into());
    println!("TRADEWIND_MALFORMED_SEED={seed} TRADEWIND_MALFORMED_COUNT={count}");
    let bases = Arc::new(Bases::gather());
    let mut server = setup().start().await;
    let client = server.client();

    let mut summary: BTreeMap<Kind, Answers> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut memory = Vec::new();
    let numbers = |sample: u64| count * sample / SAMPLES..count * (sample + 1) / SAMPLES;
    let only = number("TRADEWIND_MALFORMED_ONLY");
    for sample in 0..SAMPLES {
        let numbers = numbers(sample).filter(|number| only.is_none_or(|only| only == *number));
        let mut checks = futures_util::stream::iter(numbers)
            .map(|number| one(client.clone(), bases.clone(), seed, number))
            .buffer_unordered(IN_FLIGHT);
        while let Some((kind, answers)) = checks.next().await {
            match answers {
                Ok(answers) => {
                    let counted = summary.entry(kind).or_default();
                    answers.into_iter().for_each(|(answer, times)| *counted.entry(answer).or_default() += times);
                }
                Err(file) => failures.push(file),
            }
            if failures.len() >= MOST_FAILURES {
                break;
            }
        }
        memory.push(support::resident_bytes(server.pid()));
        println!(
            "{} of {count}, the server holds {} MiB",
            count * (sample + 1) / SAMPLES,
            memory[memory.len() - 1] >> 20
        );
        if failures.len() >= MOST_FAILURES {
            break;
        }
    }

    print_summary(&summary, &memory);
    assert!(failures.is_empty(), "seed {seed}: {failures:#?}");
    let panics: Vec<String> =
        server.log().lines().filter(|line| line.to_lowercase().contains("panicked")).map(str::to_owned).collect();
    assert!(panics.is_empty(), "seed {seed}: {panics:#?}");
    check_still_well(&client).await;
    assert!(server.stop().await.success(), "the server did not stop well");
    if only.is_none() {
        check_not_in_vain(&summary, count);
        check_flat(&memory, count);
    }
}

/// Makes one module and checks what comes of it; the file it was left in where that is not allowed.
async fn one(client: Client, bases: Arc<Bases>, seed: u64, number: u64) -> (Kind, Result<Answers, PathBuf>) {
    let made = tokio::task::spawn_blocking(move || bases.upload(seed, number)).await;
    let Upload { kind, wasm } = made.unwrap_or_else(|error| panic!("number {number} of seed {seed}: {error}"));
    let sent = wasm.clone();
    let checked = tokio::spawn(async move { check(&client, sent).await }).await;
    let checked = checked.map_err(|error| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("malformed-{seed}-{number}.wasm"));
        std::fs::write(&path, &wasm).expect("the module can be kept");
        println!("{kind:?} did harm: TRADEWIND_MALFORMED_SEED={seed} TRADEWIND_MALFORMED_ONLY={number}");
        println!("  {}: {error}", path.display());
        path
    });
    (kind, checked)
}

/// The same process answers, runs, and keeps nothing of what was deleted.
async fn check_still_well(client: &Client) {
    let left = async || {
        for module in client.items("/api/v1/modules?limit=1000").await {
            let path = format!("/api/v1/modules/{}", module["digest"].as_str().unwrap());
            let _ = support::client::send(client.request(reqwest::Method::DELETE, &path)).await.unwrap();
        }
        client.items("/api/v1/modules").await.is_empty().then_some(())
    };
    // Of the same bytes twice at once, one may have been deleted while the other ran.
    poll("no module to be left", left).await;
    let noop = client.push(&tradewind::sandbox::guests::noop()).await;
    let ended = client.run(&task(&noop, "run", json!({ "input": "dG8gYmU=" }))).await;
    assert_eq!(ended["result"], json!("dG8gYmU="));
}

/// A run in which everything was refused at the door would show nothing.
fn check_not_in_vain(summary: &BTreeMap<Kind, Answers>, count: u64) {
    if count < 1_000 {
        return;
    }
    let times = |answer: &str| -> u64 { summary.values().filter_map(|answers| answers.get(answer)).sum() };
    assert!(times("upload 201") > count / 10, "hardly any module was accepted");
    assert!(times("run success") > count / 50 && times("run trapped") > count / 50, "hardly any module ran");
    assert!(times("upload 422 invalid_component") > count / 10, "hardly any module was malformed");
}

fn check_flat(memory: &[u64], count: u64) {
    if count < 1_000 {
        return;
    }
    let half = memory.len() / 2;
    let (settled, later) = (memory[half - 1], memory[half..].iter().max().expect("later samples"));
    let growth = later.saturating_sub(settled);
    assert!(growth <= MOST_GROWTH_BYTES, "the server grew by {} MiB after the first half", growth >> 20);
}

fn print_summary(summary: &BTreeMap<Kind, Answers>, memory: &[u64]) {
    for (kind, answers) in summary {
        let answers: Vec<String> = answers.iter().map(|(answer, times)| format!("{answer}: {times}")).collect();
        println!("{kind:?}: {}", answers.join(", "));
    }
    let mebibytes: Vec<u64> = memory.iter().map(|bytes| bytes >> 20).collect();
    println!("the server's memory, MiB: {mebibytes:?}");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}
