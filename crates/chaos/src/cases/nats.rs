//! A NATS server, or three of them, that die, forget, fill up, or find somebody too slow.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_testkit::{NatsCluster, NatsServer, RedisServer, eventually};
use tokio::time::{Instant, sleep};

use super::servers::{nobody_noticed, told_soon, under_load};
use crate::{
    case,
    case::{Case, Scene},
    check::{self, Servers},
    client::Job,
    site::{PATIENCE, Plan, Role, Site},
};

/// How soon the roles have to be back once NATS is.
const BACK: Duration = Duration::from_secs(15);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(
            "nats-restarted",
            true,
            restarted,
            "no call fails while it is away, and what was accepted meanwhile runs"
        ),
        case!(
            "nats-wiped",
            true,
            wiped,
            "no call fails, and all hints that were lost are sent again, once"
        ),
        case!(
            "nats-leader-lost",
            false,
            leader_lost,
            "with streams on three servers, the loss of the one that leads them loses nothing"
        ),
        case!(
            "nats-stream-full",
            true,
            stream_full,
            "jobs are accepted although hints have no room, and run once there is some"
        ),
        case!(
            "nats-disk-limit-reached",
            false,
            disk_full,
            "the same when the limit is that of the server, where outcomes have no room either"
        ),
        case!(
            "nats-slow-consumer",
            false,
            slow_consumer,
            "a gateway that NATS gives up as too slow comes back, and its waits end"
        ),
        case!(
            "nats-backlog",
            true,
            backlog,
            "what waits costs one hint each, however long, and no memory of the roles"
        ),
    ]
}

async fn redis() -> RedisServer {
    RedisServer::start_with(&["--appendonly", "yes"]).await
}

async fn restarted(scene: Scene) -> Result<()> {
    let (redis, mut nats) = (redis().await, NatsServer::start().await);
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let mut healed = Instant::now();
    for round in 0..scene.pick(1, 4) {
        under_load(site.client(), round * 1000, async {
            sleep(Duration::from_millis(500)).await;
            nats.kill();
            sleep(Duration::from_secs(3)).await;
            nats.restart().await;
            healed = Instant::now();
            Ok(())
        })
        .await?;
        site.client().run_all([Job::new(round * 1000 + 900)], 1).await?;
        scene.took("until a job ran again", healed.elapsed(), BACK * 2);
    }
    nobody_noticed(&site)?;
    told_soon(&scene, &site)?;
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

async fn wiped(scene: Scene) -> Result<()> {
    let (redis, mut nats) = (redis().await, NatsServer::start().await);
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let client = site.client();
    // More than there are slots: most hints are lost.
    for number in 0..100 {
        client.submit(&Job::new(number).millis(200)).await?;
    }
    nats.kill();
    client.submit(&Job::new(100)).await?;
    nats.wipe_and_restart().await;
    let healed = Instant::now();
    client
        .run_all((0..=100).map(|n| Job::new(n).millis(if n < 100 { 200 } else { 50 })), 50)
        .await?;
    scene.took("until all had run", healed.elapsed(), BACK * 3);
    nobody_noticed(&site)?;
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

async fn leader_lost(scene: Scene) -> Result<()> {
    let (redis, mut nats) = (redis().await, NatsCluster::start().await);
    let plan = Plan::on(redis.url(), nats.url()).set("LONGSHORE_NATS__REPLICAS", "3");
    let mut site = Site::start(&scene, plan).await?;
    site.client().run_all([Job::new(0)], 1).await?;
    for round in 1..=scene.pick(1, 3) {
        for stream in ["LS_JOBS", "LS_EVENTS"] {
            let leader = eventually(PATIENCE, async || {
                nats.leader(stream).await.context("nobody leads it").map_err(|e| e.to_string())
            })
            .await;
            let first = round * 1000 + if stream == "LS_JOBS" { 0 } else { 500 };
            under_load(site.client(), first, async {
                sleep(Duration::from_millis(500)).await;
                nats.servers[leader].kill();
                sleep(Duration::from_secs(5)).await;
                Ok(())
            })
            .await?;
            let lost = Instant::now();
            site.client().run_all([Job::new(first + 400)], 1).await?;
            scene.took("until a job ran after the election", lost.elapsed(), BACK * 2);
            nats.servers[leader].restart().await;
        }
    }
    nobody_noticed(&site)?;
    let servers = Servers { redis: vec![redis.port()], nats: nats.url() };
    check::settled(&scene, &mut site, &servers).await
}

async fn stream_full(scene: Scene) -> Result<()> {
    let nats = NatsServer::start().await;
    full(scene, nats, &[("LONGSHORE_NATS__JOBS_MAX_BYTES", "10000")], 300).await
}

async fn disk_full(scene: Scene) -> Result<()> {
    let nats = NatsServer::start_configured("jetstream { max_file_store: 60KB }").await;
    full(scene, nats, &[], 1000).await
}

/// Jobs are handed in while no worker takes their hints, until there is no more room.
async fn full(scene: Scene, nats: NatsServer, settings: &[(&str, &str)], count: u32) -> Result<()> {
    let redis = redis().await;
    let plan = settings
        .iter()
        .fold(Plan::on(redis.url(), nats.url()), |plan, (key, value)| plan.set(key, value));
    let mut site = Site::start(&scene, plan).await?;
    let client = site.client();
    client.run_all([Job::new(0)], 1).await?;
    for worker in site.names_of(Role::Worker) {
        site.terminate(&worker).await?;
    }
    for number in 1..=count {
        client.submit(&Job::new(number)).await?;
    }
    eventually(PATIENCE, async || {
        let said = site.names_of(Role::Gateway).iter().any(|gateway| {
            let log = std::fs::read_to_string(scene.dir().join(format!("{gateway}.log")));
            log.is_ok_and(|log| log.contains("the bus has no room"))
        });
        // NATS 2.9 does not always refuse: it may remove the oldest, which is a lost hint as well.
        let removed = messages(&nats, "first_seq").await.is_ok_and(|first| first > 2);
        if said || removed { Ok(()) } else { Err("nobody says that the bus has no room") }
    })
    .await;
    site.restart_ended();
    let healed = Instant::now();
    client.run_all((1..=count).map(Job::new), 50).await?;
    scene.took("until all had run", healed.elapsed(), PATIENCE);
    nobody_noticed(&site)?;
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

async fn messages(nats: &NatsServer, field: &str) -> Result<u64> {
    let info = nats.request("$JS.API.STREAM.INFO.LS_JOBS", "").await?;
    let info: serde_json::Value = serde_json::from_str(&info)?;
    info["state"][field].as_u64().with_context(|| info.to_string())
}

async fn slow_consumer(scene: Scene) -> Result<()> {
    let redis = redis().await;
    let nats = NatsServer::start_configured("max_pending: 1MB\nwrite_deadline: \"1s\"").await;
    let mut site = Site::start(&scene, Plan::on(redis.url(), nats.url())).await?;
    let client = site.client_of("gateway-1");
    let running = client.submit(&Job::new(1).millis(8000)).await?;
    let flood = async_nats::connect(nats.url()).await?;
    site.freeze("gateway-1");
    let cut = eventually(PATIENCE, async || {
        for _ in 0..100 {
            let sent = flood.publish("ls.changed", vec![b'x'; 60_000].into()).await;
            sent.map_err(|error| error.to_string())?;
        }
        flood.flush().await.map_err(|error| error.to_string())?;
        let log = nats.log();
        if log.contains("Slow Consumer") { Ok(()) } else { Err("NATS is patient".to_owned()) }
    });
    cut.await;
    site.thaw("gateway-1");
    let healed = Instant::now();
    client.wait(&running.name).await?;
    client.run_all((2..20).map(Job::new), 4).await?;
    scene.took("until its waits ended", healed.elapsed(), BACK * 2);
    check::settled(&scene, &mut site, &Servers::of(&redis, &nats)).await
}

async fn backlog(scene: Scene) -> Result<()> {
    let (redis, nats) = (redis().await, NatsServer::start().await);
    let plan = Plan::on(redis.url(), nats.url()).with(Role::Worker, 0);
    let site = Site::start(&scene, plan).await?;
    let count = scene.pick(2000_u32, 50_000);
    let submit = async |numbers: std::ops::Range<u32>| {
        use futures::{StreamExt, TryStreamExt, stream};
        let client = site.client();
        let submit = |number| {
            let client = client.clone();
            async move { client.submit(&Job::new(number)).await.map(drop) }
        };
        stream::iter(numbers).map(submit).buffer_unordered(32).try_collect::<()>().await
    };
    // What the roles keep for any load at all is there already.
    submit(0..count / 4).await?;
    let before = site.usage()?;
    submit(count / 4..count).await?;
    // Each has been looked after several times.
    sleep(Duration::from_secs(scene.pick(12, 60))).await;
    let hints = messages(&nats, "last_seq").await?;
    let count = u64::from(count);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    scene.cost("hints for each that waits", hints as f64 / count as f64, 1.01, "hints");
    ensure!(messages(&nats, "messages").await? >= count, "hints were lost");
    let mut more = 0;
    for (name, now) in site.usage()? {
        more = more.max(now.memory.saturating_sub(before[&name].memory) / 1024);
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    scene.cost("memory more", more as f64, 48.0, "MiB");
    told_soon(&scene, &site)
}
