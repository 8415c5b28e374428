//! Every refusal has its status, its code and its place.

use axum::body::Body;
use axum::http::{Method, StatusCode};

use super::{PORT, TestApi, request};
use crate::api::Readiness;
use crate::api::bounds::Bounds;

#[tokio::test]
async fn what_a_task_may_not_ask_for_is_refused_at_its_place() {
    let (api, function) = TestApi::with_noop().await;
    let with = |rest: &str| format!(r#"{{"module":"noop:1","input":{{"input":""}}{rest}}}"#);
    let cases: &[(&str, u16, &str, &str)] = &[
        ("{", 400, "malformed_json", ""),
        ("", 400, "malformed_json", ""),
        (r#"{"module":"noop:1"} x"#, 400, "malformed_json", ""),
        ("[]", 422, "invalid_request", ""),
        ("{}", 422, "invalid_request", ""),
        (r#"{"module":"a b"}"#, 422, "invalid_request", "/module"),
        (r#"{"module":"sha256:12"}"#, 422, "invalid_request", "/module"),
        (r#"{"module":"nothing:1"}"#, 404, "module_not_found", ""),
        (r#"{"module":"noop:1","inptu":1}"#, 422, "unknown_key", "/inptu"),
        (&with(r#","function":"nope""#), 422, "function_not_found", "/function"),
        (&with(r#","input":5"#), 422, "invalid_request", ""),
        (r#"{"module":"noop:1","input":[1,2,3,4,5,6]}"#, 422, "invalid_input", "/input"),
        (&with(r#","args":["-x"]"#), 422, "invalid_request", "/args"),
        (&with(r#","grants":{"sql":[]}"#), 422, "grant_not_offered", "/grants/sql"),
        (&with(r#","grants":{"http":[{"host":"*","ports":[0]}]}"#), 422, "grant_refused", "/grants/http/0/ports"),
        (&with(r#","grants":{"http":[{"host":"a b"}]}"#), 422, "invalid_request", "/grants/http/0/host"),
        (&with(r#","grants":{"http":[{"hosts":"*"}]}"#), 422, "invalid_request", "/grants/http/0/hosts"),
        (&with(r#","grants":{"scratch":{"bytes":1,"byte":1}}"#), 422, "unknown_key", "/grants/scratch/byte"),
        (&with(r#","grants":{"env":{"A":1}}"#), 422, "invalid_request", "/grants/env/A"),
        (&with(r#","grants":{"scratch":{"bytes":0}}"#), 422, "grant_refused", "/grants/scratch/bytes"),
        (&with(r#","limits":{"memory_byte":1}"#), 422, "unknown_key", "/limits/memory_byte"),
        (&with(r#","limits":{"memory_bytes":0}"#), 422, "invalid_request", "/limits/memory_bytes"),
        (&with(r#","limits":{"memory_bytes":1073741825}"#), 422, "invalid_request", "/limits/memory_bytes"),
        (&with(r#","limits":{"memory_bytes":"1"}"#), 422, "invalid_request", "/limits/memory_bytes"),
        (&with(r#","limits":{"execution_timeout":"0s"}"#), 422, "invalid_request", "/limits/execution_timeout"),
        (&with(r#","limits":{"execution_timeout":"25h"}"#), 422, "invalid_request", "/limits/execution_timeout"),
        (&with(r#","limits":{"cpu_time":"soon"}"#), 422, "invalid_request", "/limits/cpu_time"),
        (&with(r#","limits":{"output_bytes":0}"#), 422, "invalid_request", "/limits/output_bytes"),
        (&with(r#","limits":{"log_bytes":268435457}"#), 422, "invalid_request", "/limits/log_bytes"),
        (&with(r#","retries":1001"#), 422, "invalid_request", "/retries"),
        (&with(r#","retry_exponential_backoff":0.5"#), 422, "invalid_request", "/retry_exponential_backoff"),
        (&with(r#","retry_exponential_backoff":101"#), 422, "invalid_request", "/retry_exponential_backoff"),
        (&with(r#","retry_on":["failed","success"]"#), 422, "invalid_request", "/retry_on/1"),
        (&with(r#","retry_on":["sometimes"]"#), 422, "invalid_request", "/retry_on/0"),
        (&with(r#","priority_weight":3000000000"#), 422, "invalid_request", "/priority_weight"),
        (&with(r#","queue":"a b""#), 422, "invalid_request", "/queue"),
        (&with(r#","not_before":"tomorrow""#), 422, "invalid_request", "/not_before"),
        (&with(r#","labels":{"":"x"}"#), 422, "invalid_request", "/labels/"),
        (&with(r#","labels":{"a:b":"x"}"#), 422, "invalid_request", "/labels/a:b"),
        (&with(&format!(r#","labels":{{"a":"{}"}}"#, "x".repeat(257))), 422, "invalid_request", "/labels/a"),
        (&with(r#","idempotency_key":"k""#), 422, "invalid_request", "/idempotency_key"),
    ];
    for (body, status, code, path) in cases {
        let answer = api.post("/api/v1/tasks", body.to_string()).await;
        assert_eq!(answer.problem(), (*status, code.to_string(), path.to_string()), "{body}\n{}", answer.text());
    }
    let labels: Vec<String> = (0..65).map(|n| format!(r#""k{n}":"v""#)).collect();
    let answer = api.post("/api/v1/tasks", with(&format!(r#","labels":{{{}}}"#, labels.join(",")))).await;
    assert_eq!(answer.problem(), (422, "invalid_request".into(), "/labels".into()));
    let good = api.post("/api/v1/tasks?wait=30s", with(&format!(r#","function":"{function}""#))).await;
    assert_eq!(good.status, StatusCode::CREATED, "{}", good.text());
}

#[tokio::test]
async fn a_mistake_in_a_body_is_shown_with_line_column_and_what_was_meant() {
    let api = TestApi::start();
    let answer = api.post("/api/v1/tasks", "{\n  \"module\": \"a\",\n  \"retrys\": 1,\n  \"qeue\": 2\n}").await;
    let problem = answer.json();
    let errors = problem["errors"].as_array().expect("places");
    assert_eq!(errors.len(), 2, "{problem}");
    let retrys = errors.iter().find(|place| place["path"] == "/retrys").expect("its place");
    assert_eq!((retrys["line"].as_u64(), retrys["code"].as_str()), (Some(3), Some("unknown_key")));
    assert!(retrys["message"].as_str().expect("a message").contains("did you mean `retries`"), "{problem}");
    let broken = api.post("/api/v1/tasks", "{\n  \"module\": }").await.json();
    assert_eq!((broken["errors"][0]["line"].as_u64(), broken["errors"][0]["column"].as_u64()), (Some(2), Some(13)));
}

#[tokio::test]
async fn addresses_queries_and_headers_are_checked() {
    let (api, _) = TestApi::with_noop().await;
    let none = "task_0000000000000";
    let cases: &[(&str, &str, u16, &str)] = &[
        ("GET", "/nothing", 404, "route_not_found"),
        ("GET", "/api/v1/nothing", 404, "route_not_found"),
        ("PUT", "/api/v1/tasks", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("GET", "/api/v1/tasks/x", 404, "task_not_found"),
        ("GET", &format!("/api/v1/tasks/{none}"), 404, "task_not_found"),
        ("GET", &format!("/api/v1/tasks/{none}/result"), 404, "task_not_found"),
        ("GET", &format!("/api/v1/tasks/{none}/attempts"), 404, "task_not_found"),
        ("GET", &format!("/api/v1/tasks/{none}/events"), 404, "task_not_found"),
        ("GET", &format!("/api/v1/tasks/{none}/log"), 404, "task_not_found"),
        ("POST", &format!("/api/v1/tasks/{none}/cancel"), 404, "task_not_found"),
        ("POST", &format!("/api/v1/tasks/{none}/rerun"), 404, "task_not_found"),
        ("GET", "/api/v1/tasks?sate=failed", 422, "unknown_key"),
        ("GET", "/api/v1/tasks/task_01KAQZ3X5T008?wait=1s", 422, "unknown_key"),
        ("POST", "/api/v1/tasks/task_01KAQZ3X5T008/cancel?force=1", 422, "unknown_key"),
        ("DELETE", "/api/v1/modules/noop:1?force=1", 422, "unknown_key"),
        ("GET", "/api/v1/tasks?state=lost", 422, "invalid_request"),
        ("GET", "/api/v1/tasks?state=failed&state=failed", 422, "invalid_request"),
        ("GET", "/api/v1/tasks?outcome=well", 422, "invalid_request"),
        ("GET", "/api/v1/tasks?label=a", 422, "invalid_request"),
        ("GET", "/api/v1/tasks?limit=0", 422, "invalid_request"),
        ("GET", "/api/v1/tasks?limit=1001", 422, "invalid_request"),
        ("GET", "/api/v1/tasks?limit=ten", 422, "invalid_request"),
        ("GET", "/api/v1/tasks?cursor=!", 422, "invalid_request"),
        ("GET", "/api/v1/tasks?module=nothing", 404, "module_not_found"),
        ("GET", "/api/v1/events?after=-1", 422, "invalid_request"),
        ("GET", "/api/v1/modules/nothing:1", 404, "module_not_found"),
        ("GET", "/api/v1/modules/a%20b", 422, "invalid_request"),
        ("DELETE", "/api/v1/modules/nothing:1", 404, "module_not_found"),
        ("GET", "/api/v1/modules/nothing/tags", 404, "module_not_found"),
        ("GET", "/api/v1/modules/nothing/content", 404, "module_not_found"),
        ("POST", "/api/v1/modules?tag=1", 422, "invalid_request"),
        ("POST", "/api/v1/modules?name=a%20b", 422, "invalid_request"),
        ("POST", "/api/v1/modules", 422, "not_wasm"),
        ("POST", "/api/v1/tasks?wait=61s", 422, "invalid_request"),
        ("POST", "/api/v1/tasks?wait=soon", 422, "invalid_request"),
    ];
    for (method, path, status, code) in cases {
        let answer = api.answer(request(method, path).body(Body::from("no wasm")).expect("a request")).await;
        let (got_status, got_code, _) = answer.problem();
        assert_eq!((got_status, got_code.as_str()), (*status, *code), "{method} {path}\n{}", answer.text());
    }
    let allowed = api.answer(request("PUT", "/api/v1/tasks").body(Body::empty()).expect("a request")).await;
    assert_eq!(allowed.header("allow"), Some("POST,GET,HEAD"));
    for key in [String::new(), "a b".to_owned(), "x".repeat(256)] {
        let request = request("POST", "/api/v1/tasks").header("idempotency-key", key.as_str()).body(Body::empty());
        let answer = api.answer(request.expect("a request")).await;
        assert_eq!(answer.problem(), (422, "invalid_request".into(), "Idempotency-Key".into()), "{key:?}");
    }
}

#[tokio::test]
async fn nobody_comes_in_without_the_token() {
    let api = TestApi::start();
    let host = format!("localhost:{PORT}");
    for authorization in
        [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Bearer wrong"), Some("Basic the-token")]
    {
        for path in ["/api/v1/tasks", "/metrics", "/openapi.json", "/nothing"] {
            let mut request = axum::http::Request::builder().uri(path).header("host", &host);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let answer = api.answer(request.body(Body::empty()).expect("a request")).await;
            assert_eq!(answer.problem().1, "unauthorized", "{authorization:?} {path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"tradewind\""));
        }
    }
    for open in ["/healthz", "/readyz"] {
        let request = axum::http::Request::builder().uri(open).header("host", &host).body(Body::empty());
        assert_eq!(api.answer(request.expect("a request")).await.status, StatusCode::OK, "{open}");
    }
    assert_eq!(api.get("/metrics").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_page_that_was_rebound_to_loopback_is_turned_away() {
    let api = TestApi::start();
    let with = |name: &'static str, value: &str| {
        let request = axum::http::Request::builder().uri("/healthz").header(name, value);
        let request = if name == "host" { request } else { request.header("host", format!("127.0.0.1:{PORT}")) };
        request.body(Body::empty()).expect("a request")
    };
    for (name, value, code) in [
        ("host", "evil.example:8080", "foreign_host"),
        ("host", "127.0.0.1:8081", "foreign_host"),
        ("host", "127.0.0.1", "foreign_host"),
        ("origin", "http://evil.example", "foreign_origin"),
        ("origin", "http://127.0.0.1:3000", "foreign_origin"),
        ("origin", "https://127.0.0.1:8080", "foreign_origin"),
        ("origin", "null", "foreign_origin"),
    ] {
        assert_eq!(api.answer(with(name, value)).await.problem().1, code, "{name}: {value}");
    }
    assert_eq!(api.answer(with("origin", "http://localhost:8080")).await.status, StatusCode::OK);
    let none = axum::http::Request::builder().method(Method::GET).uri("/healthz").body(Body::empty());
    assert_eq!(api.answer(none.expect("a request")).await.problem().1, "foreign_host");
}

#[tokio::test]
async fn what_exceeds_a_bound_is_refused_with_its_name() {
    let bounds = Bounds { max_body_bytes: 100, max_batch_bytes: 400, max_batch_lines: 3, ..Bounds::default() };
    let (api, _) = TestApi::bounded(bounds).noop().await;
    for (path, body, code, setting) in [
        ("/api/v1/tasks", " ".repeat(101), "body_too_large", "server.max_task_body_bytes"),
        ("/api/v1/tasks/batch", " ".repeat(401), "body_too_large", "server.max_batch_body_bytes"),
        ("/api/v1/tasks/batch", "{}\n{}\n{}\n{}".to_owned(), "too_many_lines", "the limit is 3"),
    ] {
        let answer = api.post(path, body).await;
        assert_eq!((answer.problem().0, answer.problem().1.as_str()), (413, code), "{path}");
        assert!(answer.json()["reason"].as_str().expect("a reason").contains(setting), "{}", answer.text());
    }
    // In pieces, and without a length said in advance.
    let pieces = futures_util::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>(" ".repeat(50))));
    assert_eq!(api.post("/api/v1/tasks", Body::from_stream(pieces)).await.problem().1, "body_too_large");
    let module = api.post("/api/v1/modules", vec![0; (1 << 20) + 1]).await;
    assert_eq!(module.problem().0, 413, "{}", module.text());
}

#[tokio::test]
async fn one_request_too_many_is_told_to_come_back() {
    let api = TestApi::bounded(Bounds { max_requests_in_flight: 0, ..Bounds::default() });
    let answer = api.get("/api/v1/tasks").await;
    assert_eq!(answer.problem().0, 429);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(api.get("/healthz").await.status, StatusCode::OK);
    let api = TestApi::bounded(Bounds { max_batches_in_flight: 0, ..Bounds::default() });
    assert_eq!(api.post("/api/v1/tasks/batch", "").await.problem().0, 429);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let api = TestApi::bounded(Bounds { body_timeout: std::time::Duration::from_millis(1), ..Bounds::default() });
    let never = Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>());
    assert_eq!(api.post("/api/v1/tasks", never).await.problem().1, "body_too_slow");
}

#[tokio::test]
async fn a_server_that_is_not_ready_says_why() {
    let api = TestApi::start();
    api.readiness.send_replace(Readiness::Degraded { reason: "the disk is full".into() });
    let answer = api.get("/readyz").await;
    assert_eq!(answer.problem().0, 503);
    assert_eq!(answer.json()["reason"], "the disk is full");
    assert_eq!(api.get("/healthz").await.status, StatusCode::OK);
}
