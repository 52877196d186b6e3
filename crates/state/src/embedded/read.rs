//! Reading: each from one snapshot.

use std::{collections::BTreeSet, ops::Bound};

use bytes::Bytes;
use longshore_core::{
    index::Index,
    names::{JobType, OperationId},
    time::Time,
};
use redb::{ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::tables::{
    LISTS, META, PAUSED, RECORDS, Row, TIMERS, id_in_list, list_end, list_key, list_prefix,
    timer_of,
};
use crate::store::{Due, Error, Position, Stored, Sweep, decode};

type Found<T> = Result<T, redb::Error>;
/// An entry of the lists' table.
type Entry = (redb::AccessGuard<'static, &'static [u8]>, redb::AccessGuard<'static, ()>);

pub(super) fn records(
    database: &redb::Database,
    ids: &[OperationId],
) -> Found<Vec<Option<Result<Stored, Error>>>> {
    let records = database.begin_read()?.open_table(RECORDS)?;
    ids.iter().map(|id| record(&records, id)).collect()
}

fn record(
    records: &ReadOnlyTable<&'static str, &'static [u8]>,
    id: &OperationId,
) -> Found<Option<Result<Stored, Error>>> {
    let Some(value) = records.get(id.as_str())? else { return Ok(None) };
    Ok(Some(match Row::take(value.value()) {
        Some(row) => decode(id, row.revision, Bytes::copy_from_slice(row.record)),
        None => Err(Error::Damaged { id: id.clone(), source: "it is too short".into() }),
    }))
}

pub(super) fn list(
    database: &redb::Database,
    index: &Index,
    after: Option<&Position>,
    limit: usize,
) -> Found<Vec<Result<Stored, Error>>> {
    let snapshot = database.begin_read()?;
    let (lists, records) = (snapshot.open_table(LISTS)?, snapshot.open_table(RECORDS)?);
    let mut parts = Vec::new();
    for part in index.parts() {
        let begin = list_prefix(&part);
        let end = after.map_or_else(|| list_end(&part), |after| list_key(&part, after));
        let mut places = lists.range(begin.as_slice()..end.as_slice())?.rev();
        parts.push((next_place(&mut places, &begin)?, places, begin));
    }
    let mut found = Vec::new();
    while found.len() < limit {
        let latest = parts.iter_mut().max_by(|one, other| one.0.cmp(&other.0));
        let Some((next, places, begin)) = latest else { break };
        let Some(place) = next.take() else { break };
        *next = next_place(places, begin)?;
        if let Some(id) = id_in_list(&place) {
            found.extend(record(&records, &id)?);
        }
    }
    Ok(found)
}

/// The next place of a list: create time and id as they are in its keys, in whose order they are.
fn next_place(
    places: &mut impl Iterator<Item = Result<Entry, redb::StorageError>>,
    prefix: &[u8],
) -> Found<Option<Vec<u8>>> {
    let Some(entry) = places.next() else { return Ok(None) };
    let (key, _) = entry?;
    Ok(key.value().get(prefix.len()..).map(<[u8]>::to_vec))
}

pub(super) fn due(database: &redb::Database, now: Time, limit: usize) -> Found<Due> {
    let timers = database.begin_read()?.open_table(TIMERS)?;
    let mut ids = Vec::new();
    for entry in timers.iter()? {
        let (key, _) = entry?;
        let Some((time, id)) = timer_of(key.value()) else { continue };
        if time > now {
            let next = ids.is_empty().then(|| time.since(now));
            return Ok(Due { ids, next });
        }
        if ids.len() == limit {
            break;
        }
        ids.push(id);
    }
    Ok(Due { ids, next: None })
}

/// Over the records: each has a timer, and stays at its place when the timer moves.
pub(super) fn sweep(
    database: &redb::Database,
    from: &Sweep,
    limit: usize,
) -> Found<(Vec<OperationId>, Option<Sweep>)> {
    let records = database.begin_read()?.open_table(RECORDS)?;
    let after = String::from_utf8_lossy(&from.0);
    let mut ids = Vec::new();
    for entry in records.range::<&str>((Bound::Excluded(&*after), Bound::Unbounded))? {
        let (key, _) = entry?;
        if ids.len() == limit {
            let next = ids.last().map(|id: &OperationId| Sweep(id.as_str().as_bytes().to_vec()));
            return Ok((ids, next));
        }
        ids.extend(OperationId::parse(key.value()));
    }
    Ok((ids, None))
}

pub(super) fn size(database: &redb::Database) -> Found<u64> {
    Ok(database.begin_read()?.open_table(RECORDS)?.len()?)
}

pub(super) fn note(database: &redb::Database, key: &str) -> Found<Option<String>> {
    let meta = database.begin_read()?.open_table(META)?;
    Ok(meta.get(format!("note:{key}").as_str())?.map(|value| value.value().to_owned()))
}

pub(super) fn paused(database: &redb::Database) -> Found<BTreeSet<JobType>> {
    let meta = database.begin_read()?.open_table(META)?;
    let mut job_types = BTreeSet::new();
    for entry in meta.range::<&str>(PAUSED..)? {
        let (key, _) = entry?;
        let Some(name) = key.value().strip_prefix(PAUSED) else { break };
        job_types.extend(JobType::parse(name));
    }
    Ok(job_types)
}
