//! Speaks HTTP as a program would: one call, one answer, nothing repeated behind the test's back.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::poll;

/// Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A task of a module as it is submitted: `task(&module, "echo", json!(1))`.
pub fn task(module: &str, function: &str, input: Value) -> Value {
    json!({ "module": module, "function": function, "input": input })
}

impl Client {
    pub fn new(base: &str, token: &str) -> Self {
        // Reading the system's certificates would take longer than most tests.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .tcp_nodelay(true)
            .timeout(Duration::from_secs(300))
            .build()
            .expect("a client");
        Self { http, base: base.to_owned(), token: token.to_owned() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// A request to be dressed up and then sent with `send`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> reqwest::Result<Answer> {
        send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Result<Answer> {
        send(self.request(Method::POST, path).body(body)).await
    }

    /// The JSON at an address, which must be there.
    pub async fn json(&self, path: &str) -> Value {
        self.get(path).await.unwrap().expect(200)
    }

    /// Uploads a module and returns its digest.
    pub async fn push(&self, wasm: &[u8]) -> String {
        let answer = self.post("/api/v1/modules", wasm.to_vec()).await.unwrap();
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.json()["digest"].as_str().unwrap().to_owned()
    }

    /// Submits a task that must be accepted.
    pub async fn submit(&self, task: &Value) -> Value {
        self.post("/api/v1/tasks", task.to_string()).await.unwrap().expect(201)
    }

    /// Submits a task that must be accepted, and returns it as it has ended.
    pub async fn run(&self, task: &Value) -> Value {
        let answer = self.post("/api/v1/tasks?wait=60s", task.to_string()).await.unwrap().expect(201);
        assert!(is_final(&answer), "it has not ended within 60 s: {answer}");
        answer
    }

    /// Submits with an idempotency key.
    pub async fn submit_once(&self, key: &str, task: &Value) -> reqwest::Result<Answer> {
        let request = self.request(Method::POST, "/api/v1/tasks").header("idempotency-key", key);
        send(request.body(task.to_string())).await
    }

    /// Submits many, and returns the lines of the answer.
    pub async fn batch(&self, lines: &[Value], query: &str) -> Vec<Value> {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let answer = self.post(&format!("/api/v1/tasks/batch{query}"), body).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.lines()
    }

    pub async fn task(&self, id: &str) -> Value {
        self.json(&format!("/api/v1/tasks/{id}")).await
    }

    /// The task once it has ended.
    pub async fn end_of(&self, id: &str) -> Value {
        self.when(id, is_final).await
    }

    /// The task once it is as asked.
    pub async fn when(&self, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        poll(&format!("task {id}"), async || Some(self.task(id).await).filter(&is_so)).await
    }

    pub async fn when_running(&self, id: &str) -> Value {
        self.when(id, |task| task["state"] == "running").await
    }

    pub async fn cancel(&self, id: &str) -> Answer {
        self.post(&format!("/api/v1/tasks/{id}/cancel"), "").await.unwrap()
    }

    pub async fn rerun(&self, id: &str) -> Answer {
        self.post(&format!("/api/v1/tasks/{id}/rerun"), "").await.unwrap()
    }

    /// What a list holds.
    pub async fn items(&self, path: &str) -> Vec<Value> {
        self.json(path).await["items"].as_array().unwrap().clone()
    }

    /// The lines of a log as NDJSON.
    pub async fn log_lines(&self, id: &str, query: &str) -> Vec<Value> {
        let request = self.request(Method::GET, &format!("/api/v1/tasks/{id}/log{query}"));
        let answer = send(request.header("accept", "application/x-ndjson")).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.lines()
    }
}

pub fn is_final(task: &Value) -> bool {
    let state = task["state"].as_str().expect("a task has a state");
    !matches!(state, "scheduled" | "queued" | "running" | "up_for_retry" | "deferred")
}

pub async fn send(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, if the status is as expected.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// A refusal with this status and code, which says everything a refusal must say.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{problem}");
        for said in ["type", "title", "detail", "thing", "reason", "remedy", "fault", "request_id"] {
            assert!(problem[said].as_str().is_some_and(|text| !text.is_empty()), "no {said}: {problem}");
        }
        assert!(problem["retryable"].is_boolean() && problem["errors"].is_array(), "{problem}");
        problem
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name.parse::<HeaderName>().unwrap()).and_then(|value: &HeaderValue| value.to_str().ok())
    }

    /// One value a line.
    pub fn lines(&self) -> Vec<Value> {
        let lines = self.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}
