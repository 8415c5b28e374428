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
use crate::api::bounds::{
    MAX_ARGS, MAX_ARGS_BYTES, MAX_FUNCTION_BYTES, MAX_IDEMPOTENCY_KEY_BYTES, MAX_LABEL_KEY_BYTES,
    MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_WAIT, TaskBounds,
};
use crate::api::extract::{self, Query, module_ref, text};
use crate::api::problem::{Kind, Place, Problem, ProblemBody, load_refused};
use crate::coordinator::{Idempotency, ModuleRef, Modules, Submission, Submitted};
use crate::model::task::Terms;
use crate::model::{Grants, Json, ModuleKind, Outcome, QueueName, RetryPolicy, Span, TaskSpec, Timestamp};
use crate::sandbox::Module;

use super::limits::LimitsRequest;
use super::object::{Task, TaskObject, shared_grants, shared_terms};

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a task is asked for with. Everything but `module` has a default.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// `name:tag`, `name` for its tag `latest`, or a digest. Resolved now, and never again.
    #[serde(deserialize_with = "module_ref")]
    #[schema(value_type = String, example = "etl:1.4")]
    module: ModuleRef,
    /// Optional where the module has only one; an exported interface's is `ns:pkg/iface#run`.
    function: Option<String>,
    /// Checked against the function now. Default null.
    #[schema(value_type = Option<Value>)]
    input: Option<Json>,
    /// For command-line programs only.
    #[serde(default)]
    args: Vec<String>,
    /// Without a grant nothing is granted.
    #[serde(default)]
    #[schema(value_type = Option<Grants>)]
    grants: BTreeMap<String, Json>,
    #[serde(default)]
    limits: LimitsRequest,
    /// Tries after the first. Default 0, at most 1 000.
    retries: Option<u32>,
    /// Pause before the second try. Default `5m`.
    #[schema(value_type = Option<String>)]
    retry_delay: Option<Span>,
    /// Factor from one pause to the next, 1 to 100. Default 2.0.
    retry_exponential_backoff: Option<f64>,
    /// No pause is longer. Default `24h`.
    #[schema(value_type = Option<String>)]
    max_retry_delay: Option<Span>,
    /// Outcomes that are tried again. Default `failed trapped timed_out out_of_memory`.
    retry_on: Option<Vec<Outcome>>,
    /// The greater goes first. Default 1.
    priority_weight: Option<i32>,
    /// Default `default`.
    #[schema(value_type = Option<String>)]
    queue: Option<QueueName>,
    /// Does not start before.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Timestamp>,
    /// At most 64.
    #[serde(default)]
    labels: BTreeMap<String, String>,
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
    let mut response = super::read::task_response(&submitted.record);
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
pub fn spec(mut request: TaskRequest, module: &Module, bounds: &TaskBounds) -> Result<TaskSpec, Problem> {
    let function = function(&request, module)?;
    let args = args(std::mem::take(&mut request.args), module)?;
    let grants = grants(std::mem::take(&mut request.grants), module, bounds)?;
    let limits = request.limits.within(bounds)?;
    check_labels(&request.labels)?;
    let terms = Terms { grants, retry: retry_policy(&request, bounds)?, limits };
    let input = request.input.unwrap_or_else(Json::null);
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
    Ok(TaskSpec {
        module: module.info().digest,
        function,
        input,
        args,
        queue: request.queue.unwrap_or_default(),
        priority_weight: request.priority_weight.unwrap_or(1),
        not_before: request.not_before,
        labels: request.labels,
        terms: shared_terms(terms),
    })
}

/// The function that is named, or the only one there is.
fn function(request: &TaskRequest, module: &Module) -> Result<Arc<str>, Problem> {
    let info = module.info();
    let callable = || {
        let names = info.functions.iter().filter(|f| f.not_callable.is_none()).take(20).map(|f| f.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let place = |reason: &str| vec![Place::new("/function", Kind::FunctionNotFound.code_text(), reason)];
    let refused = |thing: String, reason: String, remedy: String| {
        let places = place(&reason);
        Err(Problem::new(Kind::FunctionNotFound, thing, reason, remedy).at(places))
    };
    match &request.function {
        None => match info.sole_function() {
            Some(function) => Ok(function.name.as_str().into()),
            None => refused(
                format!("module {}", request.module),
                "it does not have exactly one function, and the task names none".to_owned(),
                format!("name one of them in `function`: {}", callable()),
            ),
        },
        Some(name) => match info.function(name) {
            Some(function) => match &function.not_callable {
                None => Ok(name.as_str().into()),
                Some(why) => refused(
                    format!("function `{name}`"),
                    format!("it cannot be called: {why}"),
                    format!("call one of {}", callable()),
                ),
            },
            None => {
                let shown: String = name.chars().take(MAX_FUNCTION_BYTES).collect();
                refused(
                    format!("function `{shown}`"),
                    format!("module {} does not have it", request.module),
                    format!("call one of {}", callable()),
                )
            }
        },
    }
}

/// The grants a task asks for, if they are well-formed, may be given, and suffice for its module.
fn grants(asked: BTreeMap<String, Json>, module: &Module, bounds: &TaskBounds) -> Result<Arc<Grants>, Problem> {
    let unknown: Vec<Place> = asked
        .keys()
        .filter(|capability| !OFFERED.contains(&capability.as_str()))
        .map(|capability| {
            let shown: String = capability.chars().take(100).collect();
            let reason = format!("there is no capability `{shown}`");
            Place::new(format!("/grants/{shown}"), Kind::GrantNotOffered.code_text(), reason)
        })
        .collect();
    if let Some(first) = unknown.first() {
        let (thing, reason) = (format!("grant `{}`", &first.path["/grants/".len()..]), first.message.clone());
        let remedy = format!("grant only {}; context and log are free for everyone", OFFERED.join(", "));
        return Err(Problem::new(Kind::GrantNotOffered, thing, reason, remedy).at(unknown));
    }
    let asked = if asked.is_empty() { Grants::default() } else { read_grants(&asked)? };
    let beyond = bounds.ceiling.check(&asked);
    if let Some(first) = beyond.first() {
        let (reason, remedy) = (first.reason.clone(), first.remedy.clone());
        let thing = format!("grant `{}`", first.path);
        let places =
            beyond.into_iter().map(|refused| Place::new(refused.path, Kind::GrantRefused.code_text(), refused.reason));
        return Err(Problem::new(Kind::GrantRefused, thing, reason, remedy).at(places.collect()));
    }
    let missing =
        module.info().grants_needed.iter().filter(|needed| needed.as_str() == "http" && asked.http.is_empty());
    let missing: Vec<&String> = missing.collect();
    if let Some(first) = missing.first() {
        let thing = format!("module {}", module.info().digest);
        let reason = format!("it imports what needs the grant `{first}`, and the task does not grant it");
        let remedy = format!(
            "add `{first}` to the task's grants, for example {{\"http\": [{{\"host\": \"api.example.org\"}}]}}"
        );
        let places = missing
            .iter()
            .map(|needed| Place::new(format!("/grants/{needed}"), Kind::MissingGrant.code_text(), reason.clone()));
        let places = places.collect();
        return Err(Problem::new(Kind::MissingGrant, thing, reason, remedy).at(places));
    }
    Ok(shared_grants(asked))
}

/// What a task may be granted.
const OFFERED: [&str; 3] = ["http", "env", "scratch"];

fn read_grants(asked: &BTreeMap<String, Json>) -> Result<Grants, Problem> {
    #[derive(Deserialize)]
    struct Granted {
        grants: Grants,
    }
    // Once more as a body, so that a refusal has its place and its words.
    let text = Json::of(asked).expect("JSON values are JSON");
    let body = format!(r#"{{"grants": {}}}"#, text.as_str());
    Ok(extract::json::<Granted>(body.as_bytes())?.grants)
}

/// The arguments, if the module takes any.
fn args(asked: Vec<String>, module: &Module) -> Result<Arc<[String]>, Problem> {
    if asked.is_empty() {
        return Ok(Arc::default());
    }
    if module.info().kind != ModuleKind::Command {
        return Err(Problem::invalid(
            "/args",
            "only command-line programs take arguments, and this module is none",
            "pass the data as `input`",
        ));
    }
    let bytes: usize = asked.iter().map(|arg| arg.len() + 1).sum();
    if asked.len() > MAX_ARGS || bytes > MAX_ARGS_BYTES {
        let reason =
            format!("{} arguments of {bytes} bytes are more than {MAX_ARGS} or {MAX_ARGS_BYTES} bytes", asked.len());
        return Err(Problem::invalid("/args", reason, "pass large data as `input`, which the program reads on stdin"));
    }
    if let Some(place) = asked.iter().position(|arg| arg.contains('\0')) {
        return Err(Problem::invalid(&format!("/args/{place}"), "it has a NUL in it", "leave it out"));
    }
    Ok(asked.into())
}

fn retry_policy(request: &TaskRequest, bounds: &TaskBounds) -> Result<RetryPolicy, Problem> {
    let default = RetryPolicy::default();
    let policy = RetryPolicy {
        retries: request.retries.unwrap_or(default.retries),
        retry_delay: request.retry_delay.unwrap_or(default.retry_delay),
        retry_exponential_backoff: request.retry_exponential_backoff.unwrap_or(default.retry_exponential_backoff),
        max_retry_delay: request.max_retry_delay.unwrap_or(default.max_retry_delay),
        retry_on: request.retry_on.clone().unwrap_or(default.retry_on),
    };
    if policy.retries > bounds.max_retries {
        return Err(Problem::invalid(
            "/retries",
            format!("{} is more than {}", policy.retries, bounds.max_retries),
            "ask for fewer, and rerun the task if all of them fail",
        ));
    }
    if !(1.0..=100.0).contains(&policy.retry_exponential_backoff) {
        return Err(Problem::invalid(
            "/retry_exponential_backoff",
            format!("{} is not between 1 and 100", policy.retry_exponential_backoff),
            "1 keeps every pause the same",
        ));
    }
    let retried = |outcome: &Outcome| {
        !matches!(outcome, Outcome::Success | Outcome::Skipped | Outcome::Deferred | Outcome::Cancelled | Outcome::Lost)
    };
    if let Some(place) = policy.retry_on.iter().position(|outcome| !retried(outcome)) {
        return Err(Problem::invalid(
            &format!("/retry_on/{place}"),
            format!("`{}` is not retried by policy", policy.retry_on[place]),
            "name ways to fail: failed, trapped, timed_out, out_of_memory, denied, output_too_large",
        ));
    }
    if policy.retry_on.len() > Outcome::ALL.len() {
        return Err(Problem::invalid("/retry_on", "it names outcomes twice", "name each once"));
    }
    Ok(policy)
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Problem> {
    if labels.len() > MAX_LABELS {
        let reason = format!("there are {}, the limit is {MAX_LABELS}", labels.len());
        return Err(Problem::invalid("/labels", reason, "keep what you filter by"));
    }
    for (key, value) in labels {
        let well_formed = (1..=MAX_LABEL_KEY_BYTES).contains(&key.len())
            && !key.contains([':', '"', '\\'])
            && !key.chars().any(char::is_control);
        if !well_formed || value.len() > MAX_LABEL_VALUE_BYTES {
            let shown: String = key.chars().take(100).collect();
            return Err(Problem::invalid(
                &format!("/labels/{shown}"),
                format!(
                    "a key has 1 to {MAX_LABEL_KEY_BYTES} bytes without `:`, `\"`, `\\` and control characters, a value at most {MAX_LABEL_VALUE_BYTES} bytes"
                ),
                "shorten it",
            ));
        }
    }
    Ok(())
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

/// Writes one task object.
pub(super) fn write(record: &crate::model::TaskRecord) -> Vec<u8> {
    let mut text = Vec::with_capacity(1_280);
    serde_json::to_writer(&mut text, &TaskObject(record)).expect("a record is plain data");
    text
}
