//! Records against lists against timers.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};
use longshore_core::{
    index::{Changes, Index},
    names::{OperationId, Parent},
    time::Time,
};
use redis::{Cmd, Pipeline, RedisResult, Value, cmd};

use super::{
    RedisStore,
    batch::scored,
    commit,
    error::{self, answer, of_record, senseless},
    keys::META,
};
use crate::{
    audit::{Place, Sighting, Standing, Walk},
    store::{After, Change, Error, Verdict, decode},
};

/// How much is asked for at a time.
const PAGE: usize = 256;

pub(super) fn walk(store: &RedisStore) -> Walk<'_> {
    let pages = stream::try_unfold(Scan::new(store), |mut scan| async move {
        Ok(scan.next().await?.map(|sightings| (sightings, scan)))
    });
    Walk::new(pages.boxed())
}

/// Where a walk is: at some sorted set, with others waiting that the scan over the keys has found.
struct Scan<'a> {
    store: &'a RedisStore,
    /// The scans over keys that are to come: where, and what the keys look like.
    nodes: VecDeque<(u16, String)>,
    keys: Option<u64>,
    sets: VecDeque<(u16, Set, String)>,
    members: Option<u64>,
}

/// What a sorted set is.
#[derive(Clone)]
enum Set {
    List(Index),
    Timers,
}

impl<'a> Scan<'a> {
    fn new(store: &'a RedisStore) -> Self {
        let partitions = 0..store.keys.partitions;
        // In a cluster each partition is looked for where it lies.
        let nodes = if store.connection.is_cluster() {
            partitions
                .clone()
                .map(|partition| (partition, format!("ls:{{{partition}}}:*")))
                .collect()
        } else {
            [(0, "ls:*".to_owned())].into()
        };
        let timers = partitions.map(|it| (it, Set::Timers, store.keys.timer(it))).collect();
        Self { store, nodes, keys: None, sets: timers, members: None }
    }

    async fn next(&mut self) -> Result<Option<Vec<Sighting>>, Error> {
        if let Some((partition, set, key)) = self.sets.front().cloned() {
            let (next, members) = match self.members(&key).await {
                Ok(page) => page,
                Err(error) if error.code() == Some("WRONGTYPE") => {
                    self.sets.pop_front();
                    self.members = None;
                    return Ok(Some(vec![foreign(format!("{key} is of another type"))]));
                }
                Err(error) => return Err(error::at("going over a list")(error)),
            };
            if next == 0 {
                self.sets.pop_front();
            }
            self.members = (next != 0).then_some(next);
            let seen =
                |(member, score): (String, i64)| self.member(partition, &set, &key, &member, score);
            return Ok(Some(members.into_iter().map(seen).collect()));
        }
        let Some((partition, pattern)) = self.nodes.front() else { return Ok(None) };
        let mut scan = cmd("SCAN");
        scan.arg(self.keys.unwrap_or(0)).arg("MATCH").arg(pattern).arg("COUNT").arg(PAGE);
        let beside = self.store.keys.timer(*partition);
        let answer = self.store.connection.command_beside(&beside, &scan).await;
        let (next, keys) = answer
            .and_then(page)
            .and_then(|(next, keys)| Ok((next, redis::from_redis_value::<Vec<String>>(keys)?)))
            .map_err(error::at("going over all keys"))?;
        if next == 0 {
            self.nodes.pop_front();
        }
        self.keys = (next != 0).then_some(next);
        Ok(Some(keys.into_iter().filter_map(|key| self.key(key)).collect()))
    }

    async fn members(&self, key: &str) -> RedisResult<(u64, Vec<(String, i64)>)> {
        let mut scan = cmd("ZSCAN");
        scan.arg(key).arg(self.members.unwrap_or(0)).arg("COUNT").arg(PAGE);
        let (next, members) = page(answer(self.store.connection.command(&scan).await?)?)?;
        Ok((next, scored(members)?))
    }

    fn member(&self, at: u16, set: &Set, key: &str, member: &str, score: i64) -> Sighting {
        let time = Time::from_micros(score);
        match OperationId::parse(member) {
            Ok(id) if self.store.keys.partition(&id) == at => Sighting::Place(
                id,
                match set {
                    Set::Timers => Place::Timer(time),
                    Set::List(index) => Place::List { index: index.clone(), create_time: time },
                },
            ),
            Ok(_) => foreign(format!("{member} in {key}: it belongs to another partition")),
            Err(_) => foreign(format!("{member:?} in {key}: it is no operation's id")),
        }
    }

    /// A record, if the key is one's; sets are looked at later.
    fn key(&mut self, key: String) -> Option<Sighting> {
        let keys = self.store.keys;
        if key == META || key.starts_with("ls:timer:{") && self.is_timers(&key) {
            return None;
        }
        let found = split(&key).filter(|(partition, _)| *partition < keys.partitions);
        let Some((partition, rest)) = found else {
            return Some(foreign(format!("the key {key}")));
        };
        if let Some(index) = index(rest) {
            self.sets.push_back((partition, Set::List(index), key));
            return None;
        }
        match OperationId::parse(rest) {
            Ok(id) if keys.partition(&id) == partition => Some(Sighting::Record(id)),
            Ok(_) | Err(_) => Some(foreign(format!("the key {key}"))),
        }
    }

    fn is_timers(&self, key: &str) -> bool {
        (0..self.store.keys.partitions).any(|partition| self.store.keys.timer(partition) == key)
    }
}

fn foreign(what: String) -> Sighting {
    Sighting::Foreign(what)
}

/// `ls:{p}:REST`.
fn split(key: &str) -> Option<(u16, &str)> {
    let (partition, rest) = key.strip_prefix("ls:{")?.split_once("}:")?;
    Some((partition.parse().ok()?, rest))
}

fn index(rest: &str) -> Option<Index> {
    let (kind, name) = rest.split_once(':')?;
    match (kind, name) {
        ("in", parent) => Parent::parse(parent).ok().map(Index::In),
        ("active", parent) => Parent::parse(parent).ok().map(Index::Active),
        ("on", resource) => Some(Index::On(resource.into())),
        ("all", "") => Some(Index::All),
        ("all", "active") => Some(Index::AllActive),
        _ => None,
    }
}

/// What a scan answers: where to go on, and what it has found.
fn page(answer: Value) -> RedisResult<(u64, Value)> {
    let Value::Array(parts) = answer else { return Err(senseless()) };
    let Ok([next, found]) = <[Value; 2]>::try_from(parts) else { return Err(senseless()) };
    Ok((redis::from_redis_value(next)?, found))
}

/// The record's revision before and after its places: if they are the same, all is of one moment.
pub(super) async fn standing(
    store: &RedisStore,
    asked: &[(OperationId, Vec<Place>)],
) -> Vec<Result<Standing, Error>> {
    const DOING: &str = "looking where operations stand";
    let batches = store.batches(asked.iter().map(|(id, _)| id));
    let answers = join_all(batches.iter().map(async |places| {
        let asked: Vec<_> = places.iter().map(|place| &asked[*place]).collect();
        let mut pipeline = Pipeline::new();
        for (id, places) in &asked {
            pipeline.add_command(revision(store, id));
            for place in places {
                pipeline.add_command(score(store, id, place));
            }
            pipeline.add_command(revision(store, id));
        }
        match store.connection.pipeline(&pipeline).await {
            Ok(values) => {
                let mut values = values.into_iter();
                let own = |(id, places): &(OperationId, Vec<Place>)| {
                    let values = values.by_ref().take(places.len() + 2).map(answer);
                    let values: RedisResult<Vec<Value>> = values.collect();
                    let standing = values.and_then(|values| stands(places, values));
                    standing.map_err(|error| of_record(id, DOING, error))
                };
                asked.into_iter().map(own).collect()
            }
            Err(error) => {
                asked.iter().map(|(id, _)| Err(of_record(id, DOING, error.clone()))).collect()
            }
        }
    }));
    batches.in_order(answers.await)
}

fn revision(store: &RedisStore, id: &OperationId) -> Cmd {
    let mut range = cmd("GETRANGE");
    range.arg(store.keys.record(id)).arg(0).arg(7);
    range
}

fn score(store: &RedisStore, id: &OperationId, place: &Place) -> Cmd {
    let partition = store.keys.partition(id);
    let key = match place {
        Place::Timer(_) => store.keys.timer(partition),
        Place::List { index, .. } => store.keys.list(partition, index),
    };
    let mut score = cmd("ZSCORE");
    score.arg(key).arg(id.as_str());
    score
}

fn stands(places: &[Place], mut values: Vec<Value>) -> RedisResult<Standing> {
    let after: Vec<u8> = redis::from_redis_value(values.pop().ok_or_else(senseless)?)?;
    let mut values = values.into_iter();
    let before: Vec<u8> = redis::from_redis_value(values.next().ok_or_else(senseless)?)?;
    if before != after {
        return Ok(Standing::Changing);
    }
    let stands = places.iter().zip(values).map(|(place, value)| {
        let time = match place {
            Place::Timer(time) | Place::List { create_time: time, .. } => time.as_micros(),
        };
        let score: Option<f64> = redis::from_redis_value(value)?;
        // Whole numbers far below the largest.
        Ok(score.is_some_and(|score| score as i64 == time))
    });
    let revision = before.first_chunk().copied().map(u64::from_be_bytes);
    Ok(Standing::At { revision, stands: stands.collect::<RedisResult<_>>()? })
}

/// A commit of the very record that is there: it writes all its places anew.
pub(super) async fn mend(
    store: &RedisStore,
    id: &OperationId,
    revision: Option<u64>,
    strays: &[Place],
) -> Result<Verdict, Error> {
    let mut get = cmd("GET");
    get.arg(store.keys.record(id));
    let found = store.connection.command(&get).await;
    let found = found.map_err(|error| of_record(id, "loading a record", error))?;
    let found: Option<Vec<u8>> = redis::from_redis_value(found)
        .map_err(|error| of_record(id, "loading a record", error.into()))?;
    let found = found.and_then(|found| {
        let revision = u64::from_be_bytes(*found.first_chunk()?);
        Some((revision, Bytes::from(found).slice(8..)))
    });
    if found.as_ref().map(|(revision, _)| *revision) != revision {
        return Ok(Verdict::Conflict);
    }
    let mut lists = Changes::default();
    let (mut after, mut create_time) = (After::Nothing, Time::from_micros(0));
    if let Some((revision, bytes)) = found {
        let record = decode(id, revision, bytes.clone())?.record;
        lists.add = lists_of(Place::all_of(&record));
        create_time = record.create_time;
        after = After::Record { revision, bytes, next_wake: record.next_wake() };
    }
    // One member has one score: where it has to stand it does not stand elsewhere.
    lists.remove = lists_of(strays.iter().cloned());
    lists.remove.retain(|index| !lists.add.contains(index));
    let change = Change { id: id.clone(), expected: revision, after, create_time, lists };
    commit::commit(store, &[change]).await.pop().unwrap_or(Ok(Verdict::Conflict))
}

fn lists_of(places: impl IntoIterator<Item = Place>) -> Vec<Index> {
    let list = |place| match place {
        Place::List { index, .. } => Some(index),
        Place::Timer(_) => None,
    };
    places.into_iter().filter_map(list).collect()
}
