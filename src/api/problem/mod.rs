//! Says what went wrong: RFC 9457 bodies, and the only place that knows status codes of refusals.
//!
//! A handler returns a `Problem`; the edge adds the request's id and writes the body. What the other parts
//! refuse becomes one in `tasks`, `dags` and `modules`.

mod dags;
mod kind;
mod modules;
mod tasks;

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::coordinator::CommitFailed;
use crate::store::ReadError;

use super::request_id::RequestId;

pub use dags::{
    clear_refused, dag_change_refused, dag_not_found, run_change_refused, run_not_found, trigger_refused,
    variable_not_found,
};
pub use kind::{Fault, Kind};
pub use modules::{delete_refused, load_refused, module_not_found};
pub use tasks::{change_refused, not_ended, task_not_found};

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

pub fn not_committed(thing: &str, error: CommitFailed) -> Problem {
    unavailable(thing, error.0)
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

pub fn broken_off() -> Problem {
    Problem::new(Kind::BodyBrokenOff, "the body", "the connection broke before its end", "send it again")
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
