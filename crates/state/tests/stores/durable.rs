//! Commits that are answered only once they last, as far as this Redis can tell.

use longshore_state::{
    redis::{Durability, RedisStore, Settings},
    store::{Error, Store, Verdict},
};
use longshore_testkit::{RedisServer, eventually};

use super::redis::{PATIENCE, commit, load, new};

const FILE: [&str; 2] = ["--appendonly", "yes"];

fn settings(server: &RedisServer, durability: Durability) -> Settings {
    Settings { url: server.url(), durability, ..Settings::default() }
}

async fn with_file(policy: &str) -> RedisServer {
    RedisServer::start_with(&[&FILE[..], &["--appendfsync", policy]].concat()).await
}

async fn refusal(settings: &Settings) -> String {
    match RedisStore::connect(settings).await {
        Ok(_) => panic!("it was accepted"),
        Err(Error::Misconfigured(why)) => why,
        Err(other) => panic!("{other:?}"),
    }
}

/// Whether it can say when its file is on the disk: Redis from 7.2 on, and Valkey.
async fn confirms(server: &RedisServer) -> bool {
    !server.cli(&["COMMAND", "INFO", "waitaof"]).await.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_by_fsync_survives_a_crash() {
    let mut server = with_file("always").await;
    let store = RedisStore::connect(&settings(&server, Durability::Fsync)).await.unwrap();
    let records: Vec<_> = (0..50).map(|_| new()).collect();
    for record in &records {
        assert_eq!(commit(&store, record).await.unwrap(), Verdict::Committed);
    }
    store.settle().await.unwrap();
    server.restart().await;
    eventually(PATIENCE, || store.check()).await;
    for record in &records {
        assert_eq!(&load(&store, &record.id).await.unwrap().stored.unwrap().record, record);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsync_some_time_later_takes_a_confirmation() {
    let server = with_file("everysec").await;
    let settings = settings(&server, Durability::Fsync);
    if !confirms(&server).await {
        let why = refusal(&settings).await;
        assert!(why.contains("has no WAITAOF") && why.contains("it is everysec"), "{why}");
        return;
    }
    let store = RedisStore::connect(&settings).await.unwrap();
    let records: Vec<_> = (0..40).map(|_| new()).collect();
    let commits = records.iter().map(|record| commit(&store, record));
    for verdict in futures::future::join_all(commits).await {
        assert_eq!(verdict.unwrap(), Verdict::Committed);
    }
    store.settle().await.unwrap();
    // One confirmation is for many commits, and all else goes on meanwhile.
    let calls = server.cli(&["INFO", "commandstats"]).await;
    let waits = calls.lines().find(|line| line.starts_with("cmdstat_waitaof:calls=")).unwrap();
    let waits: usize = waits.split(['=', ',']).nth(1).unwrap().parse().unwrap();
    assert!((2..20).contains(&waits), "{waits} confirmations");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_confirm_makes_the_store_unavailable() {
    let server = with_file("everysec").await;
    if !confirms(&server).await {
        return;
    }
    let timeout = std::time::Duration::from_millis(200);
    let settings = Settings { durability_timeout: timeout, ..settings(&server, Durability::Fsync) };
    let store = RedisStore::connect(&settings).await.unwrap();
    // From here on the file is never brought to the disk by Redis itself.
    server.cli(&["CONFIG", "SET", "appendfsync", "no"]).await;
    let record = new();
    let refused = commit(&store, &record).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    // The commit was made; whoever repeats it has to wait for the disk all the same.
    assert!(load(&store, &record.id).await.unwrap().stored.is_some());
    assert!(matches!(store.settle().await, Err(Error::Unavailable { .. })));
    server.cli(&["CONFIG", "SET", "appendfsync", "everysec"]).await;
    eventually(PATIENCE, || store.settle()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_can_not_be_as_durable_is_refused() {
    let server = RedisServer::start().await;
    let why = refusal(&settings(&server, Durability::Fsync)).await;
    assert!(why.contains("no append-only file"), "{why}");
    let server = with_file("no").await;
    let why = refusal(&settings(&server, Durability::Fsync)).await;
    assert!(why.contains("appendfsync of Redis is no"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stops_being_durable_is_found_out() {
    let server = with_file("always").await;
    let store = RedisStore::connect(&settings(&server, Durability::Fsync)).await.unwrap();
    store.check().await.unwrap();
    server.cli(&["CONFIG", "SET", "appendfsync", "everysec"]).await;
    assert!(matches!(store.check().await, Err(Error::Misconfigured(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_confirm_or_nothing_is_answered() {
    let master = RedisServer::start().await;
    let timeout = std::time::Duration::from_secs(5);
    let settings =
        Settings { durability_timeout: timeout, ..settings(&master, Durability::Replicas) };
    // It may still come.
    assert!(matches!(RedisStore::connect(&settings).await, Err(Error::Unavailable { .. })));

    let port = master.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    let store = eventually(PATIENCE, || RedisStore::connect(&settings)).await;
    let record = new();
    assert_eq!(commit(&store, &record).await.unwrap(), Verdict::Committed);
    let key = format!("ls:{{0}}:{}", record.id);
    assert_eq!(replica.cli(&["EXISTS", &key]).await, "1", "it is there at once");

    replica.freeze();
    let refused = commit(&store, &new()).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    // Reading needs no replica.
    load(&store, &record.id).await.unwrap();
    replica.thaw();
    eventually(PATIENCE, || async { commit(&store, &new()).await.map(drop) }).await;
}

mod confirmed_by_replicas {
    use longshore_state::redis::{Durability, RedisStore};
    use longshore_testkit::RedisServer;

    use crate::{conforms, for_each_conformance_case};

    async fn confirmed() -> (RedisStore, (RedisServer, RedisServer)) {
        let master = RedisServer::start().await;
        let port = master.port().to_string();
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).await;
        let settings = super::settings(&master, Durability::Replicas);
        let store =
            longshore_testkit::eventually(super::PATIENCE, || RedisStore::connect(&settings)).await;
        (store, (master, replica))
    }

    mod suite {
        use super::*;
        for_each_conformance_case!(conforms, confirmed);
    }
}
