//! How the queues stand.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::{
    api::{self, CONSUMER_NOT_FOUND, NO_MESSAGE_FOUND, STREAM_NOT_FOUND, Trouble},
    consumer::RECORDER,
    link::Link,
};
use crate::{Error, subjects};

/// The payload of the first message on a subject that somebody has still to be done with.
///
/// A server that was killed may find messages again that had been acknowledged (2.9 does): they are
/// below its consumer's floor, so nobody ever gets them, and they would stay for good. They are
/// removed here: they would hide that others are lost.
pub(super) async fn oldest(link: &Link, subject: &str) -> Result<Option<Bytes>, Error> {
    let looked = look(link, subject).await;
    if looked.as_ref().is_err_and(|trouble| trouble.is(STREAM_NOT_FOUND)) {
        link.suspicion.notify_one();
    }
    looked.map_err(|trouble| trouble.into_error("look for the oldest message"))
}

async fn look(link: &Link, subject: &str) -> Result<Option<Bytes>, Trouble> {
    let (stream, consumer) = place(subject);
    // In this order: what is acknowledged in between is no leftover.
    let floor = floor(link, stream, &consumer).await?;
    let mut first = first(link, stream, subject).await?;
    if first.as_ref().is_some_and(|first| first.seq <= floor) {
        tracing::info!(stream, subject, "removing messages that a server had forgotten to remove");
        let body = json!({ "filter": subject, "seq": floor + 1 });
        let purge = format!("STREAM.PURGE.{stream}");
        api::request::<serde::de::IgnoredAny>(link, &purge, &body).await?;
        first = self::first(link, stream, subject).await?;
    }
    let data = first.map(|first| BASE64_STANDARD.decode(first.data)).transpose();
    let data = data.map_err(|error| Error::Refused {
        doing: "look for the oldest message",
        source: error.into(),
    })?;
    Ok(data.map(Bytes::from))
}

/// The stream of a subject and its consumer.
fn place(subject: &str) -> (&'static str, String) {
    match subjects::parse_job(subject) {
        Some((queue, priority)) => (subjects::JOBS_STREAM, format!("{queue}-{priority}")),
        None => (subjects::EVENTS_STREAM, RECORDER.to_owned()),
    }
}

/// All messages up to this one have been acknowledged; 0 if there is no consumer.
async fn floor(link: &Link, stream: &str, consumer: &str) -> Result<u64, Trouble> {
    #[derive(Deserialize)]
    struct Info {
        ack_floor: Floor,
    }
    #[derive(Deserialize)]
    struct Floor {
        stream_seq: u64,
    }
    match api::request::<Info>(link, &format!("CONSUMER.INFO.{stream}.{consumer}"), &json!({}))
        .await
    {
        Ok(info) => Ok(info.ack_floor.stream_seq),
        Err(trouble) if trouble.is(CONSUMER_NOT_FOUND) => Ok(0),
        Err(trouble) => Err(trouble),
    }
}

#[derive(Deserialize)]
struct Kept {
    seq: u64,
    #[serde(default)]
    data: String,
}

/// The first message on a subject that the stream holds.
async fn first(link: &Link, stream: &str, subject: &str) -> Result<Option<Kept>, Trouble> {
    #[derive(Deserialize)]
    struct Answer {
        message: Kept,
    }
    let body = json!({ "next_by_subj": subject });
    match api::request::<Answer>(link, &format!("STREAM.MSG.GET.{stream}"), &body).await {
        Ok(Answer { message }) => Ok(Some(message)),
        Err(trouble) if trouble.is(NO_MESSAGE_FOUND) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// How many messages the stream of hints holds, by subject.
pub(super) async fn depths(link: &Link) -> Result<BTreeMap<String, u64>, Error> {
    #[derive(Deserialize)]
    struct Info {
        state: Depths,
    }
    #[derive(Deserialize)]
    struct Depths {
        // Absent if there are none.
        #[serde(default)]
        subjects: BTreeMap<String, u64>,
    }
    let body = json!({ "subjects_filter": subjects::JOBS });
    let info = format!("STREAM.INFO.{}", subjects::JOBS_STREAM);
    match api::request::<Info>(link, &info, &body).await {
        Ok(info) => Ok(info.state.subjects),
        Err(trouble) => Err(trouble.into_error("look how long the queues are")),
    }
}
