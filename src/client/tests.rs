//! What is repeated and what is not, and how failures are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode as Status};
use axum::response::IntoResponse;
use parking_lot::Mutex;

use super::again::MAX_TRIES;
use super::call::read;
use super::*;

#[test]
fn only_what_is_safe_is_repeated() {
    use Failure::*;
    let seconds = |s| Some(Duration::from_secs(s));
    for (tried, repeatable, failure, pause) in [
        (1, false, NotSent, Some(Duration::from_millis(200))),
        (2, false, NotSent, Some(Duration::from_millis(400))),
        (3, true, NotSent, None),
        (1, true, Lost, Some(Duration::from_millis(200))),
        (1, false, Lost, None),
        (1, false, Refused(429, seconds(2)), seconds(2)),
        (1, true, Refused(503, seconds(1)), seconds(1)),
        (1, true, Refused(503, None), Some(Duration::from_millis(200))),
        (1, false, Refused(503, seconds(1)), None),
        (1, true, Refused(503, seconds(60)), None),
        (5, true, Refused(429, seconds(1)), None),
        (1, true, Refused(422, None), None),
        (1, true, Refused(500, None), None),
    ] {
        assert_eq!(pause_before_repeat(tried, repeatable, failure), pause, "{tried} {repeatable} {failure:?}");
    }
}

/// A server on loopback that fails `failures` times before it answers, and what it was sent.
struct Stub {
    failures: AtomicU32,
    keys: Mutex<Vec<String>>,
    refusal: Status,
}

async fn submit(State(stub): State<Arc<Stub>>, headers: HeaderMap) -> axum::response::Response {
    let key = headers.get("idempotency-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    stub.keys.lock().extend(key);
    let token = headers.get("authorization").is_some_and(|value| value == "Bearer hush");
    if !token {
        return Status::UNAUTHORIZED.into_response();
    }
    let left = stub.failures.load(Ordering::SeqCst);
    if left > 0 {
        stub.failures.store(left - 1, Ordering::SeqCst);
        let problem = r#"{"status": 0, "thing": "the store", "reason": "is busy", "remedy": "wait", "code": "busy"}"#;
        return (stub.refusal, [("retry-after", "0")], problem).into_response();
    }
    (Status::CREATED, r#"{"id": "task_01K"}"#).into_response()
}

async fn stub(failures: u32, refusal: Status) -> (Arc<Stub>, Client) {
    let stub = Arc::new(Stub { failures: failures.into(), keys: Mutex::default(), refusal });
    let app = axum::Router::new()
        .route("/api/v1/tasks", axum::routing::post(submit))
        .route("/api/v1/tasks/{id}/rerun", axum::routing::post(submit))
        .with_state(stub.clone());
    let base = crate::client::stub::serve(app).await;
    let client = Client::new(&base, Some(Secret::new("hush".to_owned()))).expect("a client");
    (stub, client)
}

#[tokio::test]
async fn a_submit_is_repeated_with_the_same_key_until_it_is_accepted() {
    let (stub, client) = stub(2, Status::SERVICE_UNAVAILABLE).await;
    let answer = client.submit(&Json::null(), None, None).await.expect("accepted");
    assert_eq!(answer.status, Status::CREATED);
    let keys = stub.keys.lock().clone();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| key == &keys[0] && key.len() == 32), "{keys:?}");
}

#[test]
fn answers_are_read_with_the_place_of_what_is_wrong_in_them() {
    let module =
        br#"{"digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size_bytes": 8,
        "kind": "functions", "later": 1, "functions": [{"name": "run", "input_schema": {"type": "null"},
        "output_schema": true, "docs": "", "not_callable": null}]}"#;
    let module: Module = read(module).expect("a module");
    assert_eq!(module.sole_function().map(|function| function.input_schema.as_str()), Some(r#"{"type": "null"}"#));
    let page: Page = read(br#"{"items": [{"a": 1}, 2], "next_cursor": "x"}"#).expect("a page");
    assert_eq!((page.items[0].as_str(), page.items.len(), page.next_cursor.as_deref()), (r#"{"a": 1}"#, 2, Some("x")));
    let wrong = read::<Module>(br#"{"digest": "md5:00", "size_bytes": 8}"#).expect_err("no digest");
    assert!(wrong.starts_with("digest: `md5:00`"), "{wrong}");
}

#[tokio::test]
async fn a_call_without_a_key_is_not_repeated() {
    let (stub, client) = stub(1, Status::SERVICE_UNAVAILABLE).await;
    let error = client.call(Call::post(&["tasks", "task_1", "rerun"])).await.err().expect("refused");
    assert_eq!(error.to_string(), "the store: is busy\n  to mend it: wait\n  (busy)");
    assert_eq!(stub.failures.load(Ordering::SeqCst), 0);
    client.call(Call::post(&["tasks", "task_1", "rerun"])).await.expect("accepted");
}

#[tokio::test]
async fn repeats_end() {
    let (stub, client) = stub(100, Status::TOO_MANY_REQUESTS).await;
    let error = client.submit(&Json::null(), None, None).await.err().expect("refused");
    assert!(matches!(error, ClientError::Refused(problem) if problem.status == 429));
    assert_eq!(stub.keys.lock().len() as u32, MAX_TRIES);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_be_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let client = Client::new(&base, Some(Secret::new("hush".to_owned()))).expect("a client");
    let error = client.task("task_1").await.err().expect("nobody there");
    let said = error.to_string();
    assert!(said.contains(&base) && said.contains("refused") && said.contains("tradewind server"), "{said}");
    assert!(!format!("{said}{client:?}").contains("hush"));
}

#[test]
fn addresses_are_checked_and_loopback_is_known() {
    for (base, loopback) in [
        ("http://127.0.0.1:8080", true),
        ("http://localhost", true),
        ("http://[::1]:80/", true),
        ("https://tradewind.example.org", false),
        ("http://10.0.0.1", false),
        ("http://localhost.example.org", false),
    ] {
        assert_eq!(is_loopback(&base.parse().expect(base)), loopback, "{base}");
    }
    for wrong in ["", "127.0.0.1:8080", "ftp://a", "http://"] {
        assert!(matches!(Client::new(wrong, None), Err(ClientError::Setup(_))), "{wrong}");
    }
    assert_eq!(shown(&"http://user:word@h:1/base/".parse().expect("a URL")), "http://h:1/base");
}
