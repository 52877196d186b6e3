//! `scale`: jobs of 10 ms on more and more worker processes, and on more state replicas.

use anyhow::Result;

use super::{
    Bench,
    pipeline::{drained, fill_queue},
};
use crate::{
    client::{channels, check_all, job, run_to_end},
    floor::commands::Redis,
    process::machine_seconds,
    report::{Figure, Outcome, Target},
};
use tokio::time::Instant;

/// How many slots each worker has.
const SLOTS: usize = 50;
/// How long a job takes, in seconds.
const JOB: f64 = 0.01;
/// For how many seconds there is work.
const SECONDS: f64 = 4.0;
/// From here on the machine counts as full.
const FULL: f64 = 0.9;

/// What was measured at one point.
struct Point {
    rate: f64,
    ideal: f64,
    /// Which part of the machine's processors was busy.
    busy: f64,
}

/// Jobs per second with 1, 2, 4 and 8 workers, and with 1 and 3 state replicas.
pub(super) async fn scale(bench: &Bench) -> Result<Outcome> {
    // The first has so few slots that any machine has room for it.
    let shapes: &[(usize, usize)] = if bench.short {
        &[(1, 10)]
    } else {
        &[(1, 10), (1, SLOTS), (2, SLOTS), (4, SLOTS), (8, SLOTS)]
    };
    let mut figures = Vec::new();
    for &(workers, slots) in shapes {
        let point = measure(bench, 1, workers, slots).await?;
        let name = format!(
            "{workers} × {slots} slots, jobs per second; the machine was {:.0} % busy",
            point.busy * 100.0
        );
        let figure = Figure::new(name, point.rate).against(point.ideal, point.rate / point.ideal);
        // Beyond that it is the machine that is measured.
        let has_room = point.busy < FULL || slots < SLOTS;
        figures.push(if has_room { figure.target(Target::AtLeast(0.9)) } else { figure });
    }
    // The worst of those that count speaks for all.
    let worst = figures.iter().enumerate().filter(|(_, figure)| figure.target.is_some());
    let worst =
        worst.min_by(|a, b| f64::total_cmp(&a.1.ratio.unwrap_or(0.0), &b.1.ratio.unwrap_or(0.0)));
    if let Some((place, _)) = worst {
        figures.swap(0, place);
    }
    let one = measure(bench, 1, bench.size(2, 1), bench.size(SLOTS, 10)).await?;
    let three = measure(bench, 3, bench.size(2, 1), bench.size(SLOTS, 10)).await?;
    figures.push(
        Figure::new("jobs per second with 3 state replicas, by 1", three.rate)
            .against(one.rate, three.rate / one.rate)
            .target(Target::AtLeast(0.95)),
    );
    Ok(Outcome::new("scale", 1, figures))
}

async fn measure(bench: &Bench, replicas: usize, workers: usize, slots: usize) -> Result<Point> {
    let ideal = (workers * slots) as f64 / JOB;
    // More than a machine can do in a while would only take long.
    let count = bench.size((ideal * SECONDS).min(60_000.0) as usize, 100);
    let mut site = bench.real(replicas, &[]).await?;
    let channel = channels(&site.address, 1).await?.remove(0);
    for _ in 0..workers {
        site.worker(slots).await?;
    }
    run_to_end(&channel, job("sleep")).await?;
    site.stop_workers();
    fill_queue(&site, "sleep", count).await?;
    let url = site.servers.as_ref().map(|servers| servers.redis.url()).unwrap_or_default();
    let mut redis = Redis::connect(&url).await?;
    let (busy, all) = machine_seconds();
    let start = Instant::now();
    for _ in 0..workers {
        site.worker(slots).await?;
    }
    drained(&mut redis).await?;
    let elapsed = start.elapsed();
    let (busy, all) = (machine_seconds().0 - busy, machine_seconds().1 - all);
    check_all(&channel, count + 1).await?;
    Ok(Point { rate: count as f64 / elapsed.as_secs_f64(), ideal, busy: busy / all.max(0.01) })
}
