//! Lists, histories and logs, and how long they stay.

use serde_json::{Value, json};

use crate::support::{poll, setup, task};
use crate::{id, server, with};

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
