//! Redis servers that replicate each other, when the master is lost.

use std::time::Duration;

use anyhow::Result;
use longshore_testkit::{NatsServer, RedisCluster, RedisServer, WatchedRedis};
use tokio::time::{Instant, sleep};

use super::servers::{served_again, told_soon, under_load};
use crate::{
    case,
    case::{Case, Scene},
    check::{self, Servers},
    client::Job,
    site::{PATIENCE, Plan, Site},
};

/// How soon the roles have to be back once there is another master.
const BACK: Duration = Duration::from_secs(15);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(
            "redis-master-killed-under-sentinel",
            true,
            sentinel_killed,
            "the replica takes over; what it had is served, and nothing else is told than UNAVAILABLE"
        ),
        case!(
            "redis-master-made-a-replica",
            false,
            sentinel_switched,
            "a master that becomes read-only under open connections is left for the new one"
        ),
        case!(
            "redis-cluster-loses-a-master",
            true,
            cluster_killed,
            "what lies on the other masters goes on, the rest once a replica has taken over"
        ),
        case!(
            "redis-cluster-master-hangs",
            false,
            cluster_frozen,
            "a replica takes over for a master that hangs, though its connections stay open"
        ),
    ]
}

async fn sentinel_killed(scene: Scene) -> Result<()> {
    let mut redis = WatchedRedis::start().await;
    let nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let client = site.client();
    client.run_all((0..20).map(Job::new), 4).await?;
    let lost = redis.master().await.unwrap_or_default();
    redis.servers[lost].replicated().await;
    redis.servers[lost].kill();
    let killed = Instant::now();
    let mut healed = killed;
    let master = under_load(client, 1000, async {
        let master = redis.another_master(lost).await;
        healed = Instant::now();
        Ok(master)
    })
    .await?;
    scene.took("until there was another master", healed - killed, PATIENCE);
    served_again(&scene, &site, healed, 9000, BACK).await?;
    redis.servers[lost].restart().await;
    redis.settled().await;
    told_soon(&scene, &site)?;
    let servers = Servers { redis: vec![redis.servers[master].port()], nats: nats.url() };
    check::settled(&scene, &mut site, &servers).await
}

async fn sentinel_switched(scene: Scene) -> Result<()> {
    let redis = WatchedRedis::start().await;
    let nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let client = site.client();
    client.run_all((0..20).map(Job::new), 4).await?;
    let before = redis.master().await.unwrap_or_default();
    redis.servers[before].replicated().await;
    redis.sentinels[0].cli(&["SENTINEL", "FAILOVER", "main"]).await;
    let master = redis.another_master(before).await;
    let healed = Instant::now();
    redis.settled().await;
    served_again(&scene, &site, healed, 9000, BACK).await?;
    client.run_all((1000..1040).map(Job::new), 4).await?;
    told_soon(&scene, &site)?;
    let servers = Servers { redis: vec![redis.servers[master].port()], nats: nats.url() };
    check::settled(&scene, &mut site, &servers).await
}

async fn cluster_killed(scene: Scene) -> Result<()> {
    cluster(scene, |server| server.kill()).await
}

async fn cluster_frozen(scene: Scene) -> Result<()> {
    cluster(scene, |server| server.freeze()).await
}

async fn cluster(scene: Scene, lose: impl Fn(&mut RedisServer)) -> Result<()> {
    let mut redis = RedisCluster::with_replicas().await;
    let nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let client = site.client();
    client.run_all((0..40).map(Job::new), 4).await?;
    let masters = redis.masters().await;
    let lost = masters[scene.random().usize(..masters.len())];
    redis.servers[lost].replicated().await;
    lose(&mut redis.servers[lost]);
    let start = Instant::now();
    let mut healed = start;
    let masters = under_load(client, 1000, async {
        let masters = redis.without(lost).await;
        healed = Instant::now();
        // Some of what waits for the new one.
        sleep(Duration::from_secs(1)).await;
        Ok(masters)
    })
    .await?;
    scene.took("until there was another master", healed - start, PATIENCE);
    // So many that each partition is asked.
    let jobs = (9000..9040).map(Job::new);
    site.client().run_all(jobs, 8).await?;
    scene.took("until all was served again", healed.elapsed(), BACK * 2);
    redis.servers[lost].restart().await;
    redis.settled().await;
    told_soon(&scene, &site)?;
    let ports = masters.iter().map(|master| redis.servers[*master].port()).collect();
    check::settled(&scene, &mut site, &Servers { redis: ports, nats: nats.url() }).await
}
