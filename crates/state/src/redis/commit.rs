//! Writing records, their lists and timers.

use futures::future::join_all;
use redis::{Cmd, RedisResult, Value};

use super::{
    RedisStore,
    error::{answer, of_record, senseless},
    scripts::{Known, is_unknown},
};
use crate::store::{After, Change, Error, Verdict};

/// After one of so many commits it is looked whether its sets have become long, by chance and so
/// without counting: those of one partition come from many processes.
const PACKING: u32 = 64;

/// How many places of a list, or timers, are not packed, over all partitions: more than a queue has
/// as a rule that is soon worked off.
const STAY: u32 = 65_536;
/// The same of one partition at least: in fewer, packing would go on and on.
const STAY_OF_ONE: u32 = 512;

pub(super) async fn commit(store: &RedisStore, changes: &[Change]) -> Vec<Result<Verdict, Error>> {
    let batches = store.batches(changes.iter().map(|change| &change.id));
    let answers = join_all(batches.iter().map(async |places| {
        let changes: Vec<&Change> = places.iter().map(|place| &changes[*place]).collect();
        let verdicts = commit_batch(store, &changes).await;
        let verdicts = changes.into_iter().zip(verdicts);
        verdicts
            .map(|(change, verdict)| {
                verdict.map_err(|error| of_record(&change.id, "committing", error))
            })
            .collect()
    }));
    batches.in_order(answers.await)
}

async fn commit_batch(store: &RedisStore, changes: &[&Change]) -> Vec<RedisResult<Verdict>> {
    let mut calls: Vec<Cmd> =
        changes.iter().map(|change| call(store, change, Known::Yes)).collect();
    // The names of packs are made within the scripts. A cluster that moves a slot to another node
    // looks only after the keys that it is told of, so there nothing is packed.
    let packs = !store.connection.is_cluster();
    let packed = changes.iter().filter(|_| packs && fastrand::u32(..PACKING) == 0);
    calls.extend(packed.map(|change| pack(store, change)));
    let mut answers = run(store, calls).await;
    for failed in answers.split_off(changes.len()).into_iter().filter_map(Result::err) {
        // It costs nothing but memory, and others will try.
        tracing::debug!(error = &failed as &dyn std::error::Error, "long lists were not packed");
    }
    let mut verdicts: Vec<RedisResult<Verdict>> =
        answers.into_iter().map(|answer| answer.and_then(|value| verdict(&value))).collect();
    let missed: Vec<usize> = (0..changes.len())
        .filter(|place| verdicts[*place].as_ref().is_err_and(is_unknown))
        .collect();
    if missed.is_empty() {
        return verdicts;
    }
    // The first call brings the script along, the others come behind it in the same pipeline.
    let known = |nth| if nth == 0 { Known::No } else { Known::Yes };
    let calls = missed
        .iter()
        .enumerate()
        .map(|(nth, place)| call(store, changes[*place], known(nth)))
        .collect();
    for (place, answer) in missed.into_iter().zip(run(store, calls).await) {
        verdicts[place] = answer.and_then(|value| verdict(&value));
    }
    verdicts
}

/// One answer for each call.
async fn run(store: &RedisStore, calls: Vec<Cmd>) -> Vec<RedisResult<Value>> {
    let count = calls.len();
    match store.durable.write(&store.gatherer, calls).await {
        Ok(values) => values.into_iter().map(answer).collect(),
        Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}

/// What a script that writes if the record is as it was loaded has answered.
pub(super) fn verdict(value: &Value) -> RedisResult<Verdict> {
    match value {
        Value::Int(1) => Ok(Verdict::Committed),
        Value::Int(0) => Ok(Verdict::Conflict),
        _ => Err(senseless()),
    }
}

/// The call of `lua/commit.lua` for a change.
fn call(store: &RedisStore, change: &Change, known: Known) -> Cmd {
    let keys = store.keys;
    let partition = keys.partition(&change.id);
    let lists = &change.lists;
    let mut call = store.scripts.commit.call(known);
    call.arg(2 + lists.add.len() + lists.remove.len());
    call.arg(keys.record(&change.id)).arg(keys.timer(partition));
    for index in lists.add.iter().chain(&lists.remove) {
        call.arg(keys.list(partition, index));
    }
    match change.expected {
        Some(revision) => call.arg(&revision.to_be_bytes()),
        None => call.arg(""),
    };
    match &change.after {
        After::Record { revision, bytes, next_wake } => {
            let value = [&revision.to_be_bytes(), bytes.as_ref()].concat();
            call.arg(value).arg(next_wake.as_micros())
        }
        After::Nothing => call.arg("").arg(""),
    };
    call.arg(change.id.as_str()).arg(change.create_time.as_micros()).arg(lists.add.len());
    match change.was_due {
        Some(time) => call.arg(time.as_micros()),
        None => call.arg(""),
    };
    call
}

/// The call of `lua/pack.lua` for the sets that a change has made longer. It is rare, so that it
/// brings the script along.
fn pack(store: &RedisStore, change: &Change) -> Cmd {
    let keys = store.keys;
    let partition = keys.partition(&change.id);
    let mut call = store.scripts.pack.call(Known::No);
    call.arg(1 + change.lists.add.len()).arg(keys.timer(partition));
    for index in &change.lists.add {
        call.arg(keys.list(partition, index));
    }
    call.arg((STAY / u32::from(keys.partitions)).max(STAY_OF_ONE));
    call
}
