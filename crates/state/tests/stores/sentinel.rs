//! A server whose replica takes over.

use std::time::Duration;

use longshore_core::record::Record;
use longshore_state::{
    redis::{RedisStore, Settings},
    store::{Error, Store},
};
use longshore_testkit::{RedisServer, WatchedRedis, eventually};
use tokio::time::Instant;

use super::redis::{PATIENCE, commit, load, new};

fn settings(redis: &WatchedRedis) -> Settings {
    Settings { url: redis.url(), ..Settings::default() }
}

/// Commits, and waits until the replica has it too.
async fn committed(store: &RedisStore, replica: &RedisServer) -> Record {
    let record = new();
    eventually(PATIENCE, || commit(store, &record)).await;
    let key = format!("ls:{{0}}:{}", record.id);
    eventually(PATIENCE, async || match &*replica.cli(&["EXISTS", &key]).await {
        "1" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    record
}

/// Calls until the store is available again. Until then each call ends in time, and says that it
/// is not available.
async fn recovered(store: &RedisStore) {
    eventually(PATIENCE, async || {
        let started = Instant::now();
        let written = commit(store, &new()).await;
        let took = started.elapsed();
        assert!(took < Duration::from_secs(15), "a call took {took:?}");
        match written {
            Err(error @ Error::Unavailable { .. }) => Err(error),
            written => Ok(written.unwrap()),
        }
    })
    .await;
}

#[tokio::test]
async fn follows_the_master() {
    let mut redis = WatchedRedis::start().await;
    let store = RedisStore::connect(&settings(&redis)).await.unwrap();
    let unknown = Settings { url: redis.url().replace("/main", "/other"), ..Settings::default() };
    let unknown = RedisStore::connect(&unknown).await.err().unwrap();
    assert!(matches!(unknown, Error::Unavailable { .. }), "{unknown}");

    let before = committed(&store, &redis.servers[1]).await;
    redis.servers[0].kill();
    assert!(matches!(load(&store, &before.id).await, Err(Error::Unavailable { .. })));
    recovered(&store).await;
    assert_eq!(load(&store, &before.id).await.unwrap().stored.unwrap().record, before);
    assert_eq!(redis.another_master(0).await, 1);

    // And back again, with a Sentinel that does not answer.
    redis.servers[0].restart().await;
    redis.settled().await;
    let before = committed(&store, &redis.servers[0]).await;
    redis.sentinels[0].freeze();
    redis.servers[1].freeze();
    recovered(&store).await;
    assert_eq!(load(&store, &before.id).await.unwrap().stored.unwrap().record, before);
    redis.servers[1].thaw();
    redis.sentinels[0].thaw();
    recovered(&store).await;
}

/// A master that was made a replica while connections to it were open refuses writes.
#[tokio::test]
async fn leaves_a_server_that_is_a_replica_now() {
    let redis = WatchedRedis::start().await;
    let store = RedisStore::connect(&settings(&redis)).await.unwrap();
    committed(&store, &redis.servers[1]).await;
    redis.sentinels[0].cli(&["SENTINEL", "FAILOVER", "main"]).await;
    redis.another_master(0).await;
    recovered(&store).await;
    store.check().await.unwrap();
}
