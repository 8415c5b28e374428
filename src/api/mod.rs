//! The HTTP surface: every address on one screen.
//!
//! A request passes the edge (`edge`: host, token, bounds), is parsed at once into
//! the nouns of `model` (`extract`, `tasks::submit`), and becomes one call of the
//! coordinator or one read of the store. Refusals are `problem::Problem`s.

pub mod auth;
pub mod bounds;
pub mod dags;
pub mod edge;
pub mod events;
pub mod extract;
pub mod health;
mod linger;
pub mod modules;
pub mod page;
pub mod problem;
pub mod request_id;
pub mod runs;
pub mod serve;
pub mod tasks;
pub mod upload;
pub mod variables;

#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use axum::Router;
use tokio::sync::{Semaphore, watch};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::artifacts::Artifacts;
use crate::coordinator::Readiness;
use crate::coordinator::{Coordinator, Modules};
use crate::metrics::Metrics;
use crate::store::Reads;
use crate::worker::{LiveAttempts, Segments};

use auth::{Hosts, Tokens};
use bounds::Bounds;
use edge::Edge;

/// Every address. `docs` of a route stand at its handler.
fn routes() -> OpenApiRouter<Api> {
    let v1 = OpenApiRouter::new()
        .routes(routes!(tasks::submit::submit, tasks::read::list))
        .routes(routes!(tasks::batch::batch))
        .routes(routes!(tasks::read::show, tasks::change::patch))
        .routes(routes!(tasks::read::result))
        .routes(routes!(tasks::read::attempts))
        .routes(routes!(tasks::read::events))
        .routes(routes!(tasks::log::log))
        .routes(routes!(tasks::change::cancel))
        .routes(routes!(tasks::change::rerun))
        .routes(routes!(upload::upload, modules::list))
        .routes(routes!(modules::show, modules::delete))
        .routes(routes!(modules::tags))
        .routes(routes!(modules::content))
        .routes(routes!(dags::read::list))
        .routes(routes!(dags::apply::apply))
        .routes(routes!(dags::read::show, dags::apply::put, dags::change::patch, dags::change::delete))
        .routes(routes!(dags::read::versions))
        .routes(routes!(dags::read::version))
        .routes(routes!(dags::trigger::trigger, runs::read::list_of_dag))
        .routes(routes!(runs::read::list))
        .routes(routes!(runs::read::show, runs::change::patch))
        .routes(routes!(runs::read::tasks))
        .routes(routes!(runs::events::list))
        .routes(routes!(runs::change::cancel))
        .routes(routes!(runs::clear::clear))
        .routes(routes!(variables::list))
        .routes(routes!(variables::show, variables::put, variables::delete))
        .routes(routes!(events::list));
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(health::openapi))
        .nest("/api/v1", v1)
}

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    parts: Parts,
    /// Room for batches: each holds its body in memory until its last answer has left.
    batches: Arc<Semaphore>,
    /// Room for checks of DAG files, which take memory and a processor.
    checks: Arc<Semaphore>,
    definitions: dags::Definitions,
    params: dags::Params,
}

/// The parts behind the API.
pub struct Parts {
    pub coordinator: Coordinator,
    pub modules: Modules,
    pub artifacts: Artifacts,
    pub segments: Segments,
    /// Of the worker in this process, for the logs of what runs.
    pub live: LiveAttempts,
    pub reads: Reads,
    pub metrics: Arc<Metrics>,
    pub readiness: watch::Receiver<Readiness>,
    pub bounds: Bounds,
}

impl Api {
    fn batches(&self) -> &Arc<Semaphore> {
        &self.0.batches
    }

    fn checks(&self) -> &Arc<Semaphore> {
        &self.0.checks
    }

    fn definitions(&self) -> &dags::Definitions {
        &self.0.definitions
    }

    fn params(&self) -> &dags::Params {
        &self.0.params
    }
}

impl Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

/// The whole service: give it to `serve::serve`.
pub fn edge(parts: Parts, tokens: Tokens, hosts: Hosts) -> Edge {
    let (bounds, metrics) = (parts.bounds.clone(), parts.metrics.clone());
    let batches = Arc::new(Semaphore::new(bounds.max_batches_in_flight));
    let (checks, definitions) = (Arc::new(Semaphore::new(bounds::DAG_CHECKS_AT_ONCE)), dags::Definitions::default());
    let params = dags::Params::default();
    let shared = Shared { parts, batches, checks, definitions, params };
    let router: Router<Api> = routes().into();
    let router = router
        .fallback(edge::route_not_found)
        .method_not_allowed_fallback(edge::method_not_allowed)
        .with_state(Api(Arc::new(shared)));
    Edge::new(router, tokens, hosts, &bounds, metrics)
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Tradewind", description = "A durable task runtime where every task is a sandboxed WebAssembly component."),
    modifiers(&BearerToken),
    security(("token" = [])),
    tags((name = "tasks"), (name = "dags"), (name = "runs"), (name = "variables"), (name = "modules"), (name = "events"), (name = "server"))
)]
struct Document;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The description of all routes, as it is served.
static OPENAPI: LazyLock<String> = LazyLock::new(|| {
    let document = routes().into_openapi();
    document.to_pretty_json().expect("the description is plain data")
});
