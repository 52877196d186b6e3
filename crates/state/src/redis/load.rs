//! Reading records.

use std::iter;

use bytes::Bytes;
use futures::future::join_all;
use longshore_core::{names::OperationId, time::Time};
use redis::{Cmd, RedisResult, Value, cmd};

use super::{
    RedisStore,
    batch::time,
    error::{answer, of_record, senseless},
};
use crate::store::{Error, Loaded, Stored, decode};

const DOING: &str = "loading records";

pub(super) async fn read(store: &RedisStore, id: &OperationId) -> Result<Option<Stored>, Error> {
    let value = store.gatherer.call(vec![get(store, id)]).await;
    found(
        id,
        value.and_then(|values| values.into_iter().next().ok_or_else(senseless)).and_then(answer),
    )
}

pub(super) async fn load(store: &RedisStore, ids: &[OperationId]) -> Vec<Result<Loaded, Error>> {
    let batches = store.batches(ids.iter());
    let answers = join_all(batches.iter().map(async |places| {
        let ids: Vec<&OperationId> = places.iter().map(|place| &ids[*place]).collect();
        match ask(store, &ids).await {
            Ok((now, values)) => {
                ids.into_iter().zip(values).map(|(id, value)| loaded(id, now, value)).collect()
            }
            Err(error) => {
                ids.into_iter().map(|id| Err(of_record(id, DOING, error.clone()))).collect()
            }
        }
    }));
    batches.in_order(answers.await)
}

async fn ask(store: &RedisStore, ids: &[&OperationId]) -> RedisResult<(Time, Vec<Value>)> {
    // One by one: MGET takes a key of another type for none.
    let commands = iter::once(cmd("TIME")).chain(ids.iter().map(|id| get(store, id))).collect();
    let mut values = store.gatherer.call(commands).await?.into_iter();
    let now = time(values.next())?;
    Ok((now, values.collect()))
}

fn get(store: &RedisStore, id: &OperationId) -> Cmd {
    let mut get = cmd("GET");
    get.arg(store.keys.record(id));
    get
}

fn loaded(id: &OperationId, now: Time, value: Value) -> Result<Loaded, Error> {
    Ok(Loaded { now, stored: found(id, answer(value))? })
}

fn found(id: &OperationId, value: RedisResult<Value>) -> Result<Option<Stored>, Error> {
    match value {
        Ok(Value::Nil) => Ok(None),
        Ok(Value::BulkString(bytes)) => stored(id, bytes).map(Some),
        Ok(_) => Err(of_record(id, DOING, senseless())),
        Err(error) => Err(of_record(id, DOING, error)),
    }
}

fn stored(id: &OperationId, bytes: Vec<u8>) -> Result<Stored, Error> {
    let Some(revision) = bytes.first_chunk().copied() else {
        return Err(Error::Damaged {
            id: id.clone(),
            source: "it is shorter than a revision".into(),
        });
    };
    decode(id, u64::from_be_bytes(revision), Bytes::from(bytes).slice(8..))
}
