//! `longshore admin queues`, `pause` and `resume`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use longshore_bus::{Bus, subjects};
use longshore_core::{
    names::{JobType, OperationId},
    time::Time,
};
use longshore_proto::internal::Hint;
use longshore_state::store::Store;
use prost::Message;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    call::{self, Roll},
    stores,
};
use crate::{
    cli::{Pause, Queues, ReportFormat},
    client::{plain_table, say},
    exit::{BadInput, Exit},
};

/// How long between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows what waits and what runs, by job type.
pub(super) async fn queues(args: &Queues) -> Result<Exit> {
    let store = stores::redis(&args.site).await?;
    let bus = call::bus(&args.site).await?;
    let mut before = None;
    loop {
        let now = look(&*store, &bus).await?;
        // The first of several looks has nothing to compare itself with.
        if !args.watch || before.is_some() {
            show(args.format, &now, before.as_ref())?;
        }
        if !args.watch {
            return Ok(Exit::Fine);
        }
        before = Some(now);
        sleep(PAUSE).await;
    }
}

/// Pauses job types, or lets them go on.
pub(super) async fn set_paused(args: &Pause, paused: bool) -> Result<Exit> {
    let store = stores::redis(&args.site).await?;
    for name in &args.job_types {
        let job_type =
            JobType::parse(name).map_err(BadInput::from).with_context(|| name.clone())?;
        let kept = store.set_paused(&job_type, paused).await;
        kept.map_err(|error| stores::failed(error, format!("{name} is as it was")))?;
        say(&format!("{name} {}", if paused { "is paused" } else { "goes on" }))?;
    }
    Ok(Exit::Fine)
}

/// All queues at a moment.
struct Look {
    time: Instant,
    queues: BTreeMap<String, Queue>,
}

/// A queue at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct Queue {
    /// Hints that are out.
    waiting: u64,
    /// How long ago the oldest of them was sent.
    oldest: Option<Duration>,
    running: u64,
    slots: u64,
    workers: u64,
    /// By the workers that are there, since they started.
    started: u64,
    paused: bool,
}

async fn look(store: &dyn Store, bus: &dyn Bus) -> Result<Look> {
    let failed = |error| call::failed(error, "the queues can't be looked at".to_owned());
    let unknown = |error| stores::failed(error, "the queues can't be looked at".to_owned());
    let depths = bus.depths().await.map_err(failed)?;
    let time = Instant::now();
    let now = store.load(&[OperationId::random()]).await.pop().context("no answer")?;
    let now = now.map_err(unknown)?.now;
    let mut queues: BTreeMap<String, Queue> = BTreeMap::new();
    for (subject, depth) in depths {
        let Some(job_type) = subjects::queue_of(&subject) else { continue };
        let oldest = bus.oldest(&subject).await.map_err(failed)?;
        let age = oldest.and_then(|payload| Hint::decode(payload).ok());
        let age = age.map(|hint| now.since(Time::from_micros(hint.time)));
        let queue = queues.entry(job_type.to_owned()).or_default();
        queue.waiting += depth;
        queue.oldest = queue.oldest.max(age);
    }
    add(&mut queues, &call::call(bus, &[]).await?);
    for job_type in store.paused().await.map_err(unknown)? {
        queues.entry(job_type.to_string()).or_default().paused = true;
    }
    Ok(Look { time, queues })
}

fn add(queues: &mut BTreeMap<String, Queue>, roll: &Roll) {
    for present in roll.values() {
        for at in &present.queues {
            let queue = queues.entry(at.job_type.clone()).or_default();
            queue.running += u64::from(at.running);
            queue.started += at.started;
            if !present.draining {
                queue.slots += u64::from(at.slots);
                queue.workers += 1;
            }
        }
    }
}

/// Per second: how many started, and how many came. A worker that has come or gone between the looks
/// takes its count with it, so neither is ever below 0.
fn rates(before: &Look, now: &Look, job_type: &str) -> (f64, f64) {
    let none = Queue::default();
    let (was, is) =
        (before.queues.get(job_type).unwrap_or(&none), now.queues.get(job_type).unwrap_or(&none));
    let seconds = (now.time - before.time).as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let difference = |now: u64, before: u64| (now as f64 - before as f64) / seconds;
    let started = difference(is.started, was.started).max(0.0);
    (started, (difference(is.waiting, was.waiting) + started).max(0.0))
}

fn show(format: ReportFormat, now: &Look, before: Option<&Look>) -> Result<()> {
    let rates = |job_type: &str| before.map(|before| rates(before, now, job_type));
    if format == ReportFormat::Json {
        let queues = now.queues.iter().map(|(job_type, queue)| {
            let (started, added) = rates(job_type).unzip();
            json!({
                "jobType": job_type,
                "paused": queue.paused,
                "waiting": queue.waiting,
                "oldestSeconds": queue.oldest.map(|age| age.as_secs_f64()),
                "running": queue.running,
                "slots": queue.slots,
                "workers": queue.workers,
                "startedPerSecond": started,
                "addedPerSecond": added,
            })
        });
        // Look after look, each is a line.
        let queues = queues.collect::<Value>();
        let text = if before.is_some() { queues.to_string() } else { format!("{queues:#}") };
        say(&text)?;
        return Ok(());
    }
    let rows = now.queues.iter().map(|(job_type, queue)| {
        let (started, added) = rates(job_type).unzip();
        let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
        let oldest = queue.oldest.map_or_else(
            || "-".to_owned(),
            |age| humantime::format_duration(Duration::from_secs(age.as_secs())).to_string(),
        );
        [
            job_type.clone(),
            if queue.paused { "paused" } else { "open" }.to_owned(),
            queue.waiting.to_string(),
            oldest,
            format!("{} of {}", queue.running, queue.slots),
            queue.workers.to_string(),
            rate(added),
            rate(started),
        ]
    });
    let headings =
        ["TYPE", "STATE", "WAITING", "OLDEST", "RUNNING", "WORKERS", "ADDED/S", "STARTED/S"];
    say(&plain_table(headings, rows))?;
    if before.is_some() {
        say("")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: Instant, waiting: u64, started: u64) -> Look {
        let queue = Queue { waiting, started, ..Queue::default() };
        Look { time, queues: [("a".to_owned(), queue)].into() }
    }

    #[test]
    fn rates_are_those_of_the_time_between() {
        let start = Instant::now();
        let end = start + Duration::from_secs(2);
        assert_eq!(rates(&at(start, 10, 100), &at(end, 14, 108), "a"), (4.0, 6.0));
        assert_eq!(rates(&at(start, 10, 100), &at(end, 2, 108), "a"), (4.0, 0.0));
        // A worker has gone.
        assert_eq!(rates(&at(start, 10, 100), &at(end, 10, 3), "a"), (0.0, 0.0));
        assert_eq!(rates(&at(start, 0, 0), &at(end, 0, 0), "b"), (0.0, 0.0));
    }
}
