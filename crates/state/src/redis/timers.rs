//! Which operations' time has come.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use longshore_core::{names::OperationId, time::Time};
use redis::{Cmd, RedisResult, cmd, from_redis_value};

use super::{
    RedisStore,
    batch::{Answers, scored},
    error::{self, senseless},
    keys::Pattern,
    scan,
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
        store.ask(lane, |partition| {
            let timers = store.keys.timer(partition);
            let packed = store.keys.packed(&timers);
            vec![cmd("ZCARD").arg(timers).take(), cmd("GET").arg(packed).take()]
        })
    }));
    let counted = |lanes: Vec<Vec<Answers>>| -> RedisResult<u64> {
        let mut records = 0;
        for answers in lanes.into_iter().flatten() {
            let Ok([set, packed]) = <[_; 2]>::try_from(answers.values?) else {
                return Err(senseless());
            };
            records += from_redis_value::<u64>(set)?;
            records += from_redis_value::<Option<u64>>(packed)?.unwrap_or(0);
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
        store.run(lane, &store.scripts.due, |partition, call| {
            call.arg(1).arg(store.keys.timer(partition)).arg("+inf").arg(1);
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
    let (partition, now) = (answers.partition, answers.now);
    let first = scored(answers.only()?)?.into_iter().map(|(_, score)| score).min();
    Ok(first.map(|first| Head { partition, now, first: Time::from_micros(first) }))
}

async fn found(
    store: &RedisStore,
    late: &[&Head],
    limit: usize,
) -> RedisResult<Vec<VecDeque<OperationId>>> {
    let lanes = store.lanes(late.iter().map(|head| head.partition));
    let answers = join_all(lanes.iter().map(|lane| {
        store.run(lane, &store.scripts.due, |partition, call: &mut Cmd| {
            let now = late
                .iter()
                .find(|head| head.partition == partition)
                .map_or(0, |head| head.now.as_micros());
            call.arg(1).arg(store.keys.timer(partition)).arg(now).arg(limit);
        })
    }));
    let mut found = Vec::new();
    for answers in answers.await {
        for answers in answers? {
            found.push(earliest(scored(answers.only()?)?));
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

/// The operations by their timers, each once.
fn earliest(mut timers: Vec<(String, i64)>) -> VecDeque<OperationId> {
    timers.sort_unstable_by_key(|(_, time)| *time);
    let mut seen = HashSet::new();
    // What is no id was not put there by us.
    let ids = timers.iter().filter_map(|(member, _)| OperationId::parse(member).ok());
    ids.filter(|id| seen.insert(id.clone())).collect()
}

/// Scans the keys of records: each has a timer, and stays at its place when the timer moves.
pub(super) async fn sweep(
    store: &RedisStore,
    from: &Sweep,
    limit: usize,
) -> Result<(Vec<OperationId>, Option<Sweep>), Error> {
    let patterns = store.patterns(Pattern::Records);
    let (mut nth, mut cursor) = place(from);
    let mut found = Vec::new();
    while let Some(pattern) = patterns.get(usize::from(nth)) {
        if found.len() >= limit {
            return Ok((found, Some(sweep_from(nth, cursor))));
        }
        let scanned = scan::keys(store, pattern, cursor, limit - found.len()).await;
        let (next, keys) = scanned.map_err(error::at("sweeping over records"))?;
        found.extend(keys.iter().filter_map(|key| store.keys.id_of(key)));
        cursor = next;
        if cursor == 0 {
            nth += 1;
        }
    }
    Ok((found, None))
}

fn place(sweep: &Sweep) -> (u16, u64) {
    match sweep.0.split_first_chunk::<2>() {
        Some((nth, cursor)) => (
            u16::from_be_bytes(*nth),
            cursor.first_chunk().map_or(0, |cursor| u64::from_be_bytes(*cursor)),
        ),
        None => (0, 0),
    }
}

fn sweep_from(nth: u16, cursor: u64) -> Sweep {
    Sweep([&nth.to_be_bytes()[..], &cursor.to_be_bytes()[..]].concat())
}
