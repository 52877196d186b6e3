//! `embedded`: all roles in one process, in memory and on a file, against real servers.

use anyhow::Result;

use super::{
    Bench, Rounds,
    latency::product,
    pipeline::{SLOTS, rate, run_jobs},
};
use crate::{
    client::{channels, check_all, job, run_to_end},
    report::{Outcome, Target},
    site::Site,
};

/// Jobs and latency on each of the three, by turns.
pub(super) async fn embedded(bench: &Bench) -> Result<Outcome> {
    let (count, chain) = (bench.size(10_000, 100), bench.size(200, 10));
    let mut sites =
        [bench.real(1, &[]).await?, Site::embedded(false).await?, Site::embedded(true).await?];
    let mut channel = Vec::new();
    for site in &mut sites {
        site.worker(SLOTS).await?;
        let first = channels(&site.address, 1).await?.remove(0);
        run_to_end(&first, job("noop")).await?;
        run_jobs(site, &first, bench.size(1000, 20)).await?;
        channel.push(first);
    }
    let (mut memory, mut file, mut p50, mut file_p50) =
        <(Rounds, Rounds, Rounds, Rounds)>::default();
    for round in 0..bench.rounds {
        let (mut rates, mut latencies) = ([0.0; 3], [0.0; 3]);
        for turn in 0..3 {
            let place = (round + turn) % 3;
            rates[place] = rate(count, run_jobs(&sites[place], &channel[place], count).await?);
            latencies[place] = product(&channel[place], chain).await?.percentile(0.5);
        }
        memory.push(rates[1], rates[0]);
        file.push(rates[2], rates[0]);
        p50.push(latencies[1], latencies[0]);
        file_p50.push(latencies[2], latencies[0]);
    }
    for channel in &channel {
        let all = 1 + bench.size(1000, 20) + bench.rounds * (count + chain);
        check_all(channel, all).await?;
    }
    let figures = vec![
        memory.figure("jobs per second in memory, by real servers").target(Target::AtLeast(1.0)),
        file.figure("jobs per second with --data, by real servers").target(Target::AtLeast(0.3)),
        p50.figure("p50 in memory, by real servers, ms").target(Target::AtMost(1.0)),
        file_p50.figure("p50 with --data, by real servers, ms"),
    ];
    Ok(Outcome::new("embedded", bench.rounds, figures))
}
