//! Modules: `/api/v1/modules`.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

use crate::coordinator::ModuleRef;
use crate::model::{Digest, FunctionInfo, ModuleInfo, ModuleKind, ModuleName, Tag, Timestamp};
use crate::store::modules::{ModuleRow, TagRow};

use super::Api;
use super::auth::Principal;
use super::bounds::PAGE;
use super::extract::{NoQuery, Query, text};
use super::health::with_type;
use super::page::{self, List, read_cursor};
use super::problem::{Problem, ProblemBody, delete_refused, load_refused, module_not_found};

/// A module.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Module {
    #[schema(value_type = String, example = "sha256:9f86…")]
    digest: Digest,
    /// The name it was uploaded or asked for by; null where that was its digest.
    #[schema(value_type = Option<String>)]
    name: Option<ModuleName>,
    #[schema(value_type = Option<String>)]
    tag: Option<Tag>,
    size_bytes: u64,
    kind: ModuleKind,
    functions: Vec<FunctionInfo>,
    /// Interfaces the component imports.
    imports: Vec<String>,
    /// Capabilities a task must be granted before the module can run.
    grants_needed: Vec<String>,
}

impl Module {
    pub(super) fn of(info: &ModuleInfo, name: Option<(ModuleName, Tag)>) -> Self {
        let ModuleInfo { digest, size_bytes, kind, functions, imports, grants_needed } = info.clone();
        let (name, tag) = name.unzip();
        Self { digest, name, tag, size_bytes, kind, functions, imports, grants_needed }
    }
}

/// A module in a list.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ListedModule {
    #[schema(value_type = String, example = "sha256:9f86…")]
    digest: Digest,
    /// Names that point at it now, `name:tag`.
    tags: Vec<String>,
    size_bytes: u64,
    kind: ModuleKind,
    /// Names of its functions; the module itself shows their schemas.
    functions: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<ModuleRow> for ListedModule {
    fn from(ModuleRow { info, created_at, tags }: ModuleRow) -> Self {
        Self {
            digest: info.digest,
            tags: tags.iter().map(|(name, tag)| format!("{name}:{tag}")).collect(),
            size_bytes: info.size_bytes,
            kind: info.kind,
            functions: info.functions.iter().map(|function| function.name.clone()).collect(),
            created_at,
        }
    }
}

/// What a tag pointed at from some moment on.
#[derive(Serialize, utoipa::ToSchema)]
pub struct TagEntry {
    #[schema(value_type = String)]
    tag: Tag,
    /// Null: the tag was taken away.
    #[schema(value_type = Option<String>)]
    digest: Option<Digest>,
    #[schema(value_type = String, format = DateTime)]
    set_at: Timestamp,
    set_by: String,
    /// Whether it still points there.
    current: bool,
}

impl From<TagRow> for TagEntry {
    fn from(TagRow { tag, digest, set_at, set_by, current }: TagRow) -> Self {
        Self { tag, digest, set_at, set_by, current }
    }
}

/// The module, name or digest that the address names.
pub struct Named<T>(T);

impl<S: Send + Sync, T: FromStr<Err: std::fmt::Display>> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::invalid("module", error.body_text(), "correct the address"))?;
        text.parse().map(Self).map_err(|error: T::Err| {
            Problem::invalid("module", error.to_string(), "list the modules with GET /api/v1/modules")
        })
    }
}

pub(super) fn latest() -> Tag {
    "latest".parse().expect("`latest` is a tag")
}

/// Shows a module, or with HEAD whether it is known.
#[utoipa::path(method(get, head), path = "/modules/{module}", tag = "modules",
    params(("module" = String, Path, description = "A digest, `name:tag`, or `name` for its tag `latest`")),
    responses(
        (status = 200, description = "The module.", body = Module),
        (status = 404, description = "There is no such module.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "The address names no module.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn show(
    api: State<Api>,
    Named(reference): Named<ModuleRef>,
    _: NoQuery,
) -> Result<axum::Json<Module>, Problem> {
    let digest = api.modules.resolve(&reference).await.map_err(|error| load_refused(&reference, error))?;
    let info = api.modules.info(digest).await.map_err(|error| load_refused(&reference, error))?;
    let name = match reference {
        ModuleRef::Digest(_) => None,
        ModuleRef::Named(name, tag) => Some((name, tag)),
    };
    Ok(axum::Json(Module::of(&info, name)))
}

/// Deletes a module, or takes a tag away.
///
/// By digest, the module and its bytes go, unless a tag or a task that has not ended names it. By name,
/// the tag goes and the module stays.
#[utoipa::path(delete, path = "/modules/{module}", tag = "modules",
    params(("module" = String, Path, description = "A digest, `name:tag`, or `name` for its tag `latest`")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "There is no such module.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 409, description = "The module is in use; the problem names by what.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 503, description = "The change cannot be stored now.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn delete(
    api: State<Api>,
    principal: Principal,
    Named(reference): Named<ModuleRef>,
    _: NoQuery,
) -> Result<StatusCode, Problem> {
    let deleted = api.modules.delete(&reference, principal.name().clone()).await;
    deleted.map(|()| StatusCode::NO_CONTENT).map_err(|error| delete_refused(&reference, error))
}

#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Default 50, at most 1 000.
    #[serde(default, deserialize_with = "text")]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists modules, newest first.
#[utoipa::path(get, path = "/modules", tag = "modules", params(PageQuery),
    responses(
        (status = 200, description = "A page of modules.", body = List<ListedModule>),
        (status = 422, description = "A parameter is not valid.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn list(api: State<Api>, Query(query): Query<PageQuery>) -> Result<axum::Json<List<ListedModule>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = read_cursor(query.cursor.as_deref())?;
    let page = api.reads.run(move |r| r.modules(cursor, limit)).await?;
    Ok(axum::Json(List::of(page, ListedModule::from)))
}

/// Shows what the tags of a name point at and pointed at, newest first; the newest 1 000 entries.
#[utoipa::path(get, path = "/modules/{name}/tags", tag = "modules",
    params(("name" = String, Path, description = "`etl`")),
    responses(
        (status = 200, description = "The history of the name's tags.", body = List<TagEntry>),
        (status = 404, description = "There is no such name.", body = ProblemBody<'_>, content_type = "application/problem+json"),
        (status = 422, description = "This is not a name.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn tags(api: State<Api>, Named(name): Named<ModuleName>) -> Result<axum::Json<List<TagEntry>>, Problem> {
    let wanted = name.clone();
    let tags = api.reads.run(move |r| r.tags(&wanted, PAGE.1)).await?;
    if tags.is_empty() {
        return Err(module_not_found(&ModuleRef::Named(name, latest())));
    }
    Ok(axum::Json(List::whole(tags.into_iter().map(TagEntry::from).collect())))
}

/// Gives the bytes of a module, as they were uploaded.
#[utoipa::path(get, path = "/modules/{module}/content", tag = "modules",
    params(("module" = String, Path, description = "A digest, `name:tag`, or `name` for its tag `latest`")),
    responses(
        (status = 200, description = "The bytes.", body = [u8], content_type = "application/wasm"),
        (status = 404, description = "There is no such module.", body = ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn content(api: State<Api>, Named(reference): Named<ModuleRef>, _: NoQuery) -> Result<Response, Problem> {
    let digest = api.modules.resolve(&reference).await.map_err(|error| load_refused(&reference, error))?;
    let bytes = api.modules.content(digest).await.map_err(|error| load_refused(&reference, error))?;
    Ok(with_type("application/wasm", bytes))
}
