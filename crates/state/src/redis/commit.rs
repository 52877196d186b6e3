//! Writing records, their lists and timers.

use futures::future::join_all;
use redis::{Cmd, RedisResult, Value};

use super::{
    RedisStore,
    error::{answer, of_record, senseless},
};
use crate::store::{After, Change, Error, Verdict};

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
    let calls = changes.iter().map(|change| call(store, change, Script::Known)).collect();
    let mut verdicts = run(store, calls).await;
    let missed: Vec<usize> = (0..changes.len())
        .filter(|place| verdicts[*place].as_ref().is_err_and(is_unknown_script))
        .collect();
    if missed.is_empty() {
        return verdicts;
    }
    // Redis forgets scripts when it restarts, and a new master has none. The first call brings
    // the script along, the others come behind it in the same pipeline.
    let script = |nth| if nth == 0 { Script::New } else { Script::Known };
    let calls = missed
        .iter()
        .enumerate()
        .map(|(nth, place)| call(store, changes[*place], script(nth)))
        .collect();
    for (place, verdict) in missed.into_iter().zip(run(store, calls).await) {
        verdicts[place] = verdict;
    }
    verdicts
}

async fn run(store: &RedisStore, calls: Vec<Cmd>) -> Vec<RedisResult<Verdict>> {
    let count = calls.len();
    match store.durable.write(&store.gatherer, calls).await {
        Ok(values) => values.into_iter().map(verdict).collect(),
        Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}

fn verdict(value: Value) -> RedisResult<Verdict> {
    match answer(value)? {
        Value::Int(1) => Ok(Verdict::Committed),
        Value::Int(0) => Ok(Verdict::Conflict),
        _ => Err(senseless()),
    }
}

fn is_unknown_script(error: &redis::RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// Whether Redis is taken to know the script.
#[derive(Clone, Copy)]
enum Script {
    Known,
    New,
}

/// The call of `lua/commit.lua` for a change.
fn call(store: &RedisStore, change: &Change, script: Script) -> Cmd {
    let keys = store.keys;
    let partition = keys.partition(&change.id);
    let lists = &change.lists;
    let mut call = match script {
        Script::Known => redis::cmd("EVALSHA"),
        Script::New => redis::cmd("EVAL"),
    };
    match script {
        Script::Known => call.arg(store.commit.get_hash()),
        Script::New => call.arg(super::COMMIT),
    };
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
    call
}
