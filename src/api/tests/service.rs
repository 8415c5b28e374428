//! What is asked for is done, and shown.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{TOKEN, TestApi, request};
use crate::api::auth::{Hosts, Tokens};
use crate::api::bounds::Bounds;
use crate::api::edge::Edge;
use crate::api::serve::serve;
use crate::metrics::Metrics;
use crate::sandbox::guests;

const TASK: &str = r#"{"module":"noop:1","input":{"input":""},"labels":{"team":"a"}}"#;

#[tokio::test]
async fn a_task_is_accepted_run_and_shown() {
    let (api, function) = TestApi::with_noop().await;
    let submitted = api.post("/api/v1/tasks?wait=30s", TASK).await;
    assert_eq!(submitted.status, StatusCode::CREATED, "{}", submitted.text());
    let task = submitted.json();
    assert_eq!((task["state"].as_str(), task["function"].as_str()), (Some("success"), Some(function.as_str())));
    let id = task["id"].as_str().expect("an id");
    let location = submitted.header("location").expect("a location");
    assert_eq!(location, format!("/api/v1/tasks/{id}"));
    assert_eq!(api.get(location).await.json(), task);
    let result = api.get(&format!("{location}/result")).await;
    assert_eq!((result.status, result.json()), (StatusCode::OK, task["result"].clone()));
    let attempts = api.get(&format!("{location}/attempts")).await.json();
    assert_eq!((attempts["items"][0]["outcome"].as_str(), attempts["next_cursor"].is_null()), (Some("success"), true));
    let events = api.get(&format!("{location}/events")).await.json();
    assert_eq!(
        (events["items"][0]["event"].as_str(), events["items"][0]["by"].as_str()),
        (Some("submitted"), Some("admin"))
    );
    assert_eq!(api.get(&format!("{location}/log")).await.status, StatusCode::OK);
    assert_eq!(api.get(&format!("{location}/log?try_number=2")).await.problem().1, "try_not_found");
    assert_eq!(api.post(&format!("{location}/cancel"), "").await.problem().1, "task_ended");
    assert_eq!(api.post(&format!("{location}/rerun"), "").await.json()["id"], task["id"]);
    for (filter, count) in
        [("state=success", None), ("label=team:a", Some(1)), ("label=team:b", Some(0)), ("module=noop:1", Some(1))]
    {
        let list = api.get(&format!("/api/v1/tasks?{filter}")).await;
        assert_eq!(list.status, StatusCode::OK, "{filter}: {}", list.text());
        let found = list.json()["items"].as_array().map(Vec::len);
        assert!(count.is_none() || found == count, "{filter}: {}", list.text());
    }
}

#[tokio::test]
async fn a_task_that_has_not_ended_has_no_result_and_can_be_cancelled() {
    let (api, _) = TestApi::with_noop().await;
    let body = r#"{"module":"noop:1","input":{"input":""},"not_before":"2100-01-01T00:00:00Z"}"#;
    let task = api.post("/api/v1/tasks", body).await.json();
    assert_eq!(task["state"], "scheduled");
    let address = format!("/api/v1/tasks/{}", task["id"].as_str().expect("an id"));
    assert_eq!(api.get(&format!("{address}/result")).await.problem().1, "task_not_ended");
    assert_eq!(api.post(&format!("{address}/rerun"), "").await.problem().1, "task_not_ended");
    assert_eq!(api.get(&format!("{address}/log")).await.text(), "");
    let tasks_name_it = api.answer(request("DELETE", "/api/v1/modules/noop:1").body(Body::empty()).expect("a request"));
    assert_eq!(tasks_name_it.await.status, StatusCode::NO_CONTENT);
    let digest = task["module"].as_str().expect("a digest");
    let delete = || request("DELETE", &format!("/api/v1/modules/{digest}")).body(Body::empty()).expect("a request");
    assert_eq!(api.answer(delete()).await.problem().1, "module_in_use");
    assert_eq!(api.post(&format!("{address}/cancel"), "").await.json()["state"], "cancelled");
    assert_eq!(api.get(&format!("{address}/result")).await.problem().1, "no_result");
    assert_eq!(api.answer(delete()).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_idempotency_key_gives_the_same_task() {
    let (api, _) = TestApi::with_noop().await;
    let submit = |body: &'static str| {
        let request = request("POST", "/api/v1/tasks").header("idempotency-key", "k-1").body(Body::from(body));
        api.answer(request.expect("a request"))
    };
    let (first, second) = (submit(TASK).await, submit(TASK).await);
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_eq!((first.header("idempotency-replayed"), second.header("idempotency-replayed")), (None, Some("true")));
    let other = submit(r#"{"module":"noop:1","input":{"input":"eA=="}}"#).await;
    assert_eq!(other.problem().1, "idempotency_mismatch", "{}", other.text());
}

#[tokio::test]
async fn a_batch_answers_each_line_in_order() {
    let (api, _) = TestApi::with_noop().await;
    let mut body = String::new();
    for n in 0..1_000 {
        body += match n % 10 {
            3 => "{\"module\":\"noop:1\",\"inptu\":1}",
            4 => "no json",
            5 => "{\"module\":\"nothing:1\"}",
            6 => "{\"module\":\"noop:1\",\"input\":{\"input\":\"\"},\"idempotency_key\":\"same\"}",
            _ => TASK,
        };
        body += if n % 50 == 0 { "\n\n" } else { "\r\n" };
    }
    let answer = api.post("/api/v1/tasks/batch?wait=60s", body).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, Some("application/x-ndjson")));
    let lines = answer.lines();
    assert_eq!(lines.len(), 1_000);
    let same = &lines[6]["id"];
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(line["index"], n);
        match n % 10 {
            3 => assert_eq!(line["error"]["code"], "unknown_key"),
            4 => assert_eq!(line["error"]["code"], "malformed_json"),
            5 => assert_eq!(line["error"]["code"], "module_not_found"),
            6 => assert_eq!(&line["id"], same),
            _ => assert_eq!(line["state"], "success", "{line}"),
        }
    }
    assert_eq!(api.post("/api/v1/tasks/batch", "\n\n").await.text(), "");
    let keyed = request("POST", "/api/v1/tasks/batch").header("idempotency-key", "k").body(Body::from(TASK));
    assert_eq!(api.answer(keyed.expect("a request")).await.problem().0, 422);
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let (api, _) = TestApi::with_noop().await;
    let batch = format!("{TASK}\n").repeat(5);
    let submitted: Vec<_> = api.post("/api/v1/tasks/batch?wait=60s", batch).await.lines();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/api/v1/tasks?limit=2{cursor}")).await.json();
        seen.extend(page["items"].as_array().expect("items").iter().map(|task| task["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let newest_first: Vec<_> = submitted.iter().rev().map(|task| task["id"].clone()).collect();
    assert_eq!(seen, newest_first);
    let first = api.get("/api/v1/events?limit=3").await.json();
    let last = first["items"][2]["seq"].as_u64().expect("a seq");
    let rest = api.get(&format!("/api/v1/events?after={last}&limit=1000")).await.json();
    assert!(rest["items"].as_array().expect("items").iter().all(|event| event["seq"].as_u64() > Some(last)));
    assert!(rest["next_cursor"].is_null() && !first["next_cursor"].is_null());
}

#[tokio::test]
async fn a_module_is_uploaded_once_and_found_by_name_and_digest() {
    let (api, _) = TestApi::with_noop().await;
    let again = api.post("/api/v1/modules?name=noop", guests::noop()).await;
    assert_eq!((again.status, again.json()["tag"].as_str()), (StatusCode::OK, Some("latest")), "{}", again.text());
    let digest = again.json()["digest"].as_str().expect("a digest").to_owned();
    for name in ["noop:1", "noop", &digest] {
        let shown = api.get(&format!("/api/v1/modules/{name}")).await.json();
        assert_eq!(shown["digest"], digest.as_str());
        let head = request("HEAD", &format!("/api/v1/modules/{name}")).body(Body::empty()).expect("a request");
        let head = api.answer(head).await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    }
    let list = api.get("/api/v1/modules").await.json();
    assert_eq!(list["items"][0]["tags"], serde_json::json!(["noop:1", "noop:latest"]));
    let tags = api.get("/api/v1/modules/noop/tags").await.json();
    assert_eq!((tags["items"][0]["tag"].as_str(), tags["items"][0]["current"].as_bool()), (Some("latest"), Some(true)));
    let content = api.get(&format!("/api/v1/modules/{digest}/content")).await;
    assert_eq!((content.header("content-type"), &content.body), (Some("application/wasm"), &guests::noop()));
}

#[tokio::test]
async fn a_log_is_shown_as_text_or_as_lines() {
    let api = TestApi::start();
    let uploaded = api.post("/api/v1/modules?name=logging", guests::one_line()).await;
    assert_eq!(uploaded.status, StatusCode::CREATED, "{}", uploaded.text());
    let task = api.post("/api/v1/tasks?wait=30s", r#"{"module":"logging","input":{"input":""}}"#).await.json();
    let address = format!("/api/v1/tasks/{}/log", task["id"].as_str().expect("an id"));
    let text = api.get(&address).await;
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    let ndjson = request("GET", &address).header("accept", "application/x-ndjson").body(Body::empty());
    let lines = api.answer(ndjson.expect("a request")).await.lines();
    let (at, level, message) = (&lines[0]["at"], &lines[0]["level"], &lines[0]["message"]);
    let expected = [at, level, message].map(|value| value.as_str().expect("text")).join(" ");
    assert_eq!(text.text().trim_end(), expected);
}

fn bare_edge(router: axum::Router, bounds: &Bounds) -> Arc<Edge> {
    use sha2::{Digest as _, Sha256};
    let tokens = Tokens::default().with(Sha256::digest(TOKEN).into(), "admin");
    Arc::new(Edge::new(router, tokens, Hosts::Any, bounds, Arc::new(Metrics::default())))
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_server_goes_on() {
    async fn panics() -> &'static str {
        panic!("as intended by a test")
    }
    let edge = bare_edge(axum::Router::new().route("/panic", get(panics)), &Bounds::default());
    for _ in 0..2 {
        let request = request("GET", "/panic").header("x-request-id", "mine-1").body(Body::empty());
        let response = edge.answer(request.expect("a request")).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["x-request-id"], "mine-1");
    }
}

struct Served {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

async fn serve_on_loopback(router: axum::Router, bounds: Bounds, grace: Duration) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shutdown = CancellationToken::new();
    let (edge, token) = (bare_edge(router, &bounds), shutdown.clone());
    let server = tokio::spawn(async move { serve(listener, edge, &bounds, token, grace).await });
    Served { address, shutdown, server }
}

async fn send(address: std::net::SocketAddr, extra: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /slow HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n{extra}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

async fn received(mut stream: TcpStream) -> String {
    let mut text = String::new();
    // A connection that is closed under a request may be reset.
    let _ = stream.read_to_string(&mut text).await;
    text
}

/// A route that says when it was reached and answers when it is let go.
fn slow() -> (axum::Router, Arc<Notify>, Arc<Notify>) {
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (its_reached, its_go) = (reached.clone(), go.clone());
    let handler = move || async move {
        its_reached.notify_one();
        its_go.notified().await;
        "done"
    };
    (axum::Router::new().route("/slow", get(handler)), reached, go)
}

#[tokio::test]
async fn stopping_finishes_what_is_being_answered() {
    let (router, reached, go) = slow();
    let served = serve_on_loopback(router, Bounds::default(), Duration::from_secs(30)).await;
    let stream = send(served.address, "").await;
    reached.notified().await;
    served.shutdown.cancel();
    // The listener is gone before the answer has left.
    while TcpStream::connect(served.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert!(received(stream).await.ends_with("done"));
    served.server.await.expect("the server ended");
}

#[tokio::test]
async fn stopping_waits_no_longer_than_the_grace() {
    let (router, reached, _go) = slow();
    let served = serve_on_loopback(router, Bounds::default(), Duration::from_millis(20)).await;
    let stream = send(served.address, "").await;
    reached.notified().await;
    served.shutdown.cancel();
    served.server.await.expect("the server ended");
    assert_eq!(received(stream).await, "");
}

#[tokio::test]
async fn one_connection_too_many_is_told_to_come_back() {
    let (router, reached, _go) = slow();
    let bounds = Bounds { max_connections: 1, ..Bounds::default() };
    let served = serve_on_loopback(router, bounds, Duration::from_secs(30)).await;
    let _first = send(served.address, "").await;
    reached.notified().await;
    // Not a word is sent, so that the refusal cannot be lost to a reset.
    let second = received(TcpStream::connect(served.address).await.expect("a connection")).await;
    assert!(second.starts_with("HTTP/1.1 429 ") && second.contains("retry-after: 1"), "{second}");
}

#[tokio::test]
async fn headers_are_bounded() {
    let (router, _reached, go) = slow();
    go.notify_one();
    let bounds = Bounds { max_header_bytes: 1_024, ..Bounds::default() };
    let served = serve_on_loopback(router, bounds, Duration::from_secs(30)).await;
    let large = format!("connection: close\r\nx-large: {}\r\n", "x".repeat(2_000));
    let answer = received(send(served.address, &large).await).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
}

#[tokio::test]
async fn a_refusal_reaches_a_caller_who_is_still_sending() {
    let (router, _reached, _go) = slow();
    let served = serve_on_loopback(router, Bounds::default(), Duration::from_secs(30)).await;
    let mut stream = TcpStream::connect(served.address).await.expect("a connection");
    let body = vec![b'x'; 4 << 20];
    let head = format!("POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&body).await.expect("sent though it is refused");
    // The same connection takes the next request.
    let next = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", served.address);
    stream.write_all(next.as_bytes()).await.expect("sent");
    let answers = received(stream).await;
    assert!(answers.starts_with("HTTP/1.1 401 ") && answers.contains("HTTP/1.1 404 "), "{answers}");
}
