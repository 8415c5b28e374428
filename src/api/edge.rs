//! What every request passes on its way in and out: one function, top to bottom.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Uri;
use axum::response::Response;
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tower::Service;
use tracing::Instrument;

use crate::metrics::Metrics;

use super::auth::{Hosts, Tokens};
use super::bounds::Bounds;
use super::problem::{Kind, Problem, internal};
use super::request_id::{self, RequestId};

/// The routes behind their guards. Shared by all connections.
pub struct Edge {
    router: Router,
    tokens: Tokens,
    hosts: Hosts,
    in_flight: Semaphore,
    max_in_flight: usize,
    metrics: Arc<Metrics>,
}

impl Edge {
    pub(super) fn new(router: Router, tokens: Tokens, hosts: Hosts, bounds: &Bounds, metrics: Arc<Metrics>) -> Self {
        let max_in_flight = bounds.max_requests_in_flight;
        Self { router, tokens, hosts, in_flight: Semaphore::new(max_in_flight), max_in_flight, metrics }
    }

    /// Answers a request, whatever happens.
    pub async fn answer(&self, request: Request) -> Response {
        let request_id = RequestId::of(request.headers());
        let span = tracing::debug_span!("request", request_id = request_id.as_str(), method = %request.method(), path = request.uri().path());
        let answered = AssertUnwindSafe(self.admit_and_route(request, &request_id)).catch_unwind();
        let mut response = match answered.instrument(span).await {
            Ok(response) => response,
            // The panic itself is in the log already, by the process's panic hook.
            Err(_) => {
                internal(&format_args!("the handler of request {} panicked", request_id.as_str())).respond(&request_id)
            }
        };
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            // A 405 brings the methods that are allowed.
            let allow = response.headers_mut().remove(axum::http::header::ALLOW);
            response = problem.respond(&request_id);
            response.headers_mut().extend(allow.map(|methods| (axum::http::header::ALLOW, methods)));
        }
        response.headers_mut().insert(request_id::HEADER, request_id.header());
        self.metrics.http_request();
        response
    }

    async fn admit_and_route(&self, mut request: Request<Body>, request_id: &RequestId) -> Response {
        // Asked by supervisors, who have no token and must be answered under any load.
        let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
        if let Err(problem) = self.hosts.admit(request.uri(), request.headers()) {
            return problem.respond(request_id);
        }
        let _permit = if is_probe {
            None
        } else {
            match self.tokens.admit(request.headers()) {
                Ok(principal) => request.extensions_mut().insert(principal),
                Err(problem) => return problem.respond(request_id),
            };
            let Ok(permit) = self.in_flight.try_acquire() else { return self.too_many().respond(request_id) };
            Some(permit)
        };
        request.extensions_mut().insert(request_id.clone());
        let mut router = self.router.clone();
        let Ok(response) = Service::call(&mut router, request).await;
        response
    }

    fn too_many(&self) -> Problem {
        Problem::new(
            Kind::Busy,
            "the request",
            format!(
                "{} requests are being answered already, the limit of `server.max_in_flight_requests`",
                self.max_in_flight
            ),
            "try again after the pause in Retry-After",
        )
        .retry_after(Duration::from_secs(1))
    }
}

pub(super) async fn route_not_found(uri: Uri) -> Problem {
    Problem::new(
        Kind::RouteNotFound,
        format!("address {}", uri.path().chars().take(200).collect::<String>()),
        "nothing is served here",
        "see GET /openapi.json for all addresses",
    )
}

pub(super) async fn method_not_allowed(method: axum::http::Method, uri: Uri) -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        format!("address {}", uri.path()),
        format!("it does not take {method}"),
        "use a method that the header Allow names",
    )
}
