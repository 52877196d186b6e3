//! All roles in one process on the embedded store and the in-process bus, put together as
//! `longshore dev` does it, but with the bench's jobs instead of executables.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use longshore_bus::local::LocalBus;
use longshore_core::{lifecycle::Rules, telemetry};
use longshore_state::{embedded::EmbeddedStore, ledger::Ledger, role};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::worker::worker;

/// Serves on a free port, whose address it prints, until its input ends.
pub(super) async fn run(data: Option<PathBuf>) -> Result<()> {
    let _telemetry = telemetry::init(&telemetry::Settings::default(), "longshore-dev")?;
    let store = match data {
        Some(directory) => EmbeddedStore::open(&directory)?,
        None => EmbeddedStore::in_memory()?,
    };
    let bus = Arc::new(LocalBus::new());
    let ledger = Arc::new(Ledger::new(Arc::new(store), bus.clone(), Rules::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("serves on http://{}", listener.local_addr()?);

    let never = CancellationToken::new();
    let mut roles = JoinSet::new();
    // A machine under load is no reason to fail.
    let gateway = longshore_gateway::Settings {
        call_timeout: Duration::from_secs(120),
        ..longshore_gateway::Settings::default()
    };
    roles.spawn(anyhow_of(longshore_gateway::serve(
        listener,
        gateway,
        Arc::clone(&ledger),
        never.clone(),
    )));
    let state = role::run(ledger, role::Settings::default(), never.clone());
    roles.spawn(async move {
        state.await;
        Ok(())
    });
    let (sender, mut lines) = mpsc::unbounded_channel();
    // A read of the input can't be given up, so it has a thread of its own.
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        lines.into_iter().try_for_each(|line| sender.send(line))
    });
    while let Some(line) = lines.recv().await {
        let worker = worker(line.parse().context("no number of slots")?);
        let settings = longshore_worker::Settings::default();
        roles.spawn(anyhow_of(worker.run(bus.clone(), settings, never.clone())));
    }
    Ok(())
}

async fn anyhow_of<E: Into<anyhow::Error>>(
    role: impl Future<Output = Result<(), E>>,
) -> Result<()> {
    role.await.map_err(Into::into)
}
