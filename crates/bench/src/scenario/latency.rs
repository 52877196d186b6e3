//! `latency`: one job at a time, a hundred a second.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use longshore_proto::{
    longrunning::{WaitOperationRequest, operations_client::OperationsClient},
    v1::jobs_client::JobsClient,
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::transport::Channel;

use super::{Bench, Rounds, add_used};
use crate::{
    client::{channels, check_done, job, run_to_end},
    floor::latency::Chain,
    lives::{Lives, Mould},
    report::{Outcome, Target},
    site::Servers,
    stats::Samples,
};

/// One job in this time.
const PACE: Duration = Duration::from_millis(10);
/// How many jobs a round of one side has.
const JOBS: usize = 400;
/// The input of each job, in bytes.
pub(crate) const INPUT: usize = 100;

/// From RunJob to WaitOperation's answer.
pub(super) async fn latency(bench: &Bench) -> Result<Outcome> {
    let jobs = bench.size(JOBS, 20);
    let mut site = bench.site().await?;
    site.worker(8).await?;
    let channel = channels(&site.address, 1).await?.remove(0);
    run_to_end(&channel, job("noop")).await?;
    let servers = Servers::start().await;
    drop(servers.store().await?);
    let mut chain = Chain::connect(&servers).await?;
    let mould = Mould::new("noop", INPUT)?;

    let (mut p50, mut p99) = <(Rounds, Rounds)>::default();
    let mut used = BTreeMap::new();
    // The first round warms up.
    for round in 0..=bench.rounds {
        let before = site.cpu();
        let product = product(&channel, jobs).await?;
        let after = site.cpu();
        let floor = floor(&mut chain, &Lives::new(&mould, jobs)?).await?;
        if round > 0 {
            add_used(&mut used, &before, &after);
            p50.push(product.percentile(0.5), floor.percentile(0.5));
            p99.push(product.percentile(0.99), floor.percentile(0.99));
        }
    }
    let figures = vec![
        p50.figure("p50, ms").target(Target::AtMost(2.5)),
        p99.figure("p99, ms").target(Target::AtMost(4.0)),
    ];
    Ok(Outcome::new("latency", bench.rounds, figures).with_costs(
        &used,
        jobs * bench.rounds,
        &site.peaks(),
    ))
}

/// So many jobs through an installation, one after the other.
pub(super) async fn product(channel: &Channel, jobs: usize) -> Result<Samples> {
    let mut run = JobsClient::new(channel.clone());
    let mut wait = OperationsClient::new(channel.clone());
    let mut samples = Samples::default();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..jobs {
        pace.tick().await;
        let start = Instant::now();
        let name = run.run_job(job("noop")).await?.into_inner().name;
        let timeout = Some(prost_types::Duration { seconds: 280, nanos: 0 });
        let request = WaitOperationRequest { name, timeout };
        let operation = wait.wait_operation(request).await?.into_inner();
        samples.push(start.elapsed());
        check_done(&operation)?;
    }
    Ok(samples)
}

async fn floor(chain: &mut Chain, lives: &Lives) -> Result<Samples> {
    let mut samples = Samples::default();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for life in &lives.all {
        pace.tick().await;
        samples.push(chain.job(life, &lives.events).await?);
    }
    Ok(samples)
}
