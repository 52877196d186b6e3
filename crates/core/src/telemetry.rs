//! Logs, metrics, and traces that follow an operation from the client's call over the queue to the handler
//! and back to the record.
//!
//! The W3C trace context travels in NATS headers and lies in the record, so that it outlives every
//! process. Without an OTLP endpoint no span is exported, but a client's context is passed on all
//! the same.

mod export;
mod exporter;
mod held;
mod job_types;
mod metrics;
mod operations;
mod trace;

use std::{io::IsTerminal, thread, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::SdkMeterProvider,
    trace::{Sampler, SdkTracerProvider},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::FilterFn, layer::SubscriberExt, util::SubscriberInitExt,
};

pub use self::{
    export::{SCRAPE_TYPE, scrape},
    held::{Held, Slot},
    metrics::{Metrics, Role, metrics},
    operations::Before,
    trace::{claimed, concerns, context_of, follow, received, trace_id, woke},
};
use exporter::Watched;

/// How long the last spans may take to leave when the process ends.
const FLUSH: Duration = Duration::from_secs(3);

/// Where logs, metrics and traces go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written: `info`, or `warn,longshore_state=debug`, as the
    /// `tracing-subscriber` crate documents for `EnvFilter`.
    pub log_filter: String,
    /// Where spans and metrics go by OTLP over gRPC, such as `http://127.0.0.1:4317`; nowhere if
    /// absent.
    pub otlp_endpoint: Option<String>,
    /// How often metrics go there, at least 1 s.
    #[serde(with = "humantime_serde")]
    pub metrics_interval: Duration,
    /// Which part of the traces that begin here is exported, 0 to 1. Those that a client began are
    /// exported if the client says so.
    pub sample_ratio: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Pretty,
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
            metrics_interval: Duration::from_secs(60),
            sample_ratio: 1.0,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Why telemetry can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log filter is none.
    #[error("telemetry.log_filter is not a filter such as `info` or `warn,longshore_state=debug`")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// The endpoint is none.
    #[error("telemetry.otlp_endpoint is not an endpoint such as `http://127.0.0.1:4317`")]
    Endpoint(#[source] opentelemetry_otlp::ExporterBuildError),
    /// The metrics can't be shown.
    #[error("the metrics can't be set up")]
    Metrics(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The interval is too short.
    #[error("telemetry.metrics_interval is {} and must be at least 1s", humantime::format_duration(*.0))]
    Interval(Duration),
    /// The ratio is out of range.
    #[error("telemetry.sample_ratio is {0} and must be from 0 to 1")]
    Ratio(f64),
    /// Somebody else has set up logs in this process.
    #[error("logs are set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps telemetry going; see [`Guard::shutdown`].
#[must_use = "spans are lost if nobody flushes them"]
pub struct Guard {
    spans: Option<SdkTracerProvider>,
    metrics: SdkMeterProvider,
}

impl Guard {
    /// Sends the last spans and metrics, in bounded time whatever the collector does.
    pub async fn shutdown(self) {
        let end = Instant::now() + FLUSH + Duration::from_secs(1);
        let spans = self.spans.map(|spans| apart(move || spans.shutdown_with_timeout(FLUSH)));
        let metrics = apart(move || self.metrics.shutdown_with_timeout(FLUSH));
        for (what, flushed) in [("spans", spans), ("metrics", Some(metrics))] {
            let Some(flushed) = flushed else { continue };
            match timeout_at(end, flushed).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(%error, "the last {what} may be lost"),
                Ok(Err(_)) | Err(_) => {
                    tracing::warn!("the last {what} are lost: the collector does not answer");
                }
            }
        }
    }
}

impl Settings {
    /// Checks what types can't.
    ///
    /// # Errors
    /// For the first value that can't be.
    pub fn check(&self) -> Result<(), Error> {
        EnvFilter::try_new(&self.log_filter).map_err(Error::Filter)?;
        if self.metrics_interval < Duration::from_secs(1) {
            return Err(Error::Interval(self.metrics_interval));
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(Error::Ratio(self.sample_ratio));
        }
        Ok(())
    }
}

/// Runs what blocks, for longer than it says it would, on a thread that nobody waits for: the
/// exporters need the runtime, and the runtime's own threads hold up the end of the process.
fn apart(
    flush: impl FnOnce() -> OTelSdkResult + Send + 'static,
) -> oneshot::Receiver<OTelSdkResult> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || sender.send(flush()));
    receiver
}

/// Starts logs, on standard error, metrics, and traces, for the process. `service` is its name in
/// both. Called within a runtime it measures that too.
///
/// # Errors
/// If a setting is wrong, or on the second call in a process.
pub fn init(settings: &Settings, service: &'static str) -> Result<Guard, Error> {
    settings.check()?;
    let filter = EnvFilter::try_new(&settings.log_filter).map_err(Error::Filter)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.log_format {
        LogFormat::Pretty => Box::new(lines.with_target(false).with_filter(filter)),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_filter(filter)),
    };
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = provider(settings, resource.clone())?;
    let spans = provider.as_ref().map(|provider| {
        trace::use_for_passed(provider.tracer("longshore"));
        // The exporter's own calls must not be traced: they would breed more of themselves.
        let ours = FilterFn::new(|metadata| {
            metadata.is_span() && metadata.target().starts_with("longshore")
        });
        tracing_opentelemetry::layer().with_tracer(provider.tracer("longshore")).with_filter(ours)
    });
    let lines = tracing_subscriber::registry().with(lines);
    // A layer that may be absent asks for everything when it is: all spans of all libraries, at
    // every level, would be opened and closed for nobody.
    match spans {
        Some(spans) => lines.with(spans).try_init()?,
        None => lines.try_init()?,
    }
    let metrics = export::start(settings, resource)?;
    Ok(Guard { spans: provider, metrics })
}

fn provider(settings: &Settings, resource: Resource) -> Result<Option<SdkTracerProvider>, Error> {
    let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(FLUSH)
        .build()
        .map_err(Error::Endpoint)?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Watched::new(exporter, "traces"))
        .with_sampler(sampler)
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}
