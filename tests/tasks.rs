//! What a caller is promised of single tasks and batches, through a real server.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::client::send;
use support::{Client, TestServer, guests, poll, setup, task};

async fn server() -> (TestServer, Client, String) {
    setup().start_with_guests().await
}

/// One attempt at a time, so that the order of attempts is the order of choice.
async fn server_with_one_slot() -> (TestServer, Client, String) {
    setup().with_setting("worker.slots", 1).with_setting("worker.waiting", 0).start_with_guests().await
}

fn id(task: &Value) -> &str {
    task["id"].as_str().expect("a task has an id")
}

/// The value with more keys.
fn with(mut value: Value, more: Value) -> Value {
    let object = value.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    value
}

fn at(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

// Submit, result, wait

#[tokio::test]
async fn a_submitted_task_ends_with_its_result() {
    let (_server, client, module) = server().await;
    let input = json!({"text": "grüß Gott", "numbers": [1, 2.5, -3], "nothing": null});
    let accepted = client.post("/api/v1/tasks", task(&module, "echo", input.clone()).to_string()).await.unwrap();
    let submitted = accepted.expect(201);
    assert_eq!(accepted.header("location"), Some(format!("/api/v1/tasks/{}", id(&submitted)).as_str()));
    assert!(id(&submitted).starts_with("task_"), "{submitted}");

    let ended = client.end_of(id(&submitted)).await;
    assert_eq!(ended["result"], input);
    let words = ["state", "outcome", "try_number", "function", "queue", "priority_weight", "module", "error"];
    let shown: Vec<&Value> = words.iter().map(|word| &ended[word]).collect();
    let expected = [
        json!("success"),
        json!("success"),
        json!(1),
        json!("echo"),
        json!("default"),
        json!(1),
        json!(module),
        Value::Null,
    ];
    assert_eq!(shown, expected.iter().collect::<Vec<_>>());
    assert!(at(&ended["queued_at"]) <= at(&ended["start_date"]) && at(&ended["start_date"]) <= at(&ended["end_date"]));

    let result = client.get(&format!("/api/v1/tasks/{}/result", id(&submitted))).await.unwrap();
    assert_eq!((result.expect(200), result.header("content-type")), (input, Some("application/json")));
}

#[tokio::test]
async fn a_module_may_be_named_and_a_task_keeps_the_digest_of_then() {
    let (_server, client, module) = server().await;
    let push = client.post("/api/v1/modules?name=etl&tag=1.4", guests::tasks().to_vec()).await.unwrap();
    assert_eq!(push.expect(200)["digest"], json!(module), "the same bytes again are known already");
    assert_eq!(client.run(&task("etl:1.4", "echo", json!(1))).await["module"], json!(module));

    let other = tradewind::sandbox::guests::noop();
    client.post("/api/v1/modules?name=etl&tag=1.4", other).await.unwrap().expect(201);
    let refused = client.post("/api/v1/tasks", task("etl:1.4", "echo", json!(1)).to_string()).await.unwrap();
    refused.refused(422, "function_not_found");
    client
        .post("/api/v1/tasks", task("etl:9", "echo", json!(1)).to_string())
        .await
        .unwrap()
        .refused(404, "module_not_found");
}

#[tokio::test]
async fn a_wait_answers_at_the_end_or_when_its_time_is_up() {
    let (_server, client, module) = server().await;
    assert_eq!(client.run(&task(&module, "echo", json!("at once"))).await["result"], json!("at once"));

    let sleep = task(&module, "sleep", json!({"ms": 60_000}));
    let begun = Instant::now();
    let answer = client.post("/api/v1/tasks?wait=300ms", sleep.to_string()).await.unwrap().expect(201);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!((&answer["state"], &answer["outcome"]), (&json!("running"), &Value::Null));

    client.post("/api/v1/tasks?wait=61s", sleep.to_string()).await.unwrap().refused(422, "invalid_request");
}

#[tokio::test]
async fn lines_of_a_batch_stand_for_themselves_and_are_answered_in_order() {
    let (_server, client, module) = server().await;
    let lines = [
        task(&module, "echo", json!("first")),
        task(&module, "no_such_function", json!(null)),
        with(task(&module, "echo", json!("keyed")), json!({"idempotency_key": "a"})),
        task(&module, "sleep", json!({"milliseconds": 1})),
        with(task(&module, "echo", json!("keyed")), json!({"idempotency_key": "a"})),
        with(task(&module, "echo", json!("another")), json!({"idempotency_key": "a"})),
        task(&module, "fail", json!({"message": "third"})),
    ];
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect::<String>() + "\nnot json\n";
    let answer = client.post("/api/v1/tasks/batch?wait=30s", body).await.unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    let answers = answer.lines();
    let indices: Vec<u64> = answers.iter().map(|line| line["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..8).collect::<Vec<_>>());
    let said: Vec<Value> = answers
        .iter()
        .map(|line| match line.get("id") {
            Some(_) => json!([line["state"], line["result"]]),
            None => line["error"]["code"].clone(),
        })
        .collect();
    let expected = json!([
        ["success", "first"],
        "function_not_found",
        ["success", "keyed"],
        "invalid_input",
        ["success", "keyed"],
        "idempotency_mismatch",
        ["failed", null],
        "malformed_json"
    ]);
    assert_eq!(json!(said), expected);
    assert_eq!(answers[2]["id"], answers[4]["id"], "the same key is the same task");
    assert_eq!(client.items("/api/v1/tasks").await.len(), 3, "what was refused leaves no task");
}

// Idempotency

#[tokio::test]
async fn an_idempotency_key_names_one_task_even_across_a_crash() {
    let (mut server, client, module) = server().await;
    let echo = task(&module, "echo", json!("once"));
    let first = client.submit_once("key-1", &echo).await.unwrap();
    assert_eq!(first.header("idempotency-replayed"), None);
    let first = first.expect(201);
    client.end_of(id(&first)).await;

    server.restart().await;
    let client = server.client();
    let again = client.submit_once("key-1", &echo).await.unwrap();
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let again = again.expect(201);
    assert_eq!((&again["id"], &again["state"]), (&first["id"], &json!("success")), "the same task as it is now");

    let other = client.submit_once("key-1", &task(&module, "echo", json!("twice"))).await.unwrap();
    let problem = other.refused(422, "idempotency_mismatch");
    assert!(problem["reason"].as_str().unwrap().contains(id(&first)), "{problem}");
    let bad_key = client.request(reqwest::Method::POST, "/api/v1/tasks").header("idempotency-key", "a b");
    send(bad_key.body(echo.to_string())).await.unwrap().refused(422, "invalid_request");
    assert_eq!(client.items("/api/v1/tasks").await.len(), 1);
}

#[tokio::test]
async fn many_submits_with_one_key_at_once_become_one_task() {
    let (_server, client, module) = server().await;
    let echo = task(&module, "echo", json!("race"));
    let submits = (0..20).map(|_| client.submit_once("race", &echo));
    let answers = futures_util::future::join_all(submits).await;
    let mut ids: Vec<String> = answers.into_iter().map(|answer| id(&answer.unwrap().expect(201)).to_owned()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

// Failures and retries

#[tokio::test]
async fn a_key_still_names_its_task_when_the_request_would_be_refused_by_now() {
    let (_server, client, module) = server().await;
    let tag = |tag: &str| format!("/api/v1/modules?name=guests&tag={tag}");
    client.post(&tag("1"), guests::tasks().to_vec()).await.unwrap().expect(200);
    let echo = task("guests:1", "echo", json!(1));
    let first = client.submit_once("key-1", &echo).await.unwrap().expect(201);
    let line = with(echo.clone(), json!({"idempotency_key": "key-2"}));
    let second = &client.batch(std::slice::from_ref(&line), "?wait=30s").await[0];
    send(client.request(reqwest::Method::DELETE, "/api/v1/modules/guests:1")).await.unwrap();

    client.post("/api/v1/tasks", echo.to_string()).await.unwrap().refused(404, "module_not_found");
    let again = client.submit_once("key-1", &echo).await.unwrap();
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(201)["id"], first["id"]);
    assert_eq!(client.batch(&[line], "").await[0]["id"], second["id"]);
    let other = task("guests:1", "echo", json!(2));
    client.submit_once("key-1", &other).await.unwrap().refused(404, "module_not_found");
    client.submit(&task(&module, "echo", json!(3))).await;
}

#[tokio::test]
async fn a_line_too_large_is_refused_alone() {
    let (_server, client, module) = server().await;
    let large = task(&module, "echo", json!("x".repeat(5 << 20)));
    let small = |n: u32| task(&module, "echo", json!(n));
    let answers = client.batch(&[small(0), large.clone(), small(2)], "?wait=30s").await;
    assert_eq!((&answers[0]["result"], &answers[2]["result"]), (&json!(0), &json!(2)));
    assert_eq!(answers[1]["error"]["code"], "body_too_large", "{}", answers[1]);
    client.post("/api/v1/tasks", large.to_string()).await.unwrap().refused(413, "body_too_large");
}

#[tokio::test]
async fn what_still_runs_at_a_graceful_stop_is_handed_back_at_no_cost() {
    let (mut server, client, module) = setup().with_setting("server.graceful_stop", "50ms").start_with_guests().await;
    let long = client.submit(&task(&module, "sleep", json!({"ms": 1_000}))).await;
    client.when_running(id(&long)).await;
    assert!(server.stop().await.success());
    server.restart().await;
    let ended = server.client().end_of(id(&long)).await;
    assert_eq!((&ended["state"], &ended["try_number"]), (&json!("success"), &json!(1)), "{ended}");
    let attempts = server.client().items(&format!("/api/v1/tasks/{}/attempts", id(&long))).await;
    assert_eq!(attempts.len(), 2, "the one that was handed back, and the one that ended: {attempts:?}");
}

#[tokio::test]
async fn tasks_that_wait_leave_their_slot_to_others_and_are_handed_back_like_them() {
    let one_slot = setup().with_setting("worker.slots", 1).with_setting("server.graceful_stop", "50ms");
    let (mut server, client, module) = one_slot.with_setting("worker.waiting", 40).start_with_guests().await;
    let sleeps: Vec<Value> = (0..40).map(|_| task(&module, "sleep", json!({"ms": 600_000}))).collect();
    let sleeps = client.batch(&sleeps, "").await;
    for sleep in &sleeps {
        client.when_running(id(sleep)).await;
    }
    let ended = client.run(&task(&module, "echo", json!("beside them"))).await;
    assert_eq!(ended["result"], "beside them");
    let metrics = client.get("/metrics").await.unwrap().text();
    assert!(metrics.contains("waiting_attempts 40\n"), "{metrics}");
    // A task may be cancelled while it waits, and gives its room back.
    client.cancel(id(&sleeps[0])).await.expect(200);
    client.run(&task(&module, "echo", json!(null))).await;
    assert!(server.stop().await.success());
    server.restart().await;
    let again = server.client().when_running(id(&sleeps[39])).await;
    assert_eq!(again["try_number"], 1, "it was handed back at no cost: {again}");
}

#[tokio::test]
async fn a_task_whose_module_is_gone_fails_for_good() {
    let (_server, client, module) = server().await;
    let echo = with(task(&module, "echo", json!(1)), json!({"retries": 3, "retry_delay": "10ms"}));
    let ended = client.run(&echo).await;
    let path = format!("/api/v1/modules/{module}");
    let deleted = send(client.request(reqwest::Method::DELETE, &path)).await.unwrap();
    assert!(matches!(deleted.status, 200 | 204), "{deleted:?}");
    assert_eq!(client.rerun(id(&ended)).await.status, 200);
    let again = client.end_of(id(&ended)).await;
    assert_eq!((&again["state"], &again["try_number"]), (&json!("failed"), &json!(2)), "{again}");
    assert!(again["error"]["message"].as_str().unwrap().contains(&module), "{}", again["error"]);
}

#[tokio::test]
async fn a_typed_error_is_kept_and_do_not_retry_is_obeyed() {
    let (_server, client, module) = server().await;
    let fail = task(&module, "fail", json!({"message": "no such city", "data": {"city": "Ames"}, "retry": "never"}));
    let ended = client.run(&with(fail, json!({"retries": 3, "retry_delay": "1ms"}))).await;
    assert_eq!(
        json!([ended["state"], ended["outcome"], ended["try_number"], ended["result"]]),
        json!(["failed", "failed", 1, null])
    );
    assert_eq!(
        (&ended["error"]["message"], &ended["error"]["data"]),
        (&json!("no such city"), &json!({"city": "Ames"}))
    );
    let result = client.get(&format!("/api/v1/tasks/{}/result", id(&ended))).await.unwrap();
    assert_eq!(result.refused(404, "no_result")["fault"], "task");
}

#[tokio::test]
async fn a_task_that_fails_is_tried_again_by_its_policy() {
    let (_server, client, module) = server().await;
    let policy = json!({"retries": 3, "retry_delay": "20ms", "retry_exponential_backoff": 1.0});
    let ended = client.run(&with(task(&module, "flaky", json!({"succeeds_at": 3})), policy.clone())).await;
    assert_eq!(json!([ended["state"], ended["result"], ended["try_number"]]), json!(["success", 3, 3]));
    assert_eq!(ended["error"], Value::Null, "an error of before is history");

    let attempts = client.items(&format!("/api/v1/tasks/{}/attempts", id(&ended))).await;
    let told: Vec<Value> =
        attempts.iter().map(|a| json!([a["try_number"], a["fence"], a["outcome"], a["error"]["data"]])).collect();
    let expected = json!([[1, 1, "failed", {"try": 1}], [2, 2, "failed", {"try": 2}], [3, 3, "success", null]]);
    assert_eq!(json!(told), expected);
    for pair in attempts.windows(2) {
        let pause = at(&pair[1]["start_date"]).duration_since(at(&pair[0]["end_date"]));
        assert!(pause >= jiff::SignedDuration::from_millis(15), "the delay less a quarter at most, not {pause}");
    }

    let exhausted = client.run(&with(task(&module, "flaky", json!({"succeeds_at": 9})), policy)).await;
    assert_eq!(json!([exhausted["state"], exhausted["try_number"]]), json!(["failed", 4]));
    let only_traps = json!({"retries": 3, "retry_delay": "1ms", "retry_on": ["trapped"]});
    let not_retried = client.run(&with(task(&module, "flaky", json!({"succeeds_at": 2})), only_traps)).await;
    assert_eq!(json!([not_retried["state"], not_retried["try_number"]]), json!(["failed", 1]));
}

#[tokio::test]
async fn a_panic_is_a_trap_with_its_backtrace_and_a_skip_is_no_failure() {
    let (_server, client, module) = server().await;
    let ended = client.run(&task(&module, "panic", json!(null))).await;
    assert_eq!(json!([ended["state"], ended["outcome"]]), json!(["failed", "trapped"]));
    let backtrace = ended["error"]["backtrace"].to_string();
    assert!(backtrace.contains("panic"), "{ended}");
    let log = client.get(&format!("/api/v1/tasks/{}/log", id(&ended))).await.unwrap().text();
    assert!(log.contains("panicked as asked"), "{log}");

    let skipped = client.run(&task(&module, "skip", json!("not today"))).await;
    assert_eq!(json!([skipped["state"], skipped["outcome"]]), json!(["skipped", "skipped"]));
}

// Order

#[tokio::test]
async fn the_greater_priority_goes_first_and_equals_in_the_order_of_submission() {
    let (_server, client, module) = server_with_one_slot().await;
    let blocker = client.submit(&task(&module, "sleep", json!({"ms": 600_000}))).await;
    client.when_running(id(&blocker)).await;
    let mut submitted = Vec::new();
    for (name, priority) in [("low", -5), ("first of two", 1), ("second of two", 1), ("high", 9)] {
        let echo = with(task(&module, "echo", json!(name)), json!({"priority_weight": priority}));
        submitted.push(id(&client.submit(&echo).await).to_owned());
    }
    client.cancel(id(&blocker)).await.expect(200);
    let mut ended = Vec::new();
    for id in &submitted {
        ended.push(client.end_of(id).await);
    }
    ended.sort_by_key(|task| at(&task["start_date"]));
    let order: Vec<&str> = ended.iter().map(|task| task["result"].as_str().unwrap()).collect();
    assert_eq!(order, ["high", "first of two", "second of two", "low"]);
}

#[tokio::test]
async fn a_queue_full_of_work_does_not_starve_another() {
    let (_server, client, module) = server_with_one_slot().await;
    let blocker = client.submit(&task(&module, "sleep", json!({"ms": 600_000}))).await;
    client.when_running(id(&blocker)).await;
    let bulk: Vec<Value> = (0..200).map(|n| with(task(&module, "echo", json!(n)), json!({"queue": "bulk"}))).collect();
    let bulk = client.batch(&bulk, "").await;
    let urgent = client.submit(&with(task(&module, "echo", json!("u")), json!({"queue": "urgent"}))).await;
    client.cancel(id(&blocker)).await.expect(200);
    let urgent = client.end_of(id(&urgent)).await;
    let last = client.end_of(id(&bulk[199])).await;
    assert!(at(&urgent["start_date"]) < at(&last["start_date"]), "{urgent} {last}");
    assert_eq!(urgent["queue"], "urgent");
}

#[tokio::test]
async fn a_task_does_not_start_before_its_moment() {
    let (_server, client, module) = server().await;
    let moment = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(400);
    let later = with(task(&module, "echo", json!("later")), json!({"not_before": moment.to_string()}));
    let submitted = client.submit(&later).await;
    assert_eq!((&submitted["state"], &submitted["try_number"]), (&json!("scheduled"), &json!(0)));
    let ended = client.end_of(id(&submitted)).await;
    let late = at(&ended["start_date"]).duration_since(moment);
    assert!(!late.is_negative() && late < jiff::SignedDuration::from_secs(5), "it began {late} after its moment");
    assert_eq!(ended["result"], "later");
}

// Cancel and rerun

#[tokio::test]
async fn a_task_that_waits_is_cancelled_and_never_runs() {
    let (_server, client, module) = server_with_one_slot().await;
    let blocker = client.submit(&task(&module, "sleep", json!({"ms": 600_000}))).await;
    let waiting = client.submit(&task(&module, "echo", json!("never"))).await;
    let later = with(task(&module, "echo", json!("never")), json!({"not_before": "2100-01-01T00:00:00Z"}));
    let scheduled = client.submit(&later).await;
    for waiting in [&waiting, &scheduled] {
        let cancelled = client.cancel(id(waiting)).await.expect(200);
        assert_eq!(
            json!([cancelled["state"], cancelled["try_number"], cancelled["start_date"]]),
            json!(["cancelled", 0, null])
        );
        assert_eq!(client.items(&format!("/api/v1/tasks/{}/attempts", id(waiting))).await, Vec::<Value>::new());
        client.cancel(id(waiting)).await.refused(409, "task_ended");
    }
    client.cancel("task_01J0000000000").await.refused(404, "task_not_found");
    client.cancel(id(&blocker)).await.expect(200);
}

#[tokio::test]
async fn a_guest_that_computes_or_sleeps_is_stopped_at_once() {
    let (_server, client, module) = server().await;
    for (function, input) in [("spin", json!(null)), ("sleep", json!({"ms": 600_000}))] {
        let running = client.submit(&with(task(&module, function, input), json!({"retries": 3}))).await;
        client.when_running(id(&running)).await;
        let begun = Instant::now();
        let cancelled = client.cancel(id(&running)).await.expect(200);
        let took = begun.elapsed();
        assert_eq!(
            json!([cancelled["state"], cancelled["outcome"], cancelled["try_number"]]),
            json!(["cancelled", "cancelled", 1]),
            "{function}"
        );
        // Promised are 100 ms; the rest is for a machine that does much else.
        assert!(took < Duration::from_secs(2), "{function} took {took:?}");
        println!("{function} was stopped after {took:?}");
    }
}

#[tokio::test]
async fn the_log_of_a_cancelled_attempt_is_kept() {
    let (_server, client, module) = server().await;
    // Far more lines than it can write before it is stopped.
    let chatty = json!({"lines": 100_000_000, "bytes": 40, "to": ["log"]});
    let running =
        client.submit(&with(task(&module, "log_lines", chatty), json!({"limits": {"log_bytes": 2_000}}))).await;
    client.when_running(id(&running)).await;
    // Its log can be read while it runs.
    poll("some lines", async || Some(client.log_lines(id(&running), "").await).filter(|lines| lines.len() > 10)).await;
    client.cancel(id(&running)).await.expect(200);
    let lines = client.log_lines(id(&running), "?try_number=1").await;
    assert!(lines.len() > 10 && lines[0]["message"].as_str().unwrap().starts_with("0 xxx"), "{lines:?}");
}

#[tokio::test]
async fn a_rerun_keeps_the_history_and_counts_on() {
    let (_server, client, module) = server().await;
    let flaky = with(task(&module, "flaky", json!({"succeeds_at": 3})), json!({"retries": 1, "retry_delay": "1ms"}));
    let failed = client.run(&flaky).await;
    assert_eq!(json!([failed["state"], failed["try_number"]]), json!(["failed", 2]));

    let rerun = client.rerun(id(&failed)).await.expect(200);
    assert_eq!(rerun["id"], failed["id"]);
    let ended = client.end_of(id(&failed)).await;
    assert_eq!(json!([ended["state"], ended["try_number"], ended["result"]]), json!(["success", 3, 3]));
    let attempts = client.items(&format!("/api/v1/tasks/{}/attempts", id(&failed))).await;
    let outcomes: Vec<&Value> = attempts.iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(json!(outcomes), json!(["failed", "failed", "success"]));
    let events = client.items(&format!("/api/v1/tasks/{}/events", id(&failed))).await;
    let ends = events.iter().filter(|event| event["event"] == "ended").count();
    assert_eq!(ends, 2, "it ended twice, and both ends are told: {events:?}");

    let running = client.submit(&task(&module, "sleep", json!({"ms": 600_000}))).await;
    client.rerun(id(&running)).await.refused(409, "task_not_ended");
}

// Lists, attempts, events

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let (_server, client, module) = server().await;
    let mut lines = Vec::new();
    for n in 0..10 {
        let labels = json!({"labels": {"team": if n % 2 == 0 { "a" } else { "b" }, "n": n.to_string()}});
        lines.push(with(task(&module, "echo", json!(n)), labels));
    }
    lines.push(with(task(&module, "fail", json!({})), json!({"queue": "other", "labels": {"team": "a"}})));
    let ids: Vec<String> = client.batch(&lines, "?wait=30s").await.iter().map(|answer| id(answer).to_owned()).collect();

    let listed = async |query: &str| -> Vec<String> {
        client.items(&format!("/api/v1/tasks?{query}")).await.iter().map(|task| id(task).to_owned()).collect()
    };
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(listed("").await, newest_first);
    assert_eq!(listed("state=failed").await, [ids[10].clone()]);
    assert_eq!(listed("outcome=failed").await, [ids[10].clone()]);
    assert_eq!(listed("queue=other").await, [ids[10].clone()]);
    assert_eq!(listed("label=team:a").await.len(), 6);
    assert_eq!(listed("label=team:a&state=success").await.len(), 5);
    assert_eq!(listed("label=n:7").await, [ids[7].clone()]);
    assert_eq!(listed(&format!("module={module}")).await.len(), 11);
    assert_eq!(listed(&format!("module=sha256:{}", "0".repeat(64))).await, Vec::<String>::new());

    let (mut paged, mut pages, mut query) = (Vec::new(), 0, "limit=4".to_owned());
    loop {
        let page = client.json(&format!("/api/v1/tasks?{query}")).await;
        paged.extend(page["items"].as_array().unwrap().iter().map(|task| id(task).to_owned()));
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=4&cursor={cursor}");
    }
    assert_eq!((paged, pages), (newest_first, 3));

    for wrong in ["limit=0", "limit=1001", "state=done", "colour=red", "cursor=%21", "label=team"] {
        let answer = client.get(&format!("/api/v1/tasks?{wrong}")).await.unwrap();
        let code = if wrong.starts_with("colour") { "unknown_key" } else { "invalid_request" };
        answer.refused(422, code);
    }
}

#[tokio::test]
async fn the_history_of_a_task_is_a_complete_chain() {
    let (_server, client, module) = server().await;
    let policy = json!({"retries": 1, "retry_delay": "5ms", "not_before": (jiff::Timestamp::now()
        + jiff::SignedDuration::from_millis(200)).to_string()});
    let ended = client.run(&with(task(&module, "flaky", json!({"succeeds_at": 2})), policy)).await;
    let events = client.items(&format!("/api/v1/tasks/{}/events", id(&ended))).await;
    // An attempt that ended before the next commit has no `started`.
    let told: Vec<Value> = events
        .iter()
        .filter(|event| event["event"] != "started")
        .map(|event| json!([event["event"], event["try_number"], event["state"], event["outcome"], event["by"]]))
        .collect();
    let expected = json!([
        ["submitted", 0, "scheduled", null, "admin"],
        ["ready", 0, "queued", null, null],
        ["attempt_ended", 1, "up_for_retry", "failed", null],
        ["ready", 1, "queued", null, null],
        ["ended", 2, "success", "success", null]
    ]);
    assert_eq!(json!(told), expected);
    assert!(events.windows(2).all(|pair| pair[0]["seq"].as_u64() < pair[1]["seq"].as_u64()), "{events:?}");

    let feed = client.json("/api/v1/events?limit=1000").await;
    let feed = feed["items"].as_array().unwrap();
    assert_eq!(feed.iter().filter(|event| event["task"] == ended["id"]).count(), events.len());
    let third = feed[2]["seq"].as_u64().unwrap();
    let rest = client.items(&format!("/api/v1/events?after={third}")).await;
    assert_eq!(rest, feed[3..], "a follower goes on where it left off");
}

#[tokio::test]
async fn a_long_sleep_shows_as_running_with_its_attempt() {
    let (_server, client, module) = server().await;
    let running = client.submit(&task(&module, "sleep", json!({"ms": 600_000}))).await;
    let shown = client.when_running(id(&running)).await;
    assert_eq!(json!([shown["try_number"], shown["outcome"], shown["end_date"]]), json!([1, null, null]));
    let attempts = client.items(&format!("/api/v1/tasks/{}/attempts", id(&running))).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!(json!([attempts[0]["try_number"], attempts[0]["outcome"]]), json!([1, null]));
    let result = client.get(&format!("/api/v1/tasks/{}/result", id(&running))).await.unwrap();
    result.refused(409, "task_not_ended");
}

// Logs

#[tokio::test]
async fn a_log_is_shown_as_text_and_as_lines() {
    let (_server, client, module) = server().await;
    let ended = client.run(&task(&module, "log_lines", json!({"lines": 2, "bytes": 6}))).await;
    let lines = client.log_lines(id(&ended), "").await;
    let told: Vec<Value> =
        lines.iter().map(|line| json!([line["seq"], line["stream"], line["level"], line["message"]])).collect();
    // Each stream keeps its own order, and `seq` counts them all.
    let of = |stream: &str| -> Vec<&Value> { lines.iter().filter(|line| line["stream"] == stream).collect() };
    assert_eq!(lines.len(), 6, "{told:?}");
    assert!(lines.iter().enumerate().all(|(n, line)| line["seq"] == json!(n + 1)), "{told:?}");
    for stream in ["log", "stdout", "stderr"] {
        let messages: Vec<&Value> = of(stream).iter().map(|line| &line["message"]).collect();
        assert_eq!(json!(messages), json!(["0 xxxx", "1 xxxx"]), "{stream}");
    }
    let levels: Vec<&Value> = of("log").iter().map(|line| &line["level"]).collect();
    assert_eq!(json!(levels), json!(["trace", "debug"]));

    let text = client.get(&format!("/api/v1/tasks/{}/log", id(&ended))).await.unwrap();
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(text.text().lines().filter(|line| line.ends_with(" 0 xxxx")).count(), 3, "{}", text.text());
    let missing = client.get(&format!("/api/v1/tasks/{}/log?try_number=2", id(&ended))).await.unwrap();
    missing.refused(404, "try_not_found");
}

#[tokio::test]
async fn a_log_of_any_length_is_complete_and_survives_a_crash() {
    let (mut server, client, module) = server().await;
    // Below and above 16 KiB, where it leaves the database, and above 1 MiB: several pieces of a segment.
    let mut tasks = Vec::new();
    for (lines, bytes) in [(100, 60), (1_000, 100), (6_000, 300)] {
        let log = task(&module, "log_lines", json!({"lines": lines, "bytes": bytes, "to": ["log"]}));
        tasks.push((client.run(&log).await, lines, bytes));
    }
    server.restart().await;
    let client = server.client();
    for (ended, lines, bytes) in tasks {
        assert_eq!(ended["usage"]["log_bytes"], json!(lines * bytes));
        let log = client.log_lines(id(&ended), "").await;
        assert_eq!(log.len(), lines);
        for (n, line) in log.iter().enumerate() {
            let message = line["message"].as_str().unwrap();
            assert!(message.len() == bytes && message.starts_with(&format!("{n} x")), "line {n}: {message}");
        }
        let text = client.get(&format!("/api/v1/tasks/{}/log", id(&ended))).await.unwrap().text();
        assert_eq!(text.lines().count(), lines);
    }
}

#[tokio::test]
async fn a_log_beyond_its_limit_is_cut_and_says_so() {
    let (_server, client, module) = server().await;
    let log = task(&module, "log_lines", json!({"lines": 100, "bytes": 100, "to": ["log"]}));
    let ended = client.run(&with(log, json!({"limits": {"log_bytes": 1_000}}))).await;
    assert_eq!(ended["state"], "success", "a log too long is no failure");
    let lines = client.log_lines(id(&ended), "").await;
    assert_eq!(lines.len(), 11, "ten lines of a hundred bytes, and one that says what is missing");
    let last = lines[10]["message"].as_str().unwrap();
    assert!(last.contains("90 lines were dropped") && last.contains("limits.log_bytes"), "{last}");
}

#[tokio::test]
async fn what_ended_long_ago_is_removed_with_its_result() {
    let (server, client, module) = setup()
        .with_setting("retention.ended_tasks", "1s")
        .with_setting("retention.interval", "20ms")
        .start_with_guests()
        .await;
    let waiting = with(task(&module, "echo", json!(1)), json!({"not_before": "2999-01-01T00:00:00Z"}));
    let waiting = client.submit(&waiting).await;
    let ended = client.run(&task(&module, "big_output", json!({"bytes": 100_000}))).await;
    let results = server.data().join("artifacts/results");
    let is_kept = || contains_file(&results, id(&ended));
    assert!(ended["result_ref"].is_object() && is_kept(), "{ended}");
    let path = format!("/api/v1/tasks/{}", id(&ended));
    let gone = async || client.get(&path).await.ok().filter(|answer| answer.status == 404);
    poll("the task to be removed", gone).await.refused(404, "task_not_found");
    poll("its result to be removed", async || (!is_kept()).then_some(())).await;
    assert_eq!(client.task(id(&waiting)).await["state"], "scheduled", "what has not ended stays");
}

/// Whether a file somewhere below has this in its path.
fn contains_file(directory: &std::path::Path, part: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries
        .map(|entry| entry.unwrap().path())
        .any(|path| if path.is_dir() { contains_file(&path, part) } else { path.to_string_lossy().contains(part) })
}

// Results and limits

#[tokio::test]
async fn a_large_result_is_an_artifact_that_proves_itself() {
    let (mut server, _, module) = server().await;
    for (bytes, kept_apart) in [(60_000, false), (70_000, true), (5_000_000, true)] {
        let client = server.client();
        let ended = client.run(&task(&module, "big_output", json!({"bytes": bytes}))).await;
        assert_eq!(ended["state"], "success", "{}", ended["error"]);
        let path = format!("/api/v1/tasks/{}/result", id(&ended));
        let result = client.get(&path).await.unwrap();
        assert_eq!((result.status, result.body.len()), (200, bytes + 2));
        assert!(result.body[1..=bytes].iter().all(|byte| *byte == b'x'));
        if kept_apart {
            let digest = format!("sha256:{}", hex::encode(Sha256::digest(&result.body)));
            assert_eq!(ended["result_ref"], json!({"digest": digest, "bytes": bytes + 2}));
            assert_eq!(ended["result"], Value::Null);
            server.restart().await;
            let again = server.client().get(&path).await.unwrap();
            assert!(again.body == result.body, "the same bytes after a crash");
        } else {
            assert_eq!(ended["result_ref"], Value::Null);
        }
        assert_eq!(server.client().task(id(&ended)).await["result_ref"], ended["result_ref"]);
    }
}

#[tokio::test]
async fn an_attempt_ends_at_the_first_limit_it_meets() {
    let (_server, client, module) = server().await;
    let cases = [
        ("alloc", json!({"mib": 200}), json!({"memory_bytes": 32 << 20}), "out_of_memory"),
        ("sleep", json!({"ms": 600_000}), json!({"execution_timeout": "150ms"}), "timed_out"),
        ("spin", json!(null), json!({"execution_timeout": "150ms"}), "timed_out"),
        ("spin", json!(null), json!({"cpu_time": "100ms"}), "timed_out"),
        ("big_output", json!({"bytes": 1_000}), json!({"output_bytes": 1_001}), "output_too_large"),
        ("big_output", json!({"bytes": 1_000}), json!({"output_bytes": 1_002}), "success"),
        ("alloc", json!({"mib": 20}), json!({"memory_bytes": 32 << 20}), "success"),
    ];
    let lines: Vec<Value> = cases
        .iter()
        .map(|(function, input, limits, _)| with(task(&module, function, input.clone()), json!({"limits": limits})))
        .collect();
    let ended = client.batch(&lines, "?wait=60s").await;
    let outcomes: Vec<&Value> = ended.iter().map(|task| &task["outcome"]).collect();
    let expected: Vec<&str> = cases.iter().map(|(.., outcome)| *outcome).collect();
    assert_eq!(json!(outcomes), json!(expected), "{ended:?}");
    for failed in ended.iter().filter(|task| task["outcome"] != "success") {
        assert_eq!(failed["state"], "failed");
        assert!(failed["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{failed}");
    }
}

#[tokio::test]
async fn more_than_the_server_grants_is_refused_at_the_door() {
    let (_server, client, module) = server().await;
    for (limits, place) in [
        (json!({"memory_bytes": 2_u64 << 30}), "/limits/memory_bytes"),
        (json!({"memory_bytes": 0}), "/limits/memory_bytes"),
        (json!({"execution_timeout": "25h"}), "/limits/execution_timeout"),
        (json!({"cpu_time": "0s"}), "/limits/cpu_time"),
        (json!({"output_bytes": 1_u64 << 40}), "/limits/output_bytes"),
        (json!({"log_bytes": 1_u64 << 40}), "/limits/log_bytes"),
    ] {
        let asked = with(task(&module, "echo", json!(1)), json!({"limits": limits}));
        let problem = client.post("/api/v1/tasks", asked.to_string()).await.unwrap().refused(422, "invalid_request");
        assert_eq!(problem["errors"][0]["path"], place);
    }
    let granted = with(task(&module, "echo", json!(1)), json!({"grants": {"sql": {}}}));
    client.post("/api/v1/tasks", granted.to_string()).await.unwrap().refused(422, "grant_not_offered");
    assert_eq!(client.items("/api/v1/tasks").await.len(), 0);
}

#[tokio::test]
async fn a_limit_that_a_task_does_not_name_is_the_setting() {
    let (_server, client, module) = setup()
        .with_setting("limits.memory_bytes", "64MiB")
        .with_setting("limits.log_bytes", 1_000)
        .start_with_guests()
        .await;
    let asked = with(task(&module, "echo", json!(1)), json!({"limits": {"log_bytes": 2_000}}));
    let limits = &client.submit(&asked).await["limits"];
    assert_eq!((&limits["memory_bytes"], &limits["log_bytes"]), (&json!(64 << 20), &json!(2_000)));
    assert_eq!(limits["execution_timeout"], "1h", "the rest as ever: {limits}");
    let ended = client.run(&task(&module, "alloc", json!({"mib": 100}))).await;
    assert_eq!(ended["outcome"], "out_of_memory", "{ended}");
}

#[tokio::test]
async fn a_guest_knows_who_it_is_and_how_long_it_may_run() {
    let (_server, client, module) = server().await;
    let limits = json!({"limits": {"execution_timeout": "10m"}});
    let ended = client.run(&with(task(&module, "context", json!(null)), limits)).await;
    let seen = &ended["result"];
    assert_eq!(seen["task_id"], ended["id"]);
    assert_eq!(
        json!([seen["try_number"], seen["run_id"], seen["dag_id"], seen["map_index"]]),
        json!([1, null, null, null])
    );
    let left = seen["seconds_left"].as_f64().unwrap();
    assert!(left > 500.0 && left <= 600.0, "{left} s of ten minutes");
    assert!(at(&seen["deadline"]) > at(&ended["start_date"]));
}

#[tokio::test]
async fn what_an_attempt_uses_is_metered() {
    let (_server, client, module) = server().await;
    let lines = [
        task(&module, "alloc", json!({"mib": 50})),
        with(task(&module, "spin", json!(null)), json!({"limits": {"cpu_time": "200ms"}})),
        task(&module, "sleep", json!({"ms": 200})),
        task(&module, "log_lines", json!({"lines": 10, "bytes": 50, "to": ["stderr"]})),
    ];
    let ended = client.batch(&lines, "?wait=60s").await;
    let used = |n: usize, what: &str| ended[n]["usage"][what].as_u64().unwrap();
    assert!((50 << 20..100 << 20).contains(&used(0, "peak_memory_bytes")), "{}", ended[0]);
    assert!((150_000..5_000_000).contains(&used(1, "cpu_us")), "{}", ended[1]);
    assert!(used(2, "cpu_us") < 150_000 && ended[2]["duration_ms"].as_f64().unwrap() >= 200.0, "{}", ended[2]);
    assert_eq!(used(3, "log_bytes"), 500);
    assert!(used(3, "host_bytes") >= 500, "{}", ended[3]);
}

#[tokio::test]
async fn the_operators_ceiling_holds_for_everyone() {
    let (_server, client, module) = setup()
        .with_setting("grants.http_hosts", "*.example.org,api.example.net")
        .with_setting("grants.private_addresses", false)
        .with_setting("grants.max_scratch_bytes", 1_000_000)
        .with_setting("sandbox.max_sent_bytes", 300_000_000)
        .with_setting("sandbox.max_host_calls", 200_000_000)
        .start_with_guests()
        .await;
    let asked = |what: Value| with(task(&module, "echo", json!(1)), what).to_string();
    for (granted, place) in [
        (json!({"http": [{"host": "api.example.net"}, {"host": "example.com"}]}), "/grants/http/1/host"),
        (json!({"http": [{"host": "*"}]}), "/grants/http/0/host"),
        (json!({"http": [{"host": "a.example.org", "private_addresses": true}]}), "/grants/http/0/private_addresses"),
        (json!({"scratch": {"bytes": 1_000_001}}), "/grants/scratch/bytes"),
    ] {
        let refused = client.post("/api/v1/tasks", asked(json!({"grants": granted}))).await.unwrap();
        let problem = refused.refused(422, "grant_refused");
        assert_eq!(problem["errors"][0]["path"], place, "{problem}");
    }
    for (limits, place) in [
        (json!({"sent_bytes": 300_000_001}), "/limits/sent_bytes"),
        (json!({"host_calls": 200_000_001}), "/limits/host_calls"),
        (json!({"received_bytes": 1_u64 << 40}), "/limits/received_bytes"),
    ] {
        let refused = client.post("/api/v1/tasks", asked(json!({"limits": limits}))).await.unwrap();
        assert_eq!(refused.refused(422, "invalid_request")["errors"][0]["path"], place);
    }
    assert_eq!(client.items("/api/v1/tasks").await.len(), 0);
    let within = json!({"grants": {"http": [{"host": "a.example.org"}], "scratch": {"bytes": 1_000_000}}});
    assert_eq!(client.post("/api/v1/tasks?wait=30s", asked(within)).await.unwrap().expect(201)["state"], "success");
}

#[tokio::test]
async fn arguments_are_for_programs_and_bounded() {
    let (_server, client, module) = server().await;
    let asked = |args: Value| with(task(&module, "echo", json!(1)), json!({"args": args})).to_string();
    let refused = client.post("/api/v1/tasks", asked(json!(["-x"]))).await.unwrap().refused(422, "invalid_request");
    assert_eq!(refused["errors"][0]["path"], "/args", "{refused}");
}
