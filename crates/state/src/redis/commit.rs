//! Writing records, their lists and timers.

use futures::future::join_all;
use redis::{Cmd, RedisResult, Value};

use super::{
    RedisStore,
    batch::Batches,
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

/// How many changes are made by one call at most: Redis does nothing else meanwhile.
const TOGETHER: usize = 64;

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

/// Commits what goes into one pipeline: the changes of a partition by one call.
async fn commit_batch(store: &RedisStore, changes: &[&Change]) -> Vec<RedisResult<Verdict>> {
    let partitions = changes.iter().map(|change| store.keys.partition(&change.id));
    let batches = Batches::new(partitions, TOGETHER);
    let groups: Vec<Vec<&Change>> =
        batches.iter().map(|places| places.iter().map(|place| changes[*place]).collect()).collect();
    let mut calls: Vec<Cmd> = groups.iter().map(|group| call(store, group, Known::Yes)).collect();
    // The names of packs are made within the scripts. A cluster that moves a slot to another node
    // looks only after the keys that it is told of, so there nothing is packed.
    let packs = !store.connection.is_cluster();
    let packed = changes.iter().filter(|_| packs && fastrand::u32(..PACKING) == 0);
    calls.extend(packed.map(|change| pack(store, change)));
    let mut answers = run(store, calls).await;
    for failed in answers.split_off(groups.len()).into_iter().filter_map(Result::err) {
        // It costs nothing but memory, and others will try.
        tracing::debug!(error = &failed as &dyn std::error::Error, "long lists were not packed");
    }
    let missed: Vec<usize> =
        (0..groups.len()).filter(|nth| answers[*nth].as_ref().is_err_and(is_unknown)).collect();
    // The first call brings the script along, the others come behind it in the same pipeline.
    let calls = missed.iter().enumerate().map(|(nth, group)| {
        call(store, &groups[*group], if nth == 0 { Known::No } else { Known::Yes })
    });
    if !missed.is_empty() {
        for (group, answer) in missed.iter().zip(run(store, calls.collect()).await) {
            answers[*group] = answer;
        }
    }
    let verdicts = groups.iter().zip(answers).map(|(group, answer)| verdicts(group.len(), answer));
    batches.in_order(verdicts.collect())
}

/// One answer for each call.
async fn run(store: &RedisStore, calls: Vec<Cmd>) -> Vec<RedisResult<Value>> {
    let count = calls.len();
    match store.durable.write(&store.gatherer, calls).await {
        Ok(values) => values.into_iter().map(answer).collect(),
        Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}

/// What `lua/commit.lua` has answered to so many changes.
fn verdicts(count: usize, answer: RedisResult<Value>) -> Vec<RedisResult<Verdict>> {
    let error = match answer {
        Ok(Value::Array(values)) if values.len() == count => {
            return values.iter().map(verdict).collect();
        }
        Ok(_) => senseless(),
        Err(error) => error,
    };
    vec![Err(error); count]
}

/// What a script that writes if the record is as it was loaded has answered.
pub(super) fn verdict(value: &Value) -> RedisResult<Verdict> {
    match value {
        Value::Int(1) => Ok(Verdict::Committed),
        Value::Int(0) => Ok(Verdict::Conflict),
        Value::BulkString(text) => Err(redis::make_extension_error(
            "WRONGTYPE".to_owned(),
            Some(String::from_utf8_lossy(text).into_owned()),
        )),
        _ => Err(senseless()),
    }
}

/// The call of `lua/commit.lua` for changes of one partition.
fn call(store: &RedisStore, changes: &[&Change], known: Known) -> Cmd {
    let count = |change: &&Change| 2 + change.lists.add.len() + change.lists.remove.len();
    let mut call = store.scripts.commit.call(known);
    call.arg(changes.iter().map(count).sum::<usize>());
    for change in changes {
        name(store, change, &mut call);
    }
    for change in changes {
        call.arg(count(change)).arg(change.lists.add.len());
        tell(change, &mut call);
    }
    call
}

/// The keys of a change.
fn name(store: &RedisStore, change: &Change, call: &mut Cmd) {
    let keys = store.keys;
    let partition = keys.partition(&change.id);
    call.arg(keys.record(&change.id)).arg(keys.timer(partition));
    for index in change.lists.add.iter().chain(&change.lists.remove) {
        call.arg(keys.list(partition, index));
    }
}

/// What is written if it is as expected.
fn tell(change: &Change, call: &mut Cmd) {
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
    match change.was_due {
        Some(time) => call.arg(time.as_micros()),
        None => call.arg(""),
    };
    call.arg(change.id.as_str()).arg(change.create_time.as_micros());
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
