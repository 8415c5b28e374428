//! Shows DAGs and their versions.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use serde::Deserialize;

use crate::api::Api;
use crate::api::extract::{NoQuery, Query, text};
use crate::api::page::{self, List, read_cursor, read_key_cursor};
use crate::api::problem::{Kind, Problem, ProblemBody, dag_not_found};
use crate::model::{DagId, Digest};

use super::object::{Dag, Version, WholeDag, WholeVersion};
use super::{Name, read_name};

#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Default 50, at most 1 000.
    #[serde(default, deserialize_with = "text")]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Lists DAGs by their names.
#[utoipa::path(get, path = "/dags", tag = "dags", params(PageQuery),
    responses(
        (status = 200, description = "A page of DAGs.", body = List<Dag>),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn list(api: State<Api>, Query(query): Query<PageQuery>) -> Result<axum::Json<List<Dag>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = read_key_cursor(query.cursor.as_deref())?;
    let page = api.reads.run(move |reader| reader.dags(after.as_deref(), limit)).await?;
    Ok(axum::Json(List::by_key(page, Dag::from)))
}

/// Shows a DAG with its current version.
#[utoipa::path(get, path = "/dags/{name}", tag = "dags", params(("name" = String, Path, description = "`etl`")),
    responses(
        (status = 200, description = "The DAG.", body = WholeDag),
        (status = 404, description = "There is no such DAG.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "This cannot be the name of a DAG.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn show(api: State<Api>, Name(name): Name, _: NoQuery) -> Result<axum::Json<WholeDag>, Problem> {
    let wanted = name.clone();
    let found = api.reads.run(move |reader| {
        let Some(dag) = reader.dag(&wanted)? else { return Ok(None) };
        Ok(reader.version(&dag.version)?.map(|version| (dag, version)))
    });
    let (dag, version) = found.await?.ok_or_else(|| dag_not_found(name.as_str()))?;
    Ok(axum::Json(WholeDag { dag: dag.into(), definition: version.definition, source: version.source }))
}

/// The DAG as it is in a list.
pub(super) async fn find(api: &Api, name: &DagId) -> Result<Dag, Problem> {
    let wanted = name.clone();
    let found = api.reads.run(move |reader| reader.dag(&wanted)).await?;
    found.map(Dag::from).ok_or_else(|| dag_not_found(name.as_str()))
}

/// Lists the versions of a DAG, newest first.
///
/// Those of a DAG that was deleted stay as long as its runs.
#[utoipa::path(get, path = "/dags/{name}/versions", tag = "dags",
    params(("name" = String, Path, description = "`etl`"), PageQuery),
    responses(
        (status = 200, description = "A page of versions.", body = List<Version>),
        (status = 404, description = "There is no such DAG.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn versions(
    api: State<Api>,
    Name(name): Name,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<List<Version>>, Problem> {
    let limit = page::limit(query.limit)?;
    let before = read_cursor(query.cursor.as_deref())?;
    let wanted = name.clone();
    let page = api.reads.run(move |reader| reader.versions(&wanted, before, limit)).await?;
    if page.items.is_empty() && before.is_none() {
        return Err(dag_not_found(name.as_str()));
    }
    Ok(axum::Json(List::of(page, Version::from)))
}

/// The version that the address names.
pub struct Versioned(DagId, Digest);

impl<S: Send + Sync> FromRequestParts<S> for Versioned {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((name, digest)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::invalid("name", error.body_text(), "correct the address"))?;
        let name = read_name(&name)?;
        let digest = digest.parse().map_err(|error: <Digest as std::str::FromStr>::Err| {
            Problem::invalid("digest", error.to_string(), format!("list them with GET /api/v1/dags/{name}/versions"))
        })?;
        Ok(Self(name, digest))
    }
}

/// Shows a version of a DAG.
#[utoipa::path(get, path = "/dags/{name}/versions/{digest}", tag = "dags",
    params(("name" = String, Path, description = "`etl`"), ("digest" = String, Path, description = "`sha256:…`")),
    responses(
        (status = 200, description = "The version.", body = WholeVersion),
        (status = 404, description = "There is no such version.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "This is no digest.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn version(
    api: State<Api>,
    Versioned(name, digest): Versioned,
    _: NoQuery,
) -> Result<axum::Json<WholeVersion>, Problem> {
    let found = api.reads.run(move |reader| reader.version(&digest)).await?;
    let found = found.filter(|version| version.dag_id == name).ok_or_else(|| {
        Problem::new(
            Kind::VersionNotFound,
            format!("version {digest} of DAG `{name}`"),
            "no version of the DAG has this digest",
            format!("list them with GET /api/v1/dags/{name}/versions"),
        )
    })?;
    Ok(axum::Json(found.into()))
}
