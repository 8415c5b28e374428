//! Accepts one task: `POST /tasks`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::bounds::{MAX_IDEMPOTENCY_KEY_BYTES, MAX_WAIT, TaskBounds};
use crate::api::extract::{self, Query, module_ref, text};
use crate::api::health::with_type;
use crate::api::problem::{Kind, Place, Problem, ProblemBody, load_refused};
use crate::coordinator::{Idempotency, ModuleRef, Modules, Submission, Submitted};
use crate::model::{Json, Outcome, QueueName, Span, TaskSpec, Timestamp};
use crate::sandbox::Module;

use super::check::{Asked, check};
use super::limits::LimitsRequest;
use super::object::{Task, TaskObject, shared_terms};

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a task is asked for with. Everything but `module` has a default.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// `name:tag`, `name` for its tag `latest`, or a digest. Resolved now, and never again.
    #[serde(deserialize_with = "module_ref")]
    #[schema(value_type = String, example = "etl:1.4")]
    pub(super) module: ModuleRef,
    /// Optional where the module has only one; an exported interface's is `ns:pkg/iface#run`.
    pub(super) function: Option<String>,
    /// Checked against the function now. Default null.
    #[schema(value_type = Option<Value>)]
    pub(super) input: Option<Json>,
    /// For command-line programs only.
    #[serde(default)]
    pub(super) args: Vec<String>,
    /// Without a grant nothing is granted.
    #[serde(default)]
    #[schema(value_type = Option<crate::model::Grants>)]
    pub(super) grants: BTreeMap<String, Json>,
    #[serde(default)]
    pub(super) limits: LimitsRequest,
    /// Tries after the first. Default 0, at most 1 000.
    pub(super) retries: Option<u32>,
    /// Pause before the second try. Default `5m`.
    #[schema(value_type = Option<String>)]
    pub(super) retry_delay: Option<Span>,
    /// Factor from one pause to the next, 1 to 100. Default 2.0.
    pub(super) retry_exponential_backoff: Option<f64>,
    /// No pause is longer. Default `24h`.
    #[schema(value_type = Option<String>)]
    pub(super) max_retry_delay: Option<Span>,
    /// Outcomes that are tried again. Default `failed trapped timed_out out_of_memory`.
    pub(super) retry_on: Option<Vec<Outcome>>,
    /// The greater goes first. Default 1.
    pub(super) priority_weight: Option<i32>,
    /// Default `default`.
    #[schema(value_type = Option<String>)]
    pub(super) queue: Option<QueueName>,
    /// Does not start before.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) not_before: Option<Timestamp>,
    /// At most 64.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// On a line of a batch only; a single task has the header.
    pub idempotency_key: Option<String>,
}

#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Answers when the task has ended or this time is up, whichever is first: `30s`, at most `60s`.
    #[serde(default, deserialize_with = "text")]
    #[param(value_type = Option<String>)]
    wait: Option<Span>,
}

impl WaitQuery {
    pub fn wait(&self) -> Result<Option<Duration>, Problem> {
        match self.wait.map(Span::get) {
            Some(wait) if wait > MAX_WAIT => Err(Problem::invalid(
                "wait",
                "it is longer than 60s",
                "wait for at most 60s, then ask GET /api/v1/tasks/{id}",
            )),
            wait => Ok(wait.filter(|wait| !wait.is_zero())),
        }
    }
}

/// Submits a task.
///
/// The answer leaves when the task is stored durably. The status says that it was
/// accepted; `state` and `outcome` say how it went.
#[utoipa::path(post, path = "/tasks", tag = "tasks", request_body = TaskRequest,
    params(WaitQuery, ("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 visible ASCII characters; a repeat within 24 h answers with the same task")),
    responses(
        (status = 201, description = "The task was accepted, now or by an earlier request with the same key.", body = Task,
            headers(("Idempotency-Replayed" = Option<bool>, description = "`true` where an earlier request was accepted with this key"),
                    ("Location" = String, description = "The address of the task"))),
        (status = 400, description = "The body is not JSON.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 404, description = "There is no such module.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "The request or the input is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 429, description = "Too much at once.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "It cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn submit(
    api: State<Api>,
    principal: Principal,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wait = query.wait()?;
    let key = headers.get(IDEMPOTENCY_KEY).map(|key| checked_key("Idempotency-Key", key.as_bytes())).transpose()?;
    let bounds = &api.bounds;
    let body = extract::body(body, bounds.max_body_bytes, "server.max_task_body_bytes", bounds.body_timeout).await?;
    let request: TaskRequest = extract::json(&body)?;
    if request.idempotency_key.is_some() {
        return Err(Problem::invalid(
            "/idempotency_key",
            "it stands on lines of a batch only",
            "send it as the header Idempotency-Key",
        ));
    }
    let idempotency = key.map(|key| idempotency(&principal, key, &body));
    let spec = match load(&api.modules, &request.module).await {
        Ok(module) => spec(request, &module, &bounds.tasks),
        Err(problem) => Err(problem),
    };
    let submitted = match spec {
        Ok(spec) => {
            let submission = Submission { spec: Arc::new(spec), idempotency, by: principal.name().clone() };
            api.coordinator.submit(submission, wait).await?
        }
        Err(problem) => accepted_before(&api, idempotency).await?.ok_or(problem)?,
    };
    let mut response = with_type("application/json", write(&submitted.record));
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    let location = format!("/api/v1/tasks/{}", submitted.record.id);
    headers.insert(header::LOCATION, HeaderValue::try_from(location).expect("an id is ASCII"));
    if submitted.replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The task that a request was accepted as before, though it would be refused now:
/// its tag may have moved since, or its module be gone.
pub async fn accepted_before(api: &Api, idempotency: Option<Idempotency>) -> Result<Option<Submitted>, Problem> {
    let Some(Idempotency { key, body }) = idempotency else { return Ok(None) };
    let record = api.reads.run(move |reader| reader.accepted_with(&key, &body)).await?;
    Ok(record.map(|record| Submitted { record: Arc::new(record), replayed: true }))
}

/// The module ready for input checks; from memory, mostly.
pub async fn load(modules: &Modules, reference: &ModuleRef) -> Result<Arc<Module>, Problem> {
    if let Some(module) = modules.try_ready(reference) {
        return Ok(module);
    }
    let refused = |error| load_refused(reference, error);
    let digest = modules.resolve(reference).await.map_err(refused)?;
    modules.module(digest).await.map_err(refused)
}

impl TaskRequest {
    pub fn module(&self) -> &ModuleRef {
        &self.module
    }
}

/// What a request asks for, with its defaults, if all of it may be had.
pub fn spec(request: TaskRequest, module: &Module, bounds: &TaskBounds) -> Result<TaskSpec, Problem> {
    let mut problems = Vec::new();
    let asked = check(request, Some(module.info()), bounds, &mut problems);
    if let Some(first) = problems.into_iter().next() {
        return Err(first);
    }
    let Asked { function, input, args, terms, queue, priority_weight, not_before, labels } = asked;
    let function = function.expect("a function that is refused is a problem");
    module.check_input(&function, &input).map_err(|problems| {
        let place = |problem: crate::sandbox::InputProblem| {
            Place::new(format!("/input{}", problem.path), problem.code, problem.message)
        };
        let places: Vec<Place> = problems.into_iter().map(place).collect();
        let reason = places
            .first()
            .map_or("it has another type".to_owned(), |first| format!("{}: {}", first.path, first.message));
        let remedy = format!("see `input_schema` of the function at GET /api/v1/modules/{}", module.info().digest);
        Problem::new(Kind::InvalidInput, format!("the input of function `{function}`"), reason, remedy).at(places)
    })?;
    let (module, terms) = (module.info().digest, shared_terms(terms));
    Ok(TaskSpec { module, function, input, args, queue, priority_weight, not_before, labels, terms })
}

/// The key, if it may be one.
pub fn checked_key<'a>(path: &str, key: &'a [u8]) -> Result<&'a [u8], Problem> {
    if (1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic) {
        return Ok(key);
    }
    Err(Problem::invalid(path, "it is not 1 to 255 visible ASCII characters", "take a UUID, for example"))
}

/// Keys of different principals never meet.
pub fn idempotency(principal: &Principal, key: &[u8], body: &[u8]) -> Idempotency {
    let key = Sha256::new().chain_update(principal.name().as_bytes()).chain_update([0]).chain_update(key).finalize();
    Idempotency { key: key.into(), body: Sha256::digest(body).into() }
}

/// Writes the object of a single task.
fn write(record: &crate::model::TaskRecord) -> Vec<u8> {
    let mut text = Vec::with_capacity(1_408);
    serde_json::to_writer(&mut text, &TaskObject::single(record)).expect("a record is plain data");
    text
}
