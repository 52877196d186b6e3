//! Which operations' time has come.

use std::{collections::VecDeque, time::Duration};

use futures::future::{join_all, try_join_all};
use longshore_core::{names::OperationId, time::Time};
use redis::{RedisResult, Value, cmd, from_redis_value};

use super::{
    RedisStore,
    batch::{Answers, scored},
    error::{self, answer, senseless},
};
use crate::store::{Due, Error, Sweep};

/// How soon to look again if some of the partitions could not be asked.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn due(store: &RedisStore, limit: usize) -> Result<Due, Error> {
    let (heads, all) = heads(store).await.map_err(error::at("looking for due timers"))?;
    let mut late: Vec<&Head> = heads.iter().filter(|head| head.first <= head.now).collect();
    if late.is_empty() {
        let next = heads.iter().map(|head| head.first.since(head.now)).min();
        return Ok(Due {
            ids: Vec::new(),
            next: if all { next } else { next.min(Some(LOOK_AGAIN)).or(Some(LOOK_AGAIN)) },
        });
    }
    // So that no partition is always the one that is left over.
    fastrand::shuffle(&mut late);
    let found = found(store, &late, limit).await.map_err(error::at("fetching due timers"))?;
    Ok(Due { ids: in_turns(found, limit), next: None })
}

/// How many timers there are: one for each record.
pub(super) async fn size(store: &RedisStore) -> Result<u64, Error> {
    let lanes = store.lanes(0..store.keys.partitions);
    let answers = try_join_all(lanes.iter().map(|lane| {
        store.ask(lane, |partition| vec![cmd("ZCARD").arg(store.keys.timer(partition)).take()])
    }));
    let counted = |lanes: Vec<Vec<Answers>>| -> RedisResult<u64> {
        let mut records = 0;
        for answers in lanes.into_iter().flatten() {
            let value = answers.values?.into_iter().next().ok_or_else(senseless)?;
            records += from_redis_value::<u64>(value)?;
        }
        Ok(records)
    };
    answers.await.and_then(counted).map_err(error::at("counting records"))
}

/// The first timer of a partition.
struct Head {
    partition: u16,
    now: Time,
    first: Time,
}

/// The first timers of the partitions that have any, and whether all could be asked. It is an
/// error only if none could: the part of a cluster that is up goes on.
async fn heads(store: &RedisStore) -> RedisResult<(Vec<Head>, bool)> {
    let lanes = store.lanes(0..store.keys.partitions);
    let answers = join_all(lanes.iter().map(|lane| {
        store.ask(lane, |partition| {
            let mut first = cmd("ZRANGE");
            first.arg(store.keys.timer(partition)).arg(0).arg(0).arg("WITHSCORES");
            vec![first]
        })
    }));
    let (mut heads, mut asked, mut failure) = (Vec::new(), false, None);
    for answers in answers.await {
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                failure = Some(error);
                continue;
            }
        };
        for answers in answers {
            match first_timer(answers) {
                Ok(found) => {
                    asked = true;
                    heads.extend(found);
                }
                Err(error) => failure = Some(error),
            }
        }
    }
    match failure {
        Some(error) if !asked => Err(error),
        Some(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "some timers can't be read");
            Ok((heads, false))
        }
        None => Ok((heads, true)),
    }
}

fn first_timer(answers: Answers) -> RedisResult<Option<Head>> {
    let Answers { partition, now, values } = answers;
    let value = values?.into_iter().next().ok_or_else(senseless)?;
    let first = scored(value)?.into_iter().next();
    Ok(first.map(|(_, score)| Head { partition, now, first: Time::from_micros(score) }))
}

async fn found(
    store: &RedisStore,
    late: &[&Head],
    limit: usize,
) -> RedisResult<Vec<VecDeque<OperationId>>> {
    let lanes = store.lanes(late.iter().map(|head| head.partition));
    let answers = join_all(lanes.iter().map(|lane| {
        store.ask(lane, |partition| {
            let now = late
                .iter()
                .find(|head| head.partition == partition)
                .map_or(0, |head| head.now.as_micros());
            let mut range = cmd("ZRANGE");
            range.arg(store.keys.timer(partition)).arg("-inf").arg(now).arg("BYSCORE");
            range.arg("LIMIT").arg(0).arg(limit);
            vec![range]
        })
    }));
    let mut found = Vec::new();
    for answers in answers.await {
        for answers in answers? {
            for value in answers.values? {
                found.push(ids(redis::from_redis_value(value)?).collect());
            }
        }
    }
    Ok(found)
}

/// At most `limit`, from each in turn.
fn in_turns(mut found: Vec<VecDeque<OperationId>>, limit: usize) -> Vec<OperationId> {
    let mut ids = Vec::new();
    while ids.len() < limit && !found.is_empty() {
        found.retain_mut(|some| match some.pop_front() {
            Some(id) if ids.len() < limit => {
                ids.push(id);
                true
            }
            _ => false,
        });
    }
    ids
}

/// What is no id was not put there by us.
fn ids(members: Vec<String>) -> impl Iterator<Item = OperationId> {
    members.into_iter().filter_map(|member| OperationId::parse(&member).ok())
}

/// Scans the timers of one partition after the other. `ZSCAN` sees whatever stays in the set all
/// along, even if its time changes meanwhile.
pub(super) async fn sweep(
    store: &RedisStore,
    from: &Sweep,
    limit: usize,
) -> Result<(Vec<OperationId>, Option<Sweep>), Error> {
    let (mut partition, mut cursor) = place(from);
    let mut found = Vec::new();
    while partition < store.keys.partitions {
        if found.len() >= limit {
            return Ok((found, Some(sweep_from(partition, cursor))));
        }
        let count = limit - found.len();
        let (next, members) = match scan(store, partition, cursor, count).await {
            Ok(scanned) => scanned,
            // It would stand in the way for ever, of all that come behind it too.
            Err(error) if error.code() == Some("WRONGTYPE") => {
                tracing::error!(
                    key = store.keys.timer(partition),
                    "a key in Redis is of another type"
                );
                (0, Vec::new())
            }
            Err(error) => return Err(error::at("sweeping over timers")(error)),
        };
        found.extend(ids(members));
        cursor = next;
        if cursor == 0 {
            partition += 1;
        }
    }
    Ok((found, None))
}

async fn scan(
    store: &RedisStore,
    partition: u16,
    cursor: u64,
    count: usize,
) -> RedisResult<(u64, Vec<String>)> {
    let mut scan = cmd("ZSCAN");
    scan.arg(store.keys.timer(partition)).arg(cursor).arg("COUNT").arg(count);
    let answer = answer(store.connection.command(&scan).await?)?;
    let Value::Array(parts) = answer else { return Err(senseless()) };
    let Ok([cursor, members]) = <[Value; 2]>::try_from(parts) else { return Err(senseless()) };
    let members = scored(members)?.into_iter().map(|(member, _)| member).collect();
    Ok((redis::from_redis_value(cursor)?, members))
}

fn place(sweep: &Sweep) -> (u16, u64) {
    match sweep.0.split_first_chunk::<2>() {
        Some((partition, cursor)) => (
            u16::from_be_bytes(*partition),
            cursor.first_chunk().map_or(0, |cursor| u64::from_be_bytes(*cursor)),
        ),
        None => (0, 0),
    }
}

fn sweep_from(partition: u16, cursor: u64) -> Sweep {
    Sweep([&partition.to_be_bytes()[..], &cursor.to_be_bytes()[..]].concat())
}
