//! What is in Redis: read by its own commands, and judged by its documented layout.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use longshore_proto::internal::{Record, record::State};
use prost::Message;
use redis::aio::MultiplexedConnection;

use super::Servers;
use crate::site::Site;

/// All that is in the store.
#[derive(Default)]
struct Content {
    /// Records with the tag of their partition, by id.
    records: BTreeMap<String, (String, Record)>,
    /// The members of sorted sets with their scores, by key.
    sets: BTreeMap<String, BTreeMap<String, i64>>,
}

/// Every record stands exactly where it has to, nothing else stands anywhere, and there is a record
/// for each operation that was acknowledged and not deleted.
pub(super) async fn check(site: &Site, servers: &Servers) -> Result<()> {
    let mut content = Content::default();
    for port in &servers.redis {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        read(&mut connection, &mut content).await.with_context(|| format!("redis at {port}"))?;
    }
    let expected = expected(&content.records)?;
    for (key, members) in &expected {
        let found = content.sets.remove(key).unwrap_or_default();
        ensure!(found == *members, "{key} holds {found:?}, but should hold {members:?}");
    }
    ensure!(content.sets.is_empty(), "nothing should stand in {:?}", content.sets);
    for (name, known) in site.history().accepted() {
        let id = name.rsplit('/').next().unwrap_or_default();
        let is_there = content.records.contains_key(id);
        ensure!(
            is_there != known.deleted,
            "{name}: deleted is {}, record {is_there}",
            known.deleted
        );
    }
    Ok(())
}

async fn read(connection: &mut MultiplexedConnection, content: &mut Content) -> Result<()> {
    let mut cursor = 0_u64;
    let mut keys = BTreeSet::new();
    loop {
        let page: (u64, Vec<String>) =
            redis::cmd("SCAN").arg(cursor).arg("MATCH").arg("ls:*").query_async(connection).await?;
        keys.extend(page.1);
        cursor = page.0;
        if cursor == 0 {
            break;
        }
    }
    keys.remove("ls:meta");
    // What belongs to packs, but holds no members.
    keys.retain(|key| !key.starts_with("ls:packs:") && !key.starts_with("ls:packed:"));
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(connection).await?;
        match &*kind {
            "string" => {
                let value: Vec<u8> = redis::cmd("GET").arg(&key).query_async(connection).await?;
                let (tag, id) = split(&key).with_context(|| format!("what is {key}?"))?;
                let record = value.get(8..).context("a record is shorter than its revision")?;
                let record = Record::decode(record).with_context(|| key.clone())?;
                content.records.insert(id.to_owned(), (tag.to_owned(), record));
            }
            "zset" => {
                let mut range = redis::cmd("ZRANGE");
                range.arg(&key).arg(0).arg(-1).arg("WITHSCORES");
                let members: Vec<(String, f64)> = range.query_async(connection).await?;
                #[expect(clippy::cast_possible_truncation, reason = "microseconds, exact")]
                let members = members.into_iter().map(|(id, score)| (id, score as i64)).collect();
                // What is packed away stands in the set all the same.
                let set = key.strip_prefix("ls:pack:").and_then(|pack| pack.split_once(':'));
                let set = set.map_or(&*key, |(_, set)| set).to_owned();
                let members: BTreeMap<String, i64> = members;
                for (id, score) in members {
                    let twice = content.sets.entry(set.clone()).or_default().insert(id, score);
                    ensure!(twice.is_none(), "something stands twice in {set}");
                }
            }
            // Removed since.
            "none" => {}
            other => bail!("{key} is a {other}"),
        }
    }
    Ok(())
}

/// `ls:{p}:ID` as `{p}` and `ID`.
fn split(key: &str) -> Option<(&str, &str)> {
    let (tag, id) = key.strip_prefix("ls:")?.split_once(':')?;
    (tag.starts_with('{') && !id.contains(':')).then_some((tag, id))
}

/// Where these records have to stand.
fn expected(
    records: &BTreeMap<String, (String, Record)>,
) -> Result<BTreeMap<String, BTreeMap<String, i64>>> {
    let mut sets: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for (id, (tag, record)) in records {
        let mut stands = |key: String, score| {
            sets.entry(key).or_default().insert(id.clone(), score);
        };
        let (created, parent) = (record.create_time, &record.parent);
        let Some(State::Done(done)) = &record.state else {
            bail!("{id} is not done: {record:?}");
        };
        ensure!(!record.deleted, "{id} is deleted and done, and still there");
        let by_ttl = record.job.as_ref().map_or(0, |job| done.end_time + job.ttl);
        let expire_time = if done.expire_time == 0 { by_ttl } else { done.expire_time };
        stands(format!("ls:timer:{tag}"), expire_time);
        stands(format!("ls:{tag}:all:ended"), created);
        stands(format!("ls:{tag}:ended:{parent}"), created);
        for resource in record.job.iter().flat_map(|job| &job.works_on) {
            stands(format!("ls:{tag}:on:{resource}"), created);
        }
    }
    Ok(sets)
}
