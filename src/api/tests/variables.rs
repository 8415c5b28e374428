//! Variables are set, shown, used and taken away.

use axum::http::StatusCode;
use serde_json::json;

use super::TestApi;

#[tokio::test]
async fn a_variable_is_set_shown_and_taken_away() {
    let api = TestApi::start();
    let set = |body: &'static str| api.send("PUT", "/api/v1/variables/etl.bucket", body);
    let (first, second) = (set(r#"{"value":"a","description":"where"}"#).await, set(r#"{"value":"b"}"#).await);
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK), "{}", second.text());
    let shown = api.get("/api/v1/variables/etl.bucket").await.json();
    assert_eq!(shown, second.json());
    assert_eq!(
        (&shown["key"], &shown["value"], shown["description"].is_null(), &shown["updated_by"]),
        (&json!("etl.bucket"), &json!("b"), true, &json!("admin"))
    );
    for key in ["a", "z"] {
        api.send("PUT", &format!("/api/v1/variables/{key}"), r#"{"value":""}"#).await;
    }
    let page = api.get("/api/v1/variables?limit=2").await.json();
    assert_eq!((&page["items"][0]["key"], &page["items"][1]["key"]), (&json!("a"), &json!("etl.bucket")));
    let next = page["next_cursor"].as_str().expect("a cursor");
    let page = api.get(&format!("/api/v1/variables?limit=2&cursor={next}")).await.json();
    assert_eq!((&page["items"][0]["key"], page["next_cursor"].is_null()), (&json!("z"), true));
    assert_eq!(api.send("DELETE", "/api/v1/variables/a", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.send("DELETE", "/api/v1/variables/a", "").await.problem().1, "variable_not_found");
}

#[tokio::test]
async fn of_many_who_set_a_variable_at_once_one_is_told_that_it_was_the_first() {
    let api = TestApi::start();
    let puts = (0..20).map(|n| api.send("PUT", "/api/v1/variables/a", format!(r#"{{"value":"{n}"}}"#)));
    let answers = futures_util::future::join_all(puts).await;
    let created = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(created, 1);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.json()["value"], n.to_string(), "each is told of its own value");
    }
    let deletes = (0..20).map(|_| api.send("DELETE", "/api/v1/variables/a", ""));
    let answers = futures_util::future::join_all(deletes).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::NO_CONTENT).count(), 1);
}

#[tokio::test]
async fn a_template_sees_a_variable() {
    let (api, _) = TestApi::with_noop().await;
    api.send("PUT", "/api/v1/variables/city", r#"{"value":"QW1lcw=="}"#).await;
    let dag = "dag_id: d\ntasks: {one: {module: 'noop:1', input: {input: '{{ var.value.city }}'}}}";
    let put = api.send("PUT", "/api/v1/dags/d", dag).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    let run = api.post("/api/v1/dags/d/runs?wait=30s", "").await.json();
    let tasks = api.get(&format!("/api/v1/runs/{}/tasks", run["id"].as_str().expect("an id"))).await.json();
    assert_eq!(tasks["items"][0]["result"], "QW1lcw==", "{tasks}");
}

#[tokio::test]
async fn what_cannot_be_a_variable_is_refused() {
    let api = TestApi::start();
    let long = format!(r#"{{"value":"{}"}}"#, "x".repeat((64 << 10) + 1));
    let described = format!(r#"{{"value":"","description":"{}"}}"#, "x".repeat(1_001));
    let key = "k".repeat(251);
    let cases: &[(&str, &str, &str, u16, &str, &str)] = &[
        ("GET", "nothing", "", 404, "variable_not_found", ""),
        ("GET", "a%20b", "", 422, "invalid_request", "key"),
        ("PUT", &key, r#"{"value":""}"#, 422, "invalid_request", "key"),
        ("PUT", "a", "", 400, "malformed_json", ""),
        ("PUT", "a", "{}", 422, "invalid_request", ""),
        ("PUT", "a", r#"{"value":5}"#, 422, "invalid_request", "/value"),
        ("PUT", "a", r#"{"value":"","vlaue":""}"#, 422, "unknown_key", "/vlaue"),
        ("PUT", "a", &long, 422, "invalid_request", "/value"),
        ("PUT", "a", &described, 422, "invalid_request", "/description"),
        ("PUT", "a?force=1", r#"{"value":""}"#, 422, "unknown_key", "force"),
    ];
    for (method, key, body, status, code, place) in cases {
        let answer = api.send(method, &format!("/api/v1/variables/{key}"), body.to_string()).await;
        let expected = (*status, code.to_string(), place.to_string());
        assert_eq!(answer.problem(), expected, "{method} {key} {body:.100}\n{}", answer.text());
    }
    assert_eq!(api.get("/api/v1/variables?cursor=!").await.problem().2, "cursor");
    assert_eq!(api.get("/api/v1/variables").await.json()["items"], json!([]));
}

#[tokio::test]
async fn all_variables_together_have_a_limit() {
    let api = TestApi::start();
    let body = |bytes: usize| format!(r#"{{"value":"{}"}}"#, "x".repeat(bytes));
    // 256 of them come to 16 MiB, and there are keys besides.
    for n in 0..255 {
        let answer = api.send("PUT", &format!("/api/v1/variables/k{n}"), body(64 << 10)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    }
    let answer = api.send("PUT", "/api/v1/variables/last", body(64 << 10)).await;
    assert_eq!(answer.problem(), (422, "invalid_request".to_owned(), "/value".to_owned()), "{}", answer.text());
    assert!(answer.text().contains("all variables together would come to"), "{}", answer.text());
    assert_eq!(api.get("/api/v1/variables/last").await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.send("DELETE", "/api/v1/variables/k0", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.send("PUT", "/api/v1/variables/last", body(64 << 10)).await.status, StatusCode::CREATED);
}
