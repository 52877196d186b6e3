//! A cluster of three masters, each with a third of the slots; with replicas or without.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use longshore_core::index::Index;
use longshore_state::{
    conformance::CASES,
    redis::{RedisStore, Settings},
    store::{Error, Store},
};
use longshore_testkit::{RedisCluster, eventually};

use tokio::time::Instant;

use super::redis::{PATIENCE, commit, load, new};

fn settings(cluster: &RedisCluster) -> Settings {
    Settings { url: cluster.url(), ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let cluster = RedisCluster::without_replicas().await;
    let (servers, settings) = (&cluster.servers, settings(&cluster));
    for (_, case) in CASES {
        join_all(servers.iter().map(|server| server.cli(&["FLUSHALL"]))).await;
        let store = RedisStore::connect(&settings).await.unwrap();
        case(&store).await;
    }
    // All of them have a part of it.
    let store = RedisStore::connect(&settings).await.unwrap();
    assert_eq!(store.partitions(), 16);
    for _ in 0..100 {
        commit(&store, &new()).await.unwrap();
    }
    for server in servers {
        assert_ne!(server.cli(&["KEYS", "ls:{*"]).await, "");
    }
}

#[tokio::test]
async fn checks_every_master() {
    let cluster = RedisCluster::without_replicas().await;
    let (servers, settings) = (&cluster.servers, settings(&cluster));
    servers[1].cli(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]).await;
    let Err(error) = RedisStore::connect(&settings).await else { panic!("it was accepted") };
    assert!(
        matches!(&error, Error::Misconfigured(message) if message.contains("volatile-ttl")),
        "{error}"
    );
}

/// What lies on the other masters goes on; all of it does once the lost one is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outlives_the_loss_of_a_master() {
    let mut cluster = RedisCluster::without_replicas().await;
    let settings = settings(&cluster);
    let store = RedisStore::connect(&settings).await.unwrap();
    let records: Vec<_> = (0..60).map(|_| new()).collect();
    for record in &records {
        commit(&store, record).await.unwrap();
    }
    cluster.servers[2].kill();
    let ids: Vec<_> = records.iter().map(|record| record.id.clone()).collect();
    let (there, lost): (Vec<_>, Vec<_>) =
        store.load(&ids).await.into_iter().partition(Result::is_ok);
    assert!(!there.is_empty() && !lost.is_empty());
    assert!(lost.iter().all(|lost| matches!(lost, Err(Error::Unavailable { .. }))));
    store.due(10).await.unwrap();

    let index = Index::In(records[0].parent.clone());
    let mut without = BTreeSet::new();
    let (whole, found) = tokio::join!(
        store.list(&index, None, 100),
        store.list_reachable(&index, None, 100, &mut without)
    );
    assert!(matches!(whole, Err(Error::Unavailable { .. })));
    assert_eq!(found.unwrap().len(), there.len());
    assert!(!without.is_empty() && without.len() < 16);

    cluster.servers[2].restart().await;
    for record in &records {
        let stored = eventually(PATIENCE, || load(&store, &record.id)).await.stored;
        assert_eq!(stored.unwrap().record, *record);
    }
}

/// A replica takes over: what was committed is there, and no call fails by another error than that
/// the store is not available for now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follows_a_failover() {
    let mut cluster = RedisCluster::with_replicas().await;
    let store = RedisStore::connect(&settings(&cluster)).await.unwrap();
    let records: Vec<_> = (0..60).map(|_| new()).collect();
    for record in &records {
        commit(&store, record).await.unwrap();
    }
    for round in [Loss::Killed, Loss::Frozen] {
        let masters = cluster.masters().await;
        let lost = masters[fastrand::usize(..masters.len())];
        cluster.servers[lost].replicated().await;
        match round {
            Loss::Killed => cluster.servers[lost].kill(),
            Loss::Frozen => cluster.servers[lost].freeze(),
        }
        for record in &records {
            let stored = eventually(PATIENCE, async || {
                let started = Instant::now();
                let loaded = load(&store, &record.id).await;
                let took = started.elapsed();
                assert!(took < Duration::from_secs(15), "a call took {took:?}");
                match loaded {
                    Err(error @ Error::Unavailable { .. }) => Err(error),
                    loaded => Ok(loaded.unwrap().stored),
                }
            });
            assert_eq!(stored.await.unwrap().record, *record);
        }
        cluster.without(lost).await;
        for _ in 0..30 {
            let record = new();
            eventually(PATIENCE, async || match commit(&store, &record).await {
                Err(error @ Error::Unavailable { .. }) => Err(error),
                // It may have been written by a try whose answer was lost.
                verdict => Ok(verdict.unwrap()),
            })
            .await;
        }
        store.check().await.unwrap();
        match round {
            Loss::Killed => cluster.servers[lost].restart().await,
            Loss::Frozen => cluster.servers[lost].thaw(),
        }
        cluster.settled().await;
    }
}

enum Loss {
    Killed,
    Frozen,
}
