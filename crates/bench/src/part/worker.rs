//! The worker with the bench's jobs. They do nothing that costs anything, and start no processes.

use std::{
    sync::{Arc, LazyLock, mpsc},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use longshore_bus::nats::{NatsBus, Settings as NatsSettings};
use longshore_core::telemetry;
use longshore_worker::{Context, JobError, Progress, Raw, Settings, Worker};
use prost_types::{Struct, Value, value::Kind};
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use longshore_core::record::Payload;

/// How often the job `progress` reports.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_millis(10);

/// Runs jobs until it is killed, with the settings that the role has by default.
pub(super) async fn run(url: String, slots: usize) -> Result<()> {
    let _telemetry = telemetry::init(&telemetry::Settings::default(), "longshore-worker")?;
    let bus = NatsBus::connect(&NatsSettings { url, ..NatsSettings::default() }).await?;
    Ok(worker(slots).run(Arc::new(bus), Settings::default(), CancellationToken::new()).await?)
}

/// A worker that runs so many jobs of each type.
pub(super) fn worker(slots: usize) -> Worker {
    Worker::new()
        .register("noop", slots, noop)
        .register("kilobyte", slots, kilobyte)
        .register("sleep", slots, ten_milliseconds)
        .register("progress", slots, progress)
}

/// Answers with what it was given.
async fn noop(input: Raw, _: Context) -> Result<Raw, JobError> {
    Ok(input)
}

/// Answers with so much that the operation takes about a kilobyte.
async fn kilobyte(_: Raw, _: Context) -> Result<Raw, JobError> {
    let text = Value { kind: Some(Kind::StringValue("0123456789".repeat(70))) };
    let fields = [("text".to_owned(), text)].into();
    let value = prost::Message::encode_to_vec(&Struct { fields });
    let type_url = "type.googleapis.com/google.protobuf.Struct".to_owned();
    Ok(Raw(Some(Payload { type_url, value: value.into() })))
}

/// Takes ten milliseconds by the clock. The timers of tokio would make it more than eleven.
async fn ten_milliseconds(_: Raw, _: Context) -> Result<Raw, JobError> {
    let (wake, woken) = oneshot::channel();
    CLOCK.send((Instant::now() + Duration::from_millis(10), wake))?;
    woken.await?;
    Ok(Raw::default())
}

/// A thread that wakes who hands something in, one after the other. All wait equally long.
#[expect(clippy::disallowed_methods, reason = "it is a thread of its own")]
static CLOCK: LazyLock<mpsc::Sender<(Instant, oneshot::Sender<()>)>> = LazyLock::new(|| {
    let (sender, sleepers) = mpsc::channel::<(Instant, oneshot::Sender<()>)>();
    thread::spawn(move || {
        for (until, wake) in sleepers {
            thread::sleep(until.saturating_duration_since(Instant::now()));
            // It may have been dropped.
            wake.send(()).ok();
        }
    });
    sender
});

/// Reports a hundred times a second, each time the time, until it is cancelled.
async fn progress(_: Raw, context: Context) -> Result<Raw, JobError> {
    let mut ticks = interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !context.is_cancelled() {
        ticks.tick().await;
        context.report(Progress { completed_units: micros_now(), ..Progress::default() });
    }
    Ok(Raw::default())
}

/// The time by the machine's clock, in microseconds since 1970.
pub(crate) fn micros_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
