//! How the measured values leave the process: asked for by Prometheus, and sent by OTLP.

use std::sync::OnceLock;

use opentelemetry::global;
use opentelemetry_otlp::{MetricExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};
use prometheus::{Registry, TextEncoder, process_collector::ProcessCollector};
use tokio::runtime::Handle;

use super::{Error, FLUSH, Settings, exporter::Watched};

static REGISTRY: OnceLock<Registry> = OnceLock::new();

/// The content type of [`scrape`].
pub const SCRAPE_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All values as Prometheus reads them; empty before [`super::init`].
pub fn scrape() -> String {
    let Some(registry) = REGISTRY.get() else { return String::new() };
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_else(|error| {
        tracing::error!(%error, "the metrics can't be shown");
        String::new()
    })
}

/// Starts the measuring, for the process.
pub(super) fn start(settings: &Settings, resource: Resource) -> Result<SdkMeterProvider, Error> {
    let registry = Registry::new();
    let asked = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()
        .map_err(|error| Error::Metrics(error.into()))?;
    registry
        .register(Box::new(ProcessCollector::for_self()))
        .map_err(|error| Error::Metrics(error.into()))?;
    let mut provider = SdkMeterProvider::builder().with_reader(asked).with_resource(resource);
    if let Some(endpoint) = &settings.otlp_endpoint {
        let exporter = MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(FLUSH)
            .build()
            .map_err(Error::Endpoint)?;
        let sent = PeriodicReader::builder(Watched::new(exporter, "metrics"))
            .with_interval(settings.metrics_interval);
        provider = provider.with_reader(sent.build());
    }
    let provider = provider.build();
    // It would tell every user that it did.
    let untold = tracing::subscriber::NoSubscriber::default();
    tracing::subscriber::with_default(untold, || global::set_meter_provider(provider.clone()));
    observe_runtime();
    // A second call in a process has been refused by then; the first registry stays.
    drop(REGISTRY.set(registry));
    Ok(provider)
}

/// How busy the threads are that run everything.
fn observe_runtime() {
    let Ok(runtime) = Handle::try_current() else { return };
    let meter = global::meter("longshore");
    let tasks = runtime.metrics();
    meter
        .u64_observable_gauge("longshore.runtime.tasks")
        .with_description("Tasks that are alive.")
        .with_callback(move |value| value.observe(tasks.num_alive_tasks() as u64, &[]))
        .build();
    let waiting = runtime.metrics();
    meter
        .u64_observable_gauge("longshore.runtime.queue")
        .with_description("Tasks that wait for a thread.")
        .with_callback(move |value| value.observe(waiting.global_queue_depth() as u64, &[]))
        .build();
    let busy = runtime.metrics();
    meter
        .f64_observable_counter("longshore.runtime.busy")
        .with_unit("s")
        .with_description("Time that the threads spent on tasks.")
        .with_callback(move |value| {
            let spent =
                (0..busy.num_workers()).map(|thread| busy.worker_total_busy_duration(thread));
            value.observe(spent.sum::<std::time::Duration>().as_secs_f64(), &[]);
        })
        .build();
}
