//! Runs are accepted once for each name, run, shown and stopped.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{TestApi, request};

fn texts<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list["items"].as_array().expect("items").iter().map(|item| item[key].as_str().unwrap_or("null")).collect()
}

#[tokio::test]
async fn a_run_is_triggered_runs_and_is_shown() {
    let api = TestApi::with_etl().await;
    let body = r#"{"run_id":"mine","logical_date":"2026-01-01T00:00:00Z","conf":{"city":"QQ==","x":[1]},"note":"why"}"#;
    let triggered = api.post("/api/v1/dags/etl/runs?wait=30s", body).await;
    assert_eq!(triggered.status, StatusCode::CREATED, "{}", triggered.text());
    let run = triggered.json();
    let dag = api.get("/api/v1/dags/etl").await.json();
    for (key, value) in [
        ("run_id", json!("mine")),
        ("dag_id", json!("etl")),
        ("dag_version", dag["version"].clone()),
        ("state", json!("success")),
        ("run_type", json!("manual")),
        ("logical_date", json!("2026-01-01T00:00:00.000000Z")),
        ("conf", json!({"city": "QQ==", "x": [1]})),
        ("params", json!({"city": "QQ==", "day": 1})),
        ("note", json!("why")),
    ] {
        assert_eq!(run[key], value, "{key} of {run}");
    }
    assert!(run["duration_ms"].as_f64().is_some() && run["end_date"].is_string(), "{run}");
    let address = triggered.header("location").expect("a location").to_owned();
    assert_eq!(address, format!("/api/v1/runs/{}", run["id"].as_str().expect("an id")));
    assert_eq!(api.get(&address).await.json(), run);

    let tasks = api.get(&format!("{address}/tasks")).await.json();
    assert_eq!(texts(&tasks, "task_id"), ["first", "second"]);
    assert_eq!(texts(&tasks, "state"), ["success", "success"]);
    let second = tasks["items"][1].clone();
    assert_eq!(
        (&second["map_index"], &second["run"], &second["run_id"], &second["dag_id"], &second["rendered_map_index"]),
        (&json!(-1), &run["id"], &json!("mine"), &json!("etl"), &Value::Null)
    );
    assert_eq!(second["result"], "QQ==");
    let task = format!("/api/v1/tasks/{}", second["id"].as_str().expect("an id"));
    assert_eq!(api.get(&task).await.json(), second);
    let listed = api.get("/api/v1/tasks?limit=1").await.json();
    assert_eq!(listed["items"][0]["task_id"], "second", "{listed}");
    let page = api.get(&format!("{address}/tasks?limit=1")).await.json();
    assert_eq!(texts(&page, "task_id"), ["first"]);
    let next = page["next_cursor"].as_str().expect("a cursor");
    let page = api.get(&format!("{address}/tasks?limit=1&cursor={next}")).await.json();
    assert_eq!((texts(&page, "task_id"), page["next_cursor"].is_null()), (vec!["second"], true));

    for (filter, count) in [
        ("", 1),
        ("?state=success", 1),
        ("?state=failed", 0),
        ("?state=running", 0),
        ("?dag_id=etl", 1),
        ("?dag_id=other", 0),
        ("?dag_id=etl&state=success", 1),
        ("?dag_id=etl&state=queued", 0),
    ] {
        let runs = api.get(&format!("/api/v1/runs{filter}")).await.json();
        assert_eq!(runs["items"].as_array().map(Vec::len), Some(count), "{filter}: {runs}");
    }
    assert_eq!(api.get("/api/v1/dags/etl/runs").await.json()["items"], json!([run]));
    for (run_id, count) in [("mine", 1), ("other", 0), ("mine&state=failed", 0)] {
        let runs = api.get(&format!("/api/v1/dags/etl/runs?run_id={run_id}")).await.json();
        assert_eq!(runs["items"].as_array().map(Vec::len), Some(count), "{run_id}: {runs}");
    }
    assert_eq!(api.post(&format!("{address}/cancel"), "").await.problem().1, "run_ended");
}

#[tokio::test]
async fn what_happens_to_a_run_is_told_in_pages_and_in_a_stream_that_ends() {
    let api = TestApi::with_etl().await;
    let run = api.post("/api/v1/dags/etl/runs?wait=30s", "{}").await.json();
    let id = run["id"].as_str().expect("an id").to_owned();
    let address = format!("/api/v1/runs/{id}/events");
    let events = api.get(&address).await.json();
    let kinds = texts(&events, "event");
    assert_eq!((kinds.first(), kinds.last()), (Some(&"run_queued"), Some(&"run_ended")), "{events}");
    for event in events["items"].as_array().expect("items") {
        let of_run = event["event"].as_str().is_some_and(|event| event.starts_with("run_"));
        assert_eq!((&event["run"], event["task"].is_null()), (&run["id"], of_run), "{event}");
        assert_eq!((event["try_number"].is_null(), event["task_id"].is_null()), (of_run, of_run), "{event}");
        assert!(of_run || event["map_index"] == -1, "{event}");
    }
    assert_eq!(events["items"][0]["by"], "admin");
    // The feed of everything has the same, without the names.
    let feed = api.get("/api/v1/events?limit=1000").await.json();
    let seqs = |list: &Value| -> Vec<Value> {
        list["items"].as_array().expect("items").iter().map(|event| event["seq"].clone()).collect()
    };
    assert_eq!(seqs(&feed), seqs(&events));

    let stream = |from: Option<u64>| {
        let mut request = request("GET", &address).header("accept", "text/event-stream");
        if let Some(from) = from {
            request = request.header("last-event-id", from);
        }
        api.answer(request.body(Body::empty()).expect("a request"))
    };
    let streamed = stream(None).await;
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
    let data = |text: &str| -> Vec<Value> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
        lines.map(|data| serde_json::from_str(data).expect("JSON")).collect()
    };
    assert_eq!(Value::from(data(streamed.text())), events["items"]);
    let last = events["items"].as_array().and_then(|items| items.last()).expect("an event")["seq"].as_u64();
    let mut ids = streamed.text().lines().filter_map(|line| line.strip_prefix("id:"));
    assert_eq!(ids.next_back().map(str::trim), last.map(|last| last.to_string()).as_deref());
    let rest = stream(last.map(|last| last - 1)).await;
    assert_eq!(data(rest.text()).len(), 1, "{}", rest.text());
    assert_eq!(data(stream(last).await.text()), Vec::<Value>::new());
}

#[tokio::test]
async fn a_name_or_a_key_stands_for_one_run() {
    let api = TestApi::with_etl().await;
    let named = r#"{"run_id":"one"}"#;
    let (first, second) =
        (api.post("/api/v1/dags/etl/runs", named).await, api.post("/api/v1/dags/etl/runs?wait=30s", named).await);
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK), "{}", second.text());
    assert_eq!(first.json()["id"], second.json()["id"]);
    // Also where it would be refused now.
    let refused = api.post("/api/v1/dags/etl/runs", r#"{"run_id":"one","conf":{"city":5}}"#).await;
    assert_eq!((refused.status, &refused.json()["id"]), (StatusCode::OK, &first.json()["id"]));
    let keyed = |dag: &str, body: &'static str| {
        let request = request("POST", &format!("/api/v1/dags/{dag}/runs")).header("idempotency-key", "k-1");
        api.answer(request.body(Body::from(body)).expect("a request"))
    };
    let (first, second) = (keyed("etl", "{}").await, keyed("etl", "{}").await);
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK), "{}", second.text());
    assert_eq!((first.header("idempotency-replayed"), second.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_eq!(keyed("etl", r#"{"note":"x"}"#).await.problem().1, "idempotency_mismatch");
}

#[tokio::test]
async fn only_a_repeat_of_a_key_is_called_a_replay() {
    let api = TestApi::with_etl().await;
    let named = r#"{"run_id":"one"}"#;
    let first = api.post("/api/v1/dags/etl/runs", named).await.json();
    let keyed = |path: &str, body: &'static str| {
        let request = request("POST", path).header("idempotency-key", "k-1");
        api.answer(request.body(Body::from(body)).expect("a request"))
    };
    // The name is known, the key is new. From here on it stands for the run.
    let (by_name, by_key) = (keyed("/api/v1/dags/etl/runs", named).await, keyed("/api/v1/dags/etl/runs", named).await);
    assert_eq!((by_name.status, by_key.status), (StatusCode::OK, StatusCode::OK), "{}", by_name.text());
    assert_eq!((by_name.header("idempotency-replayed"), by_key.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!((&by_name.json()["id"], &by_key.json()["id"]), (&first["id"], &first["id"]));
    let other = keyed("/api/v1/dags/etl/runs", "{}").await;
    assert_eq!(other.problem().1, "idempotency_mismatch");
    // Whoever asks for a task with it is told of a run.
    let task = keyed("/api/v1/tasks", r#"{"module":"noop:1","input":{"input":""}}"#).await;
    assert_eq!(task.problem().1, "idempotency_mismatch");
    let run = first["id"].as_str().expect("an id");
    assert!(task.text().contains(run) && other.text().contains(run), "{}", task.text());
}

#[tokio::test]
async fn a_run_of_a_paused_dag_waits_keeps_its_dag_and_can_be_cancelled() {
    let api = TestApi::with_etl().await;
    api.send("PATCH", "/api/v1/dags/etl", r#"{"is_paused":true}"#).await;
    let run = api.post("/api/v1/dags/etl/runs", "").await.json();
    assert_eq!((run["state"].as_str(), run["start_date"].is_null()), (Some("queued"), true), "{run}");
    let name = run["run_id"].as_str().expect("a name");
    assert!(name.starts_with("manual__"), "{name}");
    let address = format!("/api/v1/runs/{}", run["id"].as_str().expect("an id"));
    let tasks = api.get(&format!("{address}/tasks")).await.json();
    assert_eq!((texts(&tasks, "task_id"), texts(&tasks, "state")), (vec!["first", "second"], vec!["scheduled"; 2]));
    assert_eq!((&tasks["items"][0]["try_number"], &tasks["items"][0]["map_index"]), (&json!(0), &json!(-1)));
    assert_eq!(api.send("DELETE", "/api/v1/dags/etl", "").await.problem().1, "dag_busy");
    let cancelled = api.post(&format!("{address}/cancel"), "").await;
    assert_eq!((cancelled.status, cancelled.json()["state"].as_str()), (StatusCode::OK, Some("cancelled")));
    let tasks = api.get(&format!("{address}/tasks")).await.json();
    assert_eq!(texts(&tasks, "state"), ["skipped", "skipped"]);
    assert_eq!(api.get("/api/v1/runs?state=cancelled").await.json()["items"], json!([cancelled.json()]));
    assert_eq!(api.send("DELETE", "/api/v1/dags/etl", "").await.status, StatusCode::NO_CONTENT);
    // What it ran stays readable.
    assert_eq!(api.get(&address).await.json(), cancelled.json());
    assert_eq!(texts(&api.get(&format!("{address}/tasks")).await.json(), "task_id"), ["first", "second"]);
    assert_eq!(api.get("/api/v1/dags/etl/runs").await.json()["items"], json!([cancelled.json()]));
}

#[tokio::test]
async fn instances_of_a_mapped_task_are_shown_in_their_order() {
    let (api, _) = TestApi::with_noop().await;
    let dag = "dag_id: wide\ndefault_args: {module: 'noop:1'}\ntasks:\n  \
               many: {expand: {input: [QQ==, Qg==, Qw==]}, map_index_template: '{{ input }}!'}\n  \
               last: {upstream: [many], input: {input: ''}}\n";
    let put = api.send("PUT", "/api/v1/dags/wide", dag).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    let run = api.post("/api/v1/dags/wide/runs?wait=30s", "").await.json();
    assert_eq!(run["state"], "success", "{run}");
    let address = format!("/api/v1/runs/{}/tasks", run["id"].as_str().expect("an id"));
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{address}?limit=2{cursor}")).await.json();
        let items = page["items"].as_array().expect("items");
        seen.extend(
            items
                .iter()
                .map(|task| (task["task_id"].clone(), task["map_index"].clone(), task["rendered_map_index"].clone())),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let many = |index: i32, label: &str| (json!("many"), json!(index), json!(label));
    let expected = [many(0, "QQ==!"), many(1, "Qg==!"), many(2, "Qw==!"), (json!("last"), json!(-1), Value::Null)];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn addresses_of_runs_are_checked() {
    let api = TestApi::with_etl().await;
    let none = "run_0000000000000";
    let cases: &[(&str, &str, u16, &str)] = &[
        ("GET", "/api/v1/runs/x", 404, "run_not_found"),
        ("GET", "/api/v1/runs/task_0000000000000", 404, "run_not_found"),
        ("GET", &format!("/api/v1/runs/{none}"), 404, "run_not_found"),
        ("GET", &format!("/api/v1/runs/{none}/tasks"), 404, "run_not_found"),
        ("GET", &format!("/api/v1/runs/{none}/events"), 404, "run_not_found"),
        ("POST", &format!("/api/v1/runs/{none}/cancel"), 404, "run_not_found"),
        ("GET", "/api/v1/runs?state=well", 422, "invalid_request"),
        ("GET", "/api/v1/runs?dag=etl", 422, "unknown_key"),
        ("GET", "/api/v1/runs?dag_id=a%20b", 422, "invalid_request"),
        ("GET", "/api/v1/runs?limit=1001", 422, "invalid_request"),
        ("GET", "/api/v1/runs?cursor=!", 422, "invalid_request"),
        ("GET", &format!("/api/v1/runs/{none}/events?after=-1"), 422, "invalid_request"),
    ];
    for (method, path, status, code) in cases {
        let answer = api.send(method, path, "").await;
        let (got_status, got_code, _) = answer.problem();
        assert_eq!((got_status, got_code.as_str()), (*status, *code), "{method} {path}\n{}", answer.text());
    }
    let run = api.post("/api/v1/dags/etl/runs?wait=30s", "").await.json();
    let events = format!("/api/v1/runs/{}/events", run["id"].as_str().expect("an id"));
    let request = request("GET", &events).header("accept", "text/event-stream").header("last-event-id", "x");
    let answer = api.answer(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.problem(), (422, "invalid_request".into(), "Last-Event-ID".into()));
}
