//! Kills the server at random moments under load, again and again. Whatever it had acknowledged is
//! there afterwards, ended once, and the event table proves it.
//!
//! `TRADEWIND_KILLS` says how often (default 50), `TRADEWIND_SEED` repeats a sequence of moments.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::is_final;
use support::{Client, history, poll, setup};
use tokio::sync::watch;
use tokio::task::spawn_local;

/// A life of the server lasts so long at most.
const LONGEST_LIFE: u64 = 500;

/// So long it may take from the start of the process until everything is ready.
const SLOWEST_START: Duration = Duration::from_secs(10);

/// What the load knows to be promised.
#[derive(Default)]
struct Promised {
    /// Acknowledged tasks, and the idempotency key where there was one.
    tasks: BTreeMap<String, Option<String>>,
    /// Those whose end was shown to somebody: how it was must never change.
    ended: BTreeMap<String, (String, Value)>,
    /// Those whose cancelling was acknowledged.
    cancelled: BTreeSet<String>,
}

#[derive(Clone)]
struct Load {
    /// The server's present life.
    client: watch::Receiver<Client>,
    over: Arc<AtomicBool>,
    promised: Arc<parking_lot::Mutex<Promised>>,
    guests: String,
    noop: String,
    keys: Arc<AtomicU64>,
}

#[tokio::test]
async fn every_acknowledged_task_ends_once_whenever_the_server_is_killed() {
    tokio::task::LocalSet::new().run_until(kill_again_and_again()).await;
}

async fn kill_again_and_again() {
    let kills: u64 = number("TRADEWIND_KILLS").unwrap_or(50);
    let seed = number("TRADEWIND_SEED").unwrap_or_else(|| std::process::id().into());
    println!("TRADEWIND_SEED={seed} TRADEWIND_KILLS={kills}");
    let mut random = Random(seed);

    let (mut server, client, guests) = setup().start_with_guests().await;
    let noop = client.push(&tradewind::sandbox::guests::noop()).await;
    let (life, lives) = watch::channel(client);
    let load =
        Load { client: lives, over: Arc::default(), promised: Arc::default(), guests, noop, keys: Arc::default() };
    let mut workers = Vec::new();
    for n in 0..3 {
        workers.push(spawn_local(load.clone().submit_singles(Random(seed ^ (n + 1)))));
    }
    workers.push(spawn_local(load.clone().submit_batches(Random(seed ^ 11))));
    workers.push(spawn_local(load.clone().submit_and_wait(Random(seed ^ 12))));
    workers.push(spawn_local(load.clone().submit_and_cancel(Random(seed ^ 13))));

    let mut starts = Vec::new();
    for _ in 0..kills {
        // The only sleep: how long a life lasts is the experiment itself.
        tokio::time::sleep(Duration::from_millis(random.below(LONGEST_LIFE))).await;
        starts.push(server.restart().await);
        life.send_replace(server.client());
    }
    load.over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("the load found nothing wrong");
    }
    let client = server.client();
    // Whatever was accepted in the last life and before runs to its end.
    let left = async || {
        let reader = history::open(&server.data());
        (history::count(&reader, "SELECT count(*) FROM tasks WHERE end_date IS NULL") == 0).then_some(())
    };
    poll("all tasks to end", left).await;

    starts.sort();
    let promised = std::mem::take(&mut *load.promised.lock());
    println!(
        "{kills} kills, {} tasks acknowledged, {} ends seen, {} cancels acknowledged; from start to ready: median {:?}, longest {:?}",
        promised.tasks.len(),
        promised.ended.len(),
        promised.cancelled.len(),
        starts[starts.len() / 2],
        starts[starts.len() - 1],
    );
    assert!(promised.tasks.len() as u64 > kills, "there was hardly any load");
    assert!(starts[starts.len() - 1] < SLOWEST_START, "{starts:?}");
    check_promises(&client, &promised).await;
    assert!(server.stop().await.success());
    check_history(&server.data(), &promised);
}

/// What the API says afterwards.
async fn check_promises(client: &Client, promised: &Promised) {
    let mut shown = BTreeMap::new();
    let mut query = "limit=1000".to_owned();
    loop {
        let page = client.json(&format!("/api/v1/tasks?{query}")).await;
        for task in page["items"].as_array().unwrap() {
            shown.insert(task["id"].as_str().unwrap().to_owned(), task.clone());
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=1000&cursor={cursor}");
    }
    for id in promised.tasks.keys() {
        let task = shown.get(id).unwrap_or_else(|| panic!("{id} was acknowledged and is gone"));
        assert!(is_final(task), "{task}");
    }
    for (id, (state, result)) in &promised.ended {
        assert_eq!((shown[id]["state"].as_str(), &shown[id]["result"]), (Some(state.as_str()), result), "{id}");
    }
    for id in &promised.cancelled {
        assert_eq!(shown[id]["state"], "cancelled", "{id}");
    }
    for task in shown.values() {
        let (state, tries) = (task["state"].as_str().unwrap(), task["try_number"].as_u64().unwrap());
        // What happened to our side cost the task no try.
        assert!(tries <= task["max_tries"].as_u64().unwrap(), "{task}");
        let lost = task["outcome"] == "lost";
        match task["function"].as_str().unwrap() {
            "run" | "echo" => assert!(state == "success" && tries == 1 || state == "cancelled" || lost, "{task}"),
            "flaky" => assert!(state == "success" && tries == 2 || lost, "{task}"),
            "sleep" => assert!(matches!(state, "success" | "cancelled") || lost, "{task}"),
            other => panic!("{other} was not submitted"),
        }
    }
}

/// What the tables say, past the server.
fn check_history(data: &std::path::Path, promised: &Promised) {
    let store = history::open(data);
    // The table has no index by task: nothing else asks so much.
    store
        .execute_batch(
            "CREATE TEMP TABLE history AS SELECT * FROM events; CREATE INDEX temp.by_task ON history (task, seq)",
        )
        .unwrap();
    let none = |what: &str, sql: &str| {
        assert_eq!(history::count(&store, &format!("SELECT count(*) FROM ({sql})")), 0, "{what}")
    };
    none(
        "tasks without exactly one `ended`",
        "SELECT tasks.id FROM tasks LEFT JOIN history ON history.task = tasks.id AND event = 5
        GROUP BY tasks.id HAVING count(history.seq) <> 1",
    );
    none("events of no task", "SELECT seq FROM history WHERE task NOT IN (SELECT id FROM tasks)");
    none(
        "fences with several ends",
        "SELECT task, fence FROM history WHERE fence IS NOT NULL GROUP BY task, fence HAVING count(*) > 1",
    );
    none(
        "an end that is not the last event",
        "SELECT task FROM history GROUP BY task HAVING max(seq) <> max(CASE event WHEN 5 THEN seq END)",
    );
    none(
        "a task that does not name its last event",
        "SELECT id FROM tasks WHERE last_event <> (SELECT max(seq) FROM history WHERE task = tasks.id)",
    );
    none(
        "broken chains",
        "SELECT seq FROM (SELECT seq, previous, lag(seq, 1, 0) OVER (PARTITION BY task ORDER BY seq) AS before FROM history) WHERE previous <> before",
    );
    none(
        "several tasks submitted in one",
        "SELECT task FROM history WHERE event = 1 GROUP BY task HAVING count(*) <> 1",
    );
    none(
        "one fence started twice",
        "SELECT task, previous FROM history WHERE previous <> 0 GROUP BY task, previous HAVING count(*) > 1",
    );
    none("idempotency keys of no task", "SELECT seq FROM idempotency WHERE task NOT IN (SELECT id FROM tasks)");
    none("keys with several tasks", "SELECT key FROM idempotency GROUP BY key HAVING count(DISTINCT task) > 1");
    assert_eq!(history::count(&store, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);

    // Each key was one task, and each task of a key is one that the load was told of, or was never answered.
    let mut by_key = BTreeMap::new();
    for (id, key) in &promised.tasks {
        let Some(key) = key else { continue };
        assert_eq!(by_key.insert(key, id), None, "two tasks for the key {key}");
    }
    let mut labelled = store
        .prepare("SELECT json_extract(labels, '$.key'), count(*) FROM tasks WHERE labels IS NOT NULL GROUP BY 1")
        .unwrap();
    let labelled = labelled.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
    for label in labelled {
        let (key, tasks) = label.unwrap();
        assert_eq!(tasks, 1, "key {key} was carried out {tasks} times");
    }
}

impl Load {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn next_key(&self) -> String {
        format!("key-{}", self.keys.fetch_add(1, Ordering::Relaxed))
    }

    /// Some task; its key, where it has one, is also its label.
    fn task(&self, random: &mut Random, key: Option<&str>) -> Value {
        let mut task = match random.below(40) {
            0 => json!({"module": self.guests, "function": "sleep", "input": {"ms": random.below(150)}}),
            1 => {
                json!({"module": self.guests, "function": "flaky", "input": {"succeeds_at": 2}, "retries": 1, "retry_delay": "20ms"})
            }
            3..8 => json!({"module": self.guests, "function": "echo", "input": random.below(1_000_000)}),
            _ => json!({"module": self.noop, "input": {"input": "AAEC"}}),
        };
        if let Some(key) = key {
            task["labels"] = json!({"key": key});
        }
        task
    }

    /// Until there is an answer, in whichever life of the server. Only for what may be repeated.
    async fn until_answered(&mut self, ask: impl AsyncFn(&Client) -> Option<Value>) -> Value {
        let until = Instant::now() + support::DEADLINE;
        loop {
            let client = self.client.borrow_and_update().clone();
            if let Some(answer) = ask(&client).await {
                return answer;
            }
            assert!(Instant::now() < until, "no answer within {:?}", support::DEADLINE);
            // The next life, or soon again: an answer may also be missing because the server stops just now.
            let _ = tokio::time::timeout(Duration::from_millis(20), self.client.changed()).await;
        }
    }

    fn note(&self, key: Option<String>, task: &Value) {
        let id = task["id"].as_str().unwrap().to_owned();
        let mut promised = self.promised.lock();
        if is_final(task) {
            let end = (task["state"].as_str().unwrap().to_owned(), task["result"].clone());
            let before = promised.ended.insert(id.clone(), end.clone());
            assert!(before.is_none_or(|before| before == end), "{id} has ended twice, in different ways: {task}");
        }
        let before = promised.tasks.insert(id, key.clone());
        assert!(before.is_none_or(|before| before == key));
    }

    async fn submit_singles(mut self, mut random: Random) {
        while !self.is_over() {
            let key = self.next_key();
            let task = self.task(&mut random, Some(&key));
            let answer = self.until_answered(async |client| accepted(client.submit_once(&key, &task).await)).await;
            self.note(Some(key), &answer);
        }
    }

    /// Batches are sent once: lines that were answered count, the others may be there or not.
    async fn submit_batches(mut self, mut random: Random) {
        while !self.is_over() {
            let lines: String =
                (0..1 + random.below(60)).map(|_| format!("{}\n", self.task(&mut random, None))).collect();
            // Every other one waits, so that the load does not outrun the server.
            let wait = if random.below(2) == 0 { "" } else { "?wait=2s" };
            let client = self.client.borrow_and_update().clone();
            let request = client.request(reqwest::Method::POST, &format!("/api/v1/tasks/batch{wait}")).body(lines);
            let Ok(mut response) = request.send().await else {
                let _ = tokio::time::timeout(Duration::from_millis(100), self.client.changed()).await;
                continue;
            };
            // What has arrived was acknowledged, also where the connection then broke.
            let mut arrived = Vec::new();
            while let Ok(Some(piece)) = response.chunk().await {
                arrived.extend_from_slice(&piece);
            }
            let whole = arrived.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            for line in arrived[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line: Value = serde_json::from_slice(line).unwrap();
                if line.get("id").is_some() {
                    self.note(None, &line);
                }
            }
        }
    }

    async fn submit_and_wait(mut self, mut random: Random) {
        while !self.is_over() {
            let key = self.next_key();
            let mut task = self.task(&mut random, Some(&key));
            task["priority_weight"] = json!(10);
            let wait = async |client: &Client| {
                let request =
                    client.request(reqwest::Method::POST, "/api/v1/tasks?wait=20s").header("idempotency-key", &key);
                accepted(support::client::send(request.body(task.to_string())).await)
            };
            let answer = self.until_answered(wait).await;
            self.note(Some(key), &answer);
        }
    }

    async fn submit_and_cancel(mut self, mut random: Random) {
        while !self.is_over() {
            let key = self.next_key();
            let task = json!({"module": self.guests, "function": "sleep", "input": {"ms": random.below(300)}, "labels": {"key": key}});
            let submitted = self.until_answered(async |client| accepted(client.submit_once(&key, &task).await)).await;
            self.note(Some(key), &submitted);
            let id = submitted["id"].as_str().unwrap().to_owned();
            let cancelled = self
                .until_answered(async |client| {
                    let answer = client.post(&format!("/api/v1/tasks/{id}/cancel"), "").await.ok()?;
                    matches!(answer.status, 200 | 409).then(|| json!([answer.status, answer.json()]))
                })
                .await;
            if cancelled[0] == 200 && cancelled[1]["state"] == "cancelled" {
                self.promised.lock().cancelled.insert(id);
            }
        }
    }
}

fn accepted(answer: reqwest::Result<support::Answer>) -> Option<Value> {
    let answer = answer.ok()?;
    assert!(matches!(answer.status, 201 | 429 | 503), "{}", answer.text());
    (answer.status == 201).then(|| answer.json())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// SplitMix64: the moments of a seed are the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
