//! Records against lists against timers.

use std::ops::Bound;

use futures::{StreamExt, stream};
use longshore_core::names::OperationId;
use redb::ReadableDatabase;

use super::{
    EmbeddedStore,
    tables::{LISTS, RECORDS, Row, TIMERS, list_key, place_of, timer_key, timer_of},
};
use crate::{
    audit::{Place, Sighting, Standing, Walk},
    store::Position,
};

/// How much is read at a time.
const PAGE: usize = 256;

/// Where a walk is: the table, and the key behind which it goes on.
#[derive(Clone)]
enum From {
    Records(Vec<u8>),
    Lists(Vec<u8>),
    Timers(Vec<u8>),
}

pub(super) fn walk(store: &EmbeddedStore) -> Walk<'_> {
    let start = Some(From::Records(Vec::new()));
    let pages = stream::try_unfold(start, move |from| async move {
        let Some(from) = from else { return Ok(None) };
        let read = move |database: &redb::Database| page(database, from);
        store.read("going over all that is kept", read).await.map(Some)
    });
    Walk::new(pages.boxed())
}

type Page = (Vec<Sighting>, Option<From>);

fn page(database: &redb::Database, from: From) -> Result<Page, redb::Error> {
    let snapshot = database.begin_read()?;
    let mut last = None;
    let mut seen = Vec::new();
    let next = match from {
        From::Records(after) => {
            let after = String::from_utf8_lossy(&after);
            let records = snapshot.open_table(RECORDS)?;
            let rest = (Bound::Excluded(&*after), Bound::Unbounded);
            for entry in records.range::<&str>(rest)?.take(PAGE) {
                let (key, _) = entry?;
                seen.push(match OperationId::parse(key.value()) {
                    Ok(id) => Sighting::Record(id),
                    Err(_) => Sighting::Foreign(format!("{:?} among the records", key.value())),
                });
                last = Some(key.value().as_bytes().to_vec());
            }
            last.map_or(From::Lists(Vec::new()), From::Records)
        }
        From::Lists(after) => {
            let lists = snapshot.open_table(LISTS)?;
            let rest = (Bound::Excluded(&*after), Bound::Unbounded);
            for entry in lists.range::<&[u8]>(rest)?.take(PAGE) {
                let (key, _) = entry?;
                let key = key.value();
                seen.push(match place_of(key) {
                    Some((index, Position { create_time, id })) => {
                        Sighting::Place(id, Place::List { index, create_time })
                    }
                    None => Sighting::Foreign(format!("{key:?} among the lists")),
                });
                last = Some(key.to_vec());
            }
            last.map_or(From::Timers(Vec::new()), From::Lists)
        }
        From::Timers(after) => {
            let timers = snapshot.open_table(TIMERS)?;
            let rest = (Bound::Excluded(&*after), Bound::Unbounded);
            for entry in timers.range::<&[u8]>(rest)?.take(PAGE) {
                let (key, _) = entry?;
                let key = key.value();
                seen.push(match timer_of(key) {
                    Some((time, id)) => Sighting::Place(id, Place::Timer(time)),
                    None => Sighting::Foreign(format!("{key:?} among the timers")),
                });
                last = Some(key.to_vec());
            }
            let Some(last) = last else { return Ok((seen, None)) };
            From::Timers(last)
        }
    };
    Ok((seen, Some(next)))
}

/// All from one snapshot.
pub(super) fn standing(
    database: &redb::Database,
    asked: &[(OperationId, Vec<Place>)],
) -> Result<Vec<Standing>, redb::Error> {
    let snapshot = database.begin_read()?;
    let records = snapshot.open_table(RECORDS)?;
    let (lists, timers) = (snapshot.open_table(LISTS)?, snapshot.open_table(TIMERS)?);
    let mut answers = Vec::with_capacity(asked.len());
    for (id, places) in asked {
        let value = records.get(id.as_str())?;
        let row = value.as_ref().and_then(|value| Row::take(value.value()));
        let mut stands = Vec::with_capacity(places.len());
        for place in places {
            stands.push(match place {
                Place::List { index, create_time } => {
                    let place = Position { create_time: *create_time, id: id.clone() };
                    lists.get(list_key(index, &place).as_slice())?.is_some()
                }
                Place::Timer(time) => timers.get(timer_key(*time, id).as_slice())?.is_some(),
            });
        }
        let revision = row.map(|row| row.revision);
        answers.push(Standing::At { revision, stands });
    }
    Ok(answers)
}
