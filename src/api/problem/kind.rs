//! Every kind of refusal with its status, its code, whose fault it is, and whether to try again.

use axum::http::StatusCode;
use serde::Serialize;

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
            pub(super) fn status(self) -> StatusCode {
                let status: u16 = match self { $(Self::$kind => $status),+ };
                StatusCode::from_u16(status).expect("the table holds valid statuses")
            }

            pub fn code_text(self) -> &'static str {
                match self { $(Self::$kind => $code),+ }
            }

            pub(super) fn fault(self) -> Fault {
                match self { $(Self::$kind => Fault::$fault),+ }
            }

            pub(super) fn retryable(self) -> bool {
                match self { $(Self::$kind => $retryable),+ }
            }

            pub(super) fn title(self) -> &'static str {
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
