//! The streams and their consumers: made when they don't exist, whoever comes first.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::{
    api::{self, STREAM_NOT_FOUND, Trouble},
    link::Link,
};
use crate::{Error, subjects};

/// How often the streams are looked for although nothing seems to be wrong.
const ROUTINE: Duration = Duration::from_secs(60);
/// How often the client library is asked for its state, should one of its events have got lost.
const LOOK: Duration = Duration::from_secs(2);
/// How many deliveries of one consumer may be unsettled at a time.
const MAX_ACK_PENDING: u32 = 100_000;
/// How many pull requests may wait at one consumer: one or two for each process that consumes.
const MAX_WAITING: u32 = 4096;
/// How often a stream is looked for again that seems to be made by somebody else: for some 2 s.
const LOOKS_FOR_OTHERS: u32 = 5;
/// No message is sent with an id, so that none need be remembered; NATS wants at least 0.1 s.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Info {
    created: String,
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    retention: String,
}

/// Makes sure that the streams exist and tells the health what was found. Does nothing if that has
/// been done since there were so many `assertions`.
pub(super) async fn assert(link: &Link, assertions: u64) -> Result<(), Error> {
    let _asserting = link.asserting.lock().await;
    if link.health.assertions() != assertions {
        return Ok(());
    }
    let losses = link.health.losses();
    let settings = &link.settings;
    let both = async {
        let jobs =
            assert_stream(link, subjects::JOBS_STREAM, subjects::JOBS, settings.jobs_max_bytes)
                .await?;
        let events = assert_stream(
            link,
            subjects::EVENTS_STREAM,
            subjects::EVENTS,
            settings.events_max_bytes,
        )
        .await?;
        Ok::<_, Trouble>(format!("{jobs} {events}"))
    };
    match both.await {
        Ok(epoch) => {
            link.health.set_asserted(losses, epoch);
            Ok(())
        }
        Err(trouble) => {
            link.health.set_unasserted();
            Err(trouble.into_error("make the streams"))
        }
    }
}

/// Makes sure that a stream exists and returns when it was made.
async fn assert_stream(
    link: &Link,
    name: &'static str,
    subject: &str,
    max_bytes: Option<u64>,
) -> Result<String, Trouble> {
    let mut attempt = 0;
    let info = loop {
        match find_or_make(link, name, subject, max_bytes).await {
            // Somebody else makes it just now, so it is found in a moment; or it is no stream of ours.
            Err(trouble) if trouble.is_stream_taken() && attempt < LOOKS_FOR_OTHERS => {
                attempt += 1;
                sleep(backoff(attempt)).await;
            }
            result => break result?,
        }
    };
    if info.config.retention != "workqueue" {
        let source = format!("the stream {name} exists and is no work queue").into();
        return Err(Error::Refused { doing: "use the streams", source }.into());
    }
    Ok(info.created)
}

async fn find_or_make(
    link: &Link,
    name: &'static str,
    subject: &str,
    max_bytes: Option<u64>,
) -> Result<Info, Trouble> {
    match api::request(link, &format!("STREAM.INFO.{name}"), &json!({})).await {
        Err(trouble) if trouble.is(STREAM_NOT_FOUND) => {}
        result => return result,
    }
    let max_bytes = max_bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1);
    let body = json!({
        "name": name,
        "subjects": [subject],
        "retention": "workqueue",
        "storage": "file",
        "discard": "new",
        "max_msgs": -1,
        "max_bytes": max_bytes,
        "max_consumers": -1,
        "num_replicas": link.settings.replicas,
        "duplicate_window": nanos(DUPLICATE_WINDOW),
    });
    let info = api::request(link, &format!("STREAM.CREATE.{name}"), &body).await?;
    tracing::info!(stream = name, "made a stream");
    Ok(info)
}

/// Makes sure that a consumer exists which hands out what is on the `filter`.
pub(super) async fn assert_consumer(
    link: &Link,
    stream: &str,
    name: &str,
    filter: &str,
) -> Result<(), Trouble> {
    let body = json!({
        "stream_name": stream,
        "config": {
            "name": name,
            "durable_name": name,
            "filter_subject": filter,
            "deliver_policy": "all",
            "replay_policy": "instant",
            "ack_policy": "explicit",
            "ack_wait": nanos(link.settings.ack_wait),
            "max_deliver": -1,
            "max_ack_pending": MAX_ACK_PENDING,
            "max_waiting": MAX_WAITING,
        },
    });
    let subject = format!("CONSUMER.CREATE.{stream}.{name}.{filter}");
    api::request::<serde::de::IgnoredAny>(link, &subject, &body).await.map(drop)
}

/// Looks for the streams whenever they may be gone, until the bus is closed.
pub(super) async fn supervise(link: Arc<Link>) {
    let mut failures = 0_u32;
    while !link.closed.is_cancelled() {
        let mut health = link.health.subscribe();
        tokio::select! {
            () = link.closed.cancelled() => return,
            () = link.suspicion.notified() => {}
            () = sleep(ROUTINE) => {}
            Ok(_) = health.wait_for(|state| state.needs_assertion()) => {}
            () = watch_connection(&link) => {}
        }
        if !link.is_connected() {
            continue;
        }
        match assert(&link, link.health.assertions()).await {
            Ok(()) => failures = 0,
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, source, "the streams can't be found");
                failures += 1;
            }
        }
        // Also after a success: a suspicion that lasts must not keep anybody busy.
        tokio::select! {
            () = link.closed.cancelled() => return,
            () = sleep(backoff(failures)) => {}
        }
    }
}

/// Corrects the health for ever; what it knows comes from events, and of these one can get lost.
async fn watch_connection(link: &Link) {
    loop {
        sleep(LOOK).await;
        link.health.set_connected(link.is_connected());
    }
}

/// From 50 ms on, doubling up to about 5 s, and a random half of it.
pub(super) fn backoff(failures: u32) -> Duration {
    let longest = Duration::from_millis(50) * 2_u32.pow(failures.min(7));
    longest.min(Duration::from_secs(5)).mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// JetStream counts time in nanoseconds.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
