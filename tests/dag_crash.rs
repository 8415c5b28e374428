//! Kills the server at random moments under a load of runs of DAGs of all shapes, again and again. Every run then ends as
//! it would have, and each of its task instances is recorded once.
//!
//! `TRADEWIND_KILLS` says how often (default 30), `TRADEWIND_SEED` repeats a sequence of moments.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

#[path = "simulation/random.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is shared with the simulation")]
mod random;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use random::Random;
use serde_json::{Map, Value, json};
use support::{Answer, Client, Run, dag, history, poll, setup};
use tokio::sync::watch;
use tokio::task::spawn_local;

/// A life of the server lasts so long at most.
const LONGEST_LIFE: u64 = 1_200;

/// Those that trigger run after run at the same time.
const CLIENTS: u64 = 6;

/// The DAGs of the load. Each is triggered with `conf.n`, a number that says how it goes.
const SHAPES: [(&str, &str); 8] = [
    (
        "chain",
        r#"
        tasks:
          a: {function: echo, input: "{{ conf.n }}"}
          b: {upstream: a, function: echo, input: "{{ tasks.a.output + 1 }}"}
          c: {upstream: b, function: echo, input: "{{ tasks.b.output + 1 }}"}
          d: {upstream: c, function: echo, input: "{{ tasks.c.output + 1 }}"}
          e: {upstream: d, function: echo, input: "{{ tasks.d.output + 1 }}"}
        "#,
    ),
    (
        "fan",
        r#"
        tasks:
          first: {function: echo, input: "{{ conf.n }}"}
          w1: {upstream: first, function: echo, input: "{{ tasks.first.output + 1 }}"}
          w2: {upstream: first, function: echo, input: "{{ tasks.first.output + 2 }}"}
          w3: {upstream: first, function: sleep, input: {ms: 20}}
          w4: {upstream: first, function: echo, input: "{{ tasks.first.output + 4 }}"}
          join: {upstream: [w1, w2, w3, w4], function: echo, input: "{{ tasks.w1.output + tasks.w2.output + tasks.w4.output }}"}
        "#,
    ),
    (
        "mapped",
        r#"
        tasks:
          list: {function: echo, input: "{{ range(conf.n % 9) | list }}"}
          each: {upstream: list, function: echo, expand: {i: "{{ tasks.list.output }}"}, max_active_tis_per_dagrun: 3}
          sum: {upstream: each, trigger_rule: all_done, function: echo, input: "{{ (tasks.each.output or []) | map(attribute='i') | sum }}"}
        "#,
    ),
    (
        "group",
        r#"
        tasks:
          all: {upstream: g, trigger_rule: all_done, function: echo, input: "{{ tasks.g.second.output }}"}
        groups:
          g:
            expand: {at: [1, 2, 9]}
            tasks:
              first: {function: flaky, input: {succeeds_at: "{{ at }}"}, retries: 1}
              second: {upstream: first, function: echo, input: "{{ tasks.g.first.output + conf.n }}"}
        "#,
    ),
    (
        "branch",
        r#"
        tasks:
          choose: {function: echo, input: "{{ 'left' if conf.n % 2 == 0 else 'right' }}", branch: true}
          left: {upstream: choose, function: echo, input: 0}
          right: {upstream: choose, function: echo, input: 1}
          far: {upstream: right, function: echo}
          join: {upstream: [left, far], trigger_rule: none_failed_min_one_success, function: echo, when: "{{ conf.n % 3 != 0 }}"}
        "#,
    ),
    (
        "retries",
        r#"
        tasks:
          tries: {function: flaky, input: {succeeds_at: 3}, retries: 4, retry_delay: 20ms, retry_exponential_backoff: 1}
          next: {upstream: tries, function: echo, input: "{{ tasks.tries.output }}"}
        "#,
    ),
    (
        "failing",
        r#"
        tasks:
          up: {setup: true, function: echo}
          work: {upstream: up, function: flaky, input: {succeeds_at: 9}, retries: 1}
          after: {upstream: work, function: echo}
          skips: {upstream: up, function: skip, input: nothing}
          down: {upstream: [after, skips], teardown: [up], function: echo}
          told: {upstream: work, trigger_rule: one_failed, function: echo}
        "#,
    ),
    (
        "long",
        r#"
        tasks:
          up: {setup: true, function: echo}
          work: {upstream: up, function: sleep, input: {ms: 150}}
          after: {upstream: work, function: echo}
          down: {upstream: after, teardown: [up], function: echo}
        "#,
    ),
];

/// How a run of a shape ends, and what it leaves: the state of the run, of each task, and the output of the last one.
fn expected(shape: &str, n: u64) -> (&'static str, Value, (&'static str, Value)) {
    let (ok, no, skip) = ("success", "upstream_failed", "skipped");
    let if_so = |so: bool| if so { ok } else { skip };
    match shape {
        "chain" => (ok, json!({"a": ok, "b": ok, "c": ok, "d": ok, "e": ok}), ("e", json!(n + 4))),
        "fan" => {
            let states = json!({"first": ok, "w1": ok, "w2": ok, "w3": ok, "w4": ok, "join": ok});
            (ok, states, ("join", json!(3 * n + 7)))
        }
        "mapped" => {
            let count = n % 9;
            let each = if count == 0 { json!(skip) } else { json!(vec![ok; count as usize]) };
            (ok, json!({"list": ok, "each": each, "sum": ok}), ("sum", json!((0..count).sum::<u64>())))
        }
        "group" => {
            let states = json!({"g.first": [ok, ok, "failed"], "g.second": [ok, ok, no], "all": ok});
            (ok, states, ("all", json!([1 + n, 2 + n, null])))
        }
        "branch" => {
            let right = n % 2 == 1;
            let joins = !n.is_multiple_of(3);
            let states = json!({"choose": ok, "left": if_so(!right), "right": if_so(right), "far": if_so(right), "join": if_so(joins)});
            (ok, states, ("choose", json!(if right { "right" } else { "left" })))
        }
        "retries" => (ok, json!({"tries": ok, "next": ok}), ("next", json!(3))),
        "failing" => {
            let states = json!({"up": ok, "work": "failed", "after": no, "skips": skip, "down": ok, "told": ok});
            ("failed", states, ("told", Value::Null))
        }
        "long" => (ok, json!({"up": ok, "work": ok, "after": ok, "down": ok}), ("down", Value::Null)),
        other => panic!("{other} is no shape"),
    }
}

/// What the load knows to be promised.
#[derive(Default)]
struct Promised {
    /// Runs that were acknowledged, by the name that the load gave them.
    runs: BTreeMap<String, String>,
    /// Those whose end was shown to somebody: it must never change.
    ended: BTreeMap<String, String>,
    cancelled: BTreeMap<String, String>,
    cleared: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Load {
    /// The server's present life.
    client: watch::Receiver<Client>,
    over: Arc<AtomicBool>,
    promised: Arc<parking_lot::Mutex<Promised>>,
    names: Arc<AtomicU64>,
}

#[tokio::test]
async fn every_run_ends_as_it_would_have_whenever_the_server_is_killed() {
    tokio::task::LocalSet::new().run_until(kill_again_and_again()).await;
}

async fn kill_again_and_again() {
    let kills: u64 = number("TRADEWIND_KILLS").unwrap_or(30);
    let seed = number("TRADEWIND_SEED").unwrap_or_else(|| std::process::id().into());
    println!("TRADEWIND_SEED={seed} TRADEWIND_KILLS={kills}");
    let mut random = Random::new(seed);
    let (mut server, client, module) = setup().start_with_guests().await;
    for (shape, rest) in SHAPES {
        client.apply(&dag(&module, shape, rest)).await;
    }
    let (life, lives) = watch::channel(client);
    let load = Load { client: lives, over: Arc::default(), promised: Arc::default(), names: Arc::default() };
    let mut workers = Vec::new();
    for client in 0..CLIENTS {
        workers.push(spawn_local(load.clone().trigger_runs(Random::new(seed ^ (client + 1)))));
    }
    workers.push(spawn_local(load.clone().cancel_runs(Random::new(seed ^ 11))));
    workers.push(spawn_local(load.clone().clear_runs(Random::new(seed ^ 12))));

    let begun = Instant::now();
    for _ in 0..kills {
        // The only sleep: how long a life lasts is the experiment itself.
        tokio::time::sleep(Duration::from_millis(random.below(LONGEST_LIFE))).await;
        server.restart().await;
        life.send_replace(server.client());
    }
    load.over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("the load found nothing wrong");
    }
    let left = async || {
        let store = history::open(&server.data());
        let runs = history::count(&store, "SELECT count(*) FROM runs WHERE end_date IS NULL");
        let tasks = history::count(&store, "SELECT count(*) FROM tasks WHERE end_date IS NULL");
        (runs + tasks == 0).then_some(())
    };
    poll("all runs to end", left).await;
    let promised = std::mem::take(&mut *load.promised.lock());
    println!(
        "{kills} kills in {:?}: {} runs acknowledged, {} ends seen, {} cancelled, {} cleared",
        begun.elapsed(),
        promised.runs.len(),
        promised.ended.len(),
        promised.cancelled.len(),
        promised.cleared.len()
    );
    assert!(promised.runs.len() as u64 > kills, "there was hardly any load");
    check_runs(&server.client(), &promised, kills).await;
    assert!(server.stop().await.success());
    check_tables(&server.data());
}

/// What the API says of every run afterwards.
async fn check_runs(client: &Client, promised: &Promised, kills: u64) {
    let shown = client.all_items("/api/v1/runs").await;
    let by_id: BTreeMap<&str, &Value> = shown.iter().map(|run| (run["id"].as_str().unwrap(), run)).collect();
    assert_eq!(by_id.len(), shown.len(), "a run is listed twice");
    for (name, id) in &promised.runs {
        let run = by_id.get(id.as_str()).unwrap_or_else(|| panic!("{name} was acknowledged as {id} and is gone"));
        assert_eq!(run["run_id"], json!(name));
    }
    for (id, state) in &promised.ended {
        assert_eq!(by_id[id.as_str()]["state"], json!(state), "the end of {id} was shown");
    }
    let runs = shown.iter().map(|run| async move {
        let tasks = client.all_items(&format!("/api/v1/runs/{}/tasks", run["id"].as_str().unwrap())).await;
        Run { run: run.clone(), tasks }
    });
    let mut runs = futures_util::stream::iter(runs).buffer_unordered(8);
    let (mut counts, mut lost) = (Map::new(), 0_u64);
    while let Some(run) = runs.next().await {
        let dag = run.run["dag_id"].as_str().unwrap().to_owned();
        let count = counts.entry(dag.clone()).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap() + 1);
        // The third death of the host in a row is final: such a run ends otherwise.
        if run.tasks.iter().any(|task| task["outcome"] == "lost") {
            lost += 1;
            continue;
        }
        check_run(&run, &dag, promised);
    }
    println!("{} runs: {}; {lost} with a task that died three times with its host", shown.len(), Value::Object(counts));
    assert!(lost <= 5 * kills, "{lost} runs of {} had a task that was lost", shown.len());
}

fn check_run(run: &Run, dag: &str, promised: &Promised) {
    let n = run.run["conf"]["n"].as_u64().unwrap();
    let name = run.run["run_id"].as_str().unwrap();
    let (state, states, (task, output)) = expected(dag, n);
    if name.starts_with("cancel-") {
        let cancelled = promised.cancelled.contains_key(name);
        assert!(run.state() == "cancelled" || (run.state() == state && !cancelled), "{name}: {run:#?}");
        // Whatever was set up is cleaned up after.
        let states = run.states();
        assert!(states["up"] != "success" || states["down"] == "success", "{states}");
        return;
    }
    assert_eq!((run.state(), run.states()), (state, states), "{name} of {dag}, n = {n}: {}", run.all("error"));
    assert_eq!(run.output(task), &output, "{task} of {name} of {dag}, n = {n}");
    let was_cleared = name.starts_with("clear-");
    for task in &run.tasks {
        let tries = task["try_number"].as_u64().unwrap();
        let wanted = match (task["task_id"].as_str().unwrap(), task["state"].as_str().unwrap()) {
            ("tries", _) => 3,
            ("work", "failed") => 2,
            ("g.first", _) => [1, 2, 2][task["map_index"].as_u64().unwrap() as usize],
            (_, "upstream_failed") => 0,
            ("skips", _) => 1,
            (_, "skipped") => 0,
            _ => 1,
        };
        // What happened to our side cost the task no try.
        assert!(tries == wanted || (was_cleared && tries > wanted), "{name}: {tries} tries, not {wanted}: {task}");
        if promised.cleared.contains_key(name) {
            assert!(tries >= 2, "it was cleared: {task}");
        }
    }
}

/// What the tables say, past the server.
fn check_tables(data: &Path) {
    let store = history::open(data);
    // The table has no index by task: nothing else asks so much.
    store
        .execute_batch(
            "CREATE TEMP TABLE history AS SELECT * FROM events; CREATE INDEX temp.by_task ON history (task, seq)",
        )
        .unwrap();
    let none = |what: &str, sql: &str| {
        assert_eq!(history::count(&store, &format!("SELECT count(*) FROM ({sql})")), 0, "{what}");
    };
    let not_cleared = "run NOT IN (SELECT id FROM runs WHERE run_id LIKE 'clear-%')";
    none(
        "task instances that are there twice",
        "SELECT 1 FROM tasks WHERE run IS NOT NULL GROUP BY run, node, ifnull(map_index, -1) HAVING count(*) > 1",
    );
    none("tasks of no run", "SELECT 1 FROM tasks WHERE run IS NULL OR run NOT IN (SELECT id FROM runs)");
    none(
        "a mapped task that also stands as a whole",
        "SELECT 1 FROM tasks a JOIN tasks b USING (run, node) WHERE a.map_index IS NULL AND b.map_index IS NOT NULL",
    );
    none(
        "instances beyond their list",
        "SELECT 1 FROM tasks JOIN runs ON runs.id = tasks.run WHERE map_index >= (SELECT max(total) FROM expansions WHERE expansions.run = tasks.run)",
    );
    none(
        "runs that have not begun or not ended",
        "SELECT 1 FROM runs WHERE end_date IS NULL OR (start_date IS NULL AND state <> 5)",
    );
    none(
        "tasks without exactly one end",
        &format!(
            "SELECT tasks.id FROM tasks LEFT JOIN history ON history.task = tasks.id AND event = 5
             WHERE tasks.{not_cleared} GROUP BY tasks.id HAVING count(history.seq) <> 1"
        ),
    );
    none(
        "an end that is not the last event",
        "SELECT task FROM history WHERE task <> 0 GROUP BY task HAVING max(seq) <> max(CASE event WHEN 5 THEN seq END)",
    );
    none(
        "runs without exactly one end",
        "SELECT runs.id FROM runs LEFT JOIN history ON history.run = runs.id AND event = 23 AND task = 0
             WHERE runs.run_id NOT LIKE 'clear-%' GROUP BY runs.id HAVING count(history.seq) <> 1",
    );
    none(
        "runs that were accepted or begun twice",
        "SELECT run FROM history WHERE event IN (21, 22) AND task = 0 GROUP BY run, event HAVING count(*) > 1",
    );
    none(
        "runs whose end is not their last event",
        "SELECT run FROM history WHERE run IS NOT NULL GROUP BY run HAVING max(seq) <> max(CASE event WHEN 23 THEN seq END)",
    );
    none(
        "events of another run",
        "SELECT 1 FROM history JOIN tasks ON tasks.id = history.task WHERE history.run IS NOT tasks.run",
    );
    none("events of no task", "SELECT seq FROM history WHERE task <> 0 AND task NOT IN (SELECT id FROM tasks)");
    none(
        "fences with several ends",
        "SELECT task, fence FROM history WHERE fence IS NOT NULL GROUP BY task, fence HAVING count(*) > 1",
    );
    none(
        "a task that does not name its last event",
        "SELECT id FROM tasks WHERE last_event <> (SELECT max(seq) FROM history WHERE task = tasks.id)",
    );
    assert_eq!(history::count(&store, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

impl Load {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.names.fetch_add(1, Ordering::Relaxed))
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

    /// Triggers a run, and returns it as it was shown.
    async fn trigger(&mut self, dag: &str, name: &str, n: u64, wait: &str) -> Value {
        let body = json!({"run_id": name, "conf": {"n": n}}).to_string();
        let path = format!("/api/v1/dags/{dag}/runs{wait}");
        let run =
            self.until_answered(async |client| accepted(client.post(&path, body.clone()).await, &[200, 201])).await;
        let id = run["id"].as_str().unwrap().to_owned();
        let mut promised = self.promised.lock();
        let before = promised.runs.insert(name.to_owned(), id.clone());
        assert!(before.is_none_or(|before| before == id), "two runs of the name {name}");
        if !matches!(run["state"].as_str(), Some("queued" | "running")) && !name.starts_with("clear-") {
            let state = run["state"].as_str().unwrap().to_owned();
            let before = promised.ended.insert(id, state.clone());
            assert!(before.is_none_or(|before| before == state), "{name} has ended twice, in different ways");
        }
        run
    }

    async fn trigger_runs(mut self, mut random: Random) {
        while !self.is_over() {
            let (dag, _) = random.pick(&SHAPES);
            let name = self.name("run");
            // Most wait, so that the load does not outrun the server.
            let wait = if random.chance(80) { "?wait=5s" } else { "" };
            self.trigger(dag, &name, random.below(1_000), wait).await;
        }
    }

    async fn cancel_runs(mut self, mut random: Random) {
        while !self.is_over() {
            let name = self.name("cancel");
            let wait = *random.pick(&["", "?wait=50ms"]);
            let run = self.trigger("long", &name, 0, wait).await;
            let path = format!("/api/v1/runs/{}/cancel", run["id"].as_str().unwrap());
            // Once: a second word of this kind would stop the teardown as well.
            let client = self.client.borrow_and_update().clone();
            if accepted(client.post(&path, "").await, &[200]).is_some() {
                self.promised.lock().cancelled.insert(name, path);
            }
        }
    }

    async fn clear_runs(mut self, mut random: Random) {
        while !self.is_over() {
            let name = self.name("clear");
            let dag = *random.pick(&["chain", "fan"]);
            let run = self.trigger(dag, &name, random.below(1_000), "?wait=10s").await;
            if run["state"] != "success" {
                continue;
            }
            let path = format!("/api/v1/runs/{}/clear", run["id"].as_str().unwrap());
            // One that was carried out without an answer leaves tasks that have not ended.
            let cleared =
                self.until_answered(async |client| accepted(client.post(&path, "{}").await, &[200, 409])).await;
            if cleared["run"].is_object() {
                self.promised.lock().cleared.insert(name, path);
            }
        }
    }
}

fn accepted(answer: reqwest::Result<Answer>, good: &[u16]) -> Option<Value> {
    let answer = answer.ok()?;
    assert!(good.contains(&answer.status) || matches!(answer.status, 409 | 429 | 503), "{}", answer.text());
    good.contains(&answer.status).then(|| answer.json())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}
