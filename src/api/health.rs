//! Tells supervisors and metrics collectors how we are.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::{Kind, Problem};
use super::{Api, OPENAPI};
use crate::coordinator::Readiness;

#[derive(Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `ok` or `ready`.
    status: &'static str,
    version: &'static str,
}

fn healthy(status: &'static str) -> axum::Json<Health> {
    axum::Json(Health { status, version: env!("CARGO_PKG_VERSION") })
}

/// Whether the process answers. Needs no token.
#[utoipa::path(get, path = "/healthz", tag = "server", security(()),
    responses((status = 200, description = "The process answers.", body = Health)))]
pub async fn healthz() -> axum::Json<Health> {
    healthy("ok")
}

/// Whether tasks can be accepted. Needs no token.
#[utoipa::path(get, path = "/readyz", tag = "server", security(()),
    responses(
        (status = 200, description = "Tasks can be accepted.", body = Health),
        (status = 503, description = "Not now; the problem says why.", body = super::problem::ProblemBody<'_>, content_type = "application/problem+json")))]
pub async fn readyz(api: State<Api>) -> Result<axum::Json<Health>, Problem> {
    let reason = match &*api.readiness.borrow() {
        Readiness::Ready => return Ok(healthy("ready")),
        Readiness::Starting => "it is starting".to_owned(),
        Readiness::Degraded { reason } => reason.clone(),
        Readiness::Stopping => "it is stopping".to_owned(),
    };
    Err(Problem::new(Kind::Unavailable, "the server", reason, "ask again in a moment")
        .retry_after(std::time::Duration::from_secs(1)))
}

/// Counters for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses((status = 200, description = "The counters, text format 0.0.4.", body = String, content_type = "text/plain")))]
pub async fn metrics(api: State<Api>) -> Response {
    with_type("text/plain; version=0.0.4; charset=utf-8", api.metrics.render())
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "server",
    responses((status = 200, description = "OpenAPI 3.1, made from the routes.", body = Object)))]
pub async fn openapi() -> Response {
    with_type("application/json", OPENAPI.as_str())
}

pub(super) fn with_type(content_type: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
