//! A cluster of three masters, each with a third of the slots.

use std::collections::BTreeSet;

use futures::future::join_all;
use longshore_core::index::Index;
use longshore_state::{
    conformance::CASES,
    redis::{RedisStore, Settings},
    store::{Error, Store},
};
use longshore_testkit::{RedisServer, eventually};

use super::redis::{PATIENCE, commit, load, new};

const ARGUMENTS: [&str; 10] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "2000",
    "--cluster-require-full-coverage",
    "no",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
];

async fn cluster() -> (Vec<RedisServer>, Settings) {
    let servers = join_all((0..3).map(|_| RedisServer::start_with(&ARGUMENTS))).await;
    for (server, slots) in
        servers.iter().zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]])
    {
        server.cli(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]).await;
        server.cli(&["CLUSTER", "MEET", "127.0.0.1", &servers[0].port().to_string()]).await;
    }
    for server in &servers {
        eventually(PATIENCE, async || {
            let info = server.cli(&["CLUSTER", "INFO"]).await;
            let is_up = info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3");
            if is_up { Ok(()) } else { Err(info) }
        })
        .await;
    }
    let hosts: Vec<String> =
        servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    let url = format!("redis+cluster://{}", hosts.join(","));
    (servers, Settings { url, ..Settings::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let (servers, settings) = cluster().await;
    for (_, case) in CASES {
        join_all(servers.iter().map(|server| server.cli(&["FLUSHALL"]))).await;
        let store = RedisStore::connect(&settings).await.unwrap();
        case(&store).await;
    }
    // All of them have a part of it.
    let store = RedisStore::connect(&settings).await.unwrap();
    for _ in 0..100 {
        commit(&store, &new()).await.unwrap();
    }
    for server in &servers {
        assert_ne!(server.cli(&["KEYS", "ls:{*"]).await, "");
    }
}

#[tokio::test]
async fn checks_every_master() {
    let (servers, settings) = cluster().await;
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
    let (mut servers, settings) = cluster().await;
    let store = RedisStore::connect(&settings).await.unwrap();
    let records: Vec<_> = (0..60).map(|_| new()).collect();
    for record in &records {
        commit(&store, record).await.unwrap();
    }
    servers[2].kill();
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

    servers[2].restart().await;
    for record in &records {
        let stored = eventually(PATIENCE, || load(&store, &record.id)).await.stored;
        assert_eq!(stored.unwrap().record, *record);
    }
}
