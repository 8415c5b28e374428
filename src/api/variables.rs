//! Variables: `/api/v1/variables`.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::coordinator::{VariableError, VariableSet};
use crate::model::Timestamp;
use crate::model::variable::{VALUE_BYTES, Variable as Value, check_key};
use crate::store::dag_reads::VariableRow;

use super::Api;
use super::auth::Principal;
use super::dags::read::PageQuery;
use super::extract::{self, NoQuery, Query};
use super::page::{self, List, read_key_cursor};
use super::problem::{Problem, ProblemBody, not_committed, variable_not_found};

/// A setting for templates: `{{ var.value.key }}`. Not a secret: whoever may read DAGs may read it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Variable {
    key: String,
    value: String,
    #[schema(required)]
    description: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
}

impl From<VariableRow> for Variable {
    fn from(VariableRow { key, value, description, updated_at, updated_by }: VariableRow) -> Self {
        Self { key, value, description, updated_at, updated_by }
    }
}

/// The key that the address names.
pub struct Key(String);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(key) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::invalid("key", error.body_text(), "correct the address"))?;
        match check_key(&key) {
            Ok(()) => Ok(Self(key)),
            Err(error) => Err(Problem::invalid("key", error.to_string(), "take another key")),
        }
    }
}

/// Lists variables by their keys.
#[utoipa::path(get, path = "/variables", tag = "variables", params(PageQuery),
    responses(
        (status = 200, description = "A page of variables.", body = List<Variable>),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn list(api: State<Api>, Query(query): Query<PageQuery>) -> Result<axum::Json<List<Variable>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = read_key_cursor(query.cursor.as_deref())?;
    let page = api.reads.run(move |reader| reader.variables(after.as_deref(), limit)).await?;
    Ok(axum::Json(List::by_key(page, Variable::from)))
}

/// Shows a variable.
#[utoipa::path(get, path = "/variables/{key}", tag = "variables", params(("key" = String, Path, description = "`etl.bucket`")),
    responses(
        (status = 200, description = "The variable.", body = Variable),
        (status = 404, description = "There is no such variable.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "This cannot be a key.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn show(api: State<Api>, Key(key): Key, _: NoQuery) -> Result<axum::Json<Variable>, Problem> {
    let wanted = key.clone();
    let found = api.reads.run(move |reader| reader.variable(&wanted)).await?;
    found.map(|row| axum::Json(row.into())).ok_or_else(|| variable_not_found(&key))
}

/// What a variable is set to.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VariableRequest {
    /// Text of at most 64 KiB. All variables together: 10 000, and 16 MiB.
    value: String,
    /// At most 1 000 characters. Default none.
    description: Option<String>,
}

/// Sets a variable.
///
/// Attempts that start from now on see it.
#[utoipa::path(put, path = "/variables/{key}", tag = "variables", params(("key" = String, Path, description = "`etl.bucket`")),
    request_body = VariableRequest,
    responses(
        (status = 200, description = "It has another value now.", body = Variable),
        (status = 201, description = "There was no such variable; now there is.", body = Variable),
        (status = 422, description = "The request is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn put(
    api: State<Api>,
    principal: Principal,
    Key(key): Key,
    _: NoQuery,
    body: Body,
) -> Result<(StatusCode, axum::Json<Variable>), Problem> {
    let bounds = &api.bounds;
    let body = extract::body(body, bounds.max_body_bytes, "server.max_task_body_bytes", bounds.body_timeout).await?;
    let VariableRequest { value, description } = extract::json(&body)?;
    if value.len() > VALUE_BYTES {
        let reason = format!("it is {} bytes large, and at most {VALUE_BYTES} are kept", value.len());
        return Err(Problem::invalid("/value", reason, "keep large data outside, and its address here"));
    }
    let description = description.map(|text| extract::remark("/description", text)).transpose()?;
    let description = description.map(|text| text.to_string());
    let variable = Value { value: value.clone(), description: description.clone() };
    let VariableSet { existed, at } = set(&api, &principal, &key, Some(variable)).await?;
    let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
    let updated_by = principal.name().to_string();
    Ok((status, axum::Json(Variable { key, value, description, updated_at: at, updated_by })))
}

/// Takes a variable away.
#[utoipa::path(delete, path = "/variables/{key}", tag = "variables", params(("key" = String, Path, description = "`etl.bucket`")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "There is no such variable.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn delete(api: State<Api>, principal: Principal, Key(key): Key, _: NoQuery) -> Result<StatusCode, Problem> {
    let VariableSet { existed, at: _ } = set(&api, &principal, &key, None).await?;
    if existed { Ok(StatusCode::NO_CONTENT) } else { Err(variable_not_found(&key)) }
}

async fn set(api: &Api, principal: &Principal, key: &str, value: Option<Value>) -> Result<VariableSet, Problem> {
    let set = api.coordinator.set_variable(key.to_owned(), value, principal.name().clone()).await;
    set.map_err(|error| match error {
        VariableError::Full(full) => {
            Problem::invalid("/value", full.to_string(), "take away variables that nothing reads, or make some shorter")
        }
        VariableError::Failed(error) => not_committed(&format!("variable `{key}` was not changed"), error),
    })
}
