//! Speaks to a Tradewind server over its public HTTP API.
//!
//! A call is repeated only where that is safe: reads always, submits because
//! they carry an idempotency key, anything that was certainly not carried out.
//! A token is sent and never shown; it goes to no address but the server's.

mod dags;
mod events;
mod shapes;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode, Url, header};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;

use crate::config::Secret;
use crate::model::{Json, Span};

pub use dags::{
    Applied, AppliedAll, Clear, Cleared, ClearedTask, Dag, DagContent, DagFile, DagGraph, DagParam, DagTask,
    DagVersion, Run, RunEvent, RunEvents, RunTask, Variable,
};
pub use shapes::{LogLine, Module, Page, Problem, ProblemPlace, Task, UploadProgress};

use events::Events;

/// Tries of one call, the first included.
const MAX_TRIES: u32 = 5;

/// A server that asks for a longer pause is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Longer than the longest `?wait=`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// A large module takes a while to travel and to compile.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(1800);

/// Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with a refusal.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// No answer came.
    #[error("the server at {base} was not reached: {reason}; {remedy}")]
    Unreachable { base: String, reason: String, remedy: &'static str },
    /// An answer came that is not one of Tradewind's.
    #[error("the answer of {base} to {call} was not understood: {reason}; is it a Tradewind server of this version?")]
    NotUnderstood { base: String, call: String, reason: String },
    /// A local file could not be read or written on the way.
    #[error("file {path}: {reason}")]
    File { path: String, reason: String },
    /// The client itself could not be set up as asked.
    #[error("{0}")]
    Setup(String),
}

/// One call, repeatable as often as needed.
pub struct Call<'a> {
    pub method: Method,
    /// Segments below `/api/v1`, unescaped.
    pub path: &'a [&'a str],
    pub query: Vec<(&'a str, String)>,
    pub body: Body,
    pub accept: &'static str,
    /// Makes a POST repeatable.
    pub idempotency_key: Option<String>,
}

/// What a call sends.
pub enum Body {
    Empty,
    Json(Bytes),
    Wasm(Bytes),
    File(Upload),
}

/// A file that is streamed from the disk, anew for each try.
#[derive(Clone)]
pub struct Upload {
    pub path: PathBuf,
    pub bytes: u64,
    /// Told how many bytes of this try have left.
    pub progress: Arc<dyn Fn(u64) + Send + Sync>,
}

/// What came back from a call that was not refused.
#[derive(Clone)]
pub struct Answer {
    pub status: StatusCode,
    /// Whether the server had seen the idempotency key before.
    pub replayed: bool,
    pub body: Bytes,
    call: String,
    base: String,
}

impl<'a> Call<'a> {
    pub fn get(path: &'a [&'a str]) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Vec::new(),
            body: Body::Empty,
            accept: "application/json",
            idempotency_key: None,
        }
    }

    pub fn post(path: &'a [&'a str]) -> Self {
        Self { method: Method::POST, ..Self::get(path) }
    }

    fn is_repeatable(&self) -> bool {
        match self.method {
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE => true,
            // An upload is named by its content: the second is a no-op.
            _ => self.idempotency_key.is_some() || matches!(self.body, Body::File(_) | Body::Wasm(_)),
        }
    }
}

impl Answer {
    pub fn json(&self) -> Result<Json, ClientError> {
        self.read()
    }

    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        read(&self.body).map_err(|reason| ClientError::NotUnderstood {
            base: self.base.clone(),
            call: self.call.clone(),
            reason,
        })
    }

    /// One value a line.
    pub fn read_lines<T: DeserializeOwned>(&self) -> Result<Vec<T>, ClientError> {
        let lines = self.body.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        lines
            .map(|line| {
                read(line).map_err(|reason| ClientError::NotUnderstood {
                    base: self.base.clone(),
                    call: self.call.clone(),
                    reason,
                })
            })
            .collect()
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())
}

impl Client {
    pub fn new(base: &str, token: Option<Secret>) -> Result<Self, ClientError> {
        static PROVIDER: Once = Once::new();
        // An error says that some other part of the process was first, which is as good.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));

        let base_url: Url = base.trim_end_matches('/').parse().map_err(|error| {
            ClientError::Setup(format!(
                "`{base}` is not the address of a server: {error}; write for example http://127.0.0.1:8080"
            ))
        })?;
        if !matches!(base_url.scheme(), "http" | "https") || base_url.host_str().is_none() {
            return Err(ClientError::Setup(format!(
                "`{base}` is not the address of a server: it begins neither with http:// nor with https://"
            )));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tradewind/", env!("CARGO_PKG_VERSION")))
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            // A redirect would carry the token to an address nobody chose.
            .redirect(reqwest::redirect::Policy::none());
        if base_url.scheme() == "http" {
            // Reading the system's certificates takes longer than the call.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base_url) {
            builder = builder.no_proxy();
        }
        let http =
            builder.build().map_err(|error| ClientError::Setup(format!("no HTTP client: {}", innermost(&error))))?;
        Ok(Self { http, base: base_url, token })
    }

    pub fn base(&self) -> &Url {
        &self.base
    }

    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    pub fn is_local(&self) -> bool {
        is_loopback(&self.base)
    }

    // Modules

    /// What the server knows of a module by digest or `name:tag`; `None` where it knows none.
    pub async fn module(&self, reference: &str) -> Result<Option<Answer>, ClientError> {
        // HEAD first: most pushes find the module there, and most of those need no more than that.
        let path = ["modules", reference];
        let head = Call { method: Method::HEAD, ..Call::get(&path) };
        if self.unless_missing(head).await?.is_none() {
            return Ok(None);
        }
        self.unless_missing(Call::get(&path)).await
    }

    /// Uploads a file, and tells how far the server is with it. The answer is the module.
    pub async fn upload_module(
        &self,
        upload: Upload,
        name_and_tag: Option<(&str, &str)>,
        tell: impl Fn(UploadProgress),
    ) -> Result<Answer, ClientError> {
        let query = name_and_tag.map_or(Vec::new(), |(name, tag)| vec![("name", name.into()), ("tag", tag.into())]);
        let accept = "text/event-stream, application/json";
        let call = Call { query, body: Body::File(upload), accept, ..Call::post(&["modules"]) };
        self.uploaded(&call, &tell).await
    }

    pub async fn upload_wasm(&self, wasm: Bytes) -> Result<Answer, ClientError> {
        self.call(Call { body: Body::Wasm(wasm), ..Call::post(&["modules"]) }).await
    }

    // Tasks

    /// Submits one task. The server answers when it has ended or `wait` is up.
    pub async fn submit(&self, task: &Json, key: Option<String>, wait: Option<Span>) -> Result<Answer, ClientError> {
        let key = match key {
            Some(key) => key,
            None => new_idempotency_key()?,
        };
        let query = wait.map_or(Vec::new(), |wait| vec![("wait", wait.to_string())]);
        let body = Body::Json(Bytes::copy_from_slice(task.as_str().as_bytes()));
        self.call(Call { query, body, idempotency_key: Some(key), ..Call::post(&["tasks"]) }).await
    }

    pub async fn task(&self, id: &str) -> Result<Answer, ClientError> {
        self.call(Call::get(&["tasks", id])).await
    }

    /// The log of one try. Empty where that try has nothing to show yet.
    pub async fn log(&self, id: &str, try_number: Option<u32>) -> Result<Vec<LogLine>, ClientError> {
        let query = try_number.map_or(Vec::new(), |number| vec![("try_number", number.to_string())]);
        let path = ["tasks", id, "log"];
        let call = Call { query, accept: "application/x-ndjson", ..Call::get(&path) };
        match self.call(call).await {
            Ok(answer) => answer.read_lines(),
            Err(ClientError::Refused(problem)) if problem.code == "try_not_found" => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// One page of a list.
    pub async fn page(&self, path: &[&str], query: Vec<(&str, String)>) -> Result<Page, ClientError> {
        self.call(Call { query, ..Call::get(path) }).await?.read()
    }

    // Any call

    /// Makes a call, again where that is safe, and returns its answer.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, ClientError> {
        let response = self.respond(&call).await?;
        let answer = self.answer_to(&call, &response);
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Ok(Answer { body, ..answer })
    }

    /// An answer whose body is still to come.
    fn answer_to(&self, call: &Call<'_>, response: &reqwest::Response) -> Answer {
        Answer {
            status: response.status(),
            replayed: response.headers().contains_key("idempotency-replayed"),
            body: Bytes::new(),
            call: format!("{} {}", call.method, response.url().path()),
            base: self.base.to_string(),
        }
    }

    /// Makes a call whose body is read piece by piece.
    pub async fn stream(&self, call: Call<'_>) -> Result<reqwest::Response, ClientError> {
        self.respond(&call).await
    }

    /// One upload whose answer may be a stream that ends with the module or the problem.
    async fn uploaded(&self, call: &Call<'_>, tell: &impl Fn(UploadProgress)) -> Result<Answer, ClientError> {
        let response = self.respond(call).await?;
        let answer = self.answer_to(call, &response);
        let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
        if !kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
            // A server that knows no progress.
            let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
            return Ok(Answer { body, ..answer });
        }
        let mut events = Events::of(response);
        while let Some(event) = events.next().await.map_err(|error| self.unreachable(&error))? {
            let told = Answer { body: event.data, ..answer.clone() };
            match event.kind.as_str() {
                "progress" => tell(told.read()?),
                "module" => return Ok(told),
                "problem" => return Err(ClientError::Refused(Box::new(told.read()?))),
                // Of a newer server.
                _ => {}
            }
        }
        let reason = "the stream ended before the module was there".to_owned();
        Err(ClientError::Unreachable { base: shown(&self.base), reason, remedy: "push it again" })
    }

    async fn unless_missing(&self, call: Call<'_>) -> Result<Option<Answer>, ClientError> {
        match self.call(call).await {
            Ok(answer) => Ok(Some(answer)),
            Err(ClientError::Refused(problem)) if problem.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn respond(&self, call: &Call<'_>) -> Result<reqwest::Response, ClientError> {
        let mut tried = 0;
        loop {
            tried += 1;
            let (failure, error) = match self.request(call).await?.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let failure = Failure::Refused(response.status().as_u16(), retry_after(&response));
                    (failure, ClientError::Refused(Box::new(problem(response).await)))
                }
                Err(error) if error.is_connect() => (Failure::NotSent, self.unreachable(&error)),
                Err(error) => (Failure::Lost, self.unreachable(&error)),
            };
            match pause_before_repeat(tried, call.is_repeatable(), failure) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    async fn request(&self, call: &Call<'_>) -> Result<reqwest::RequestBuilder, ClientError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self.http.request(call.method.clone(), url).header(header::ACCEPT, call.accept);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        Ok(match &call.body {
            Body::Empty => request.timeout(ANSWER_TIMEOUT),
            Body::Json(json) => {
                request.timeout(ANSWER_TIMEOUT).header(header::CONTENT_TYPE, "application/json").body(json.clone())
            }
            Body::Wasm(wasm) => {
                request.timeout(UPLOAD_TIMEOUT).header(header::CONTENT_TYPE, "application/wasm").body(wasm.clone())
            }
            Body::File(upload) => request
                .timeout(UPLOAD_TIMEOUT)
                .header(header::CONTENT_TYPE, "application/wasm")
                .header(header::CONTENT_LENGTH, upload.bytes)
                .body(upload.body().await?),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let remedy = if self.is_local() {
            "start one with `tradewind server`, or name another with TRADEWIND_URL"
        } else {
            "check TRADEWIND_URL and the network"
        };
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { innermost(error) };
        ClientError::Unreachable { base: shown(&self.base), reason, remedy }
    }
}

impl Upload {
    async fn body(&self) -> Result<reqwest::Body, ClientError> {
        let file = tokio::fs::File::open(&self.path)
            .await
            .map_err(|error| ClientError::File { path: self.path.display().to_string(), reason: error.to_string() })?;
        let start = (file, 0, self.progress.clone());
        let pieces = futures_util::stream::try_unfold(start, |(mut file, sent, progress)| async move {
            let mut piece = bytes::BytesMut::with_capacity(128 << 10);
            let read = file.read_buf(&mut piece).await? as u64;
            progress(sent + read);
            Ok::<_, std::io::Error>((read > 0).then(|| (piece.freeze(), (file, sent + read, progress))))
        });
        Ok(reqwest::Body::wrap_stream(pieces))
    }
}

/// How a try failed, as far as it decides about another.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    /// No connection: certainly not carried out.
    NotSent,
    /// Sent, and no answer: perhaps carried out.
    Lost,
    /// Answered with this status, and perhaps a Retry-After.
    Refused(u16, Option<Duration>),
}

/// The pause before the next try of a call that failed `tried` times; `None` where it is not to be repeated.
fn pause_before_repeat(tried: u32, repeatable: bool, failure: Failure) -> Option<Duration> {
    let growing = Duration::from_millis(100 << tried.min(10));
    let pause = match failure {
        // A server that is restarting is back in a moment; one that is not there should be told of soon.
        Failure::NotSent if tried >= 3 => return None,
        Failure::NotSent => growing,
        Failure::Lost if repeatable => growing,
        // Turned away at the door: not carried out, whatever it was.
        Failure::Refused(429, asked) => asked.unwrap_or(growing),
        Failure::Refused(502..=504, asked) if repeatable => asked.unwrap_or(growing),
        Failure::Lost | Failure::Refused(..) => return None,
    };
    (tried < MAX_TRIES && pause <= LONGEST_PAUSE).then_some(pause)
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn problem(response: reqwest::Response) -> Problem {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    let mut problem: Problem = serde_json::from_slice(&body).unwrap_or_else(|_| {
        let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        let title = status.canonical_reason().unwrap_or("refused");
        let detail = if said.trim().is_empty() { title.to_owned() } else { format!("{title}: {}", said.trim()) };
        Problem { detail, ..Problem::default() }
    });
    problem.status = status.as_u16();
    if problem.remedy.is_empty() && status == StatusCode::UNAUTHORIZED {
        problem.remedy =
            "set TRADEWIND_TOKEN, or on the server's machine --data-dir, where its admin.token is".to_owned();
    }
    problem
}

/// 128 random bits as text.
pub fn new_idempotency_key() -> Result<String, ClientError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| ClientError::Setup(format!("no randomness for an idempotency key: {error}")))?;
    Ok(hex::encode(bytes))
}

/// Whether an address is on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

/// An address without the user and password it may carry.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path().trim_end_matches('/'))
}

/// The last cause, which says most: `Connection refused (os error 111)`.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &shown(&self.base)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode as Status};
    use axum::response::IntoResponse;
    use parking_lot::Mutex;

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
            let problem =
                r#"{"status": 0, "thing": "the store", "reason": "is busy", "remedy": "wait", "code": "busy"}"#;
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
        let base = crate::cli::stub::serve(app).await;
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
        assert_eq!(
            (page.items[0].as_str(), page.items.len(), page.next_cursor.as_deref()),
            (r#"{"a": 1}"#, 2, Some("x"))
        );
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
}
