//! What a submission is answered with: results, waits, batches, idempotency.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::send;
use crate::support::{guests, task};
use crate::{at, id, server, with};

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
