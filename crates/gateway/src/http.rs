//! HTTP/JSON beside gRPC, on the same port and by the same methods.
//!
//! Which path is which method is read from the `google.api.http` options ([`routes`]). A request's
//! path, query and body become one JSON object ([`bind`]) and that the method's message; the answer
//! goes the other way ([`answer`]). Whatever the methods do and decide is the rest of this crate's
//! business.

mod answer;
mod batch;
mod bind;
mod cors;
mod enums;
mod explain;
mod failure;
mod incoming;
mod mask;
mod routes;
mod rpc;
mod system;
mod template;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header};
use longshore_core::{json, telemetry};
use longshore_proto::rpc::Code;
use tokio::time::Instant;
use tonic_health::{
    ServingStatus, pb::HealthCheckRequest, pb::health_server::Health, server::HealthService,
};
use tracing::{Instrument, Span, field::Empty};

use self::{
    answer::{LAST_EVENT, Look},
    incoming::Incoming,
    rpc::{Answer, Call},
    system::System,
    template::{Match, Path},
};
use crate::{
    api::Api,
    discovery,
    surface::{self, Version},
};

pub(crate) use cors::layer as cors;
pub(crate) use failure::Failure;
#[cfg(test)]
pub(crate) use failure::http_code;
pub use routes::RuleError;
pub(crate) use routes::{Miss, Route, Routes};
pub(crate) use template::is_version;

/// Serves HTTP/JSON.
pub(crate) struct Http {
    api: Arc<Api>,
    routes: Routes,
    health: HealthService,
}

/// Serves a request that is not gRPC's; those go on to `next`.
pub(crate) async fn serve(
    State(http): State<Arc<Http>>,
    mut request: Request,
    next: Next,
) -> Response {
    surface::note_host(&mut request);
    if is_grpc(request.headers()) { next.run(request).await } else { http.answer(request).await }
}

/// Also gRPC-Web.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

impl Http {
    /// Reads the table of routes.
    ///
    /// # Errors
    /// If the descriptors make none.
    pub(crate) fn new(api: Arc<Api>, health: HealthService) -> Result<Self, RuleError> {
        Ok(Self { api, routes: Routes::read(json::pool())?, health })
    }

    /// Serves a request that is not gRPC's.
    pub(crate) async fn answer(self: Arc<Self>, request: Request) -> Response {
        let is_head = request.method() == Method::HEAD;
        let path = request.uri().path();
        let response = match path {
            "/healthz" => "ok\n".into_response(),
            "/readyz" => self.ready().await,
            "/batch" => batch::answer(self, request).await,
            path if path.starts_with("/batch/") => batch::answer(self, request).await,
            _ => match discovery::answer(&self.api.surfaces, &self.routes, &request) {
                Some(Ok(document)) => document,
                Some(Err(failure)) => failure.into_response(&System::default()),
                None => self.call(request).await,
            },
        };
        if is_head { answer::without_body(response) } else { response }
    }

    /// Whether the store can be used, as the health service last saw it.
    async fn ready(&self) -> Response {
        let everything = tonic::Request::new(HealthCheckRequest::default());
        let health = self.health.check(everything).await.map(|answer| answer.into_inner().status);
        if health.is_ok_and(|status| status == ServingStatus::Serving as i32) {
            "ok\n".into_response()
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the store can't be used, or the end has come\n")
                .into_response()
        }
    }

    /// Serves one call within a span of its own, which is part of the client's trace.
    async fn call(&self, request: Request) -> Response {
        let arrived = Instant::now();
        let incoming = Incoming::new(request);
        let found = self.routes.find(incoming.verb(), incoming.path());
        let span = span(&incoming, found.as_ref().ok().map(|(route, _)| *route));
        let method = found.as_ref().map_or("_OTHER", |(route, _)| route.rpc.name());
        let (response, code) = self.respond(incoming, found).instrument(span.clone()).await;
        telemetry::metrics().called("http", method, code, arrived.elapsed());
        span.record("http.response.status_code", response.status().as_u16());
        if response.status().is_server_error() {
            span.record("error.type", response.status().as_str());
        }
        response
    }

    async fn respond(
        &self,
        incoming: Incoming,
        found: Result<(&Route, Match<'_>), Miss>,
    ) -> (Response, Code) {
        let mut system = System::default();
        let is_question = *incoming.verb() == Method::OPTIONS;
        match self.attempt(incoming, found, &mut system).await {
            Ok(response) => (response, Code::Ok),
            Err(failure) if is_question => (failure.into_options(&system), Code::Ok),
            Err(failure) => {
                let code = failure.code();
                (failure.into_response(&system), code)
            }
        }
    }

    /// `system` is set as soon as it is known, also for errors.
    async fn attempt(
        &self,
        mut incoming: Incoming,
        found: Result<(&Route, Match<'_>), Miss>,
        system: &mut System,
    ) -> Result<Response, Failure> {
        let query = incoming.query().await?;
        let query = system.take(incoming.headers(), query)?;
        let (route, found) =
            found.map_err(|miss| Failure::of_miss(miss, incoming.verb(), incoming.path()))?;
        let look = Look::new(system, &route.method)?;
        if route.method.is_server_streaming() && incoming.last_event() == Some(LAST_EVENT) {
            // By this a browser knows that it need not connect again.
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let (more, body) =
            if route.has_body { incoming.fields().await? } else { Default::default() };
        let query: Vec<_> = query.into_iter().chain(more).collect();
        let fields = bind::fields(route, found.fields, &query, body)?;
        let version = Path::version(incoming.path()).map(|version| Version(version.to_owned()));
        let (metadata, mut extensions) = incoming.into_context();
        if let Some(version) = version {
            extensions.insert(version);
        }
        let call = Call { method: route.method.clone(), fields, metadata, extensions };
        match route.rpc.call(&self.api, call).await? {
            Answer::Whole(whole) => Ok(look.whole(&whole)),
            Answer::States(states) => Ok(look.stream(states)),
        }
    }
}

fn span(incoming: &Incoming, route: Option<&Route>) -> Span {
    let verb = match incoming.verb().as_str() {
        known @ ("GET" | "POST" | "DELETE" | "PUT" | "PATCH" | "OPTIONS") => known,
        // A client's text.
        _ => "_OTHER",
    };
    let span = tracing::debug_span!(
        "call",
        otel.name = Empty,
        otel.kind = "server",
        http.request.method = verb,
        http.route = Empty,
        http.response.status_code = Empty,
        rpc.system.name = "http",
        rpc.method = Empty,
        error.type = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    match route {
        Some(route) => {
            span.record("otel.name", format!("{verb} {}", route.template));
            span.record("http.route", tracing::field::display(&route.template));
            span.record("rpc.method", route.rpc.name());
        }
        None => {
            span.record("otel.name", verb);
        }
    }
    let header = |name| incoming.headers().get(name).and_then(|value| value.to_str().ok());
    telemetry::follow(&span, &telemetry::received(header("traceparent"), header("tracestate")));
    span
}
