//! The admin listener: what the platform asks of a process, apart from what clients ask of the API.
//!
//! Every role has the same one, over plain HTTP, meant for the inside of a cluster. `/livez` tells
//! whether the process is alive, which no other server has a say in: starting a process anew does
//! not mend Redis. `/readyz` tells whether it can do its work now. `/metrics` is for Prometheus.

mod probe;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use longshore_bus::Bus;
use longshore_core::telemetry;
use longshore_state::ledger::Ledger;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(crate) use probe::probe;

/// How long the store may take to say that it is well.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the platform asks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where it listens; nowhere if absent.
    pub listen: Option<SocketAddr>,
}

/// What a process has to have to do its work.
pub(crate) struct Needs {
    /// The records, for the roles that read them.
    pub records: Option<Arc<Ledger>>,
    /// The way to the other roles, for those that do nothing without it.
    pub bus: Option<Arc<dyn Bus>>,
}

/// The listener. It answers until this is dropped, so also while the process drains.
pub(crate) struct Admin {
    probes: Arc<Probes>,
    _serving: Option<AbortOnDropHandle<()>>,
}

struct Probes {
    /// Absent until everything has been reached for the first time.
    needs: OnceLock<Needs>,
    stop: CancellationToken,
}

impl Admin {
    /// Starts to answer: alive, but not ready yet.
    ///
    /// # Errors
    /// If the address can't be listened to.
    pub(crate) async fn start(settings: &Settings, stop: &CancellationToken) -> Result<Self> {
        let probes = Arc::new(Probes { needs: OnceLock::new(), stop: stop.clone() });
        let Some(address) = settings.listen else { return Ok(Self { probes, _serving: None }) };
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("can't listen on {address} for the platform"))?;
        tracing::info!(address = %listener.local_addr()?, "answering the platform");
        let routes = routes(Arc::clone(&probes));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the platform is not answered any more");
            }
        });
        Ok(Self { probes, _serving: Some(AbortOnDropHandle::new(serving)) })
    }

    /// The process does its work, as long as it has what it needs.
    pub(crate) fn working(&self, needs: Needs) {
        // A process starts to work once.
        drop(self.probes.needs.set(needs));
    }
}

fn routes(probes: Arc<Probes>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(probes)
}

async fn metrics() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, telemetry::SCRAPE_TYPE)], telemetry::scrape())
}

async fn readyz(State(probes): State<Arc<Probes>>) -> (StatusCode, String) {
    match probes.missing().await {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
    }
}

impl Probes {
    /// Why the process can't do its work now.
    async fn missing(&self) -> Option<String> {
        if self.stop.is_cancelled() {
            return Some("stopping".to_owned());
        }
        let Some(needs) = self.needs.get() else { return Some("starting".to_owned()) };
        if let Some(records) = &needs.records {
            match timeout(PATIENCE, records.store().check()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Some(error.to_string()),
                Err(_) => return Some("the store does not answer".to_owned()),
            }
        }
        let bus_is_well = needs.bus.as_ref().is_none_or(|bus| bus.status().borrow().ready);
        (!bus_is_well).then(|| "the bus is not available".to_owned())
    }
}
