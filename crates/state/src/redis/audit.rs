//! Records against lists against timers.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};
use longshore_core::{names::OperationId, time::Time};
use redis::{Cmd, Pipeline, RedisResult, Value, cmd};

use super::{
    RedisStore,
    batch::scored,
    commit::verdict,
    error::{self, answer, of_record, senseless},
    keys::{META, Named, Pattern, Set},
    scan::{self, Scan},
    scripts::Known,
};
use crate::{
    audit::{Place, Sighting, Standing, Walk},
    store::{Error, Verdict, decode},
};

/// How much is asked for at a time.
const PAGE: usize = 256;

pub(super) fn walk(store: &RedisStore) -> Walk<'_> {
    let pages = stream::try_unfold(Walker::new(store), |mut walker| async move {
        Ok(walker.next().await?.map(|sightings| (sightings, walker)))
    });
    Walk::new(pages.boxed())
}

/// Where a walk is: at some sorted set, with others waiting that the scan over the keys has found.
struct Walker<'a> {
    store: &'a RedisStore,
    /// The scans over keys that are to come.
    scans: VecDeque<Scan>,
    keys: u64,
    sets: VecDeque<(u16, Set, String)>,
    members: u64,
}

impl<'a> Walker<'a> {
    fn new(store: &'a RedisStore) -> Self {
        let timers =
            (0..store.keys.partitions).map(|it| (it, Set::Timers, store.keys.timer(it))).collect();
        let scans = store.patterns(Pattern::All).into();
        Self { store, scans, keys: 0, sets: timers, members: 0 }
    }

    async fn next(&mut self) -> Result<Option<Vec<Sighting>>, Error> {
        if let Some((partition, set, key)) = self.sets.front().cloned() {
            let (next, members) = match self.members(&key).await {
                Ok(page) => page,
                Err(error) if error.code() == Some("WRONGTYPE") => {
                    self.sets.pop_front();
                    self.members = 0;
                    return Ok(Some(vec![foreign(format!("{key} is of another type"))]));
                }
                Err(error) => return Err(error::at("going over a list")(error)),
            };
            if next == 0 {
                self.sets.pop_front();
            }
            self.members = next;
            let seen =
                |(member, score): (String, i64)| self.member(partition, &set, &key, &member, score);
            return Ok(Some(members.into_iter().map(seen).collect()));
        }
        let Some(scan) = self.scans.front() else { return Ok(None) };
        let scanned = scan::keys(self.store, scan, self.keys, PAGE).await;
        let (next, keys) = scanned.map_err(error::at("going over all keys"))?;
        if next == 0 {
            self.scans.pop_front();
        }
        self.keys = next;
        Ok(Some(keys.into_iter().filter_map(|key| self.key(key)).collect()))
    }

    async fn members(&self, key: &str) -> RedisResult<(u64, Vec<(String, i64)>)> {
        let mut scan = cmd("ZSCAN");
        scan.arg(key).arg(self.members).arg("COUNT").arg(PAGE);
        let (next, members) = scan::page(self.store.connection.command(&scan).await?)?;
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
        if key == META {
            return None;
        }
        match self.store.keys.named(&key) {
            Some((_, Named::Record(id))) => Some(Sighting::Record(id)),
            Some((partition, Named::Set(set @ Set::List(_)) | Named::Pack(set))) => {
                self.sets.push_back((partition, set, key));
                None
            }
            // Looked at before all others.
            Some((_, Named::Set(Set::Timers) | Named::OfPacks)) => None,
            None => Some(foreign(format!("the key {key}"))),
        }
    }
}

fn foreign(what: String) -> Sighting {
    Sighting::Foreign(what)
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
        let mut is_known = false;
        for (id, places) in &asked {
            pipeline.add_command(revision(store, id));
            for place in places {
                // The first brings the script along for those behind it.
                let known = if is_known { Known::Yes } else { Known::No };
                is_known = true;
                pipeline.add_command(stands(store, known, id, place));
            }
            pipeline.add_command(revision(store, id));
        }
        match store.connection.pipeline(&pipeline).await {
            Ok(values) => {
                let mut values = values.into_iter();
                let own = |(id, places): &(OperationId, Vec<Place>)| {
                    let values = values.by_ref().take(places.len() + 2).map(answer);
                    let values: RedisResult<Vec<Value>> = values.collect();
                    let standing = values.and_then(standing_of);
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

fn stands(store: &RedisStore, known: Known, id: &OperationId, place: &Place) -> Cmd {
    let (set, score) = set_of(store, id, place);
    let mut call = store.scripts.stands.call(known);
    call.arg(1).arg(set).arg(id.as_str()).arg(score);
    call
}

/// The key of the sorted set that a place is in, and the score there.
fn set_of(store: &RedisStore, id: &OperationId, place: &Place) -> (String, i64) {
    let partition = store.keys.partition(id);
    match place {
        Place::Timer(time) => (store.keys.timer(partition), time.as_micros()),
        Place::List { index, create_time } => {
            (store.keys.list(partition, index), create_time.as_micros())
        }
    }
}

fn standing_of(mut values: Vec<Value>) -> RedisResult<Standing> {
    let after: Vec<u8> = redis::from_redis_value(values.pop().ok_or_else(senseless)?)?;
    let mut values = values.into_iter();
    let before: Vec<u8> = redis::from_redis_value(values.next().ok_or_else(senseless)?)?;
    if before != after {
        return Ok(Standing::Changing);
    }
    let stands = values.map(|value| Ok(redis::from_redis_value::<i64>(value)? == 1));
    let revision = before.first_chunk().copied().map(u64::from_be_bytes);
    Ok(Standing::At { revision, stands: stands.collect::<RedisResult<_>>()? })
}

/// Writes the places of the very record that is there.
pub(super) async fn mend(
    store: &RedisStore,
    id: &OperationId,
    revision: Option<u64>,
    strays: &[Place],
) -> Result<Verdict, Error> {
    const DOING: &str = "mending an operation's places";
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
    let expected = match found {
        Some((revision, bytes)) => Place::all_of(&decode(id, revision, bytes)?.record),
        None => HashSet::new(),
    };
    let places = strays.iter().chain(&expected).map(|place| set_of(store, id, place));
    let (sets, scores): (Vec<String>, Vec<i64>) = places.unzip();
    let mut call = store.scripts.mend.call(Known::No);
    call.arg(2 + sets.len()).arg(store.keys.record(id));
    call.arg(store.keys.timer(store.keys.partition(id))).arg(sets);
    match revision {
        Some(revision) => call.arg(&revision.to_be_bytes()),
        None => call.arg(""),
    };
    call.arg(id.as_str()).arg(strays.len()).arg(scores);
    let answers = store.durable.write(&store.gatherer, vec![call]).await;
    let answered = answers.and_then(|answers| answers.into_iter().next().ok_or_else(senseless));
    answered
        .and_then(answer)
        .and_then(|value| verdict(&value))
        .map_err(|error| of_record(id, DOING, error))
}
