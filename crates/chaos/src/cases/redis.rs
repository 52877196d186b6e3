//! A Redis server that dies, hangs, fills up, forgets, or is tampered with.

use std::time::Duration;

use anyhow::{Result, ensure};
use longshore_testkit::{NatsServer, RedisServer};
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::servers::{nobody_noticed, served_again, told_soon, under_load};
use crate::{
    case,
    case::{Case, Scene},
    check::{self, Servers},
    client::Job,
    site::{LEASE, PATIENCE, Plan, Site},
};

/// How soon the roles have to be back once Redis is.
const BACK: Duration = Duration::from_secs(15);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(
            "redis-killed-with-appendfsync-always",
            true,
            killed_always,
            "what was acknowledged is there after SIGKILL and a restart"
        ),
        case!(
            "redis-killed-with-appendfsync-everysec",
            false,
            killed_everysec,
            "what was acknowledged is there after SIGKILL: the process is lost, not the machine"
        ),
        case!(
            "redis-frozen",
            true,
            frozen,
            "calls end in time with UNAVAILABLE, and all goes on by itself afterwards"
        ),
        case!(
            "redis-out-of-memory",
            true,
            out_of_memory,
            "jobs are refused with RESOURCE_EXHAUSTED, reads go on, outcomes land at the latest once there is room"
        ),
        case!(
            "redis-scripts-flushed",
            true,
            scripts_flushed,
            "no call fails although Redis forgets its scripts all the time"
        ),
        case!(
            "redis-keys-of-another-type",
            true,
            wrong_types,
            "what needs such a key is told so, and everything else goes on"
        ),
    ]
}

async fn killed_always(scene: Scene) -> Result<()> {
    killed(scene, "always").await
}

async fn killed_everysec(scene: Scene) -> Result<()> {
    killed(scene, "everysec").await
}

async fn killed(scene: Scene, fsync: &str) -> Result<()> {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", fsync]).await;
    let nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let mut healed = Instant::now();
    for round in 0..scene.pick(2, 5) {
        under_load(site.client(), round * 1000, async {
            sleep(Duration::from_millis(500)).await;
            redis.kill();
            sleep(Duration::from_millis(scene.random().u64(0..3000))).await;
            redis.restart().await;
            healed = Instant::now();
            Ok(())
        })
        .await?;
        served_again(&scene, &site, healed, round * 1000 + 900, BACK).await?;
    }
    told_soon(&scene, &site)?;
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

async fn frozen(scene: Scene) -> Result<()> {
    let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let mut healed = Instant::now();
    under_load(site.client(), 0, async {
        sleep(Duration::from_millis(500)).await;
        redis.freeze();
        // Longer than any time limit of a call, and than the lease.
        sleep(Duration::from_secs(scene.pick(6, 30))).await;
        redis.thaw();
        healed = Instant::now();
        Ok(())
    })
    .await?;
    served_again(&scene, &site, healed, 9000, BACK).await?;
    told_soon(&scene, &site)?;
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

async fn out_of_memory(scene: Scene) -> Result<()> {
    let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let client = site.client();
    let running = client.submit(&Job::new(1).millis(1000)).await?;
    site.attempts().started(&running.name, 1, PATIENCE).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;

    for number in 2..6 {
        let refused = client.submit(&Job::new(number)).await.err();
        let code = refused.as_ref().map(tonic::Status::code);
        ensure!(code == Some(Code::ResourceExhausted), "a job was answered by {refused:?}");
        client.get(&running.name).await?;
        ensure!(client.list("tests/1").await?.len() == 1, "lists are not what they were");
    }
    site.attempts().ended(&running.name, 1, PATIENCE).await;
    // Beyond the lease, which can't be renewed.
    sleep(LEASE * 2).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let healed = Instant::now();
    client.wait(&running.name).await?;
    scene.took("until the outcome landed", healed.elapsed(), BACK);
    client.run_all((2..20).map(Job::new), 4).await?;
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

async fn scripts_flushed(scene: Scene) -> Result<()> {
    let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let nats = NatsServer::start().await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let end = Instant::now() + Duration::from_secs(scene.pick(3, 20));
    under_load(site.client(), 0, async {
        while Instant::now() < end {
            redis.cli(&["SCRIPT", "FLUSH"]).await;
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    })
    .await?;
    nobody_noticed(&site)?;
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

/// One record, and everything that one partition shares.
async fn wrong_types(scene: Scene) -> Result<()> {
    let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let nats = NatsServer::start().await;
    let plan = Plan::on(redis.url(), nats.url()).set("LONGSHORE_REDIS__PARTITIONS", "16");
    let mut site = Site::start(&scene, plan).await?;
    let client = site.client();
    client.run_all((0..20).map(Job::new), 4).await?;

    let victim = client.submit(&Job::new(100).millis(100)).await?;
    client.wait(&victim.name).await?;
    let id = victim.name.rsplit('/').next().unwrap_or_default();
    let key = redis.cli(&["KEYS", &format!("ls:*:{id}")]).await;
    redis.cli(&["RENAME", &key, "kept"]).await;
    redis.cli(&["SADD", &key, "planted"]).await;
    let read = client.get(&victim.name).await.err();
    let code = read.as_ref().map(tonic::Status::code);
    ensure!(code == Some(Code::DataLoss), "a damaged record was answered by {read:?}");

    // What one partition shares: its timers, and its lists of all.
    let planted = ["ls:timer:{7}", "ls:{7}:all:ended", "ls:{7}:all:active"];
    for key in planted {
        if redis.cli(&["EXISTS", key]).await == "1" {
            redis.cli(&["RENAME", key, &format!("kept:{key}")]).await;
        }
        redis.cli(&["SET", key, "planted"]).await;
    }
    let (mut harmed, mut fine) = (0, Vec::new());
    for number in 200..260 {
        match client.submit(&Job::new(number)).await {
            Ok(_) => fine.push(number),
            Err(status) if status.code() == Code::DataLoss => harmed += 1,
            Err(status) => return Err(status.into()),
        }
    }
    ensure!(fine.len() > 30 && harmed > 0, "{fine:?} were accepted, {harmed} were not");
    // They lie in other partitions, where all goes on.
    client.run_all(fine.into_iter().map(Job::new), 8).await?;
    site.restart("state-1");
    site.said("state-1", "a key in Redis is of another type").await;

    for key in planted {
        redis.cli(&["DEL", key]).await;
        let kept = format!("kept:{key}");
        if redis.cli(&["EXISTS", &kept]).await == "1" {
            redis.cli(&["RENAME", &kept, key]).await;
        }
    }
    redis.cli(&["DEL", &key]).await;
    redis.cli(&["RENAME", "kept", &key]).await;
    client.run_all((200..260).map(Job::new), 8).await?;
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}
