//! How tasks fail, are tried again, are chosen, cancelled and run once more.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::send;
use crate::support::{poll, setup, task};
use crate::{at, id, server, server_with_one_slot, with};

// Failures and retries

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
