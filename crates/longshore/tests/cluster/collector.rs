//! A collector: receives by OTLP what the roles send, and keeps it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1 as otlp,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, transport::Server};

/// A span, as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// Of the role that sent it.
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) kind: otlp::span::SpanKind,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The traces that it is linked to.
    pub(crate) links: Vec<String>,
    /// In nanoseconds since 1970.
    pub(crate) times: (u64, u64),
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    /// The roles and the names of what they measured.
    metrics: BTreeSet<(String, String)>,
}

/// Receives for as long as it lives.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    received: Arc<Mutex<Received>>,
    _serving: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

struct Receiver(Arc<Mutex<Received>>);

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Received>>::default();
        let served = Server::builder()
            .add_service(TraceServiceServer::new(Receiver(received.clone())))
            .add_service(MetricsServiceServer::new(Receiver(received.clone())))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let _serving = AbortOnDropHandle::new(tokio::spawn(served));
        Self { endpoint, received, _serving }
    }

    /// The spans of a trace.
    pub(crate) fn trace(&self, trace: &str) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        received.spans.iter().filter(|span| span.trace == trace).cloned().collect()
    }

    /// Whether a role has sent values of a metric.
    pub(crate) fn measured(&self, role: &str, name: &str) -> bool {
        let received = self.received.lock().unwrap();
        received.metrics.contains(&(role.to_owned(), name.to_owned()))
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_role in request.into_inner().resource_spans {
            let role = role(of_role.resource);
            let spans = of_role.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| received(role.clone(), span));
            self.0.lock().unwrap().spans.extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        for of_role in request.into_inner().resource_metrics {
            let role = role(of_role.resource);
            let metrics = of_role.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            let metrics = metrics.map(|metric| (role.clone(), metric.name));
            self.0.lock().unwrap().metrics.extend(metrics);
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// `gateway` of `longshore-gateway`.
fn role(resource: Option<Resource>) -> String {
    let attributes = texts(resource.unwrap_or_default().attributes);
    attributes["service.name"].trim_start_matches("longshore-").to_owned()
}

fn received(role: String, span: otlp::Span) -> Span {
    Span {
        role,
        trace: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent: hex::encode(&span.parent_span_id),
        kind: span.kind(),
        links: span.links.iter().map(|link| hex::encode(&link.trace_id)).collect(),
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        attributes: texts(span.attributes),
        name: span.name,
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = attributes
        .into_iter()
        .filter_map(|KeyValue { key, value, .. }| Some((key, text(value?.value?))));
    pairs.collect()
}
