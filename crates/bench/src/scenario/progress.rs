//! `progress`: many jobs that report a hundred times a second.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use longshore_proto::{
    longrunning::{
        CancelOperationRequest, ListOperationsRequest, Operation,
        operations_client::OperationsClient,
    },
    v1::{OperationMetadata, RunJobRequest, WatchOperationRequest, jobs_client::JobsClient},
};
use prost::Message;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::transport::Channel;

use super::{Bench, add_used};
use crate::{
    client::{all_done, channels, check_all, joined},
    floor::commands::Redis,
    part::worker::{REPORT_INTERVAL, micros_now},
    report::{Figure, Outcome, Target},
    stats::Samples,
};

/// How often an attempt's progress is sent at most, by default.
const COALESCING: Duration = Duration::from_millis(200);
/// How often a lease is renewed, by default.
const RENEWAL: Duration = Duration::from_secs(10);
/// How many operations are watched.
const WATCHERS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(600);

/// How many commits progress costs, and how old what a watcher sees is.
pub(super) async fn progress(bench: &Bench) -> Result<Outcome> {
    let jobs = bench.size(1000, 20);
    let window = Duration::from_secs(if bench.short { 1 } else { 10 });
    let mut site = bench.real(1, &[]).await?;
    site.worker(jobs).await?;
    let channel = channels(&site.address, 1).await?.remove(0);
    let url = &site.servers.as_ref().context("there are no servers")?.redis.url();
    let mut redis = Redis::connect(url).await?;

    let mut names = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        let operation = JobsClient::new(channel.clone()).run_job(job()).await?.into_inner();
        names.push(operation.name);
    }
    none_pending(&channel).await?;
    let mut watchers = JoinSet::new();
    for name in names.iter().take(WATCHERS) {
        watchers.spawn(watch(channel.clone(), name.clone(), window));
    }
    let (before, commits) = (site.cpu(), commits(&mut redis).await?);
    let start = Instant::now();
    sleep(window).await;
    let commits = self::commits(&mut redis).await? - commits;
    let elapsed = start.elapsed();
    let mut used = BTreeMap::new();
    add_used(&mut used, &before, &site.cpu());

    let mut ages = Samples::default();
    while let Some(watcher) = watchers.join_next().await {
        ages.extend(joined(watcher)?);
    }
    for name in names {
        let request = CancelOperationRequest { name };
        OperationsClient::new(channel.clone()).cancel_operation(request).await?;
    }
    all_done(&channel, PATIENCE).await?;
    check_all(&channel, jobs).await.with_context(|| site.logs())?;

    let each =
        elapsed.as_secs_f64() * (1.0 / COALESCING.as_secs_f64() + 1.0 / RENEWAL.as_secs_f64());
    let bound = jobs as f64 * (each + 2.0);
    let figures = vec![
        Figure::new("commits, of at most", commits)
            .against(bound, commits / bound)
            .target(Target::AtMost(1.0)),
        Figure::new("until a watcher sees a report or a newer one, p99, ms", ages.percentile(0.99))
            .target(Target::AtMost(300.0)),
        Figure::new("until a watcher sees a report or a newer one, p50, ms", ages.percentile(0.5)),
    ];
    let peaks = site.peaks();
    Ok(Outcome::new("progress", 1, figures).with_costs(&used, commits as usize, &peaks))
}

fn job() -> RunJobRequest {
    RunJobRequest { job_type: "progress".to_owned(), ..RunJobRequest::default() }
}

/// Waits until all jobs run.
async fn none_pending(channel: &Channel) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut client = OperationsClient::new(channel.clone());
    loop {
        let request = ListOperationsRequest {
            filter: "state=PENDING".to_owned(),
            page_size: 1000,
            ..ListOperationsRequest::default()
        };
        if client.list_operations(request).await?.into_inner().operations.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "not all jobs have started after {PATIENCE:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Watches an operation; of each report that came after one that was seen, how old it was when it
/// or a newer one was seen.
async fn watch(channel: Channel, name: String, window: Duration) -> Result<Samples> {
    let request = WatchOperationRequest { name };
    let mut states = JobsClient::new(channel).watch_operation(request).await?.into_inner();
    let end = Instant::now() + window;
    let mut ages = Samples::default();
    let mut seen = None;
    // On a machine under load the first may come late.
    while (Instant::now() < end || ages.len() == 0)
        && let Some(operation) = states.message().await?
    {
        let Some(reported) = reported(&operation)? else { continue };
        let unseen = seen.replace(reported);
        if let Some(unseen) = unseen.filter(|unseen| *unseen < reported) {
            let age = micros_now() - unseen - REPORT_INTERVAL.as_micros() as i64;
            ages.push(Duration::from_micros(u64::try_from(age).unwrap_or(0)));
        }
    }
    Ok(ages)
}

/// The time that an operation's job has reported.
fn reported(operation: &Operation) -> Result<Option<i64>> {
    let metadata = operation.metadata.as_ref().context("no metadata")?;
    let metadata = OperationMetadata::decode(&*metadata.value)?;
    Ok(metadata.progress.map(|progress| progress.completed_units).filter(|time| *time > 0))
}

/// How often a record was written; the script makes several changes in one call.
async fn commits(redis: &mut Redis) -> Result<f64> {
    let line = redis.info("commandstats", "cmdstat_set").await?;
    let calls = line.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
    Ok(calls.context("no record was ever written")?.parse()?)
}
