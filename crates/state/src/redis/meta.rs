//! What is kept about the store itself, and what the store demands of Redis.

use std::collections::BTreeSet;

use longshore_core::names::JobType;
use redis::{Value, cmd};

use super::{connection::Connection, durable::Durable, error, gather::Gatherer, keys::META};
use crate::store::Error;

const PARTITIONS: &str = "partitions";
/// How lists and timers lie. An earlier version, which knows nothing of layouts, takes the field
/// above for no number and does not start.
const LAYOUT: &str = "in layout 2";
/// Over how many partitions operations spread in a cluster: as many masters can share the work. A
/// single server has nobody to share with, and each partition costs it some of every list.
const IN_A_CLUSTER: u16 = 16;
/// What the fields of paused job types begin with.
const PAUSED: &str = "paused:";

/// Sees to it that the store has as many partitions as everybody thinks, and says how many these
/// are. `wanted` is what the settings ask for.
pub(super) async fn settle_partitions(
    connection: &Connection,
    wanted: Option<u16>,
) -> Result<u16, Error> {
    let failed = error::at("reading the number of partitions");
    let mut found = partitions_of(connection).await.map_err(&failed)?;
    if found.is_none() {
        let usual = if connection.is_cluster() { IN_A_CLUSTER } else { 1 };
        let partitions = wanted.unwrap_or(usual);
        // Only if it is missing: a full Redis, which can still be read, refuses any write.
        let mut set = cmd("HSETNX");
        set.arg(META).arg(PARTITIONS).arg(format!("{partitions} {LAYOUT}"));
        connection.command(&set).await.map_err(&failed)?;
        found = partitions_of(connection).await.map_err(&failed)?;
    }
    let Some(found) = found else {
        let message = format!("{META} does not keep the number of partitions");
        return Err(Error::Misconfigured(message));
    };
    let count = found.split_once(' ').filter(|(_, layout)| *layout == LAYOUT);
    match (count.and_then(|(count, _)| count.parse().ok()), wanted) {
        (Some(count), Some(wanted)) if count != wanted => Err(Error::Misconfigured(format!(
            "it was first used with {count} partitions, which can't be changed to {wanted}"
        ))),
        (Some(count), _) => Ok(count),
        (None, _) => Err(Error::Misconfigured(format!(
            "its lists lie as another version has them (`{found}`, not `{LAYOUT}`): back it up with \
             that version, and restore it into an empty Redis with this one"
        ))),
    }
}

async fn partitions_of(connection: &Connection) -> redis::RedisResult<Option<String>> {
    let mut get = cmd("HGET");
    get.arg(META).arg(PARTITIONS);
    Ok(redis::from_redis_value(connection.command(&get).await?)?)
}

/// Refuses a Redis that throws records away when its memory is full.
pub(super) async fn check_policy(connection: &Connection) -> Result<(), Error> {
    let mut info = cmd("INFO");
    info.arg("memory");
    let mut texts = Vec::new();
    match connection.command(&info).await {
        Ok(answer) => collect_texts(answer, &mut texts),
        // Not every user may ask.
        Err(error) if error.code() == Some("NOPERM") => {}
        Err(error) => return Err(error::at("checking maxmemory-policy")(error)),
    }
    let lines = texts.iter().flat_map(|text| text.lines());
    let policies: Vec<&str> =
        lines.filter_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim).collect();
    if policies.is_empty() {
        tracing::warn!("Redis does not say what its maxmemory-policy is; it must be noeviction");
    }
    match policies.into_iter().find(|policy| *policy != "noeviction") {
        Some(policy) => Err(Error::Misconfigured(format!(
            "maxmemory-policy of Redis must be noeviction, or it throws records away; it is {policy}"
        ))),
        None => Ok(()),
    }
}

/// The texts in an answer; a cluster answers with one for each node.
fn collect_texts(value: Value, texts: &mut Vec<String>) {
    match value {
        Value::BulkString(bytes) => texts.push(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } => texts.push(text),
        Value::Map(entries) => {
            entries.into_iter().for_each(|(_, value)| collect_texts(value, texts));
        }
        Value::Array(values) => values.into_iter().for_each(|value| collect_texts(value, texts)),
        _ => {}
    }
}

/// Waits until what others have written before lasts.
pub(super) async fn settle(gatherer: &Gatherer, durable: &Durable) -> Result<(), Error> {
    if !matches!(durable, Durable::Confirmed(_)) {
        return Ok(());
    }
    // Confirmations speak of what the same connection has written, and of all before it.
    let mut set = cmd("HSET");
    set.arg(META).arg("settled").arg(1);
    durable.write(gatherer, vec![set]).await.map_err(error::at("confirming")).map(drop)
}

pub(super) async fn note(connection: &Connection, key: &str) -> Result<Option<String>, Error> {
    let failed = error::at("reading a note");
    let mut get = cmd("HGET");
    get.arg(META).arg(field(key));
    let value = connection.command(&get).await.map_err(&failed)?;
    redis::from_redis_value(value).map_err(|error| failed(error.into()))
}

pub(super) async fn set_note(connection: &Connection, key: &str, value: &str) -> Result<(), Error> {
    let mut set = cmd("HSET");
    set.arg(META).arg(field(key)).arg(value);
    connection.command(&set).await.map_err(error::at("keeping a note")).map(drop)
}

pub(super) async fn note_or(
    connection: &Connection,
    key: &str,
    value: &str,
) -> Result<String, Error> {
    let mut set = cmd("HSETNX");
    set.arg(META).arg(field(key)).arg(value);
    connection.command(&set).await.map_err(error::at("keeping a note"))?;
    Ok(note(connection, key).await?.unwrap_or_else(|| value.to_owned()))
}

fn field(key: &str) -> String {
    format!("note:{key}")
}

pub(super) async fn paused(connection: &Connection) -> Result<BTreeSet<JobType>, Error> {
    let failed = error::at("looking which job types are paused");
    let mut keys = cmd("HKEYS");
    keys.arg(META);
    let value = connection.command(&keys).await.map_err(&failed)?;
    let fields: Vec<String> = redis::from_redis_value(value).map_err(|it| failed(it.into()))?;
    let job_types = fields.iter().filter_map(|field| field.strip_prefix(PAUSED));
    Ok(job_types.filter_map(|name| JobType::parse(name).ok()).collect())
}

/// As lasting as a commit.
pub(super) async fn set_paused(
    gatherer: &Gatherer,
    durable: &Durable,
    job_type: &JobType,
    paused: bool,
) -> Result<(), Error> {
    let field = format!("{PAUSED}{job_type}");
    let mut set = cmd(if paused { "HSET" } else { "HDEL" });
    set.arg(META).arg(field);
    if paused {
        set.arg(1);
    }
    let answers = durable.write(gatherer, vec![set]).await;
    let answers = answers
        .and_then(|values| values.into_iter().try_for_each(|value| error::answer(value).map(drop)));
    answers.map_err(error::at("pausing a job type"))
}
