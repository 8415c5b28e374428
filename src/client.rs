//! Speaks to a Tradewind server over its public HTTP API.
//!
//! A call is repeated only where that is safe: reads always, submits because
//! they carry an idempotency key, anything that was certainly not carried out.
//! A token is sent and never shown; it goes to no address but the server's.

mod again;
mod call;
mod dags;
mod events;
mod shapes;
#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode, Url, header};

use crate::config::Secret;
use crate::model::{Json, Span};

pub use call::{Answer, Body, Call, Upload};
pub use dags::{
    Applied, AppliedAll, Clear, Cleared, ClearedTask, Dag, DagContent, DagFile, DagGraph, DagParam, DagTask,
    DagVersion, Run, RunEvent, RunEvents, RunTask, Variable,
};
pub use shapes::{LogLine, Module, Page, Problem, ProblemPlace, Task, UploadProgress};

use again::{Failure, pause_before_repeat, retry_after};
use events::Events;

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
