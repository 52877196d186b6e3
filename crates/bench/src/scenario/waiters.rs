//! `waiters`: very many calls that wait, and how fast one is woken among them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use longshore_core::{
    lifecycle::{Input, Rules},
    names::OperationId,
    time::Time,
};
use longshore_proto::longrunning::{
    Operation, WaitOperationRequest, operations_client::OperationsClient,
};
use longshore_state::ledger::Ledger;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::Bench;
use crate::{
    client::{channels, joined},
    fill,
    floor::empty::EmptyServer,
    lives::Mould,
    part::worker::micros_now,
    process::{cpu_seconds, memory},
    report::{Figure, Outcome, Target},
    stats::{Samples, median},
};

/// How many calls wait on each connection; the gateway allows 1000.
const PER_CONNECTION: usize = 500;
/// How much more than a stream of the empty server a waiter may take, in bytes.
const ALLOWED: f64 = 4096.0;
/// How long a gateway may take until all wait.
const PATIENCE: Duration = Duration::from_secs(300);
const DAY: i64 = 86_400_000_000;

type Waiter = JoinHandle<Result<(Instant, Operation)>>;

/// What a waiter costs, and how soon it is woken.
pub(super) async fn waiters(bench: &Bench) -> Result<Outcome> {
    let count = bench.large(50_000, 200);
    let rounds = bench.rounds.min(3);
    let (mut each, mut empty, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
    let mut wakes = Samples::default();
    for _ in 0..rounds {
        let floor = EmptyServer::start(b"", b"").await?;
        let pid = floor.process.pid();
        let names: Vec<String> = (0..count).map(|_| OperationId::random().to_string()).collect();
        let (streams, _calls) = wait_all(&floor.address, pid, names).await?;
        drop(_calls);
        drop(floor);
        let (product, woken) = product(bench, count).await?;
        each.push(product);
        empty.push(streams);
        beyond.push(product - streams);
        wakes.extend(woken);
    }
    let beyond = median(beyond);
    let figures = vec![
        Figure::new("bytes per waiter beyond a stream of the empty server, of at most", beyond)
            .against(ALLOWED, beyond / ALLOWED)
            .target(Target::AtMost(1.0)),
        Figure::new("wake-up to the client's answer, p99, ms", wakes.percentile(0.99))
            .target(Target::AtMost(5.0)),
        Figure::new("wake-up to the client's answer, p50, ms", wakes.percentile(0.5)),
        Figure::new("bytes per waiter", median(each)),
        Figure::new("bytes per stream of the empty server", median(empty)),
    ];
    Ok(Outcome::new("waiters", rounds, figures))
}

async fn product(bench: &Bench, count: usize) -> Result<(f64, Samples)> {
    let settings = [("LONGSHORE_GATEWAY__MAX_WAIT", "1h")];
    let site = bench.real(1, &settings).await?;
    let servers = site.servers.as_ref().context("there are no servers")?;
    let (store, bus) = (servers.store().await?, servers.bus().await?);
    let mut mould = Mould::new("noop", 100)?;
    mould.job.schedule_time = Some(Time::from_micros(micros_now() + DAY));
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        changes.push(mould.submission()?.change);
    }
    let ids: Vec<OperationId> = changes.iter().map(|change| change.id.clone()).collect();
    fill::commit(&store, changes).await?;

    let gateway = *site.pids("gateway").first().context("there is no gateway")?;
    let names = ids.iter().map(|id| format!("operations/{id}")).collect();
    let (bytes, mut waiters) = wait_all(&site.address, gateway, names).await?;
    let ledger = Ledger::new(Arc::new(store), Arc::new(bus), Rules::default());
    let mut wakes = Samples::default();
    for id in ids.into_iter().take(bench.size(1000, 20)).rev() {
        let input = Input::Cancel { parent: mould.parent.clone() };
        let applied = ledger.apply(id.clone(), input).await?;
        let told = Instant::now();
        ledger.perform(&applied).await;
        let place = bench.size(1000, 20).min(count) - 1 - wakes.len();
        let (answered, operation) = joined((&mut waiters[place]).await)?;
        ensure!(operation.done && operation.name.ends_with(id.as_str()), "the wrong answer");
        wakes.push(answered.saturating_duration_since(told));
        // So that each wakes up alone.
        sleep(Duration::from_millis(2)).await;
    }
    let woken = wakes.len();
    let early = waiters[woken..].iter().filter(|waiter| waiter.is_finished()).count();
    ensure!(early == 0, "{early} waiters were answered that had to wait");
    Ok((bytes, wakes))
}

/// Has somebody wait for each name. Returns how much memory each costs the server, in bytes.
async fn wait_all(address: &str, server: u32, names: Vec<String>) -> Result<(f64, Vec<Waiter>)> {
    let count = names.len();
    let channels = channels(address, count.div_ceil(PER_CONNECTION)).await?;
    settled(server).await?;
    let before = memory(server);
    let mut waiters = Vec::with_capacity(count);
    for (number, name) in names.into_iter().enumerate() {
        let mut client = OperationsClient::new(channels[number / PER_CONNECTION].clone());
        waiters.push(tokio::spawn(async move {
            let timeout = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
            let request = WaitOperationRequest { name, timeout };
            let operation = client.wait_operation(request).await?.into_inner();
            Ok((Instant::now(), operation))
        }));
        // Many at once, but no more than a busy machine can take: what a rush itself takes is not
        // the waiters'.
        if number % 100 == 99 {
            sleep(Duration::from_millis(10)).await;
        }
    }
    settled(server).await?;
    let grown = memory(server).saturating_sub(before);
    if let Some(early) = waiters.iter_mut().find(|waiter| waiter.is_finished()) {
        let (_, operation) = joined(early.await)?;
        anyhow::bail!("a call was answered that had to wait: {operation:?}");
    }
    Ok((grown as f64 / count as f64, waiters))
}

/// Waits until a process has nothing to do.
async fn settled(pid: u32) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut last = cpu_seconds(pid);
    let mut quiet = 0;
    while quiet < 3 {
        sleep(Duration::from_millis(200)).await;
        let now = cpu_seconds(pid);
        quiet = if now - last <= 0.02 { quiet + 1 } else { 0 };
        last = now;
        ensure!(Instant::now() < end, "the server does not come to rest");
    }
    Ok(())
}
