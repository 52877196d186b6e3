//! Jobs on their whole way, against a driver that sends the same commands: `jobs`, `drain`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use longshore_proto::v1::jobs_client::JobsClient;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use super::{Bench, Rounds, add_used, latency::INPUT};
use crate::{
    client::{Submit, all_done, callers, channels, check_all, job, run_to_end},
    fill,
    floor::{
        commands::Redis,
        jobs::{Driver, Script},
    },
    lives::{Lives, Mould},
    load::{Until, closed},
    report::{Outcome, Target},
    site::{Servers, Site},
};

/// How many submitters there are.
const SUBMITTERS: usize = 64;
/// How many slots the worker has that runs what they submit.
pub(crate) const SLOTS: usize = 100;
/// How many slots the worker has that drains a queue.
const DRAIN_SLOTS: usize = 64;
/// How long anything may take that is bound to end.
const PATIENCE: Duration = Duration::from_secs(600);

/// From RunJob to done.
pub(super) async fn jobs(bench: &Bench) -> Result<Outcome> {
    let count = bench.size(20_000, 200);
    let mut site = bench.site().await?;
    site.worker(SLOTS).await?;
    let channel = channels(&site.address, 1).await?.remove(0);
    let warm_up = bench.size(2000, 20);
    run_jobs(&site, &channel, warm_up).await?;
    let floor = Floor::start(warm_up, Some(SUBMITTERS), SLOTS).await?;

    let mut rates = Rounds::default();
    let mut used = BTreeMap::new();
    for round in 0..bench.rounds {
        let mut product = Duration::ZERO;
        let mut driver = Duration::ZERO;
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let before = site.cpu();
                product = run_jobs(&site, &channel, count).await?;
                add_used(&mut used, &before, &site.cpu());
            } else {
                driver = floor.run(count, Some(SUBMITTERS), SLOTS).await?;
            }
        }
        rates.push(rate(count, product), rate(count, driver));
    }
    // Each warm-up has one more.
    check_all(&channel, warm_up + bench.rounds * count).await.with_context(|| site.logs())?;
    let figures = vec![rates.figure("jobs per second").target(Target::AtLeast(0.5))];
    let operations = count * bench.rounds;
    Ok(Outcome::new("jobs", bench.rounds, figures).with_costs(&used, operations, &site.peaks()))
}

/// Submits jobs and waits for the last one's end; returns how long all took.
pub(super) async fn run_jobs(site: &Site, channel: &Channel, count: usize) -> Result<Duration> {
    let submit = |channel| Submit { client: JobsClient::new(channel), request: job("noop") };
    let callers = callers(&site.address, SUBMITTERS, submit).await?;
    let start = Instant::now();
    closed(callers, Until::Calls(count)).await?;
    none_active(site, channel).await.with_context(|| site.logs())?;
    Ok(start.elapsed())
}

/// Waits until nothing is left to do.
async fn none_active(site: &Site, channel: &Channel) -> Result<()> {
    let Some(servers) = &site.servers else { return all_done(channel, PATIENCE).await };
    drained(&mut Redis::connect(&servers.redis.url()).await?).await
}

/// Waits until the store has no operation that is not done.
pub(super) async fn drained(redis: &mut Redis) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let active = redis.active().await?;
        if active == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{active} operations are left after {PATIENCE:?}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// A full queue, and then a worker.
pub(super) async fn drain(bench: &Bench) -> Result<Outcome> {
    let count = bench.size(50_000, 300);
    let mut site = bench.site().await?;
    if site.servers.is_some() {
        let channel = channels(&site.address, 1).await?.remove(0);
        site.worker(DRAIN_SLOTS).await?;
        run_to_end(&channel, job("noop")).await?;
        site.stop_workers();
    }
    let floor = Floor::start(bench.size(2000, 20), None, DRAIN_SLOTS).await?;

    let mut rates = Rounds::default();
    let mut used = BTreeMap::new();
    for round in 0..bench.rounds {
        let mut product = Duration::ZERO;
        let mut driver = Duration::ZERO;
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                if site.servers.is_none() {
                    // There its worker can't be stopped.
                    site = bench.site().await?;
                }
                fill_queue(&site, "noop", count).await?;
                let before = site.cpu();
                product = drain_queue(&mut site, DRAIN_SLOTS).await?;
                add_used(&mut used, &before, &site.cpu());
                site.stop_workers();
            } else {
                driver = floor.run(count, None, DRAIN_SLOTS).await?;
            }
        }
        rates.push(rate(count, product), rate(count, driver));
    }
    let channel = channels(&site.address, 1).await?.remove(0);
    let there = if site.servers.is_some() { 1 + bench.rounds * count } else { count };
    check_all(&channel, there).await.with_context(|| site.logs())?;
    let figures = vec![rates.figure("jobs per second").target(Target::AtLeast(0.5))];
    let operations = count * bench.rounds;
    Ok(Outcome::new("drain", bench.rounds, figures).with_costs(&used, operations, &site.peaks()))
}

/// Queues so many jobs of a type.
pub(super) async fn fill_queue(site: &Site, job_type: &str, count: usize) -> Result<()> {
    let Some(servers) = &site.servers else { return submit_all(site, job_type, count).await };
    let (store, bus) = (servers.store().await?, servers.bus().await?);
    let mould = Mould::new(job_type, INPUT)?;
    let mut left = count;
    while left > 0 {
        let (mut changes, mut messages) = (Vec::new(), Vec::new());
        for _ in 0..left.min(10_000) {
            let submitted = mould.submission()?;
            changes.push(submitted.change);
            messages.extend(submitted.hints);
        }
        left -= changes.len();
        fill::commit(&store, changes).await?;
        fill::enqueue(&bus, messages).await?;
    }
    Ok(())
}

/// The same by calls, for a store that nobody else can reach.
async fn submit_all(site: &Site, job_type: &str, count: usize) -> Result<()> {
    let submit = |channel| Submit { client: JobsClient::new(channel), request: job(job_type) };
    closed(callers(&site.address, SUBMITTERS, submit).await?, Until::Calls(count)).await?;
    Ok(())
}

/// Starts a worker and waits until it has emptied the queue; returns how long that took.
pub(super) async fn drain_queue(site: &mut Site, slots: usize) -> Result<Duration> {
    let channel = channels(&site.address, 1).await?.remove(0);
    let start = Instant::now();
    site.worker(slots).await?;
    none_active(site, &channel).await.with_context(|| site.logs())?;
    Ok(start.elapsed())
}

/// The driver on servers of its own.
struct Floor {
    servers: Servers,
}

impl Floor {
    /// Starts it, and lets it warm up.
    async fn start(warm_up: usize, submitters: Option<usize>, slots: usize) -> Result<Self> {
        let floor = Self { servers: Servers::start().await };
        drop(floor.servers.store().await?);
        floor.run(warm_up, submitters, slots).await?;
        Ok(floor)
    }

    /// Runs so many jobs, after they were submitted or while they are.
    async fn run(&self, count: usize, submitters: Option<usize>, slots: usize) -> Result<Duration> {
        let script = Arc::new(Script::new(Lives::new(&Mould::new("noop", INPUT)?, count)?));
        let driver = Driver::connect(&self.servers).await?;
        if submitters.is_none() {
            driver.submit(&script, SUBMITTERS).await?;
        }
        let elapsed = driver.run(&script, submitters, slots).await?;
        let active = Redis::connect(&self.servers.redis.url()).await?.active().await?;
        ensure!(active == 0, "the driver has left {active} operations");
        Ok(elapsed)
    }
}

/// Jobs per second.
pub(super) fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
