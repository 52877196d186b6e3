//! The roles: each connects to what it needs, tells where it serves, and runs until it is told to
//! stop.

use std::{
    error::Error,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use futures::future::FutureExt;
use longshore_bus::{
    self as bus, Bus, local::LocalBus, measured::Measured as MeasuredBus, nats::NatsBus,
};
use longshore_core::{
    config::redact,
    telemetry::{Role, metrics},
};
use longshore_state::{
    embedded::EmbeddedStore, ledger::Ledger, measured::Measured as MeasuredStore,
    redis::RedisStore, store,
};
use longshore_worker::{Worker, exec};
use tokio::{net::TcpListener, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{Admin, Needs},
    client::say,
    exit::BadSetting,
    process::{Part, keep, reach, stop_on_signal},
    settings::Settings,
};

/// Serves the API.
pub(crate) async fn gateway(settings: Settings) -> Result<()> {
    let stop = stop_on_signal()?;
    let admin = Admin::start(&settings.admin, &stop).await?;
    let Some(ledger) = ledger(&settings, &stop).await? else { return Ok(()) };
    let (part, address) = start_gateway(&settings, ledger.clone()).await?;
    // All methods work without the bus.
    admin.working(Needs { records: Some(ledger), bus: None });
    announce("gateway", address)?;
    keep(vec![part], &stop).await
}

/// Answers workers, applies their events, fires timers.
pub(crate) async fn state(settings: Settings) -> Result<()> {
    let stop = stop_on_signal()?;
    let admin = Admin::start(&settings.admin, &stop).await?;
    let Some(ledger) = ledger(&settings, &stop).await? else { return Ok(()) };
    let part = start_state(&settings, ledger.clone());
    admin.working(needs(&ledger));
    tracing::info!("serving workers");
    keep(vec![part], &stop).await
}

/// Runs jobs.
pub(crate) async fn worker(settings: Settings) -> Result<()> {
    let stop = stop_on_signal()?;
    let jobs = settings
        .exec
        .jobs
        .as_deref()
        .context("exec.jobs is missing: --jobs FILE")
        .map_err(BadSetting)?;
    let worker = load(jobs)?;
    let admin = Admin::start(&settings.admin, &stop).await?;
    let Some(bus) = nats(&settings, &stop).await? else { return Ok(()) };
    let part = start_worker(&settings, worker, bus.clone());
    admin.working(Needs { records: None, bus: Some(bus) });
    keep(vec![part], &stop).await
}

/// All roles in one process.
pub(crate) async fn dev(settings: Settings) -> Result<()> {
    let stop = stop_on_signal()?;
    let admin = Admin::start(&settings.admin, &stop).await?;
    let (parts, address, ledger) = start_all(&settings).await?;
    admin.working(needs(&ledger));
    announce("dev", address)?;
    keep(parts, &stop).await
}

/// Starts all roles on an embedded store and bus. The parts are in the order in which they must
/// end: a worker that hands back its work needs the state role.
pub(crate) async fn start_all(settings: &Settings) -> Result<(Vec<Part>, SocketAddr, Arc<Ledger>)> {
    let worker = settings.exec.jobs.as_deref().map(load).transpose()?;
    let store = embedded(settings.store.data.clone()).await?;
    let bus: Arc<dyn Bus> = Arc::new(MeasuredBus::new(Arc::new(LocalBus::new()), "local"));
    let ledger = Arc::new(Ledger::new(
        Arc::new(MeasuredStore::new(Arc::new(store), "redb")),
        bus.clone(),
        settings.rules.get(),
    ));
    let (gateway, address) = start_gateway(settings, ledger.clone()).await?;
    let mut parts = Vec::new();
    match worker {
        Some(worker) => parts.push(start_worker(settings, worker, bus)),
        None => tracing::info!("there are no jobs to run: --jobs FILE names some"),
    }
    parts.push(gateway);
    parts.push(start_state(settings, ledger.clone()));
    Ok((parts, address, ledger))
}

async fn embedded(directory: Option<PathBuf>) -> Result<EmbeddedStore> {
    let Some(directory) = directory else { return Ok(EmbeddedStore::in_memory()?) };
    let shown = format!("can't keep records in {}", directory.display());
    // It may have to repair the file first.
    match spawn_blocking(move || EmbeddedStore::open(&directory)).await? {
        Ok(store) => Ok(store),
        Err(error @ store::Error::Misconfigured(_)) => Err(wrong(error, shown).into()),
        Err(error) => Err(error).context(shown),
    }
}

async fn start_gateway(settings: &Settings, ledger: Arc<Ledger>) -> Result<(Part, SocketAddr)> {
    let address = settings.gateway.listen;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
    let address = listener.local_addr()?;
    let settings = settings.gateway.clone();
    metrics().begins(Role::Gateway);
    let run =
        |stop| async move { Ok(longshore_gateway::serve(listener, settings, ledger, stop).await?) };
    Ok((Part::start("the gateway", run), address))
}

fn start_state(settings: &Settings, ledger: Arc<Ledger>) -> Part {
    let settings = settings.state.clone();
    metrics().begins(Role::State);
    Part::start("the state role", |stop| async move {
        longshore_state::role::run(ledger, settings, stop).await;
        Ok(())
    })
}

fn start_worker(settings: &Settings, worker: Worker, bus: Arc<dyn Bus>) -> Part {
    let settings = settings.worker.clone();
    metrics().begins(Role::Worker);
    Part::start("the worker", |stop| async move { Ok(worker.run(bus, settings, stop).await?) })
}

fn load(jobs: &Path) -> Result<Worker> {
    let jobs = exec::load(jobs).map_err(|error| BadSetting(error.into()))?;
    Ok(jobs.into_iter().fold(Worker::new(), Worker::register_exec))
}

/// The records of an installation; `None` if the process is told to stop before they are reached.
async fn ledger(settings: &Settings, stop: &CancellationToken) -> Result<Option<Arc<Ledger>>> {
    let server = redact(&settings.redis.url);
    let hopeless = |error: &store::Error| matches!(error, store::Error::Misconfigured(_));
    let connect = || RedisStore::connect(&settings.redis).boxed();
    let store = reach(&server, stop, hopeless, connect)
        .await
        .map_err(|error| wrong(error, format!("redis at {server}")))?;
    let Some(store) = store else { return Ok(None) };
    tracing::info!(server, "the store is reached");
    let Some(bus) = nats(settings, stop).await? else { return Ok(None) };
    Ok(Some(Arc::new(Ledger::new(
        Arc::new(MeasuredStore::new(Arc::new(store), "redis")),
        bus,
        settings.rules.get(),
    ))))
}

/// The bus of an installation; `None` if the process is told to stop before it is reached.
async fn nats(settings: &Settings, stop: &CancellationToken) -> Result<Option<Arc<dyn Bus>>> {
    let server = redact(&settings.nats.url);
    let hopeless = |error: &bus::Error| matches!(error, bus::Error::Refused { .. });
    let connect = || NatsBus::connect(&settings.nats).boxed();
    let bus = reach(&server, stop, hopeless, connect)
        .await
        .map_err(|error| wrong(error, format!("nats at {server}")))?;
    let Some(bus) = bus else { return Ok(None) };
    tracing::info!(server, "the bus is reached");
    Ok(Some(Arc::new(MeasuredBus::new(Arc::new(bus), "nats"))))
}

fn needs(ledger: &Arc<Ledger>) -> Needs {
    Needs { records: Some(ledger.clone()), bus: Some(ledger.bus().clone()) }
}

fn wrong(error: impl Error + Send + Sync + 'static, context: String) -> BadSetting {
    BadSetting(anyhow::Error::new(error).context(context))
}

/// Says where the API is, on standard output for whoever started the process, and in the log.
fn announce(role: &str, address: SocketAddr) -> Result<()> {
    tracing::info!(%address, "serving");
    // A role whose output is closed serves all the same.
    drop(say(&format!("longshore {role} serves on http://{address}")));
    Ok(())
}
