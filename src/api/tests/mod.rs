//! The API in front of the real coordinator, store and sandbox; only the network is left out.

mod dag_limits;
mod dags;
mod refusals;
mod runs;
mod service;
mod shape;
mod variables;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::artifacts::Artifacts;
use crate::coordinator::{
    Coordinator, CoordinatorSettings, InputSource, Modules, ModulesSettings, RetentionSettings, Running,
};
use crate::engine::EngineConfig;
use crate::metrics::Metrics;
use crate::sandbox::{CacheBounds, CompiledStore, ModuleCache, Sandbox, SandboxSettings, guests};
use crate::store::DataDirectory;
use crate::worker::{LiveAttempts, LocalWorker, Segments};

use super::auth::{Hosts, Tokens};
use super::bounds::Bounds;
use super::edge::Edge;

use super::{Parts, Readiness, edge};

const TOKEN: &str = "the-token";
const PORT: u16 = 8080;

/// A whole server but for its socket.
struct TestApi {
    edge: Arc<Edge>,
    readiness: watch::Sender<Readiness>,
    coordinator: Coordinator,
    running: Option<Running>,
    sandbox: Sandbox,
    _directory: TempDir,
}

impl TestApi {
    fn start() -> Self {
        Self::bounded(Bounds::default())
    }

    fn bounded(bounds: Bounds) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = DataDirectory::open(&directory.path().join("data")).expect("a data directory");
        let settings = CoordinatorSettings {
            engine: EngineConfig::default(),
            slots: 4,
            waiting: 0,
            max_waiting_submissions: 100_000,
            batch_changes: 2_048,
            max_task_bytes: 8 << 20,
            graceful_stop: Duration::from_secs(5),
            retention: RetentionSettings::default(),
        };
        let metrics = Arc::new(Metrics::default());
        let coordinator = Coordinator::new(&settings, metrics.clone());
        let sandbox_settings = SandboxSettings::default();
        let sandbox = Sandbox::new(&sandbox_settings, &tokio::runtime::Handle::current()).expect("a sandbox");
        let compiled = data.path().join("compiled");
        let compiled = Arc::new(CompiledStore::open(&compiled, sandbox.compatibility(), [7; 32]).expect("compiled"));
        let artifacts = Artifacts::local(&data.path().join("artifacts")).expect("artifacts");
        drop(data.writer().expect("a schema"));
        let reads = data.reads(2).expect("readers");
        let modules = Modules::new(
            ModulesSettings { incoming: data.path().join("incoming"), max_bytes: 1 << 20, uploads: 1 },
            sandbox.clone(),
            compiled.clone(),
            ModuleCache::new(sandbox.clone(), compiled, CacheBounds::default()),
            artifacts.clone(),
            reads.clone(),
            coordinator.clone(),
        )
        .expect("modules");
        let segments = Segments::open(&data.path().join("logs")).expect("segments");
        let live = LiveAttempts::default();
        let worker = LocalWorker::new(
            sandbox.clone(),
            modules.clone(),
            InputSource::new(reads.clone(), artifacts.clone()),
            artifacts.clone(),
            segments.clone(),
            coordinator.reports(),
            live.clone(),
        );
        let writer = data.writer().expect("a writer");
        let running = coordinator.start(settings, writer, &data, reads.clone(), worker).expect("a coordinator");
        let (readiness, ready) = watch::channel(Readiness::Ready);
        let parts = Parts {
            coordinator: coordinator.clone(),
            modules,
            artifacts,
            segments,
            live,
            reads,
            metrics,
            readiness: ready,
            bounds,
        };
        let tokens = Tokens::default().with(Sha256::digest(TOKEN).into(), "admin");
        let edge = Arc::new(edge(parts, tokens, Hosts::Loopback { port: PORT }));
        Self { edge, readiness, coordinator, running: Some(running), sandbox, _directory: directory }
    }

    /// With the no-op as `noop:1`, whose only function is named in the answer.
    async fn with_noop() -> (Self, String) {
        Self::start().noop().await
    }

    async fn noop(self) -> (Self, String) {
        let uploaded = self.post("/api/v1/modules?name=noop&tag=1", guests::noop()).await;
        assert_eq!(uploaded.status, StatusCode::CREATED, "{}", uploaded.text());
        let function = uploaded.json()["functions"][0]["name"].as_str().expect("a function").to_owned();
        (self, function)
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.edge.answer(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        Answer { status, headers, body: body.to_vec() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.answer(request("GET", path).body(Body::empty()).expect("a request")).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.answer(request("POST", path).body(body.into()).expect("a request")).await
    }
}

impl Drop for TestApi {
    fn drop(&mut self) {
        self.coordinator.stop();
        if let Some(running) = self.running.take() {
            running.join();
        }
        self.sandbox.shut_down();
    }
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", format!("127.0.0.1:{PORT}"))
        .header("authorization", format!("Bearer {TOKEN}"))
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// Status, code and first path of a problem, which must be complete.
    fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        for key in ["type", "title", "detail", "thing", "reason", "remedy", "fault"] {
            assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {problem}");
        }
        let code = problem["code"].as_str().expect("a code").to_owned();
        (self.status.as_u16(), code, problem["errors"][0]["path"].as_str().unwrap_or_default().to_owned())
    }
}
