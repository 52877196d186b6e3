//! Lists: a merge of each partition's sorted sets.

use std::{collections::BTreeSet, time::Duration};

use futures::future::{join_all, try_join_all};
use longshore_core::{index::Index, names::OperationId, record::Record, time::Time};
use redis::{Cmd, RedisResult, Value};
use tokio::time::timeout;

use super::{
    RedisStore,
    batch::{Answers, scored},
    error::{self, senseless},
    load,
};
use crate::store::{Error, Position, Stored};

const DOING: &str = "listing";

/// How long partitions may take to answer that a list can do without.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn list(
    store: &RedisStore,
    index: &Index,
    after: Option<&Position>,
    limit: usize,
) -> Result<Vec<Result<Stored, Error>>, Error> {
    Walk { store, index, lost: None }.walk(after, limit).await
}

/// As [`list`], but without what can't be reached.
pub(super) async fn list_reachable(
    store: &RedisStore,
    index: &Index,
    after: Option<&Position>,
    limit: usize,
    lost: &mut BTreeSet<u16>,
) -> Result<Vec<Result<Stored, Error>>, Error> {
    Walk { store, index, lost: Some(lost) }.walk(after, limit).await
}

/// A way through a list.
struct Walk<'a> {
    store: &'a RedisStore,
    index: &'a Index,
    /// The partitions to do without; if there is no such set, one that fails ends the walk.
    lost: Option<&'a mut BTreeSet<u16>>,
}

impl Walk<'_> {
    async fn walk(
        mut self,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        let mut found = Vec::new();
        let mut after = after.cloned();
        while found.len() < limit {
            let page = self.page(after.as_ref(), limit - found.len()).await?;
            let ids: Vec<OperationId> = page.places.iter().map(|place| place.id.clone()).collect();
            for (id, loaded) in ids.iter().zip(load::load(self.store, &ids).await) {
                match loaded.map(|loaded| loaded.stored) {
                    // Between the look at the list and the look at the record it may have left.
                    Ok(stored) => {
                        let there = |stored: &Stored| stands_in(self.index, &stored.record);
                        found.extend(stored.filter(there).map(Ok));
                    }
                    Err(error @ Error::Damaged { .. }) => found.push(Err(error)),
                    Err(error) => self.lose(&[self.store.keys.partition(id)], error)?,
                }
            }
            if page.is_last {
                break;
            }
            after = page.places.into_iter().next_back().or(after);
        }
        Ok(found)
    }

    /// Does without some partitions, if that is allowed and others are left.
    fn lose(&mut self, partitions: &[u16], error: Error) -> Result<(), Error> {
        match (&mut self.lost, error) {
            (Some(lost), error @ (Error::Unavailable { .. } | Error::Misconfigured(_))) => {
                lost.extend(partitions);
                if lost.len() < usize::from(self.store.keys.partitions) {
                    return Ok(());
                }
                Err(error)
            }
            (_, error) => Err(error),
        }
    }

    /// What the script says of each partition; those that fail are lost.
    async fn ask(
        &mut self,
        arguments: impl Fn(u16, &mut Cmd) + Sync,
    ) -> Result<Vec<Answers>, Error> {
        let (store, script) = (self.store, &self.store.scripts.list);
        let wanted = (0..self.store.keys.partitions)
            .filter(|partition| self.lost.as_ref().is_none_or(|lost| !lost.contains(partition)));
        let lanes = self.store.lanes(wanted);
        if self.lost.is_none() {
            let answers = lanes.iter().map(|lane| store.run(lane, script, &arguments));
            let answers = try_join_all(answers).await.map_err(error::at(DOING))?;
            return Ok(answers.into_iter().flatten().collect());
        }
        let answers =
            lanes.iter().map(|lane| timeout(PATIENCE, store.run(lane, script, &arguments)));
        let mut found = Vec::new();
        for (lane, answer) in lanes.iter().zip(join_all(answers).await) {
            match answer {
                Ok(Ok(answers)) => {
                    for answers in answers {
                        match answers.values {
                            Ok(_) => found.push(answers),
                            Err(error) => {
                                self.lose(&[answers.partition], error::at(DOING)(error))?;
                            }
                        }
                    }
                }
                Ok(Err(error)) => self.lose(lane, error::at(DOING)(error))?,
                Err(late) => {
                    self.lose(lane, Error::Unavailable { doing: DOING, source: late.into() })?;
                }
            }
        }
        Ok(found)
    }
}

fn stands_in(index: &Index, record: &Record) -> bool {
    let there = match index {
        Index::In(parent) => record.parent == *parent,
        Index::Active(parent) => record.parent == *parent && !record.is_done(),
        Index::Ended(parent) => record.parent == *parent && record.is_done(),
        Index::On(resource) => record.job.works_on.iter().any(|name| name.as_str() == &**resource),
        Index::All => true,
        Index::AllActive => !record.is_done(),
        Index::AllEnded => record.is_done(),
    };
    there && !record.deleted
}

/// Some of a list, in its order, without a gap.
struct Page {
    places: Vec<Position>,
    is_last: bool,
}

impl Walk<'_> {
    /// At most `limit` places behind `after`, and at least one unless the list has ended.
    async fn page(&mut self, after: Option<&Position>, limit: usize) -> Result<Page, Error> {
        // Ids spread evenly, so that a partition rarely holds more of a page than twice its share.
        let partitions = usize::from(self.store.keys.partitions);
        let share = limit.min(2 * limit.div_ceil(partitions) + 4);
        let (keys, parts) = (self.store.keys, self.index.parts());
        let arguments = |partition, call: &mut Cmd| {
            call.arg(parts.len());
            for part in &parts {
                call.arg(keys.list(partition, part));
            }
            // All of the same microsecond are read, whichever are behind the place: they are no more
            // than were accepted in one batch, and the place is exact whatever comes and goes.
            match after {
                Some(after) => call.arg(after.create_time.as_micros()),
                None => call.arg(""),
            };
            call.arg(share);
        };
        let answers = self.ask(arguments).await?;
        merge(answers, after, limit).map_err(error::at(DOING))
    }
}

/// One page out of what the partitions answered.
fn merge(answers: Vec<Answers>, after: Option<&Position>, limit: usize) -> RedisResult<Page> {
    let mut places = Vec::new();
    // Where runs were cut: their lists may hold more behind it.
    let mut cuts = Vec::new();
    for answers in answers {
        let Value::Array(runs) = answers.only()? else { return Err(senseless()) };
        let mut runs = runs.into_iter();
        let most: usize = redis::from_redis_value(runs.next().ok_or_else(senseless)?)?;
        for (nth, run) in runs.enumerate() {
            let members = scored(run)?;
            let is_cut = nth % 2 == 1 && members.len() == most;
            let known = places.len();
            places.extend(members.into_iter().filter_map(|(member, score)| place(&member, score)));
            if is_cut {
                cuts.extend(places[known..].last().cloned());
            }
        }
    }
    places.sort_unstable_by(order);
    places.dedup();
    // All known up to the first cut, and nothing before the place.
    let first_cut = cuts.into_iter().min_by(order);
    places.retain(|place| {
        after.is_none_or(|after| order(after, place).is_lt())
            && first_cut.as_ref().is_none_or(|cut| order(place, cut).is_le())
    });
    let is_last = first_cut.is_none() && places.len() <= limit;
    places.truncate(limit);
    Ok(Page { places, is_last })
}

/// The order of lists: create time and then id, both descending, as Redis has it with `REV`.
fn order(one: &Position, other: &Position) -> std::cmp::Ordering {
    (other.create_time, &other.id).cmp(&(one.create_time, &one.id))
}

fn place(member: &str, score: i64) -> Option<Position> {
    let id = OperationId::parse(member).ok()?;
    Some(Position { create_time: Time::from_micros(score), id })
}
