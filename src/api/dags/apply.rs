//! Takes DAGs in: one by `PUT /dags/{name}`, those of many files by `POST /dags/apply`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::bounds::{MAX_FILE_NAME_BYTES, MAX_FILES};
use crate::api::extract::{self, Query, text};
use crate::api::problem::{Kind, Problem, ProblemBody, not_committed};
use crate::model::DagId;

use super::Name;
use super::check::{Checked, File, Sent, check};
use super::object::AppliedDag;

#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApplyQuery {
    /// `true`: everything is checked, nothing is changed. Default `false`.
    #[serde(default, deserialize_with = "text")]
    dry_run: Option<bool>,
}

/// Makes a DAG, or gives it a new version.
///
/// New runs take the version that is current when they are accepted; runs under way keep theirs. The same
/// content again changes nothing.
#[utoipa::path(put, path = "/dags/{name}", tag = "dags",
    params(("name" = String, Path, description = "The `dag_id` in the body"), ApplyQuery),
    request_body(content = String, content_type = "application/yaml", description = "The DAG, in YAML or JSON; at most 1 MiB."),
    responses(
        (status = 200, description = "This is the current version already; or, of a dry run, it is well.", body = AppliedDag),
        (status = 201, description = "This is the current version now.", body = AppliedDag),
        (status = 413, description = "The body is too large.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "The DAG is not valid; `errors` has every mistake with its place. Nothing was changed.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "It cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn put(
    api: State<Api>,
    principal: Principal,
    Name(name): Name,
    Query(query): Query<ApplyQuery>,
    body: Body,
) -> Result<Response, Problem> {
    let bounds = &api.bounds;
    let body = extract::body(body, bounds.max_body_bytes, "server.max_task_body_bytes", bounds.body_timeout).await?;
    let files = vec![File { path: None, bytes: body.to_vec() }];
    let (checked, sent) = check(&api, Sent { files, only: Some(name.clone()) }).await?;
    let applied = take_in(&api, &principal, checked, &sent, query.dry_run.unwrap_or(false)).await?;
    let applied = applied.into_iter().next().expect("a file that passed as one DAG has one");
    let status = if applied.created && !applied.dry_run { StatusCode::CREATED } else { StatusCode::OK };
    let location = [(header::LOCATION, format!("/api/v1/dags/{name}"))];
    Ok((status, location, axum::Json(applied)).into_response())
}

/// DAGs in files.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// 1 to 1 000.
    files: Vec<DagFile>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DagFile {
    /// What errors call it.
    #[schema(example = "etl.yaml")]
    path: String,
    /// YAML or JSON; several DAGs in YAML are separated by `---`. At most 1 MiB.
    content: String,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct AppliedDags {
    /// In the order of the files and what is in them.
    dags: Vec<AppliedDag>,
}

/// Makes many DAGs, or gives them new versions: all of them or none.
#[utoipa::path(post, path = "/dags/apply", tag = "dags", params(ApplyQuery), request_body = ApplyRequest,
    responses(
        (status = 200, description = "These are the current versions now; or, of a dry run, they are well.", body = AppliedDags),
        (status = 400, description = "The body is not JSON.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "Some file is not valid; `errors` has every mistake of all files with its file and place. Nothing was changed.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 429, description = "Too much at once; nothing was changed.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "It cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn apply(
    api: State<Api>,
    principal: Principal,
    Query(query): Query<ApplyQuery>,
    body: Body,
) -> Result<axum::Json<AppliedDags>, Problem> {
    let bounds = &api.bounds;
    // Until it is answered: what was sent is in memory as long.
    let _permit = api.batches().try_acquire().map_err(|_| too_many(bounds.max_batches_in_flight))?;
    let body = extract::body(body, bounds.max_batch_bytes, "server.max_batch_body_bytes", bounds.body_timeout).await?;
    let request: ApplyRequest = extract::json(&body)?;
    drop(body);
    let files = files(request)?;
    let (checked, sent) = check(&api, Sent { files, only: None }).await?;
    let dags = take_in(&api, &principal, checked, &sent, query.dry_run.unwrap_or(false)).await?;
    Ok(axum::Json(AppliedDags { dags }))
}

fn too_many(most: usize) -> Problem {
    let reason = format!("{most} batches are being answered already, the limit of `server.max_batches_in_flight`");
    Problem::new(Kind::Busy, "the files", reason, "try again after the pause in Retry-After")
        .retry_after(Duration::from_secs(1))
}

fn files(request: ApplyRequest) -> Result<Vec<File>, Problem> {
    let count = request.files.len();
    if !(1..=MAX_FILES).contains(&count) {
        let reason = format!("there are {count}, and it takes 1 to {MAX_FILES}");
        return Err(Problem::invalid("/files", reason, "send the files of some DAGs, in several requests if need be"));
    }
    let file = |(place, DagFile { path, content }): (usize, DagFile)| {
        if path.is_empty() || path.len() > MAX_FILE_NAME_BYTES || path.chars().any(char::is_control) {
            let reason = format!("it is not 1 to {MAX_FILE_NAME_BYTES} bytes without control characters");
            return Err(Problem::invalid(&format!("/files/{place}/path"), reason, "name the file"));
        }
        Ok(File { path: Some(path), bytes: content.into_bytes() })
    };
    request.files.into_iter().enumerate().map(file).collect()
}

/// Makes what passed the current versions, unless it is a dry run.
async fn take_in(
    api: &Api,
    principal: &Principal,
    checked: Vec<Checked>,
    sent: &Sent,
    dry_run: bool,
) -> Result<Vec<AppliedDag>, Problem> {
    let names: Vec<DagId> = checked.iter().map(|checked| checked.new.definition.dag_id.clone()).collect();
    let standing = api.reads.run(move |reader| names.iter().map(|dag| reader.dag_standing(dag)).collect()).await;
    let standing: Vec<_> = standing?;
    let mut applied: Vec<AppliedDag> = checked
        .iter()
        .zip(&standing)
        .map(|(Checked { file, version, new }, standing)| AppliedDag {
            dag_id: new.definition.dag_id.clone(),
            version: *version,
            created: standing.as_ref().is_none_or(|(current, _)| current != version),
            existed: standing.is_some(),
            dry_run,
            tasks: new.definition.tasks.len(),
            is_paused: standing.as_ref().is_some_and(|(_, is_paused)| *is_paused),
            path: sent.files[*file].path.clone(),
        })
        .collect();
    if dry_run {
        return Ok(applied);
    }
    let versions = checked.into_iter().map(|checked| checked.new).collect();
    let committed = api.coordinator.apply_dags(versions, principal.name().clone()).await;
    let committed = committed.map_err(|error| not_committed("nothing was changed", error))?;
    for (shown, committed) in applied.iter_mut().zip(committed) {
        shown.created = committed.created;
    }
    Ok(applied)
}
