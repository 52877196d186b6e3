//! Servers that replicate each other do what tests rely on.

use std::time::Duration;

use longshore_testkit::{NatsCluster, RedisCluster, WatchedRedis, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_replica_takes_over() {
    let mut redis = WatchedRedis::start().await;
    assert_eq!(redis.master().await, Some(0));
    redis.servers[0].cli(&["SET", "key", "value"]).await;
    eventually(PATIENCE, async || match &*redis.servers[1].cli(&["GET", "key"]).await {
        "value" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    redis.servers[0].kill();
    assert_eq!(redis.another_master(0).await, 1);
    redis.servers[1].cli(&["SET", "key", "new"]).await;
    redis.servers[0].restart().await;
    redis.settled().await;
    // On a machine under load the Sentinels may have gone on to take one for lost: either is the master.
    for server in &redis.servers {
        eventually(PATIENCE, async || match &*server.cli(&["GET", "key"]).await {
            "new" => Ok(()),
            other => Err(other.to_owned()),
        })
        .await;
    }
}

#[tokio::test]
async fn a_cluster_replaces_a_master() {
    let mut redis = RedisCluster::with_replicas().await;
    assert_eq!(redis.masters().await.len(), 3);
    redis.servers[1].kill();
    let masters = redis.without(1).await;
    assert!(masters.contains(&4), "{masters:?}");
    redis.servers[1].restart().await;
    redis.settled().await;
}

#[tokio::test]
async fn nats_elects_another_leader() {
    let mut nats = NatsCluster::start().await;
    let body = r#"{"name":"TEST","subjects":["test"],"num_replicas":3}"#;
    eventually(PATIENCE, async || {
        let answer = nats.servers[0].request("$JS.API.STREAM.CREATE.TEST", body).await;
        let answer = answer.unwrap_or_else(|error| error.to_string());
        if answer.contains(r#""created""#) { Ok(()) } else { Err(answer) }
    })
    .await;
    let leader = async |nats: &NatsCluster| {
        eventually(PATIENCE, async || nats.leader("TEST").await.ok_or("there is none")).await
    };
    let first = leader(&nats).await;
    nats.servers[first].kill();
    assert_ne!(
        eventually(PATIENCE, async || match nats.leader("TEST").await {
            Some(leader) if leader != first => Ok(leader),
            other => Err(format!("{other:?}")),
        })
        .await,
        first
    );
    nats.servers[first].restart().await;
    leader(&nats).await;
}
