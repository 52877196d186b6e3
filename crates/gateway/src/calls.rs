//! What surrounds every call: its span, that no error leaves without an `ErrorInfo`, and that none
//! that a client leaves open holds up the end.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use futures::StreamExt;
use http::HeaderMap;
use longshore_core::telemetry;
use longshore_proto::rpc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::{Instrument, Span, field::Empty};

use crate::errors::{Reason, Refusal};

/// The methods that spans are named after. Any other name is the client's text.
const METHODS: [&str; 11] = [
    "google.longrunning.Operations/CancelOperation",
    "google.longrunning.Operations/DeleteOperation",
    "google.longrunning.Operations/GetOperation",
    "google.longrunning.Operations/ListOperations",
    "google.longrunning.Operations/WaitOperation",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "longshore.v1.Jobs/RunJob",
    "longshore.v1.Jobs/WatchOperation",
];

/// The service whose calls last for as long as the client likes.
const CONVERSATIONS: &str = "/grpc.reflection.";

/// Serves a call within a span of its own, which is part of the client's trace.
pub(crate) async fn serve(
    State(closing): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    let call = Call::of(&request);
    let request = if request.uri().path().starts_with(CONVERSATIONS) {
        request.map(|body| ended_by(closing, body))
    } else {
        request
    };
    let Ok(response) = call.observe(async { Ok::<_, Infallible>(next.run(request).await) }).await;
    response
}

/// A body that ends with the gateway, as if the client had no more to say.
fn ended_by(closing: CancellationToken, body: Body) -> Body {
    Body::from_stream(body.into_data_stream().take_until(closing.cancelled_owned()))
}

/// A call by gRPC that has arrived.
pub(crate) struct Call {
    method: &'static str,
    arrived: Instant,
    span: Span,
}

impl Call {
    /// Opens its span, as part of the trace that the client sends.
    pub(crate) fn of<B>(request: &http::Request<B>) -> Self {
        let path = request.uri().path().trim_start_matches('/');
        let method = METHODS.into_iter().find(|method| *method == path).unwrap_or("_OTHER");
        let span = tracing::debug_span!(
            "call",
            otel.name = method,
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = method,
            rpc.response.status_code = Empty,
            error.type = Empty,
        );
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        telemetry::follow(&span, &telemetry::received(header("traceparent"), header("tracestate")));
        Self { method, arrived: Instant::now(), span }
    }

    /// Notes what becomes of it, and explains its error if nobody else did.
    pub(crate) async fn observe<B, E>(
        self,
        answer: impl Future<Output = Result<http::Response<B>, E>>,
    ) -> Result<http::Response<B>, E> {
        let mut response = answer.instrument(self.span.clone()).await?;
        let status = Status::from_header_map(response.headers());
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        record(&self.span, code);
        telemetry::metrics().called("grpc", self.method, canonical(code), self.arrived.elapsed());
        if let Some(status) =
            status.filter(|status| status.code() != Code::Ok && status.details().is_empty())
        {
            explain(&status, response.headers_mut());
        }
        Ok(response)
    }
}

/// Adds an `ErrorInfo` to an error that arose below the methods: an unknown one, or bytes that are
/// no message.
fn explain(status: &Status, headers: &mut HeaderMap) {
    let reason = Reason::MalformedCall;
    let explained = Refusal::new(reason, status.message()).into_status(status.code());
    if explained.add_header(headers).is_err() {
        tracing::debug!(code = ?status.code(), "an error can't be explained");
    }
}

fn record(span: &Span, code: Code) {
    let name = canonical(code).as_str_name();
    span.record("rpc.response.status_code", name);
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => {
            span.record("error.type", name);
        }
        // The client's doing, which is no fault of the server's.
        _ => {}
    }
}

fn canonical(code: Code) -> rpc::Code {
    rpc::Code::try_from(i32::from(code)).unwrap_or(rpc::Code::Unknown)
}
