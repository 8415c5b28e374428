//! Accepts a run of a DAG: `POST /dags/{name}/runs`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::extract::{self, Query};
use crate::api::problem::{Kind, Place, Problem, ProblemBody, dag_not_found, trigger_refused};
use crate::api::runs::object::Run;
use crate::api::tasks::submit::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED, WaitQuery, checked_key, idempotency};
use crate::coordinator::{Existed, Idempotency, TriggerRun, Triggered};
use crate::model::{DagId, Digest, Json, RunName, Timestamp};

use super::Name;

/// What a run is asked for with. Everything has a default.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunRequest {
    /// Unique within the DAG: a name that there is already answers with that run. Default `manual__` and the time.
    #[schema(value_type = Option<String>)]
    run_id: Option<RunName>,
    /// The moment that the run is about. Default none.
    #[schema(value_type = Option<String>, format = DateTime)]
    logical_date: Option<Timestamp>,
    /// An object. Its keys override the DAG's params; others are allowed.
    #[schema(value_type = Option<Object>)]
    conf: Option<Json>,
    /// At most 1 000 characters.
    note: Option<String>,
}

/// Triggers a run of a DAG.
///
/// The answer leaves when the run is stored durably. The status says that it was accepted; `state` says how it went.
#[utoipa::path(post, path = "/dags/{name}/runs", tag = "runs", request_body(content = Option<RunRequest>, description = "Nothing at all is as good as `{}`."),
    params(("name" = String, Path, description = "`etl`"), WaitQuery, ("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 visible ASCII characters; a repeat within 24 h answers with the same run")),
    responses(
        (status = 200, description = "There is a run of this name, or of this key, already.", body = Run,
            headers(("Idempotency-Replayed" = Option<bool>, description = "`true` of a repeat with the same key"),
                    ("Location" = String, description = "The address of the run"))),
        (status = 201, description = "The run was accepted.", body = Run,
            headers(("Location" = String, description = "The address of the run"))),
        (status = 400, description = "The body is not JSON.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 404, description = "There is no such DAG.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "The request is not valid, or the parameters do not fit the DAG.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 429, description = "Too much at once.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "It cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn trigger(
    api: State<Api>,
    principal: Principal,
    Name(name): Name,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wait = query.wait()?;
    let key = headers.get(IDEMPOTENCY_KEY).map(|key| checked_key("Idempotency-Key", key.as_bytes())).transpose()?;
    let bounds = &api.bounds;
    let body = extract::body(body, bounds.max_body_bytes, "server.max_task_body_bytes", bounds.body_timeout).await?;
    let request = match body.trim_ascii() {
        [] => RunRequest::default(),
        text => extract::json(text)?,
    };
    // The same body for another DAG is another request.
    let request_text = [name.as_str().as_bytes(), b"\0", &body].concat();
    let idempotency = key.map(|key| idempotency(&principal, key, &request_text));
    let run_id = request.run_id.clone();
    let triggered = match prepare(&api, &name, request).await {
        Ok(Prepared { version, conf, params, note, logical_date }) => {
            let (dag_id, by) = (name.clone(), principal.name().clone());
            let run = TriggerRun { dag_id, version, run_id, logical_date, conf, params, note, idempotency, by };
            let triggered = api.coordinator.trigger(run, wait).await;
            triggered.map_err(|error| trigger_refused(&name, error))?
        }
        Err(problem) => accepted_before(&api, &name, run_id, idempotency).await?.ok_or(problem)?,
    };
    Ok(response(&triggered))
}

fn response(triggered: &Triggered) -> Response {
    let status = match triggered.existed {
        Existed::No => StatusCode::CREATED,
        Existed::ByName | Existed::ByKey => StatusCode::OK,
    };
    let location = [(header::LOCATION, format!("/api/v1/runs/{}", triggered.record.id))];
    let mut response = (status, location, axum::Json(Run::from(&*triggered.record))).into_response();
    if triggered.existed == Existed::ByKey {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The run that a request was accepted as before, though it would be refused now: the DAG may have changed since.
async fn accepted_before(
    api: &Api,
    name: &DagId,
    run_id: Option<RunName>,
    idempotency: Option<Idempotency>,
) -> Result<Option<Triggered>, Problem> {
    let name = name.clone();
    let found = api.reads.run(move |reader| {
        let by_key = idempotency.map(|Idempotency { key, body }| reader.run_accepted_with(&key, &body)).transpose()?;
        if let Some(record) = by_key.flatten() {
            return Ok(Some((record, Existed::ByKey)));
        }
        let by_name = run_id.map(|run_id| reader.run_by_name(&name, &run_id)).transpose()?;
        Ok(by_name.flatten().map(|record| (record, Existed::ByName)))
    });
    Ok(found.await?.map(|(record, existed)| Triggered { record: Arc::new(record), existed }))
}

/// What of a run is checked.
struct Prepared {
    version: Digest,
    conf: Json,
    params: Json,
    note: Option<Arc<str>>,
    logical_date: Option<Timestamp>,
}

async fn prepare(api: &Api, name: &DagId, request: RunRequest) -> Result<Prepared, Problem> {
    let RunRequest { run_id: _, logical_date, conf, note } = request;
    let note = note.map(|note| extract::remark("/note", note)).transpose()?;
    let (conf, given) = read_conf(conf)?;
    let declared = api.params().current(&api.reads, name).await?.ok_or_else(|| dag_not_found(name.as_str()))?;
    let version = declared.version();
    let params = declared.values(given).await?;
    let params = params.map_err(|places| invalid_params(name, places))?;
    Ok(Prepared { version, conf, params, note, logical_date })
}

/// As it was given, and as what it says.
fn read_conf(conf: Option<Json>) -> Result<(Json, Map<String, Value>), Problem> {
    let conf = conf.filter(|conf| !conf.is_null());
    let conf = conf.unwrap_or_else(|| Json::parse("{}".to_owned()).expect("an empty object is JSON"));
    match conf.to_value() {
        Ok(Value::Object(given)) => Ok((conf, given)),
        Ok(_) => Err(Problem::invalid("/conf", "it is not an object", "write {\"city\": \"Ames\"}")),
        Err(error) => Err(Problem::invalid("/conf", error.to_string(), "nest it less deeply")),
    }
}

fn invalid_params(name: &DagId, places: Vec<Place>) -> Problem {
    let reason = places.first().map(|first| first.message.clone()).unwrap_or_default();
    let reason = reason.split("; ").next().unwrap_or_default().to_owned();
    let remedy = format!("see `params` in the definition at GET /api/v1/dags/{name}");
    Problem::new(Kind::InvalidParams, format!("the run of DAG `{name}`"), reason, remedy).at(places)
}
