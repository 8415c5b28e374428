//! Says what went wrong: RFC 9457 bodies, and the only place that knows status codes of refusals.
//!
//! A handler returns a `Problem`; the edge adds the request's id and writes the body.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::coordinator::{
    ChangeError, ClearError, CommitFailed, DagChangeError, DeleteError, ModuleError, ModuleRef, RunChangeError,
    SubmitError, TriggerError, UploadError,
};
use crate::model::run::Instance;
use crate::model::{DagId, RunId, TaskId};
use crate::sandbox::Refused;
use crate::store::ReadError;

use super::request_id::RequestId;

/// Whose fault it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Caller,
    Task,
    Platform,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:literal $code:literal $fault:ident $retryable:literal $title:literal),+ $(,)?) => {
        /// Everything the API refuses or fails with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $kind),+ }

        impl Kind {
            fn status(self) -> StatusCode {
                let status: u16 = match self { $(Self::$kind => $status),+ };
                StatusCode::from_u16(status).expect("the table holds valid statuses")
            }

            pub fn code_text(self) -> &'static str {
                match self { $(Self::$kind => $code),+ }
            }

            fn fault(self) -> Fault {
                match self { $(Self::$kind => Fault::$fault),+ }
            }

            fn retryable(self) -> bool {
                match self { $(Self::$kind => $retryable),+ }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$kind => $title),+ }
            }
        }
    };
}

kinds! {
    MalformedJson = 400 "malformed_json" Caller false "The body is not JSON",
    BodyBrokenOff = 400 "body_broken_off" Caller true "The body ended early",
    Unauthorized = 401 "unauthorized" Caller false "A valid token is needed",
    ForeignHost = 403 "foreign_host" Caller false "The request is meant for another host",
    ForeignOrigin = 403 "foreign_origin" Caller false "The request comes from a foreign page",
    RouteNotFound = 404 "route_not_found" Caller false "There is nothing at this address",
    TaskNotFound = 404 "task_not_found" Caller false "There is no such task",
    TryNotFound = 404 "try_not_found" Caller false "There is no such try",
    ModuleNotFound = 404 "module_not_found" Caller false "There is no such module",
    DagNotFound = 404 "dag_not_found" Caller false "There is no such DAG",
    VersionNotFound = 404 "version_not_found" Caller false "There is no such version of the DAG",
    RunNotFound = 404 "run_not_found" Caller false "There is no such run",
    VariableNotFound = 404 "variable_not_found" Caller false "There is no such variable",
    NoResult = 404 "no_result" Task false "The task has no result",
    ArtifactNotFound = 404 "artifact_not_found" Platform false "The bytes are not stored any more",
    MethodNotAllowed = 405 "method_not_allowed" Caller false "The address does not take this method",
    BodyTooSlow = 408 "body_too_slow" Caller true "The body did not arrive in time",
    TaskNotEnded = 409 "task_not_ended" Caller true "The task has not ended",
    TaskEnded = 409 "task_ended" Caller false "The task has ended",
    BelongsToRun = 409 "belongs_to_run" Caller false "The task belongs to a run",
    NotOfARun = 409 "not_of_a_run" Caller false "The task belongs to no run",
    RunStopping = 409 "run_stopping" Caller false "The run is being stopped",
    RunQueued = 409 "run_queued" Caller false "The run has not begun",
    CannotMark = 409 "cannot_mark" Caller false "The task cannot be marked",
    ModuleInUse = 409 "module_in_use" Caller false "The module is in use",
    DagBusy = 409 "dag_busy" Caller true "The DAG has runs under way",
    RunEnded = 409 "run_ended" Caller false "The run has ended",
    BodyTooLarge = 413 "body_too_large" Caller false "The body is too large",
    TooManyLines = 413 "too_many_lines" Caller false "The batch has too many lines",
    Invalid = 422 "invalid_request" Caller false "The request is not valid",
    UnknownKey = 422 "unknown_key" Caller false "The request has a key that is not known",
    InvalidInput = 422 "invalid_input" Caller false "The input does not fit the function",
    FunctionNotFound = 422 "function_not_found" Caller false "The module has no such function",
    GrantNotOffered = 422 "grant_not_offered" Caller false "The capability is not offered",
    GrantRefused = 422 "grant_refused" Caller false "The grant is not well-formed, or beyond what this server grants",
    MissingGrant = 422 "missing_grant" Caller false "The module needs what the task does not grant",
    InvalidDag = 422 "invalid_dag" Caller false "The DAG is not valid",
    InvalidParams = 422 "invalid_params" Caller false "The parameters do not fit the DAG",
    IdempotencyMismatch = 422 "idempotency_mismatch" Caller false "The idempotency key belongs to another request",
    ModuleRefused = 422 "module_refused" Caller false "The module cannot be used",
    Busy = 429 "busy" Platform true "Too much at once",
    Internal = 500 "internal" Platform true "Something broke on our side",
    Unavailable = 503 "unavailable" Platform true "The service cannot do this now",
}

/// One place in the request and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ProblemPlace)]
pub struct Place {
    /// Of several files, the one that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// JSON pointer into the body, or the name of a query parameter or header. Of several files,
    /// the file's name, `#`, and the pointer into its document.
    pub path: String,
    /// Counted from 1; null where it is not known.
    pub line: Option<usize>,
    pub column: Option<usize>,
    /// Stable, for programs.
    pub code: Cow<'static, str>,
    pub message: String,
    /// What to do, where the message does not say it and the problem says it of its first place only.
    #[serde(skip)]
    #[schema(ignore)]
    pub remedy: Option<String>,
}

impl Place {
    pub fn new(path: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        let (path, code, message) = (path.into(), code.into(), message.into());
        Self { file: None, path, line: None, column: None, code, message, remedy: None }
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// A refusal or failure on its way to the caller. Names the thing, the reason, the remedy.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    kind: Kind,
    code: Cow<'static, str>,
    thing: String,
    reason: String,
    remedy: String,
    retry_after: Option<Duration>,
    errors: Vec<Place>,
}

/// The body of every refusal, `application/problem+json`.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// `tag:tradewind,2026:problem:<code>`.
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    /// Thing, reason and remedy as one sentence.
    detail: String,
    /// Stable, for programs.
    code: &'a str,
    thing: &'a str,
    reason: &'a str,
    remedy: &'a str,
    fault: Fault,
    /// Whether the same request may succeed later.
    retryable: bool,
    request_id: &'a str,
    errors: &'a [Place],
}

impl Problem {
    pub fn new(kind: Kind, thing: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            code: kind.code_text().into(),
            thing: thing.into(),
            reason: reason.into(),
            remedy: remedy.into(),
            retry_after: None,
            errors: Vec::new(),
        }))
    }

    /// One value of the request that cannot be taken.
    pub fn invalid(path: &str, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (reason, remedy) = (reason.into(), remedy.into());
        let thing = format!("`{}`", path.trim_start_matches('/').replace('/', "."));
        let place = Place::new(path, Kind::Invalid.code_text(), format!("{reason}; {remedy}"));
        Self::new(Kind::Invalid, thing, reason, remedy).at(vec![place])
    }

    pub fn at(mut self, errors: Vec<Place>) -> Self {
        self.0.errors = errors;
        self
    }

    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.0.retry_after = Some(pause);
        self
    }

    fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = code.into();
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.kind.status()
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn places(&self) -> &[Place] {
        &self.0.errors
    }

    /// Thing, reason and remedy.
    pub fn words(&self) -> (&str, &str, &str) {
        (&self.0.thing, &self.0.reason, &self.0.remedy)
    }

    pub fn body<'a>(&'a self, request_id: &'a RequestId) -> ProblemBody<'a> {
        let Parts { kind, code, thing, reason, remedy, retry_after: _, errors } = &*self.0;
        ProblemBody {
            kind: format!("tag:tradewind,2026:problem:{code}"),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: [thing.as_str(), ": ", reason.as_str(), "; ", remedy.as_str()].concat(),
            code,
            thing,
            reason,
            remedy,
            fault: kind.fault(),
            retryable: kind.retryable(),
            request_id: request_id.as_str(),
            errors,
        }
    }

    pub fn respond(&self, request_id: &RequestId) -> Response {
        let body = serde_json::to_vec(&self.body(request_id)).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(pause) = self.0.retry_after {
            let seconds = pause.as_secs_f64().ceil().max(1.0) as u64;
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tradewind\""));
        }
        response
    }
}

/// Only marks the response: the edge knows the request's id and writes the body.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

pub fn task_not_found(id: &str) -> Problem {
    Problem::new(
        Kind::TaskNotFound,
        format!("task {id}"),
        "no task has this id, or its time of retention is over",
        "list the tasks with GET /api/v1/tasks",
    )
}

pub fn module_not_found(reference: &ModuleRef) -> Problem {
    Problem::new(
        Kind::ModuleNotFound,
        format!("module {reference}"),
        "no module has this name or digest",
        "upload it with POST /api/v1/modules, or list the modules with GET /api/v1/modules",
    )
}

pub fn dag_not_found(name: &str) -> Problem {
    Problem::new(
        Kind::DagNotFound,
        format!("DAG `{name}`"),
        "no DAG has this name",
        "send it with PUT /api/v1/dags/{name}, or list the DAGs with GET /api/v1/dags",
    )
}

pub fn run_not_found(id: &str) -> Problem {
    Problem::new(
        Kind::RunNotFound,
        format!("run {id}"),
        "no run has this id, or its time of retention is over",
        "list the runs with GET /api/v1/runs",
    )
}

pub fn variable_not_found(key: &str) -> Problem {
    Problem::new(
        Kind::VariableNotFound,
        format!("variable `{key}`"),
        "no variable has this key",
        "set it with PUT /api/v1/variables/{key}, or list the variables with GET /api/v1/variables",
    )
}

pub fn not_committed(thing: &str, error: CommitFailed) -> Problem {
    unavailable(thing, error.0)
}

pub fn trigger_refused(dag: &DagId, error: TriggerError) -> Problem {
    match error {
        TriggerError::NotFound => dag_not_found(dag.as_str()),
        TriggerError::ModuleGone(digest) => module_not_found(&ModuleRef::Digest(digest)),
        TriggerError::Busy { retry_after } => Problem::new(
            Kind::Busy,
            "the run was not accepted",
            "more tasks wait for acceptance than the server holds",
            "try again after the pause in Retry-After",
        )
        .retry_after(retry_after),
        TriggerError::IdempotencyMismatch { run } => Problem::new(
            Kind::IdempotencyMismatch,
            "the idempotency key",
            format!("it was used in the last 24 h for another request, which became {run}"),
            "send the same body to the same DAG, or take a new key",
        ),
        TriggerError::Unavailable { reason } => unavailable("the run was not accepted", reason),
    }
}

/// A change of a DAG that was refused.
pub fn dag_change_refused(dag: &DagId, error: DagChangeError) -> Problem {
    match error {
        DagChangeError::NotFound => dag_not_found(dag.as_str()),
        DagChangeError::Busy { runs } => Problem::new(
            Kind::DagBusy,
            format!("DAG `{dag}`"),
            format!("{runs} of its runs have not ended"),
            "let them end, or cancel them with POST /api/v1/runs/{id}/cancel",
        ),
        DagChangeError::Unavailable { reason } => unavailable(&format!("DAG `{dag}` was not changed"), reason),
    }
}

/// A change of a run that was refused.
pub fn run_change_refused(id: RunId, error: RunChangeError) -> Problem {
    match error {
        RunChangeError::NotFound => run_not_found(&id.to_string()),
        RunChangeError::AlreadyEnded(record) => Problem::new(
            Kind::RunEnded,
            format!("run {id}"),
            format!("it has ended already; its state is {}", record.state),
            "there is nothing left to cancel",
        ),
        RunChangeError::Unavailable { reason } => unavailable(&format!("run {id} was not changed"), reason),
    }
}

/// Tasks of a run that cannot be done again, or marked.
pub fn clear_refused(id: RunId, error: ClearError) -> Problem {
    match error {
        ClearError::NotFound => run_not_found(&id.to_string()),
        ClearError::NoTask { name, known } => {
            let reason = format!("the DAG of run {id} has no task `{name}`");
            Problem::invalid("/task_ids", reason, format!("name some of {known}"))
        }
        ClearError::Active { id, state } => not_ended(id, state, "cancel it first, or wait for its end"),
        ClearError::Stopping => Problem::new(
            Kind::RunStopping,
            format!("run {id}"),
            "it is being stopped",
            "wait for its end; GET /api/v1/runs/{id}/events tells of it",
        ),
        ClearError::NotBegun => {
            Problem::new(Kind::RunQueued, format!("run {id}"), "it has not begun", "wait until it has")
        }
        ClearError::CannotMark(reason) => {
            Problem::new(Kind::CannotMark, format!("the task of run {id}"), reason, "let it run, or clear it")
        }
        ClearError::Unavailable { reason } => unavailable(&format!("run {id} was not changed"), reason),
    }
}

fn unavailable(thing: &str, reason: String) -> Problem {
    Problem::new(Kind::Unavailable, thing, reason, "try again in a moment").retry_after(Duration::from_secs(1))
}

/// Something broke on our side: the reason goes to the log, the caller gets the request's id to find it by.
pub fn internal(error: &(impl std::fmt::Display + ?Sized)) -> Problem {
    tracing::error!(%error, "a request failed on our side");
    Problem::new(
        Kind::Internal,
        "the server",
        "it met an error that is not the request's fault",
        "try again; if it stays, look for the request id in the server's log",
    )
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Unavailable { reason } => unavailable("the task was not accepted", reason),
            SubmitError::Busy { retry_after } => Self::new(
                Kind::Busy,
                "the task was not accepted",
                "more tasks wait for acceptance than the server holds",
                "try again after the pause in Retry-After",
            )
            .retry_after(retry_after),
            SubmitError::IdempotencyMismatch { task } => Self::new(
                Kind::IdempotencyMismatch,
                "the idempotency key",
                format!("it was used in the last 24 h for another body, which became {task}"),
                "send the same body, or take a new key",
            ),
            SubmitError::ModuleGone(digest) => module_not_found(&ModuleRef::Digest(digest)),
            SubmitError::TooLarge { bytes, limit } => Self::new(
                Kind::BodyTooLarge,
                "the task",
                format!("it takes {bytes} bytes to store, the limit is {limit}"),
                "pass large data by reference",
            ),
        }
    }
}

/// A change of a task that was refused.
pub fn change_refused(id: TaskId, error: ChangeError) -> Problem {
    match error {
        ChangeError::NotFound => task_not_found(&id.to_string()),
        ChangeError::NotEnded(state) => not_ended(id, state, "wait for its end, or cancel it first"),
        ChangeError::AlreadyEnded(record) => Problem::new(
            Kind::TaskEnded,
            format!("task {id}"),
            format!("it has ended already; its state is {}", record.state),
            "there is nothing left to cancel",
        ),
        ChangeError::BelongsTo(Instance { run, .. }) => Problem::new(
            Kind::BelongsToRun,
            format!("task {id}"),
            format!("it waits for its turn in {run}"),
            "cancel the run, or wait for the task's turn",
        ),
        ChangeError::Unavailable { reason } => unavailable(&format!("task {id} was not changed"), reason),
    }
}

pub fn not_ended(id: TaskId, state: crate::model::TaskState, remedy: &str) -> Problem {
    Problem::new(Kind::TaskNotEnded, format!("task {id}"), format!("it has not ended; its state is {state}"), remedy)
}

pub fn load_refused(reference: &ModuleRef, error: ModuleError) -> Problem {
    match error {
        ModuleError::NotFound(_) => module_not_found(reference),
        ModuleError::Unavailable { reason } | ModuleError::Unusable { reason, .. } => {
            unavailable(&format!("module {reference}"), reason)
        }
    }
}

/// About how long a module takes to be compiled.
const UPLOAD_AGAIN: Duration = Duration::from_secs(5);

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Refused(Refused { code, thing, reason, remedy }) => {
                Self::new(Kind::ModuleRefused, thing, reason, remedy).code(code)
            }
            UploadError::TooLarge { limit } => Self::new(
                Kind::BodyTooLarge,
                "the module",
                format!("it is larger than {limit} bytes, the limit of `max_module_bytes`"),
                "strip it (`wasm-tools strip`), or raise the setting",
            ),
            UploadError::Busy { most } => Self::new(
                Kind::Busy,
                "the upload",
                format!("{most} uploads are under way, which is the limit"),
                "upload again after the pause in Retry-After",
            )
            .retry_after(UPLOAD_AGAIN),
            UploadError::Unavailable { reason } => unavailable("the module was not stored", reason),
            UploadError::Interrupted(_) => broken_off(),
        }
    }
}

pub fn broken_off() -> Problem {
    Problem::new(Kind::BodyBrokenOff, "the body", "the connection broke before its end", "send it again")
}

pub fn delete_refused(reference: &ModuleRef, error: DeleteError) -> Problem {
    match error {
        DeleteError::NotFound(_) => module_not_found(reference),
        DeleteError::InUse { by } => Problem::new(
            Kind::ModuleInUse,
            format!("module {reference}"),
            format!("it is named by {}", by.join(", ")),
            "remove the tags first, and let the tasks end",
        ),
        DeleteError::Unavailable { reason } => unavailable(&format!("module {reference} was not deleted"), reason),
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        // What the store says is for the operator: it may name files.
        tracing::error!(%error, "a read failed");
        unavailable("the store", "it could not be read".to_owned())
    }
}

/// Bytes that a row names could not be had: theirs is the place, ours the fault.
pub fn unreadable(thing: String, error: &std::io::Error) -> Problem {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Problem::new(
            Kind::ArtifactNotFound,
            thing,
            "its bytes are not stored here any more",
            "run the task again",
        );
    }
    tracing::error!(%thing, %error, "stored bytes could not be read");
    unavailable(&thing, "its bytes could not be read".to_owned())
}
