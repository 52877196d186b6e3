//! `backlog`: a very long queue, and one worker that drains it, against short queues.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{
    Bench, add_used,
    pipeline::{SLOTS, drain_queue, fill_queue, rate, run_jobs},
};
use crate::{
    client::channels,
    floor::commands::Redis,
    process::{memory, peak_memory},
    report::{Figure, Outcome, Target},
    site::Site,
};

/// How much larger a role may become: what allocators do by themselves.
const FLAT: f64 = 1.25;

/// Jobs per second out of a long queue, and what the roles take meanwhile.
pub(super) async fn backlog(bench: &Bench) -> Result<Outcome> {
    let (few, many) = (bench.size(20_000, 200), bench.large(1_000_000, 1000));
    let mut site = bench.real(1, &[]).await?;
    let channel = channels(&site.address, 1).await?.remove(0);
    site.worker(SLOTS).await?;
    run_jobs(&site, &channel, bench.size(2000, 20)).await?;
    let jobs = rate(few, run_jobs(&site, &channel, few).await?);
    let state = *site.pids("state").first().context("there is no state role")?;
    let short = [memory(state), peaks(&site, "worker")];
    site.stop_workers();

    fill_queue(&site, "noop", many).await?;
    let before = site.cpu();
    let elapsed = drain_queue(&mut site, SLOTS).await?;
    let mut used = BTreeMap::new();
    add_used(&mut used, &before, &site.cpu());
    let backlog = rate(many, elapsed);
    let long = [peak_memory(state), peaks(&site, "worker")];

    let servers = site.servers.as_ref().context("there are no servers")?;
    let all = Redis::connect(&servers.redis.url()).await?.all().await?;
    let wanted = bench.size(2000, 20) + few + many;
    anyhow::ensure!(all == wanted, "there are {all} operations instead of {wanted}");
    let flat = |role: &str, place: usize| {
        let (short, long) = (short[place] as f64, long[place] as f64);
        Figure::new(format!("{role}, MiB at most, by those with a short queue"), long / 1048576.0)
            .against(short / 1048576.0, long / short)
            .target(Target::AtMost(FLAT))
    };
    let figures = vec![
        Figure::new("jobs per second, by those with a short queue", backlog)
            .against(jobs, backlog / jobs)
            .target(Target::AtLeast(0.8)),
        flat("state", 0),
        flat("worker", 1),
    ];
    Ok(Outcome::new("backlog", 1, figures).with_costs(&used, many, &site.peaks()))
}

fn peaks(site: &Site, role: &str) -> u64 {
    site.pids(role).into_iter().map(peak_memory).max().unwrap_or_default()
}
