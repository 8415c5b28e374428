//! How runs are accepted, waited for, shown and told of.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::support::client::send;
use super::support::setup;
use super::{House, at};

const ONE: &str = "tasks: {only: {function: echo, input: 1}}";

#[tokio::test]
async fn a_run_is_accepted_once_for_each_name() {
    let house = House::new().await;
    house.dag("once", ONE).await;
    let asked = json!({"run_id": "nightly-7", "note": "by hand"});
    let answer = house.trigger("once", &asked, "").await;
    let first = answer.expect(201);
    assert_eq!(answer.header("location"), Some(format!("/api/v1/runs/{}", first["id"].as_str().unwrap()).as_str()));
    let again = house.trigger("once", &json!({"run_id": "nightly-7", "conf": {"other": 1}}), "").await.expect(200);
    assert_eq!(json!([again["id"], again["note"], again["conf"]]), json!([first["id"], "by hand", {}]));
    let races = (0..20).map(|_| house.trigger("once", &asked, ""));
    for answer in futures_util::future::join_all(races).await {
        assert_eq!(answer.expect(200)["id"], first["id"]);
    }
    // Of another DAG it is another run.
    house.dag("other", ONE).await;
    let other = house.trigger("other", &asked, "").await.expect(201);
    assert_ne!(other["id"], first["id"]);
    let found = house.items("/api/v1/dags/once/runs?run_id=nightly-7").await;
    assert_eq!(json!(found.iter().map(|run| &run["id"]).collect::<Vec<_>>()), json!([first["id"]]));
    assert_eq!(house.items("/api/v1/dags/once/runs").await.len(), 1);
}

#[tokio::test]
async fn an_idempotency_key_names_one_run_even_across_a_crash() {
    let mut house = House::new().await;
    house.dag("keyed", ONE).await;
    let asked = async |house: &House, body: Value| {
        let request = house.server.client().request(Method::POST, "/api/v1/dags/keyed/runs");
        send(request.header("idempotency-key", "key-1").body(body.to_string())).await.unwrap()
    };
    let first = asked(&house, json!({})).await.expect(201);
    assert!(first["run_id"].as_str().unwrap().starts_with("manual__"), "{first}");
    house.server.restart().await;
    let again = asked(&house, json!({})).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(200)["id"], first["id"]);
    asked(&house, json!({"conf": {"a": 1}})).await.refused(422, "idempotency_mismatch");
}

#[tokio::test]
async fn a_wait_answers_at_the_end_or_when_its_time_is_up() {
    let house = House::new().await;
    house.dag("quick", ONE).await;
    house.dag("slow", "tasks: {only: {function: sleep, input: {ms: 600000}}}").await;
    let ended = house.trigger("quick", &json!({}), "?wait=30s").await.expect(201);
    assert_eq!(ended["state"], "success");
    let begun = Instant::now();
    let answer = house.trigger("slow", &json!({"run_id": "s"}), "?wait=300ms").await.expect(201);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!((&answer["state"], &answer["end_date"]), (&json!("running"), &Value::Null));
    // A repeat waits as well.
    let waited = async { house.trigger("slow", &json!({"run_id": "s"}), "?wait=30s").await.expect(200) };
    let cancelled = async { house.cancel_run(answer["id"].as_str().unwrap()).await.expect(200) };
    assert_eq!(tokio::join!(waited, cancelled).0["state"], "cancelled");
    house.trigger("quick", &json!({}), "?wait=61s").await.refused(422, "invalid_request");
}

#[tokio::test]
async fn a_run_and_its_tasks_say_all_that_the_contract_promises() {
    let house = House::new().await;
    let applied = house
        .dag("shown", "description: What is shown.\ntags: [b, a]\ntasks: {first: {function: echo, input: 1, retries: 2}, next: {upstream: first, function: echo}}")
        .await;
    let run = house.begin("shown", json!({"run_id": "r", "logical_date": "2026-03-01T00:00:00Z"})).await;
    let ended = house.end_of_run(&run).await.ended("success");
    let shown = &ended.run;
    assert_eq!(
        json!([shown["id"], shown["run_id"], shown["dag_id"], shown["dag_version"], shown["run_type"]]),
        json!([run, "r", "shown", applied["version"], "manual"])
    );
    assert_eq!(at(&shown["logical_date"]), "2026-03-01T00:00:00Z".parse().unwrap());
    assert!(at(&shown["queued_at"]) <= at(&shown["start_date"]) && at(&shown["start_date"]) <= at(&shown["end_date"]));
    assert!(shown["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{shown}");

    let task = ended.task("first");
    let words = ["task_id", "map_index", "run", "run_id", "dag_id", "max_tries", "retry_delay", "rendered_map_index"];
    let words: Vec<&Value> = words.iter().map(|word| &task[word]).collect();
    assert_eq!(json!(words), json!(["first", -1, run, "r", "shown", 3, "1ms", null]));
    assert_eq!(&house.task(task["id"].as_str().unwrap()).await, task, "the same under its own address");
    let attempts = house.items(&format!("{}/attempts", super::address(&ended, "first"))).await;
    assert_eq!(attempts.len(), 1);
    let single = house.client.run(&super::support::task(&house.module, "echo", json!(1))).await;
    let none = ["task_id", "map_index", "run", "run_id", "dag_id"].map(|word| single[word].clone());
    assert_eq!(json!(none), json!([null, null, null, null, null]));

    let dag = house.json("/api/v1/dags/shown").await;
    let words = ["dag_id", "version", "is_paused", "description", "tags", "schedule", "max_active_runs", "tasks"];
    let words: Vec<&Value> = words.iter().map(|word| &dag[word]).collect();
    let expected = json!(["shown", applied["version"], false, "What is shown.", ["a", "b"], null, 16, 2]);
    assert_eq!(json!(words), expected);
    assert!(dag["definition"].is_object() && dag["source"].as_str().unwrap().starts_with("dag_id: shown"), "{dag}");
}

#[tokio::test]
async fn tasks_to_come_are_scheduled_and_those_that_never_came_skipped() {
    let house = House::new().await;
    let rest = "
        tasks:
          first: {function: sleep, input: {ms: 600000}}
          next: {upstream: first, function: echo}
          mapped: {upstream: first, function: echo, expand: {n: [1, 2]}}
    ";
    house.dag("long", rest).await;
    let run = house.begin("long", json!({})).await;
    let under_way = house.run_when_task(&run, "first", "running").await;
    assert_eq!(under_way.states(), json!({"first": "running", "next": "scheduled", "mapped": "scheduled"}));
    assert_eq!(under_way.tries(), json!({"first": 1, "next": 0, "mapped": 0}));
    let id = under_way.task("next")["id"].as_str().unwrap();
    house.cancel(id).await.refused(409, "belongs_to_run");
    house.rerun(id).await.refused(409, "task_not_ended");
    house.cancel_run(&run).await.expect(200);
    let ended = house.end_of_run(&run).await.ended("cancelled");
    assert_eq!(ended.states(), json!({"first": "cancelled", "next": "skipped", "mapped": "skipped"}));
}

#[tokio::test]
async fn events_tell_of_a_run_and_its_tasks_in_order_and_a_stream_ends_with_it() {
    let house = House::new().await;
    let rest = "
        tasks:
          first: {function: flaky, input: {succeeds_at: 2}, retries: 1}
          each: {upstream: first, function: echo, expand: {n: [1, 2]}}
    ";
    house.dag("told", rest).await;
    let run = house.begin("told", json!({})).await;
    let path = format!("/api/v1/runs/{run}/events");
    let stream = house.request(Method::GET, &path).header("accept", "text/event-stream");
    let stream = send(stream).await.unwrap().text();
    let events = house.all_items(&path).await;
    let told: Vec<Value> = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(told, events, "the stream and the pages tell the same");
    let of_run: Vec<Value> = events
        .iter()
        .filter(|event| event["task"].is_null())
        .map(|event| json!([event["event"], event["state"]]))
        .collect();
    assert_eq!(json!(of_run), json!([["run_queued", "queued"], ["run_started", "running"], ["run_ended", "success"]]));
    assert_eq!(events.last().unwrap()["event"], "run_ended");
    assert!(events.iter().all(|event| event["run"] == json!(run)), "{events:?}");
    let ended: Vec<Value> = events
        .iter()
        .filter(|event| event["event"] == "ended")
        .map(|event| json!([event["task_id"], event["map_index"], event["try_number"], event["outcome"]]))
        .collect();
    assert_eq!(ended[0], json!(["first", -1, 2, "success"]));
    let mut mapped = ended[1..].to_vec();
    mapped.sort_by_key(|event| event[1].as_i64());
    assert_eq!(json!(mapped), json!([["each", 0, 1, "success"], ["each", 1, 1, "success"]]));
    let sequence: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(sequence.is_sorted_by(|a, b| a < b), "{sequence:?}");
    let after = house.all_items(&format!("{path}?after={}", sequence[2])).await;
    assert_eq!(after, events[3..]);
    let feed = house.all_items("/api/v1/events").await;
    assert_eq!(feed.iter().filter(|event| event["run"] == json!(run)).count(), events.len());
}

#[tokio::test]
async fn lists_have_pages_and_filters() {
    let house = House::new().await;
    house.dag("a", ONE).await;
    house.dag("b", "tasks: {only: {function: fail, input: {}}}").await;
    for _ in 0..3 {
        house.run_dag("a", json!({})).await.ended("success");
    }
    house.run_dag("b", json!({})).await.ended("failed");
    let count = async |path: &str| house.items(path).await.len();
    assert_eq!(count("/api/v1/dags").await, 2);
    assert_eq!(count("/api/v1/runs").await, 4);
    assert_eq!(count("/api/v1/runs?state=failed").await, 1);
    assert_eq!(count("/api/v1/runs?dag_id=a").await, 3);
    assert_eq!(count("/api/v1/runs?dag_id=a&state=failed").await, 0);
    assert_eq!(count("/api/v1/dags/a/runs?state=success").await, 3);
    let first = house.json("/api/v1/runs?limit=3").await;
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let rest = house.json(&format!("/api/v1/runs?limit=3&cursor={cursor}")).await;
    let mut ids: Vec<&Value> =
        [&first, &rest].iter().flat_map(|page| page["items"].as_array().unwrap()).map(|run| &run["id"]).collect();
    assert_eq!((ids.len(), &rest["next_cursor"]), (4, &Value::Null));
    assert!(ids.is_sorted_by(|a, b| a.as_str() > b.as_str()), "newest first: {ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn a_run_goes_on_where_it_was_when_the_server_comes_back() {
    let mut house = House::with(setup().with_setting("server.graceful_stop", "50ms")).await;
    let rest = r#"
        tasks:
          first: {function: echo, expand: {n: [1, 2, 3]}}
          long: {upstream: first, function: sleep, input: {ms: 1000}}
          last: {upstream: [long], function: echo, input: "{{ tasks.first.output | map(attribute='n') | sum }}"}
    "#;
    let rest = rest.replace("upstream: [long]", "upstream: [long, first]");
    house.dag("long", &rest).await;
    let run = house.begin("long", json!({})).await;
    house.run_when_task(&run, "long", "running").await;
    house.server.restart().await;
    house.client = house.server.client();
    let ended = house.end_of_run(&run).await.ended("success");
    assert_eq!(ended.output("last"), 6);
    assert_eq!(ended.each("first", "try_number"), json!([1, 1, 1]), "what was done is not done again");
    assert_eq!(ended.tries()["long"], 1, "that the server died costs no try");
}
